//! Types by pattern: what `--tensor-type` says of single tensors.

use std::fmt;
use std::str::FromStr;

use ollm_runtime::gguf::TensorType;
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
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Search(regex) => f.write_str(regex.as_str()),
        }
    }
}

impl TypeRule {
    /// A rule for the tensor of this name alone.
    pub fn exactly(name: &str, dtype: TensorType) -> Self {
        Self { pattern: Pattern::Name(name.to_owned()), dtype }
    }

    /// Whether it is a rule for the tensor of this name.
    pub fn matches(&self, name: &str) -> bool {
        match &self.pattern {
            Pattern::Name(own) => own == name,
            Pattern::Search(regex) => regex.is_match(name),
        }
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
        assert!(rule("attn_v=Q8_0").matches("blk.12.attn_v.weight"));
        assert!(!rule("attn_v$=Q8_0").matches("blk.12.attn_v.weight"));
        let first = rule(r"^blk\.[0-3]\..*down=q8_0");
        assert!(first.matches("blk.3.ffn_down.weight") && !first.matches("blk.13.ffn_down.weight"));
        assert!(rule("a=b=F16").matches("xa=b"));
    }

    #[test]
    fn a_rule_of_one_name_matches_no_other() {
        let exact = TypeRule::exactly("blk.1.attn_q.weight", TensorType::F16);
        assert!(exact.matches("blk.1.attn_q.weight"));
        assert!(!exact.matches("blk.11.attn_q.weight") && !exact.matches("blk.1.attn_qxweight"));
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
