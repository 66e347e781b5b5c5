//! How the hidden states of a text become its embedding.

use crate::gguf::{Array, GgufError, Value};

use super::error::ModelError;
use super::family::{ClassifierRule, Family};
use super::keys::{FamilyKeys, MAX_SIZE};
use super::name::Role;

/// The key of the pooling, and what it is where a head for classification follows, as llama.cpp
/// numbers it.
const POOLING: &str = "pooling_type";
const RANK: u32 = 4;

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

/// A head for classification: a score for each label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifierConfig {
    /// Labels, at least one.
    pub labels: usize,
    /// The label whose score is the relevance of a document to a query.
    pub relevant: usize,
}

impl ClassifierConfig {
    /// A head of labels without names.
    pub(super) const fn unnamed(labels: usize) -> Self {
        Self { labels, relevant: 0 }
    }
}

impl FamilyKeys<'_> {
    /// The head for classification that the file names: by its labels, or by the pooling alone.
    pub(super) fn classifier(&self) -> Result<Option<ClassifierConfig>, ModelError> {
        const LABELS: &str = "classifier.output_labels";
        let labels = match self.get(LABELS) {
            None if self.opt_u32(POOLING)? == Some(RANK) => return Ok(Some(ClassifierConfig::unnamed(1))),
            None => return Ok(None),
            Some(Value::Array(Array::String(labels))) => labels,
            Some(other) => {
                let (key, found) = (self.key(LABELS), other.describe());
                return Err(GgufError::WrongType { key, expected: "a list of texts", found }.into());
            }
        };
        self.require(LABELS, labels.len(), (1..=MAX_SIZE).contains(&labels.len()), "a list of 1 to 1048576")?;
        let relevant = labels.iter().position(|label| label.eq_ignore_ascii_case("yes")).unwrap_or(0);
        Ok(Some(ClassifierConfig { labels: labels.len(), relevant }))
    }

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

    /// The pooling that the file was trained with; `missing` where it says none. Where it says that
    /// a score is wanted, it is the family's before a head for classification.
    pub(super) fn pooling(&self, family: Family, missing: Pooling) -> Result<Pooling, ModelError> {
        match self.opt_u32(POOLING)? {
            None => Ok(missing),
            Some(0 | 1) => Ok(Pooling::Mean),
            Some(2) => Ok(Pooling::Cls),
            Some(3) => Ok(Pooling::Last),
            Some(RANK) => Ok(family.classifier.pooling()),
            Some(kind) => Err(ModelError::Unsupported { key: self.key(POOLING), value: kind.to_string() }),
        }
    }
}

impl ClassifierRule {
    /// How hidden states are pooled before the head.
    pub const fn pooling(self) -> Pooling {
        match self {
            Self::Last => Pooling::Last,
            Self::First => Pooling::Cls,
            Self::Mean => Pooling::Mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Metadata;
    use crate::model::FAMILIES;

    #[test]
    fn the_file_says_how_states_are_pooled() {
        let read = |kind: Option<u32>| {
            let mut metadata = Metadata::default();
            if let Some(kind) = kind {
                metadata.insert("qwen3.pooling_type".to_owned(), Value::U32(kind)).unwrap();
            }
            let family = FAMILIES.iter().find(|family| family.name == "qwen3").unwrap();
            FamilyKeys::new(&metadata, "qwen3").pooling(*family, Pooling::Mean)
        };
        for (kind, pooling) in [(None, Pooling::Mean), (Some(1), Pooling::Mean), (Some(2), Pooling::Cls)] {
            assert_eq!(read(kind).unwrap(), pooling);
        }
        assert_eq!(read(Some(3)).unwrap(), Pooling::Last);
        assert_eq!(read(Some(4)).unwrap(), Pooling::Last);
        assert!(matches!(read(Some(5)), Err(ModelError::Unsupported { .. })));
    }
}
