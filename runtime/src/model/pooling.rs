//! How the hidden states of a text become its embedding.

use super::error::ModelError;
use super::keys::FamilyKeys;
use super::name::Role;

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

/// A dense layer behind the pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseConfig {
    /// Which one it is: [`Role::Dense2`] or [`Role::Dense3`].
    pub role: Role,
    /// Elements that it takes.
    pub inputs: usize,
    /// Elements that it gives.
    pub outputs: usize,
}

impl FamilyKeys<'_> {
    /// The dense layers behind the pooling of hidden states of this size: those whose sizes the
    /// file names.
    pub(super) fn dense_layers(&self, hidden: usize) -> Result<Vec<DenseConfig>, ModelError> {
        let (mut layers, mut width) = (Vec::new(), hidden);
        for role in [Role::Dense2, Role::Dense3] {
            let [input, output] = ["in", "out"].map(|end| format!("{}_feat_{end}", role.stem()));
            let Some(inputs) = self.opt_size(&input)? else { continue };
            self.require(&input, inputs, inputs == width, "the size of what the layer before gives")?;
            width = self.size(&output)?;
            layers.push(DenseConfig { role, inputs, outputs: width });
        }
        Ok(layers)
    }

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
