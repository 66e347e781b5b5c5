//! Text from tokens as they come: a character may need several tokens.

use super::Tokenizer;

/// Turns a stream of tokens into text without ever cutting a UTF-8 sequence.
///
/// Bytes that may be the beginning of a character (three at most) wait for the next token. Bytes
/// that cannot be part of any become U+FFFD at once, as in [`String::from_utf8_lossy`].
#[derive(Debug, Clone, Default)]
pub struct Detokenizer {
    waiting: Vec<u8>,
}

impl Detokenizer {
    /// A stream at its beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that is complete with this token; empty if it is the middle of a character, or no
    /// token at all.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.push_bytes(tokenizer.token_bytes(id).unwrap_or_default())
    }

    /// What still waits at the end of the stream: nothing, or one U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.waiting)).into_owned()
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let complete = self.waiting.len() - incomplete_tail(&self.waiting);
        let tail = self.waiting.split_off(complete);
        let text = String::from_utf8_lossy(&self.waiting).into_owned();
        self.waiting = tail;
        text
    }
}

/// How many bytes at the end are the beginning of a character that is not complete.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let begins_character =
        |tail: &&[u8]| std::str::from_utf8(tail).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none());
    let tails = (1..=bytes.len().min(3)).map(|n| &bytes[bytes.len() - n..]);
    tails.rev().find(begins_character).map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(chunks: &[&[u8]]) -> Vec<String> {
        let mut detokenizer = Detokenizer::new();
        let mut texts: Vec<String> = chunks.iter().map(|chunk| detokenizer.push_bytes(chunk)).collect();
        texts.push(detokenizer.finish());
        texts
    }

    #[test]
    fn a_character_waits_until_it_is_complete() {
        assert_eq!(stream(&[b"a\xf0", b"\x9f", b"\x8e", b"\x89b"]), ["a", "", "", "🎉b", ""]);
        assert_eq!(stream(&["é".as_bytes(), b"x"]), ["é", "x", ""]);
    }

    #[test]
    fn what_can_be_no_character_does_not_wait() {
        assert_eq!(stream(&[b"\xff\x80a"]), ["\u{fffd}\u{fffd}a", ""]);
        assert_eq!(stream(&[b"\xe4", b"b"]), ["", "\u{fffd}b", ""]);
        assert_eq!(stream(&[b"\xed\xa0"]), ["\u{fffd}\u{fffd}", ""]);
        assert_eq!(stream(&[b"\xe4\xb8"]), ["", "\u{fffd}"]);
    }

    /// Whatever the cuts, the text is the lossy text of all bytes, and never more than three bytes
    /// wait.
    #[test]
    fn cuts_change_nothing() {
        let bytes: Vec<u8> = "aé中🎉".bytes().chain(*b"\xf0\x9f\xff\xc0\x80\xe4\xb8").chain("ü".bytes()).collect();
        for size in 1..6 {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(stream(&chunks).concat(), String::from_utf8_lossy(&bytes));
        }
        let mut detokenizer = Detokenizer::new();
        for byte in bytes {
            detokenizer.push_bytes(&[byte]);
            assert!(detokenizer.waiting.len() <= 3);
        }
    }
}
