//! A JSON file with typed access, so that every error names the file and the key.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ImportError;
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

impl Document {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let io = |source| ollm_runtime::Error::Io { path: path.to_owned(), source };
        let bytes = fs::read(path).map_err(io)?;
        let json = |source| ImportError::Json { path: path.to_owned(), source };
        let value: Value = serde_json::from_slice(&bytes).map_err(json)?;
        if value.is_object() {
            Ok(Self { path: path.to_owned(), value })
        } else {
            Err(not_an_object(path, "the file", &value))
        }
    }

    /// The file as it is.
    pub(super) fn text(&self) -> Result<String> {
        let io = |source| ollm_runtime::Error::Io { path: self.path.clone(), source };
        Ok(fs::read_to_string(&self.path).map_err(io)?)
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

    pub(super) fn size(&self, key: &str) -> Result<usize> {
        self.opt_size(key)?.ok_or_else(|| self.missing(key).into())
    }

    /// A number of positions.
    pub(super) fn opt_positions(&self, key: &str) -> Result<Option<usize>> {
        self.whole(key, "a whole number of 1 to 2^30", 1 << 30)
    }

    pub(super) fn positions(&self, key: &str) -> Result<usize> {
        self.opt_positions(key)?.ok_or_else(|| self.missing(key).into())
    }

    pub(super) fn opt_positive(&self, key: &str) -> Result<Option<f64>> {
        // Files hold 32-bit numbers.
        let positive = |x: &f64| (*x as f32).is_finite() && (*x as f32) > 0.0;
        self.opt(key, "a positive number of 32 bits", |value| value.as_f64().filter(positive))
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
