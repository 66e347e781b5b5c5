//! Keys of a model are set or removed; its tensors stay as they are.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use ollm_runtime::gguf::{Metadata, PART_KEYS, Value, ValueType, Writer};

use crate::{ConvertError, Opened, Result, check_absent, check_output, checksum, keys};

/// A key and its new value.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The key.
    pub key: String,
    /// The type, if it is named.
    kind: Option<ValueType>,
    text: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let usage = "KEY=VALUE or KEY:TYPE=VALUE is needed, such as general.name=Mine or llama.rope.freq_base:f32=5e5";
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or(usage)?;
        let (key, kind) = match key.rsplit_once(':') {
            Some((key, name)) => (key, Some(kind(name).ok_or_else(|| format!("{name:?} is no type of a value"))?)),
            None => (key, None),
        };
        let assignment = Self { key: key.to_owned(), kind, text: value.to_owned() };
        if let Some(kind) = kind {
            assignment.value(kind)?;
        }
        Ok(assignment)
    }
}

/// The type of this name, if a value of it can be written as text.
fn kind(name: &str) -> Option<ValueType> {
    let known = (0..13).filter_map(ValueType::from_id).filter(|kind| *kind != ValueType::Array);
    known.into_iter().find(|kind| kind.name() == name)
}

impl Assignment {
    fn value(&self, kind: ValueType) -> std::result::Result<Value, String> {
        let Self { key, text, .. } = self;
        let value = match kind {
            ValueType::U8 => text.parse().map(Value::U8).ok(),
            ValueType::I8 => text.parse().map(Value::I8).ok(),
            ValueType::U16 => text.parse().map(Value::U16).ok(),
            ValueType::I16 => text.parse().map(Value::I16).ok(),
            ValueType::U32 => text.parse().map(Value::U32).ok(),
            ValueType::I32 => text.parse().map(Value::I32).ok(),
            ValueType::U64 => text.parse().map(Value::U64).ok(),
            ValueType::I64 => text.parse().map(Value::I64).ok(),
            ValueType::F32 => text.parse().map(Value::F32).ok(),
            ValueType::F64 => text.parse().map(Value::F64).ok(),
            ValueType::Bool => text.parse().map(Value::Bool).ok(),
            ValueType::String => Some(Value::String(text.clone())),
            ValueType::Array => None,
        };
        value.ok_or_else(|| format!("{key}: {text:?} is no {kind}"))
    }

    /// The value: of the type that is named, else that of the key, else the plainest that fits.
    fn over(&self, metadata: &Metadata) -> std::result::Result<Value, String> {
        let own = self.kind.or(metadata.get(&self.key).map(Value::value_type)).or(keys::type_of(&self.key));
        own.map_or_else(|| Ok(self.plainest()), |kind| self.value(kind))
    }

    /// The value of the plainest type that holds all that the text says.
    fn plainest(&self) -> Value {
        let whole = [ValueType::Bool, ValueType::U32, ValueType::I32, ValueType::I64, ValueType::U64];
        let whole = whole.iter().find_map(|&kind| self.value(kind).ok());
        // `inf` and `nan` are words, and so is a whole number that no type holds.
        let is_real = |value: &Value| matches!(value, Value::F32(x) if x.is_finite());
        let real = || self.value(ValueType::F32).ok().filter(is_real).filter(|_| self.text.contains(['.', 'e', 'E']));
        whole.or_else(real).unwrap_or_else(|| self.text.as_str().into())
    }
}

/// What was changed.
#[derive(Debug)]
pub struct EditSummary {
    /// Each key with its old and its new value.
    pub changes: Vec<(String, Option<Value>, Option<Value>)>,
}

/// Writes the file `input` with other keys.
///
/// # Errors
/// If a value is not of its type, a key that is to be removed is not there, or the result is one
/// that `verify` refuses for its keys. Then nothing is written.
pub fn edit(input: &Path, output: &Path, set: &[Assignment], remove: &[String], force: bool) -> Result<EditSummary> {
    check_output(output, &[input])?;
    check_absent(output, force)?;
    let file = Opened::open(input)?;
    let bad = |reason: String| ConvertError::BadKey { path: input.to_owned(), reason };
    let old = file.gguf.metadata();
    if let Some(Assignment { key, .. }) = set.iter().find(|assignment| PART_KEYS.contains(&&*assignment.key)) {
        return Err(bad(format!(
            "metadata key {key:?} is one of the parts of a model, which `ollm-convert shard` makes"
        )));
    }
    let mut changes = Vec::new();
    for key in remove {
        let value = old.get(key).ok_or_else(|| bad(format!("metadata key {key:?} is not there")))?;
        changes.push((key.clone(), Some(value.clone()), None));
    }
    for assignment in set {
        let value = assignment.over(old).map_err(bad)?;
        changes.push((assignment.key.clone(), old.get(&assignment.key).cloned(), Some(value)));
    }
    let new = |key: &str| changes.iter().rfind(|(changed, ..)| changed == key).map(|(_, _, new)| new.clone());
    let mut metadata = Metadata::default();
    let kept = checksum::other_keys(&file)
        .filter_map(|(key, value)| Some((key.to_owned(), new(key).unwrap_or_else(|| Some(value.clone()))?)));
    for (key, value) in kept {
        metadata.insert(key, value).map_err(ConvertError::Output)?;
    }
    for (key, _, value) in &changes {
        if let Some(value) = value.clone().filter(|_| metadata.get(key).is_none()) {
            metadata.insert(key.clone(), value).map_err(ConvertError::Output)?;
        }
    }
    keys::check(&metadata).map_err(bad)?;
    let mut writer = Writer::new();
    for (key, value) in metadata.iter() {
        writer.set(key, value.clone()).map_err(ConvertError::Output)?;
    }
    for tensor in file.gguf.tensors() {
        let emit = |out: &mut dyn Write| file.release(tensor, |bytes| out.write_all(bytes));
        let added = writer.streamed(&tensor.name, &tensor.dims, tensor.dtype, tensor.layout, emit);
        added.map_err(ConvertError::Output)?;
    }
    crate::write(writer, output)?;
    Ok(EditSummary { changes })
}

impl fmt::Display for EditSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
        self.changes.iter().try_for_each(|(key, old, new)| writeln!(f, "{key}: {} -> {}", shown(old), shown(new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_the_type_that_is_named_or_was_there_or_fits() {
        let mut metadata = Metadata::default();
        metadata.insert("size".to_owned(), Value::U64(3)).unwrap();
        let value = |text: &str| text.parse::<Assignment>().and_then(|assignment| assignment.over(&metadata));
        assert_eq!(value("size=4"), Ok(Value::U64(4)));
        assert_eq!(value("size:f32=4"), Ok(Value::F32(4.0)));
        assert_eq!(value("a=true"), Ok(Value::Bool(true)));
        assert_eq!(value("a=7"), Ok(Value::U32(7)));
        assert_eq!(value("a=-7"), Ok(Value::I32(-7)));
        assert_eq!(value("a=0.5"), Ok(Value::F32(0.5)));
        assert_eq!(value("a=b=c"), Ok(Value::from("b=c")));
        assert_eq!(value("a:string=7"), Ok(Value::from("7")));
        assert_eq!(value("a=18446744073709551615"), Ok(Value::U64(u64::MAX)));
        assert_eq!(value("a=-9223372036854775808"), Ok(Value::I64(i64::MIN)));
        assert_eq!(value("a=5e5"), Ok(Value::F32(5e5)));
        for word in ["nan", "Infinity", "-inf", "1e400", "123456789012345678901234567890", "1.2.3"] {
            assert_eq!(value(&format!("a={word}")), Ok(Value::from(word)));
        }
        assert_eq!(value("a:f32=inf"), Ok(Value::F32(f32::INFINITY)));
        assert_eq!(value("general.version=2"), Ok(Value::from("2")));
        assert_eq!(value("general.file_type=2"), Ok(Value::U32(2)));
        for (text, part) in [("size=x", "no u64"), ("a:u8=300", "no u8"), ("a:word=1", "no type"), ("a", "is needed")] {
            let error = value(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
