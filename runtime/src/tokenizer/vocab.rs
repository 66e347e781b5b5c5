//! The token list of a model file: texts, types, bytes.

use super::special::{Special, TakesSpaces};
use super::warning::{TokenizerWarning, Warnings};
use super::{TokenizerError, bytes};
use crate::gguf::Metadata;

/// What a token is for (`tokenizer.ggml.token_type`, from `SentencePiece`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenKind {
    fn from_id(kind: i32) -> Option<Self> {
        let kinds = [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte];
        usize::try_from(kind).ok()?.checked_sub(1).and_then(|i| kinds.get(i)).copied()
    }
}

/// Tokens that end a turn or a text, in published models: control tokens, whatever a file says.
/// `</s>` is not among them: files that mean it name it by id, and in others it is a tag of HTML.
pub(super) const END_TEXTS: [&str; 17] = [
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<turn|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
];

/// The space of vocabularies that are not written in the byte alphabet.
pub(super) const SPACE: &str = "\u{2581}";

/// How normal tokens are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spelling {
    /// In the byte alphabet.
    Letters,
    /// As they are, but for spaces.
    Spaces,
    /// As they are, with a space before those that do not begin with `##`.
    #[cfg(feature = "tokenizer-json")]
    Words,
    /// As they are, with a space before each.
    #[cfg(feature = "tokenizer-json")]
    WholeWords,
}

/// The tokens of a file with their types, checked.
pub(super) struct Vocabulary<'m> {
    texts: &'m [String],
    kinds: Vec<TokenKind>,
}

impl<'m> Vocabulary<'m> {
    pub(super) fn read(metadata: &'m Metadata, warnings: &mut Warnings) -> Result<Self, TokenizerError> {
        let texts = metadata.strings("tokenizer.ggml.tokens")?;
        if texts.is_empty() {
            return Err(TokenizerError::NoTokens);
        }
        let kinds = match metadata.opt_i32s("tokenizer.ggml.token_type")? {
            Some(kinds) => read_kinds(kinds, texts.len())?,
            None => vec![TokenKind::Normal; texts.len()],
        };
        let mut vocabulary = Self { texts, kinds };
        vocabulary.end_turns(warnings);
        Ok(vocabulary)
    }

    /// Makes control tokens of those that end a turn by their text, as llama.cpp does: else a
    /// prompt never has them as tokens, and generation does not end.
    fn end_turns(&mut self, warnings: &mut Warnings) {
        for ((token, text), kind) in (0..).zip(self.texts).zip(&mut self.kinds) {
            let is_text = matches!(kind, TokenKind::Normal | TokenKind::UserDefined);
            if is_text && END_TEXTS.contains(&text.as_str()) {
                *kind = TokenKind::Control;
                warnings.push(TokenizerWarning::EndNotControl { token, text: text.clone() });
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Tokens with their ids and types.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'m str, TokenKind)> + '_ {
        (0..).zip(self.texts).zip(&self.kinds).map(|((id, text), &kind)| (id, text.as_str(), kind))
    }

    /// Whether a token is never a part of text: what pre-tokenizers and merges make is none of
    /// them.
    pub(super) fn is_control(&self, id: u32) -> bool {
        matches!(self.kinds[id as usize], TokenKind::Control | TokenKind::Unknown)
    }

    /// The tokens that are found in a text by their own text; some take the white space behind
    /// them.
    pub(super) fn specials(&self, takes_spaces_behind: impl Fn(&str) -> bool) -> Vec<Special> {
        let special = |kind| matches!(kind, TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined);
        self.iter()
            .filter(|&(_, _, kind)| special(kind))
            .map(|(id, text, kind)| Special {
                id,
                text: text.to_owned(),
                control: kind != TokenKind::UserDefined,
                takes: TakesSpaces { before: false, behind: takes_spaces_behind(text) },
            })
            .collect()
    }

    /// The bytes of every token.
    pub(super) fn bytes(&self, spelling: Spelling) -> Result<TokenBytes, TokenizerError> {
        let mut table = TokenBytes::default();
        for (id, text, kind) in self.iter() {
            push_bytes(&mut table, id, text, kind, spelling)?;
        }
        Ok(table)
    }
}

fn read_kinds(kinds: &[i32], tokens: usize) -> Result<Vec<TokenKind>, TokenizerError> {
    if kinds.len() != tokens {
        return Err(TokenizerError::TypeCount { tokens, types: kinds.len() });
    }
    let read = |(token, &kind)| TokenKind::from_id(kind).ok_or(TokenizerError::UnknownType { token, kind });
    (0..).zip(kinds).map(read).collect()
}

/// Normal tokens have their spelling, byte tokens are written in hexadecimal, all others as they
/// are.
fn push_bytes(
    table: &mut TokenBytes,
    token: u32,
    text: &str,
    kind: TokenKind,
    spelling: Spelling,
) -> Result<(), TokenizerError> {
    match kind {
        TokenKind::Byte => {
            let byte = hex_byte(text).ok_or_else(|| TokenizerError::BadByteToken { token, text: text.to_owned() })?;
            table.push(&[byte]);
        }
        TokenKind::Normal | TokenKind::Unused => table.push_spelled(text, spelling),
        TokenKind::Unknown | TokenKind::Control => table.push_control(text),
        TokenKind::UserDefined => table.push(text.as_bytes()),
    }
    Ok(())
}

/// `<0x00>` to `<0xFF>`, and nothing that only looks like it.
pub(super) fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if plain { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The bytes of all tokens, one after the other.
#[derive(Debug, Default)]
pub(super) struct TokenBytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The tokens that stand for no text, in their order.
    controls: Vec<u32>,
}

impl TokenBytes {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    /// A token that stands for no text, by its name.
    pub(super) fn push_control(&mut self, name: &str) {
        self.controls.push(self.ends.len() as u32);
        self.push(name.as_bytes());
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.controls.binary_search(&id).is_ok()
    }

    pub(super) fn push_spelled(&mut self, text: &str, spelling: Spelling) {
        match spelling {
            Spelling::Letters => self.push_letters(text),
            Spelling::Spaces => self.push(text.replace(SPACE, " ").as_bytes()),
            #[cfg(feature = "tokenizer-json")]
            Spelling::Words => match text.strip_prefix("##") {
                Some(rest) => self.push(rest.as_bytes()),
                None => self.push(format!(" {text}").as_bytes()),
            },
            #[cfg(feature = "tokenizer-json")]
            Spelling::WholeWords => self.push(format!(" {text}").as_bytes()),
        }
    }

    /// A token in the byte alphabet; one that has a character outside of it stands for its own
    /// text.
    pub(super) fn push_letters(&mut self, text: &str) {
        let start = self.bytes.len();
        self.bytes.extend(text.chars().map_while(bytes::to_byte));
        if self.bytes.len() - start < text.chars().count() {
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(text.as_bytes());
        }
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_are_strict() {
        assert_eq!(hex_byte("<0x0A>"), Some(10));
        assert_eq!(hex_byte("<0xff>"), Some(255));
        for bad in ["<0x-1>", "<0x+1>", "<0x1>", "<0x100>", "0x0A", "<0x0A", "<0x é>", ""] {
            assert_eq!(hex_byte(bad), None, "{bad}");
        }
    }

    #[test]
    fn kinds_are_one_to_six() {
        assert_eq!(TokenKind::from_id(1), Some(TokenKind::Normal));
        assert_eq!(TokenKind::from_id(6), Some(TokenKind::Byte));
        assert!([0, 7, -1, i32::MIN].into_iter().all(|kind| TokenKind::from_id(kind).is_none()));
    }

    #[test]
    fn the_table_gives_back_what_went_in() {
        let mut table = TokenBytes::default();
        table.push(b"a");
        table.push(b"");
        table.push_letters("Ġé");
        table.push_letters("Ġ 中");
        table.push_control("<s>");
        let got = [0, 1, 2, 3, 4, 5].map(|id| table.get(id));
        assert_eq!(got, [Some(&b"a"[..]), Some(b""), Some(b" \xe9"), Some("Ġ 中".as_bytes()), Some(b"<s>"), None]);
        assert_eq!([3, 4, 5].map(|id| table.is_control(id)), [false, true, false]);
    }
}
