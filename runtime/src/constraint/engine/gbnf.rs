//! GBNF, the notation of llama.cpp (`grammars/README.md` there), to Lark.
//!
//! `llguidance` reads text in lexemes, each as long as it can be, and knows a lexeme by a regular
//! expression. So every rule that does not come back to itself becomes a terminal, and in the
//! others whatever is regular is put together into terminals: the borders of lexemes are then where
//! rules meet that are not regular, and nowhere inside of what a regular expression can say.

mod emit;
mod read;

/// A part of a rule.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// One of several.
    Either(Vec<Part>),
    /// One after the other; none is the empty text.
    Sequence(Vec<Part>),
    /// Again and again, so many times: from, and to if there is a last time.
    Repeat(Box<Part>, u32, Option<u32>),
    /// A text.
    Text(String),
    /// One character of a class, as a regular expression.
    Class(String),
    /// A rule, by its number.
    Rule(usize),
    /// A token of the model, by its name or its number, in angle brackets.
    Token(String),
}

/// A grammar: its rules, and the number of the one that it begins with.
struct Rules {
    names: Vec<String>,
    bodies: Vec<Part>,
    root: usize,
}

/// The same grammar in Lark.
///
/// # Errors
/// Where it is wrong, and what is not supported.
pub(super) fn to_lark(text: &str) -> Result<String, String> {
    Ok(emit::lark(&read::rules(text)?))
}
