//! Unicode normalization forms, and the key of a file that names one.

use std::borrow::Cow;

use unicode_normalization::{
    IsNormalized, UnicodeNormalization as _, is_nfc_quick, is_nfd_quick, is_nfkc_quick, is_nfkd_quick,
};

use ollm_kernels::memory::OutOfMemory;

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

/// The name of a form.
pub(super) fn name(form: Option<Form>) -> &'static str {
    NAMES.iter().find(|(_, known)| *known == form).map_or("none", |(name, _)| name)
}

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
