//! What is done to a text before it is cut.
//!
//! ```text
//! text -> character map -> Unicode normalization -> spaces joined -> spaces as U+2581
//! ```
//!
//! A file has a part of it. llama.cpp knows no key for Unicode normalization: where
//! `ollm.tokenizer.normalizer` is absent, the pre-tokenizer's name decides. The map and the joining
//! of spaces are `SentencePiece`'s.

use std::borrow::Cow;

use ollm_kernels::memory::{self, OutOfMemory};

use super::TokenizerError;
use super::charsmap::CharsMap;
use super::form::{Form, KEY, NAMES};
use super::vocab::SPACE;
use crate::gguf::Metadata;

/// What a file does to a text, in order.
#[derive(Debug, Default)]
pub(super) struct Normalizer {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Map(CharsMap),
    Form(Form),
    /// Spaces at both ends are dropped; of several side by side, one is left.
    JoinSpaces,
    /// Spaces become U+2581; one is put before the text if so.
    Spaces {
        prefix: bool,
    },
}

impl Normalizer {
    /// Reads what a file says. `usual` is the form where it says none; `prefix` is there if its
    /// vocabulary has U+2581 in place of spaces, and says whether one is put before each text, also
    /// after a special token.
    pub(super) fn read(metadata: &Metadata, usual: Option<Form>, prefix: Option<bool>) -> Result<Self, TokenizerError> {
        let mut steps = Vec::new();
        if prefix.is_some() {
            steps.extend(CharsMap::read(metadata)?.map(Step::Map));
        }
        steps.extend(form(metadata, usual)?.map(Step::Form));
        if prefix.is_some() && metadata.opt_bool("tokenizer.ggml.remove_extra_whitespaces")? == Some(true) {
            steps.push(Step::JoinSpaces);
        }
        steps.extend(prefix.map(|prefix| Step::Spaces { prefix }));
        Ok(Self { steps })
    }

    pub(super) fn apply<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, OutOfMemory> {
        self.steps.iter().try_fold(Cow::Borrowed(text), |text, step| match text {
            Cow::Borrowed(text) => step.apply(text),
            Cow::Owned(text) => Ok(Cow::Owned(match step.apply(&text)? {
                Cow::Borrowed(part) => memory::text(part)?,
                Cow::Owned(text) => text,
            })),
        })
    }
}

impl Step {
    fn apply<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, OutOfMemory> {
        match self {
            Self::Map(map) => map.apply(text),
            Self::Form(form) => form.apply(text),
            Self::JoinSpaces => join_spaces(text),
            Self::Spaces { prefix } => with_spaces(text, *prefix),
        }
    }
}

/// The normalization form that the file says, and else the `usual` one.
fn form(metadata: &Metadata, usual: Option<Form>) -> Result<Option<Form>, TokenizerError> {
    let Some(name) = metadata.opt_str(KEY)? else { return Ok(usual) };
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|&(_, form)| form).ok_or_else(|| TokenizerError::UnknownNormalizer { name: name.to_owned() })
}

fn join_spaces(text: &str) -> Result<Cow<'_, str>, OutOfMemory> {
    let text = text.trim_matches(' ');
    if !text.contains("  ") {
        return Ok(Cow::Borrowed(text));
    }
    let words = text.split(' ').filter(|word| !word.is_empty());
    concat(words.enumerate().flat_map(|(i, word)| [if i > 0 { " " } else { "" }, word])).map(Cow::Owned)
}

/// The text with [`SPACE`] in place of its spaces, and of one before it. One that has become empty
/// stays so.
fn with_spaces(text: &str, prefix: bool) -> Result<Cow<'_, str>, OutOfMemory> {
    if text.is_empty() || !(prefix || text.contains(' ')) {
        return Ok(Cow::Borrowed(text));
    }
    let parts = text.split(' ').enumerate();
    concat(parts.flat_map(|(i, part)| [if i > 0 || prefix { SPACE } else { "" }, part])).map(Cow::Owned)
}

fn concat<'t>(parts: impl Iterator<Item = &'t str> + Clone) -> Result<String, OutOfMemory> {
    let bytes = parts.clone().map(str::len).sum();
    let mut text = String::new();
    text.try_reserve_exact(bytes).map_err(|_| OutOfMemory { bytes })?;
    text.extend(parts);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_joined_and_written_as_the_vocabulary_has_them() {
        for (text, joined) in [("  a  b c ", "a b c"), ("a b", "a b"), ("   ", ""), ("\ta\n", "\ta\n")] {
            assert_eq!(join_spaces(text).unwrap(), joined);
        }
        for (text, plain, prefixed) in [("a  b", "a▁▁b", "▁a▁▁b"), ("a", "a", "▁a"), ("", "", ""), (" ", "▁", "▁▁")]
        {
            let got = [false, true].map(|prefix| with_spaces(text, prefix).unwrap());
            assert_eq!(got, [plain, prefixed]);
        }
    }

    #[test]
    fn each_form_is_unicodes() {
        let text = "e\u{301}\u{e9}\u{fb01}\u{ac00}\u{1100}\u{1161}";
        for (form, expected) in [
            (Form::Nfc, "\u{e9}\u{e9}\u{fb01}\u{ac00}\u{ac00}"),
            (Form::Nfd, "e\u{301}e\u{301}\u{fb01}\u{1100}\u{1161}\u{1100}\u{1161}"),
            (Form::Nfkc, "\u{e9}\u{e9}fi\u{ac00}\u{ac00}"),
            (Form::Nfkd, "e\u{301}e\u{301}fi\u{1100}\u{1161}\u{1100}\u{1161}"),
        ] {
            assert_eq!(form.apply(text).unwrap(), expected, "{form:?}");
            assert!(matches!(form.apply("plain text").unwrap(), Cow::Borrowed(_)));
        }
    }
}
