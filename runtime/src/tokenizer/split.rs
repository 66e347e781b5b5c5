//! Pre-tokenizers: how a text falls into the pieces that merges never cross.
//!
//! The pieces are defined by regular expressions (quoted at each function, from llama.cpp's
//! `llama-vocab.cpp`). They are scanned by hand here, as llama.cpp does it too: in one pass,
//! without backtracking, so that no text is too long, and with its reading of the expressions where
//! engines differ.

use super::unicode::{is_letter, is_number};

/// A pre-tokenizer and what its name implies.
#[derive(Debug)]
pub(super) struct Pre {
    /// The values of `tokenizer.ggml.pre`, the usual one first.
    names: &'static [&'static str],
    /// Whether each number character is a piece of its own, before everything else.
    lone_numbers: bool,
    /// The length in bytes of the first piece of a text that is not empty.
    first: fn(&str) -> usize,
    /// Whether a piece that is a token needs no merges.
    pub(super) ignore_merges: bool,
    /// Whether a BOS token is wanted where `tokenizer.ggml.add_bos_token` does not say.
    pub(super) add_bos: bool,
}

static KNOWN: [Pre; 4] = [
    Pre { names: &["smollm"], lone_numbers: true, first: gpt2, ignore_merges: false, add_bos: false },
    Pre { names: &["gpt2", "gpt-2"], lone_numbers: false, first: gpt2, ignore_merges: false, add_bos: false },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3"],
        lone_numbers: false,
        first: |text| llama3(text, 3),
        ignore_merges: true,
        add_bos: true,
    },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen"],
        lone_numbers: false,
        first: |text| llama3(text, 1),
        ignore_merges: false,
        add_bos: false,
    },
];

/// The names that [`Pre::named`] knows.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().flat_map(|pre| pre.names).copied()
}

impl Pre {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|pre| pre.names.contains(&name))
    }

    /// The pieces of `text`, in order; together they are the text.
    pub(super) fn pieces<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> + use<'t> {
        let first = self.first;
        self.fragments(text).flat_map(move |fragment| cut(fragment, first))
    }

    /// What lies between lone numbers, and they themselves.
    fn fragments<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> + use<'t> {
        let lone = self.lone_numbers;
        cut(text, move |rest| match rest.chars().next() {
            _ if !lone => rest.len(),
            Some(c) if is_number(c) => c.len_utf8(),
            _ => run(rest, |c| !is_number(c)),
        })
    }
}

/// Cuts pieces off the front of `text` until nothing is left.
fn cut(text: &str, first: impl Fn(&str) -> usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = (!rest.is_empty()).then(|| rest.split_at(first(rest)))?;
        rest = after;
        Some(piece)
    })
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(text: &str) -> usize {
    contraction(text, str::eq).or_else(|| letters_numbers_or_marks(text)).unwrap_or_else(|| spaces(text))
}

/// With `digits` = 3 (Llama 3) or 1 (Qwen 2):
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|` `\s+(?!\S)|\s+`. Case is ignored in ASCII only.
fn llama3(text: &str, digits: usize) -> usize {
    contraction(text, str::eq_ignore_ascii_case)
        .or_else(|| word(text))
        .or_else(|| number(text, digits))
        .or_else(|| punctuation(text))
        .or_else(|| line_end(text))
        .unwrap_or_else(|| spaces(text))
}

/// `'s|'t|'re|'ve|'m|'ll|'d`
fn contraction(text: &str, same: fn(&str, &str) -> bool) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let ends = ["s", "t", "re", "ve", "m", "ll", "d"];
    ends.iter().find(|end| rest.get(..end.len()).is_some_and(|head| same(head, end))).map(|end| 1 + end.len())
}

/// ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`
fn letters_numbers_or_marks(text: &str) -> Option<usize> {
    let (space, body) = optional_space(text);
    [is_letter, is_number, is_other].iter().map(|kind| run(body, kind)).find(|&n| n > 0).map(|n| space + n)
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+`
fn word(text: &str) -> Option<usize> {
    let lead = text.chars().next().filter(|&c| !is_letter(c) && !is_number(c) && !is_line_end(c));
    let lead = lead.map_or(0, char::len_utf8);
    let letters = run(&text[lead..], is_letter);
    (letters > 0).then_some(lead + letters)
}

/// `\p{N}{1,digits}`
fn number(text: &str, digits: usize) -> Option<usize> {
    let length = text.chars().take(digits).take_while(|&c| is_number(c)).map(char::len_utf8).sum();
    (length > 0).then_some(length)
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n]*`
fn punctuation(text: &str) -> Option<usize> {
    let (space, body) = optional_space(text);
    let marks = run(body, is_other);
    (marks > 0).then(|| space + marks + run(&body[marks..], is_line_end))
}

/// `\s*[\r\n]+`
fn line_end(text: &str) -> Option<usize> {
    text[..run(text, char::is_whitespace)].rfind(is_line_end).map(|last| last + 1)
}

/// `\s+(?!\S)|\s+`: a run of white space leaves its last character to the word that follows.
fn spaces(text: &str) -> usize {
    let run = run(text, char::is_whitespace);
    let last = text[..run].chars().next_back().map_or(0, char::len_utf8);
    if run < text.len() && run > last { run - last } else { run }
}

/// ` ?`
fn optional_space(text: &str) -> (usize, &str) {
    text.strip_prefix(' ').map_or((0, text), |rest| (1, rest))
}

/// The length in bytes of the longest prefix that `keep` likes.
fn run(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

/// `[^\s\p{L}\p{N}]`
fn is_other(c: char) -> bool {
    !(c.is_whitespace() || is_letter(c) || is_number(c))
}

/// `[\r\n]`
fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use tokenizers::utils::SysRegex;

    use super::*;
    use crate::random::Random;

    fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        Pre::named(name).unwrap().pieces(text).collect()
    }

    #[test]
    fn known_examples() {
        assert_eq!(
            pieces("gpt2", "I've  got 123 'apples'\n\n x"),
            ["I", "'ve", " ", " got", " 123", " '", "apples", "'", "\n\n", " x"]
        );
        assert_eq!(pieces("smollm", "x 123  y"), ["x", " ", "1", "2", "3", " ", " y"]);
        assert_eq!(pieces("smollm", "a  5"), ["a", "  ", "5"]);
        assert_eq!(
            pieces("llama-bpe", "I'VE 12345\n\n  (x)\r\n"),
            ["I", "'VE", " ", "123", "45", "\n\n", " ", " (", "x", ")\r\n"]
        );
        assert_eq!(pieces("qwen2", "a 12!\n\tb"), ["a", " ", "1", "2", "!\n", "\tb"]);
    }

    #[test]
    fn an_unknown_name_is_unknown() {
        assert!(Pre::named("gemma").is_none());
        assert!(known().any(|name| name == "smollm"));
    }

    /// The expressions themselves, in a backtracking engine, on random texts of nasty characters.
    #[test]
    fn the_scanner_agrees_with_the_expressions() {
        const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let qwen2 = LLAMA3.replace("{1,3}", "");
        for (name, expression) in [("gpt2", GPT2), ("llama-bpe", LLAMA3), ("qwen2", &qwen2)] {
            let expression = SysRegex::new(expression).unwrap();
            for seed in 0..300 {
                let text = nasty(seed);
                let expected: Vec<&str> = expression.find_iter(&text).map(|(start, end)| &text[start..end]).collect();
                assert_eq!(pieces(name, &text), expected, "{name}: {text:?}");
            }
        }
    }

    fn nasty(seed: u64) -> String {
        let alphabet: Vec<char> =
            "  \u{a0}\t\n\r''sSlLtdvVeRm.,(éДßñ中あ1٣Ⅷ²½e\u{301}🎉\u{200d}\u{3000}_-\u{fe0f}".chars().collect();
        let mut random = Random::new(seed);
        (0..40).map(|_| alphabet[random.below(alphabet.len())]).collect()
    }

    #[test]
    fn long_runs_take_one_pass() {
        for unit in ["A", " ", "1", "\n", "!", " \n", "'", "é", "\u{301}"] {
            let text = unit.repeat(300_000) + "x";
            for name in known() {
                assert_eq!(pieces(name, &text).concat().len(), text.len(), "{name} {unit:?}");
            }
        }
    }
}
