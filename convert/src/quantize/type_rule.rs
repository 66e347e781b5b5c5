//! Types by pattern: what `--tensor-type` says of single tensors.

use std::fmt;
use std::str::FromStr;

use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::{Role, TensorName};
use regex::Regex;

use crate::tensor_type;

/// The tensors whose names match a pattern get this type.
#[derive(Clone, Debug)]
pub struct TypeRule {
    /// The names.
    pub pattern: Pattern,
    /// The type.
    pub dtype: TensorType,
}

/// Names of tensors.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// This name alone.
    Name(String),
    /// Names in which a regular expression is found, as in llama.cpp's `llama-quantize
    /// --tensor-type`.
    Search(Regex),
    /// The head: the embeddings, where there is no other.
    Head,
    /// The token embeddings.
    Embedding,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Search(regex) => f.write_str(regex.as_str()),
            Self::Head => TensorName::new(Role::Head).fmt(f),
            Self::Embedding => TensorName::new(Role::Embedding).fmt(f),
        }
    }
}

impl TypeRule {
    /// A rule for the tensor of this name alone.
    pub fn exactly(name: &str, dtype: TensorType) -> Self {
        Self { pattern: Pattern::Name(name.to_owned()), dtype }
    }

    /// Whether it is a rule for the tensor of this name in a model whose head is the embeddings
    /// (`tied`), or is not.
    pub fn matches(&self, name: &str, tied: bool) -> bool {
        let is = |role| TensorName::parse(name) == Some(TensorName::new(role));
        match &self.pattern {
            Pattern::Name(own) => own == name,
            Pattern::Search(regex) => regex.is_match(name),
            Pattern::Head => is(if tied { Role::Embedding } else { Role::Head }),
            Pattern::Embedding => is(Role::Embedding),
        }
    }

    /// The rules of a text: one in each line that is not empty and does not begin with `#`.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn all(text: &str) -> Result<Vec<Self>, String> {
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        lines.map(|(line, number)| line.parse().map_err(|error| format!("line {number}: {error}"))).collect()
    }
}

impl FromStr for TypeRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = r"PATTERN=TYPE is needed, such as 'blk\.0\.=Q8_0' or 'attn_v=Q6_K'";
        let (pattern, name) = text.rsplit_once('=').ok_or(usage)?;
        if pattern.is_empty() {
            return Err(usage.to_owned());
        }
        let pattern = Regex::new(pattern).map_err(|error| format!("the pattern is no regular expression: {error}"))?;
        Ok(Self { pattern: Pattern::Search(pattern), dtype: tensor_type(name)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> TypeRule {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_is_searched_in_the_name() {
        assert!(rule("attn_v=Q8_0").matches("blk.12.attn_v.weight", false));
        assert!(!rule("attn_v$=Q8_0").matches("blk.12.attn_v.weight", false));
        let first = rule(r"^blk\.[0-3]\..*down=q8_0");
        assert!(first.matches("blk.3.ffn_down.weight", false) && !first.matches("blk.13.ffn_down.weight", false));
        assert!(rule("a=b=F16").matches("xa=b", false));
    }

    #[test]
    fn a_rule_of_one_name_matches_no_other() {
        let exact = TypeRule::exactly("blk.1.attn_q.weight", TensorType::F16);
        assert!(exact.matches("blk.1.attn_q.weight", false));
        assert!(!exact.matches("blk.11.attn_q.weight", false) && !exact.matches("blk.1.attn_qxweight", false));
    }

    #[test]
    fn the_head_may_be_the_embeddings() {
        let rule = |pattern| TypeRule { pattern, dtype: TensorType::F16 };
        let matches = |pattern: Pattern, tied| {
            let rule = rule(pattern);
            ["output.weight", "token_embd.weight"].map(|name| rule.matches(name, tied))
        };
        assert_eq!(matches(Pattern::Head, false), [true, false]);
        assert_eq!(matches(Pattern::Head, true), [false, true]);
        assert_eq!(matches(Pattern::Embedding, false), [false, true]);
    }

    #[test]
    fn a_file_has_a_rule_in_each_line() {
        let rules = TypeRule::all("# values\nattn_v=Q8_0\n\n  ffn_down=q6_k  \n").unwrap();
        assert_eq!(rules.iter().map(|rule| rule.dtype).collect::<Vec<_>>(), [TensorType::Q8_0, TensorType::Q6K]);
        assert!(TypeRule::all("a=F16\nb").unwrap_err().starts_with("line 2: "));
    }

    #[test]
    fn a_rule_needs_a_regular_expression_and_a_known_type() {
        assert_eq!(rule("output=q6_k").dtype, TensorType::Q6K);
        for (text, part) in [
            ("output", "PATTERN=TYPE is needed"),
            ("=F16", "PATTERN=TYPE is needed"),
            ("output=Q9_K", "known types"),
            ("*=F16", "no regular expression"),
            ("(=F16", "no regular expression"),
        ] {
            let error = text.parse::<TypeRule>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
