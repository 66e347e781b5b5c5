//! Types by pattern: what the command line says of single tensors.

use std::str::FromStr;

use ollm_runtime::gguf::TensorType;

use crate::tensor_type;

/// The tensors whose names match a pattern get this type.
#[derive(Clone, Debug, PartialEq)]
pub struct Keep {
    /// A name, with `*` for any number of characters.
    pub pattern: String,
    /// The type.
    pub dtype: TensorType,
}

impl Keep {
    /// Whether the pattern is that of the whole `name`.
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.pattern, name)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(before) else { return false };
    let (middle, last) = after.rsplit_once('*').unwrap_or(("", after));
    // Each part where it first comes: what follows has most room then.
    for part in middle.split('*') {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pattern, name) = text.split_once('=').ok_or("PATTERN=TYPE is needed, such as 'blk.0.*=Q8_0'")?;
        Ok(Self { pattern: pattern.to_owned(), dtype: tensor_type(name)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let matches = |pattern: &str, name| matches(pattern, name);
        assert!(matches("a.b", "a.b") && !matches("a.b", "a.bc") && !matches("a.b", "xa.b"));
        assert!(matches("*", "") && matches("blk.*.attn_v.*", "blk.12.attn_v.weight"));
        assert!(matches("*v*w", "attn_v.weight.w") && !matches("*v*w", "attn_v.weight"));
        assert!(matches("a*b*c", "a1b2b3c") && !matches("a*a", "a") && matches("**", "x") && matches("***a", "ba"));
        assert!(!matches(&"*a".repeat(49), &"a".repeat(40)));
    }

    #[test]
    fn a_pattern_needs_a_known_type() {
        let keep = Keep { pattern: "output.*".to_owned(), dtype: TensorType::Q6K };
        assert_eq!("output.*=q6_k".parse(), Ok(keep));
        assert!("output.*".parse::<Keep>().is_err() && "output.*=Q3_K".parse::<Keep>().is_err());
    }
}
