//! GBNF, the notation of llama.cpp (`grammars/README.md` there), to Lark.
//!
//! `llguidance` reads text in lexemes: regular expressions, of which the longest match counts. GBNF
//! knows no lexemes; every way to read a text is right. So a grammar is cut into the longest
//! lexemes under which the longest match is always right: one for all of it where a regular
//! expression can say it, else runs of what is regular, else its texts and classes, else single
//! characters.

mod chars;
mod cut;
mod emit;
mod longest;
mod parts;
mod read;

use cut::{Cut, pieces};

/// The same grammar in Lark. `token` finds the token that a text is all of; `ends` are the tokens
/// that end a text, which are no part of it.
///
/// # Errors
/// Where it is wrong, and what is not supported.
pub(super) fn to_lark(text: &str, token: &dyn Fn(&str) -> Option<u32>, ends: &[u32]) -> Result<String, String> {
    let rules = read::rules(text, token, ends)?;
    let mut long = [Cut::Runs, Cut::Texts].into_iter().map(|cut| pieces(&rules, cut));
    // Single characters are as long as each other.
    let pieces = long.find(longest::is_right).unwrap_or_else(|| pieces(&rules, Cut::Characters));
    Ok(emit::lark(&rules, &pieces))
}
