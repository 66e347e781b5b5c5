//! Unicode normalization of a text before it is cut, where the published tokenizer has it.
//!
//! llama.cpp knows no such key: where `ollm.tokenizer.normalizer` is absent, the pre-tokenizer's
//! name decides.

use std::borrow::Cow;

use unicode_normalization::{
    IsNormalized, UnicodeNormalization as _, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

use crate::memory::OutOfMemory;

/// The key that says how text is normalized.
pub const KEY: &str = "ollm.tokenizer.normalizer";

/// A normalization form (Unicode Standard Annex 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

/// The values of [`KEY`].
pub(super) const NAMES: [(&str, Option<Form>); 5] = [
    ("none", None),
    ("nfc", Some(Form::Nfc)),
    ("nfd", Some(Form::Nfd)),
    ("nfkc", Some(Form::Nfkc)),
    ("nfkd", Some(Form::Nfkd)),
];

impl Form {
    /// The text in this form.
    pub(super) fn apply(self, text: &str) -> Result<Cow<'_, str>, OutOfMemory> {
        match self {
            _ if text.is_ascii() || self.is_quick(text) => Ok(Cow::Borrowed(text)),
            Self::Nfc => collect(text, text.nfc()),
            Self::Nfd => collect(text, text.nfd()),
            Self::Nfkc => collect(text, text.nfkc()),
            Self::Nfkd => collect(text, text.nfkd()),
        }
    }

    /// Whether a quick look says that the text is in this form.
    fn is_quick(self, text: &str) -> bool {
        let quick = match self {
            Self::Nfc => is_nfc_quick(text.chars()),
            Self::Nfd => is_nfd_quick(text.chars()),
            Self::Nfkc => is_nfkc_quick(text.chars()),
            Self::Nfkd => is_nfkd_quick(text.chars()),
        };
        quick == IsNormalized::Yes
    }
}

fn collect(text: &str, normalized: impl Iterator<Item = char>) -> Result<Cow<'static, str>, OutOfMemory> {
    let mut result = String::new();
    let reserve = |result: &mut String, bytes: usize| result.try_reserve(bytes).map_err(|_| OutOfMemory { bytes });
    reserve(&mut result, text.len())?;
    for c in normalized {
        reserve(&mut result, c.len_utf8())?;
        result.push(c);
    }
    Ok(Cow::Owned(result))
}

#[cfg(test)]
mod tests {
    use super::*;

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
