//! How the hidden states of a text become its embedding.

use super::error::ModelError;
use super::keys::FamilyKeys;

/// How the hidden states of a text become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    Cls,
    /// That of the last token.
    Last,
}

impl FamilyKeys<'_> {
    /// The pooling that the file was trained with; the mean, where it says none.
    pub(super) fn pooling(&self) -> Result<Pooling, ModelError> {
        const NAME: &str = "pooling_type";
        // As llama.cpp numbers them; 4 is a score of a pair of texts, by a head of its own.
        match self.opt_u32(NAME)? {
            None | Some(0 | 1) => Ok(Pooling::Mean),
            Some(2) => Ok(Pooling::Cls),
            Some(3) => Ok(Pooling::Last),
            Some(kind) => Err(ModelError::Unsupported { key: self.key(NAME), value: kind.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{Metadata, Value};

    #[test]
    fn the_file_says_how_states_are_pooled() {
        let read = |kind: Option<u32>| {
            let mut metadata = Metadata::default();
            if let Some(kind) = kind {
                metadata.insert("qwen3.pooling_type".to_owned(), Value::U32(kind)).unwrap();
            }
            FamilyKeys::new(&metadata, "qwen3").pooling()
        };
        for (kind, pooling) in [(None, Pooling::Mean), (Some(1), Pooling::Mean), (Some(2), Pooling::Cls)] {
            assert_eq!(read(kind).unwrap(), pooling);
        }
        assert_eq!(read(Some(3)).unwrap(), Pooling::Last);
        assert!(matches!(read(Some(4)), Err(ModelError::Unsupported { .. })));
    }
}
