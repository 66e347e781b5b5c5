//! The metadata keys of a family, `FAMILY.NAME`, with typed access and ranges. Those that nobody
//! asks for are refused, unless they are known to change nothing or their value is 0 or false: so
//! files say that a model does not have a feature. A model that is computed otherwise than its file
//! says is worse than none.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Display;

use crate::gguf::{Array, GgufError, Metadata, Value};

use super::error::ModelError;
use super::family::Family;
use super::saved;

/// No dimension of any model is near this; products of three stay far from overflow.
pub(super) const MAX_SIZE: usize = 1 << 20;

/// The key of the number of kinds of segments, which is one of the tokenizer.
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type_count";

/// The key of the tokens that are never picked.
const SUPPRESSED: &str = "tokenizer.ggml.suppress_tokens";

/// The keys of a family.
pub(super) struct FamilyKeys<'a> {
    metadata: Cow<'a, Metadata>,
    family: &'a str,
    /// The keys that somebody asked for.
    asked: RefCell<HashSet<String>>,
}

/// Keys that change nothing in the families that run here, and the numbers of which they have to be
/// one for it; without numbers: any value.
const HARMLESS: &[(&str, &[f32])] = &[
    ("vocab_size", &[]),
    // Layers that take features of an image.
    ("n_deepstack_layers", &[]),
    ("deepstack_mapping", &[]),
    ("tensor_data_layout", &[]),
    // In files without experts.
    ("expert_used_count", &[]),
    ("expert_shared_feed_forward_length", &[]),
    ("leading_dense_block_count", &[]),
    ("expert_group_count", &[1.0]),
    ("expert_group_used_count", &[1.0]),
    // Families have one of the two.
    ("attention.layer_norm_epsilon", &[]),
    ("attention.layer_norm_rms_epsilon", &[]),
    // Sections of image positions: in text all of them count alike.
    ("rope.dimension_sections", &[]),
];

/// Whether a value says that there is nothing: 0, false, or a list of those.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().all(|value| is_nothing(&value)),
        Value::Bool(value) => !value,
        _ => value.number() == Some(0.0),
    }
}

impl<'a> FamilyKeys<'a> {
    pub(super) fn new(metadata: &'a Metadata, family: &'a str) -> Self {
        Self { metadata: saved::without_defaults(metadata, family), family, asked: RefCell::default() }
    }

    /// The value of a key, whatever its type.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.metadata.get(&self.key(name))
    }

    /// Refuses a key that nobody has asked for. Those of `also` may be there in vain.
    pub(super) fn refuse_others(&self, also: &[&str]) -> Result<(), ModelError> {
        let (asked, prefix) = (self.asked.borrow(), format!("{}.", self.family));
        let is_harmless = |name: &str, value: &Value| {
            let is_one = |none: &[f32]| none.is_empty() || value.number().is_some_and(|x| none.contains(&x));
            is_nothing(value) || HARMLESS.iter().any(|(known, none)| *known == name && is_one(none))
        };
        let unknown = self.metadata.iter().find(|(key, value)| {
            let name = key.strip_prefix(&prefix).filter(|_| !asked.contains(*key));
            name.is_some_and(|name| !is_harmless(name, value) && !also.contains(&name))
        });
        match unknown {
            Some((key, value)) => Err(ModelError::UnknownKey { key: key.to_owned(), value: value.describe() }),
            None => Ok(()),
        }
    }
}

impl FamilyKeys<'_> {
    /// The key of this name, which somebody reads.
    pub(super) fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.family);
        self.asked.borrow_mut().insert(key.clone());
        key
    }

    /// Kinds of segments, of a family that has embeddings of them.
    pub(super) fn token_types(&self, family: Family) -> Result<Option<usize>, ModelError> {
        let count = self.metadata.opt_u32(TOKEN_TYPES)?.filter(|&count| family.token_types && count > 0);
        let Some(count) = count.map(|count| count as usize) else { return Ok(None) };
        if count <= MAX_SIZE {
            return Ok(Some(count));
        }
        let (key, rule) = (TOKEN_TYPES.to_owned(), "at most 1048576");
        Err(ModelError::InvalidValue { key, value: count.to_string(), rule })
    }

    /// The tokens of a vocabulary of this size that are never picked. The file may name others in
    /// vain, as in llama.cpp.
    pub(super) fn suppressed(&self, vocab: usize) -> Result<Vec<u32>, ModelError> {
        let (key, expected) = (SUPPRESSED.to_owned(), "a list of whole numbers");
        let list = match self.metadata.get(SUPPRESSED) {
            None => return Ok(Vec::new()),
            Some(Value::Array(Array::I32(list))) => list.iter().map(|&token| u32::try_from(token).ok()).collect(),
            Some(Value::Array(Array::U32(list))) => list.iter().copied().map(Some).collect::<Vec<_>>(),
            Some(other) => return Err(GgufError::WrongType { key, expected, found: other.describe() }.into()),
        };
        Ok(list.into_iter().flatten().filter(|&token| (token as usize) < vocab).collect())
    }

    pub(super) fn opt_u32(&self, name: &str) -> Result<Option<u32>, ModelError> {
        Ok(self.metadata.opt_u32(&self.key(name))?)
    }

    pub(super) fn require(
        &self,
        name: &str,
        value: impl Display,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), ModelError> {
        let error = || ModelError::InvalidValue { key: self.key(name), value: value.to_string(), rule };
        holds.then_some(()).ok_or_else(error)
    }

    pub(super) fn size(&self, name: &str) -> Result<usize, ModelError> {
        let value = self.metadata.u32(&self.key(name))? as usize;
        self.require(name, value, (1..=MAX_SIZE).contains(&value), "1 to 1048576")?;
        Ok(value)
    }

    pub(super) fn opt_size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        match self.get(name) {
            Some(_) => self.size(name).map(Some),
            None => Ok(None),
        }
    }

    /// A number of positions, as large as it may be.
    pub(super) fn opt_positions(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let value = self.opt_u32(name)?;
        self.require(name, 0, value != Some(0), "at least 1")?;
        Ok(value.map(|value| value as usize))
    }

    pub(super) fn opt_float(&self, name: &str) -> Result<Option<f32>, ModelError> {
        let value = self.metadata.opt_f32(&self.key(name))?;
        if let Some(value) = value {
            self.require(name, value, value.is_finite(), "a number")?;
        }
        Ok(value)
    }

    /// A positive number that may be missing.
    pub(super) fn opt_positive(&self, name: &str) -> Result<Option<f32>, ModelError> {
        let value = self.opt_float(name)?;
        if let Some(value) = value {
            self.require(name, value, value > 0.0, "a positive number")?;
        }
        Ok(value)
    }

    pub(super) fn opt_bool(&self, name: &str) -> Result<Option<bool>, ModelError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(value) => {
                let (key, found) = (self.key(name), value.describe());
                Err(GgufError::WrongType { key, expected: "a boolean", found }.into())
            }
        }
    }

    pub(super) fn opt_str(&self, name: &str) -> Result<Option<&str>, ModelError> {
        Ok(self.metadata.opt_str(&self.key(name))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_tokens_are_those_of_the_vocabulary_in_a_list_of_whole_numbers() {
        let read = |value: Value| {
            let mut metadata = Metadata::default();
            metadata.insert(SUPPRESSED.to_owned(), value).unwrap();
            FamilyKeys::new(&metadata, "llama").suppressed(8)
        };
        assert_eq!(read(vec![3_i32, -1, 8, 7].into()).unwrap(), [3, 7]);
        assert_eq!(read(vec![3_u32, 8].into()).unwrap(), [3]);
        for value in [Value::U32(3), Value::from("3"), Value::from(vec![3.0_f32])] {
            let error = read(value).unwrap_err().to_string();
            assert!(error.contains(SUPPRESSED) && error.contains("a list of whole numbers"), "{error}");
        }
    }

    #[test]
    fn a_key_that_nobody_reads_is_refused_unless_it_changes_nothing() {
        let refused = |key: &str, value: Value| {
            let mut metadata = Metadata::default();
            metadata.insert("llama.read".to_owned(), Value::U32(1)).unwrap();
            metadata.insert(key.to_owned(), value).unwrap();
            let keys = FamilyKeys::new(&metadata, "llama");
            assert_eq!(keys.size("read").unwrap(), 1);
            match keys.refuse_others(&["in.vain"]) {
                Ok(()) => false,
                Err(ModelError::UnknownKey { key: found, .. }) => found == key,
                Err(other) => panic!("{other}"),
            }
        };
        for (key, value) in [
            ("llama.attention.new", Value::U32(1)),
            ("llama.rope.scaling.alpha", Value::F32(0.5)),
            ("llama.rope.scaling.alpha", Value::from("0")),
            ("llama.attention.new", Value::Bool(true)),
            ("llama.attention.new", Value::from(vec![0_i32, 1])),
            ("llama.attention.new", Value::I32(-1)),
        ] {
            assert!(refused(key, value), "{key}");
        }
        for (key, value) in [
            ("llama.vocab_size", Value::U32(7)),
            ("llama.deepstack_mapping", Value::from(vec![0_i32, 1])),
            ("llama.attention.new", Value::F32(0.0)),
            ("llama.attention.new", Value::U32(0)),
            ("llama.attention.new", Value::Bool(false)),
            ("llama.attention.new", Value::from(vec![0_i32, 0])),
            ("llama.in.vain", Value::U32(1)),
            ("qwen2.attention.new", Value::U32(1)),
            ("general.anything", Value::U32(1)),
        ] {
            assert!(!refused(key, value), "{key}");
        }
    }
}
