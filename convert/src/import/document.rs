//! A JSON file with typed access, so that every error names the file and the key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::foreign;
use serde_json::{Map, Value};

use super::error::{ImportError, MAX_BYTES};
use crate::{ConvertError, Result};

/// A JSON object of a file, the whole or a part.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) value: Value,
}

fn not_an_object(path: &Path, key: &str, value: &Value) -> ConvertError {
    let value: String = value.to_string().chars().take(60).collect();
    ImportError::BadValue { path: path.to_owned(), key: key.to_owned(), value, rule: "an object" }.into()
}

/// JSON as the standard has it: without a byte order mark, and with the numbers that Python writes
/// and JSON has not as strings, which are refused where a number is read.
fn strict(bytes: &[u8]) -> Vec<u8> {
    const NUMBERS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut quoted) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let number = NUMBERS.iter().find(|number| !quoted && bytes[at..].starts_with(number));
        if let Some(number) = number {
            out.push(b'"');
            out.extend_from_slice(number);
            out.push(b'"');
            at += number.len();
            continue;
        }
        let length = if quoted && byte == b'\\' { 2 } else { 1 };
        quoted ^= byte == b'"';
        out.extend_from_slice(&bytes[at..bytes.len().min(at + length)]);
        at += length;
    }
    out
}

/// The bytes of a file of a folder.
///
/// # Errors
/// If it is none: what is read from a pipe or a device need not come to an end.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let io = |source| ollm_runtime::Error::Io { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(io)?;
    if !about.is_file() && !about.is_dir() {
        return Err(ImportError::NotAFile { path: path.to_owned() }.into());
    }
    if about.len() > MAX_BYTES {
        return Err(ImportError::TooLarge { path: path.to_owned(), bytes: about.len() }.into());
    }
    Ok(fs::read(path).map_err(io)?)
}

/// The text of a file of a folder.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let wrong = |error: std::string::FromUtf8Error| {
        let source = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
        ollm_runtime::Error::Io { path: path.to_owned(), source }
    };
    Ok(String::from_utf8(read_file(path)?).map_err(wrong)?)
}

/// The JSON of a file.
fn read_value(path: &Path) -> Result<Value> {
    let bytes = read_file(path)?;
    if let Some(what) = foreign(&bytes) {
        return Err(ImportError::Foreign { path: path.to_owned(), what }.into());
    }
    let json = |source| ImportError::Json { path: path.to_owned(), source };
    Ok(serde_json::from_slice(&strict(&bytes)).map_err(json)?)
}

impl Document {
    /// Another object of the same file.
    pub(super) fn with(&self, map: Map<String, Value>) -> Self {
        Self { path: self.path.clone(), value: Value::Object(map) }
    }

    /// The keys of this object, and those of `below` that it has not.
    pub(super) fn over(&self, below: &Self) -> Self {
        let keys = |document: &Self| document.value.as_object().cloned().unwrap_or_default();
        let mut map = keys(below);
        map.extend(keys(self));
        self.with(map)
    }

    /// The same with these keys as `other` has them: also without those that it has not.
    pub(super) fn with_keys_of(&self, other: &Self, keys: &[&str]) -> Self {
        let mut map = self.value.as_object().cloned().unwrap_or_default();
        for key in keys {
            match other.value.get(key) {
                Some(value) => drop(map.insert((*key).to_owned(), value.clone())),
                None => drop(map.remove(*key)),
            }
        }
        self.with(map)
    }

    /// The same with keys under newer names, where it has the older ones alone.
    pub(super) fn renamed(&self, names: &[(&str, &str)]) -> Self {
        let mut map = self.value.as_object().cloned().unwrap_or_default();
        for (old, new) in names {
            if let Some(value) = map.remove(*old) {
                map.entry(*new).or_insert(value);
            }
        }
        self.with(map)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.value.as_object().is_none_or(Map::is_empty)
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let value = read_value(path)?;
        if value.is_object() {
            Ok(Self { path: path.to_owned(), value })
        } else {
            Err(not_an_object(path, "the file", &value))
        }
    }

    /// The objects of a file that is a list of them.
    pub(super) fn read_list(path: &Path) -> Result<Vec<Self>> {
        let value = read_value(path)?;
        let Value::Array(list) = value else {
            let (path, key, value) = (path.to_owned(), "the file".to_owned(), "something else".to_owned());
            return Err(ImportError::BadValue { path, key, value, rule: "a list of objects" }.into());
        };
        let object = |value: Value| {
            if value.is_object() {
                Ok(Self { path: path.to_owned(), value })
            } else {
                Err(not_an_object(path, "an entry", &value))
            }
        };
        list.into_iter().map(object).collect()
    }

    /// The file as it is, but for a byte order mark.
    pub(super) fn text(&self) -> Result<String> {
        let text = read_text(&self.path)?;
        Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
    }

    /// An empty object where there is no such file.
    pub(super) fn read_if_there(path: &Path) -> Result<Self> {
        let empty = || Self { path: path.to_owned(), value: Value::Object(serde_json::Map::new()) };
        if path.exists() { Self::read(path) } else { Ok(empty()) }
    }

    /// The value of a key; `null` is none.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// Whether the document says that there is none.
    pub(super) fn is_null(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(Value::is_null)
    }

    pub(super) fn part(&self, key: &str) -> Result<Option<Self>> {
        match self.get(key) {
            Some(value) if !value.is_object() => Err(not_an_object(&self.path, key, value)),
            value => Ok(value.map(|value| Self { path: self.path.clone(), value: value.clone() })),
        }
    }

    /// Takes a part out, which may be too large for a copy.
    pub(super) fn take(&mut self, key: &str) -> Result<Option<Self>> {
        let value = self.value.get_mut(key).map(Value::take).filter(|value| !value.is_null());
        match value {
            Some(value) if !value.is_object() => Err(not_an_object(&self.path, key, &value)),
            value => Ok(value.map(|value| Self { path: self.path.clone(), value })),
        }
    }

    pub(super) fn missing(&self, key: &str) -> ImportError {
        ImportError::MissingKey { path: self.path.clone(), key: key.to_owned() }
    }

    pub(super) fn bad(&self, key: &str, rule: &'static str) -> ImportError {
        let value = self.value.get(key).unwrap_or(&Value::Null).to_string();
        ImportError::BadValue { path: self.path.clone(), key: key.to_owned(), value, rule }
    }

    pub(super) fn unsupported(&self, key: &str, supported: &'static str) -> ImportError {
        let value = self.value.get(key).unwrap_or(&Value::Null).to_string();
        ImportError::Unsupported { path: self.path.clone(), key: key.to_owned(), value, supported }
    }

    /// A value that must have a form, if it is there.
    fn opt<'a, T>(
        &'a self,
        key: &str,
        rule: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.bad(key, rule).into())
    }

    fn whole(&self, key: &str, rule: &'static str, most: u64) -> Result<Option<usize>> {
        self.opt(key, rule, |value| value.as_u64().filter(|n| (1..=most).contains(n)).map(|n| n as usize))
    }

    /// A dimension: none of any model is near the limit, and products of three stay far from
    /// overflow.
    pub(super) fn opt_size(&self, key: &str) -> Result<Option<usize>> {
        self.whole(key, "a whole number of 1 to 2^20", 1 << 20)
    }

    /// A dimension of each of so many layers: one number, or a list.
    pub(super) fn opt_sizes(&self, key: &str, layers: usize) -> Result<Option<Vec<usize>>> {
        let Some(Value::Array(list)) = self.get(key) else {
            return Ok(self.opt_size(key)?.map(|size| vec![size; layers]));
        };
        let size = |value: &Value| value.as_u64().filter(|n| (1..=1 << 20).contains(n)).map(|n| n as usize);
        let sizes: Option<Vec<usize>> = list.iter().map(size).collect();
        let sizes = sizes.filter(|sizes| sizes.len() == layers);
        sizes.map(Some).ok_or_else(|| self.bad(key, "whole numbers of 1 to 2^20, one for each layer").into())
    }

    /// The same, if anybody reads the key.
    pub(super) fn opt_size_if(&self, reads: bool, key: &str) -> Result<Option<usize>> {
        if reads { self.opt_size(key) } else { Ok(None) }
    }

    /// A count, which may be 0.
    pub(super) fn opt_count(&self, key: &str) -> Result<Option<usize>> {
        self.opt(key, "a whole number", |value| value.as_u64().and_then(|n| n.try_into().ok()))
    }

    /// A number of positions.
    pub(super) fn opt_positions(&self, key: &str) -> Result<Option<usize>> {
        self.whole(key, "a whole number of 1 to 2^30", 1 << 30)
    }

    pub(super) fn opt_positive(&self, key: &str) -> Result<Option<f64>> {
        // Files hold 32-bit numbers.
        let positive = |x: &f64| (*x as f32).is_finite() && (*x as f32) > 0.0;
        self.opt(key, "a positive number of 32 bits", |value| value.as_f64().filter(positive))
    }

    /// The same, if anybody reads the key.
    pub(super) fn opt_positive_if(&self, reads: bool, key: &str) -> Result<Option<f64>> {
        if reads { self.opt_positive(key) } else { Ok(None) }
    }

    pub(super) fn opt_number(&self, key: &str) -> Result<Option<f64>> {
        self.opt(key, "a number of 32 bits", |value| value.as_f64().filter(|x| (*x as f32).is_finite()))
    }

    pub(super) fn positive(&self, key: &str) -> Result<f64> {
        self.opt_positive(key)?.ok_or_else(|| self.missing(key).into())
    }

    pub(super) fn opt_bool(&self, key: &str) -> Result<Option<bool>> {
        self.opt(key, "true or false", Value::as_bool)
    }

    pub(super) fn opt_str(&self, key: &str) -> Result<Option<&str>> {
        self.opt(key, "text", Value::as_str)
    }

    pub(super) fn opt_list(&self, key: &str) -> Result<Option<&Vec<Value>>> {
        self.opt(key, "a list", Value::as_array)
    }
}

#[cfg(test)]
mod tests {
    use super::strict;

    #[test]
    fn python_numbers_become_strings_outside_of_strings_alone() {
        let python = b"\xef\xbb\xbf{\"a\": NaN, \"b\": [Infinity, -Infinity, 1], \"NaN \\\" NaN\": \"Infinity\"}";
        let json = br#"{"a": "NaN", "b": ["Infinity", "-Infinity", 1], "NaN \" NaN": "Infinity"}"#;
        assert_eq!(String::from_utf8(strict(python)).unwrap(), std::str::from_utf8(json).unwrap());
        assert_eq!(strict(br#""\"#), br#""\"#);
    }
}
