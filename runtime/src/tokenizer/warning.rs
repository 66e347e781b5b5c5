//! What is odd about the tokenizer of a file, though it can be used.

use std::fmt;

/// Something in a model file that is probably a mistake, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the line on each variant explains its fields")]
pub enum TokenizerWarning {
    /// The file names no pre-tokenizer, or `default`: llama.cpp's default is used.
    DefaultPre,
    /// A token that ends a turn by its text was not of type control: it is taken as one.
    EndNotControl { token: u32, text: String },
    /// The file says that texts begin without BOS, which its models are not without: texts have it.
    BosNeeded,
    /// A special id is no token of the vocabulary: it is ignored.
    IdIgnored { key: &'static str, vocabulary: usize },
}

/// All that is odd about a file.
pub(super) type Warnings = Vec<TokenizerWarning>;

impl fmt::Display for TokenizerWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultPre => write!(
                f,
                "the file names no pre-tokenizer (tokenizer.ggml.pre): llama.cpp's default is used, which few models \
                 were trained with; convert the model again, or set the key"
            ),
            Self::EndNotControl { token, text } => {
                write!(f, "token {token}, {text:?}, ends a turn but is not of type control: it is taken as one")
            }
            Self::BosNeeded => write!(
                f,
                "tokenizer.ggml.add_bos_token is false, but models with this pre-tokenizer need BOS: texts begin with it"
            ),
            Self::IdIgnored { key, vocabulary } => {
                write!(f, "{key} is none of the {vocabulary} tokens: it is ignored")
            }
        }
    }
}
