//! Metadata: key-value pairs in file order, with typed access.

use std::collections::HashMap;

use super::{GgufError, Result, Value};

/// Key-value pairs, in the order of the file; every key is there once.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

/// Each row makes the getter of a type and its `opt_` twin.
macro_rules! getters {
    ($($name:ident $optional:ident $ty:ty, $read:ident, $expected:literal;)*) => {$(
        #[doc = concat!("The value of a key that must be there: ", $expected, ".")]
        pub fn $name(&self, key: &str) -> Result<$ty> {
            self.$optional(key)?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })
        }

        #[doc = concat!("The value of a key that may be missing: ", $expected, ". Any other type is an error.")]
        pub fn $optional(&self, key: &str) -> Result<Option<$ty>> {
            self.read(key, $expected, Value::$read)
        }
    )*};
}

impl Metadata {
    getters! {
        u32     opt_u32     u32,       as_u32,     "an integer that fits u32";
        u64     opt_u64     u64,       as_u64,     "an integer that fits u64";
        f32     opt_f32     f32,       as_f32,     "a float";
        bool    opt_bool    bool,      as_bool,    "a bool";
        str     opt_str     &str,      as_str,     "a string";
        strings opt_strings &[String], as_strings, "an array of string";
        f32s    opt_f32s    &[f32],    as_f32s,    "an array of f32";
        i32s    opt_i32s    &[i32],    as_i32s,    "an array of i32";
    }

    /// The value of a key, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.pairs[i].1)
    }

    /// All pairs, in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Adds a pair at the end.
    ///
    /// # Errors
    /// [`GgufError::DuplicateKey`] if the key is there.
    pub fn insert(&mut self, key: String, value: Value) -> Result<()> {
        if self.index.contains_key(&key) {
            return Err(GgufError::DuplicateKey { key });
        }
        self.index.insert(key.clone(), self.pairs.len());
        self.pairs.push((key, value));
        Ok(())
    }

    /// Keeps the pairs that `keep` holds for.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        self.pairs.retain(|(key, value)| keep(key, value));
        self.index = self.pairs.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || GgufError::WrongType { key: key.to_owned(), expected, found: value.describe() };
        read(value).map(Some).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_is_refused_and_nothing_changes() {
        let mut metadata = sample();
        let refused = metadata.insert("count".to_owned(), Value::U64(6));
        assert!(matches!(refused, Err(GgufError::DuplicateKey { key }) if key == "count"));
        metadata.insert("more".to_owned(), Value::U64(7)).unwrap();
        assert_eq!((metadata.u64("count").unwrap(), metadata.u64("more").unwrap()), (5, 7));
    }

    #[test]
    fn what_is_kept_is_found_in_its_order() {
        let mut metadata = sample();
        metadata.retain(|key, _| key != "big" && key != "tokens");
        assert_eq!(metadata.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["count", "eps", "name", "scores"]);
        assert_eq!((metadata.get("big"), metadata.str("name").unwrap()), (None, "x"));
        metadata.insert("big".to_owned(), Value::U64(7)).unwrap();
        assert_eq!(metadata.u64("big").unwrap(), 7);
    }

    fn sample() -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in [
            ("count", Value::U64(5)),
            ("big", Value::U64(1 << 40)),
            ("eps", Value::F32(1e-5)),
            ("name", Value::from("x")),
            ("tokens", Value::from(vec!["a".to_owned(), "b".to_owned()])),
            ("scores", Value::from(vec![1.0f64])),
        ] {
            metadata.insert(key.to_owned(), value).unwrap();
        }
        metadata
    }

    #[test]
    fn getters_convert_and_find_missing_keys() {
        let m = sample();
        assert_eq!(m.u32("count").unwrap(), 5);
        assert_eq!(m.str("name").unwrap(), "x");
        assert_eq!(m.strings("tokens").unwrap().len(), 2);
        assert_eq!(m.opt_u32("nothing").unwrap(), None);
        assert!(matches!(m.u32("nothing"), Err(GgufError::MissingKey { key }) if key == "nothing"));
    }

    #[test]
    fn another_type_is_an_error_that_names_all_three() {
        let m = sample();
        let message = m.opt_f32s("scores").unwrap_err().to_string();
        assert_eq!(message, r#"metadata key "scores": expected an array of f32, found an array of 1 f64"#);
        let message = m.u32("big").unwrap_err().to_string();
        assert_eq!(message, r#"metadata key "big": expected an integer that fits u32, found u64 1099511627776"#);
        assert!(m.opt_str("eps").is_err());
    }

    #[test]
    fn order_is_kept_and_duplicates_are_refused() {
        let mut m = sample();
        assert_eq!(m.iter().map(|(key, _)| key).collect::<Vec<_>>()[..3], ["count", "big", "eps"]);
        assert!(matches!(m.insert("eps".to_owned(), 1u8.into()), Err(GgufError::DuplicateKey { .. })));
    }
}
