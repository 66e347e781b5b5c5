//! What grammars are written in.

use std::fmt;
use std::str::FromStr;

/// What the text of a grammar is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrammarKind {
    /// JSON schema (draft 2020-12 and earlier ones). The JSON is of one line, with one space behind
    /// each `,` and `:` and no other white space, unless the schema says otherwise under
    /// `x-guidance` (`whitespace_pattern`, `whitespace_flexible`, `item_separator`,
    /// `key_separator`, `coerce_one_of`, `lenient`). A keyword that is not supported is an error
    /// that names it.
    JsonSchema,
    /// A regular expression of the `regex` crate, without look-around, that all of the text
    /// matches; `^` in front and `$` at the end change nothing.
    Regex,
    /// A grammar in Lark's notation, as `llguidance` reads it; it begins with the rule `start`.
    Lark,
    /// A grammar in GBNF, as llama.cpp reads it; it begins with the rule `root`. `<name>`,
    /// `<[number]>` and `!` before them are tokens: where both a text and a token may come, what is
    /// such a token is taken as one.
    Gbnf,
}

impl GrammarKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::JsonSchema, Self::Regex, Self::Lark, Self::Gbnf];

    /// The name, as [`GrammarKind::from_str`] reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonSchema => "json-schema",
            Self::Regex => "regex",
            Self::Lark => "lark",
            Self::Gbnf => "gbnf",
        }
    }

    /// The kind of a grammar's text: GBNF, whose rules have `::=`, or else Lark.
    pub fn of_rules(text: &str) -> Self {
        if text.contains("::=") { Self::Gbnf } else { Self::Lark }
    }
}

impl fmt::Display for GrammarKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for GrammarKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("{text:?} is no kind of grammar; there are {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in GrammarKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("json".parse::<GrammarKind>().is_err());
        assert_eq!(GrammarKind::of_rules("# x\nroot ::= \"a\""), GrammarKind::Gbnf);
        assert_eq!(GrammarKind::of_rules("start: \"a\""), GrammarKind::Lark);
    }
}
