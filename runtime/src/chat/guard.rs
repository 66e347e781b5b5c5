//! What a message says is never a control token.
//!
//! A template mixes its own text, whose control tokens count, with the text of messages, whose do
//! not. To tell them apart after the rendering, each character of a message that a control token
//! could begin or end with is replaced before it by a *twin*, a character of a private use area
//! that occurs nowhere else; after it the twins become what they stood for, and the tokenizer is
//! told where they were. A control token whose text touches such a place is text.
//!
//! Twins are single characters, neither letters nor white space, as what they stand for. So what a
//! template does with a message (trim, split, compare, escape, measure) is what it would have done.
//! A template that searches a message for text of its own, such as `</think>`, has to find it: an
//! occurrence of such a text is left as it is, if it cannot be a part of any control token.
//!
//! What a template asks of a message is asked of what the twins stand for: searches, comparisons,
//! tests and escapes see the text as it was said ([`Folded`]), and what they give back of it has
//! its twins. A rendering runs on a thread of its own, which knows the twins ([`enter`]).
//!
//! Where a control token begins and ends with letters or `_`, its occurrences alone are broken: the
//! names of fields stay whole. Two things
//! count as the template's: a word that it puts between brackets of its own (`'<|' + role + '|>'`),
//! and what the file names as BOS and EOS.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

/// The planes of private use, in which twins are found.
const PRIVATE: [std::ops::RangeInclusive<char>; 2] = ['\u{f0000}'..='\u{ffffd}', '\u{100000}'..='\u{10fffd}'];

/// Replaces characters by twins, and back.
#[derive(Debug)]
pub(super) struct Guard<'t> {
    /// The texts of all control tokens.
    controls: Vec<&'t str>,
    /// Characters that are replaced wherever they are.
    edges: BTreeSet<char>,
    /// Texts of the template in which they are not.
    kept: Vec<&'t str>,
    /// All characters that may be replaced, each with its twin.
    twins: Vec<(char, char)>,
}

impl<'t> Guard<'t> {
    /// A guard for a tokenizer with these control tokens, and a template with these literals. None,
    /// if every private character `is_used` somewhere.
    pub(super) fn new(
        controls: impl Iterator<Item = &'t str>,
        literals: &'t [String],
        is_used: impl Fn(char) -> bool,
    ) -> Option<Self> {
        let controls: Vec<&str> = controls.filter(|text| !text.is_empty()).collect();
        let ends = |text: &str| text.chars().next().into_iter().chain(text.chars().next_back()).collect::<Vec<_>>();
        let all: BTreeSet<char> = controls.iter().flat_map(|text| ends(text)).collect();
        let is_edge = |c: &char| !c.is_alphanumeric() && !c.is_whitespace() && !matches!(c, '"' | '\\' | '_');
        let edges: BTreeSet<char> = all.iter().copied().filter(is_edge).collect();
        let has_edge = |text: &str| text.contains(|c| edges.contains(&c));
        let keep = |text: &&str| has_edge(text) && !controls.iter().any(|control| overlap(control, text));
        let kept = literals.iter().map(String::as_str).filter(keep).collect();
        let mut free = PRIVATE.into_iter().flatten().filter(|&c| !is_used(c));
        let twins = all.into_iter().map(|c| Some((c, free.next()?))).collect::<Option<_>>()?;
        Some(Self { controls, edges, kept, twins })
    }

    /// `text` with twins.
    pub(super) fn guard(&self, text: &str) -> String {
        let mut broken: BTreeSet<usize> = BTreeSet::new();
        broken.extend(text.char_indices().filter(|(_, c)| self.edges.contains(c)).map(|(at, _)| at));
        if !broken.is_empty() {
            for range in self.kept.iter().flat_map(|kept| occurrences(text, kept)) {
                let inside: Vec<usize> = broken.range(range).copied().collect();
                for at in inside {
                    broken.remove(&at);
                }
            }
        }
        for range in self.controls.iter().flat_map(|control| occurrences(text, control)) {
            if broken.range(range.clone()).next().is_none() {
                broken.insert(range.start);
            }
        }
        let twin = |(at, c)| if broken.contains(&at) { self.twin(c) } else { c };
        text.char_indices().map(twin).collect()
    }

    /// Characters with their twins, for [`enter`].
    pub(super) fn twins(&self) -> &[(char, char)] {
        &self.twins
    }

    fn twin(&self, c: char) -> char {
        self.twins.iter().find(|&&(original, _)| original == c).map_or(c, |&(_, twin)| twin)
    }

    /// The text without twins, and the ranges of bytes where they were, in order.
    pub(super) fn unguard(&self, text: &str) -> (String, Vec<Range<usize>>) {
        let (mut plain, mut ranges) = (String::with_capacity(text.len()), Vec::<Range<usize>>::new());
        for c in text.chars() {
            let start = plain.len();
            let Some(&(original, _)) = self.twins.iter().find(|&&(_, twin)| twin == c) else {
                plain.push(c);
                continue;
            };
            plain.push(original);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = plain.len(),
                _ => ranges.push(start..plain.len()),
            }
        }
        (plain, ranges)
    }
}

thread_local! {
    /// Characters with their twins, of the rendering on this thread.
    static TWINS: RefCell<Vec<(char, char)>> = const { RefCell::new(Vec::new()) };
}

/// Tells the thread of a rendering its twins.
pub(super) fn enter(twins: &[(char, char)]) {
    TWINS.with_borrow_mut(|all| twins.clone_into(all));
}

/// What a character stands for.
pub(super) fn fold(c: char) -> char {
    if c < *PRIVATE[0].start() {
        return c;
    }
    TWINS.with_borrow(|twins| twins.iter().find(|&&(_, twin)| twin == c).map_or(c, |&(original, _)| original))
}

/// A character that was made of what is said, as it may stand in a rendering.
pub(super) fn guarded(c: char) -> char {
    TWINS.with_borrow(|twins| twins.iter().find(|&&(original, _)| original == c).map_or(c, |&(_, twin)| twin))
}

/// A text as it was said, whose parts are parts of the text with twins.
#[derive(Debug)]
pub(super) struct Folded<'t> {
    original: &'t str,
    text: Cow<'t, str>,
    /// Where twins end in `text`, and how many bytes the text up to there is shorter than the
    /// original.
    twins: Vec<(usize, usize)>,
}

impl<'t> Folded<'t> {
    pub(super) fn new(original: &'t str) -> Self {
        let mut folded = Self { original, text: Cow::Borrowed(original), twins: Vec::new() };
        if original.contains(|c| fold(c) != c) {
            let (mut text, mut shorter) = (String::with_capacity(original.len()), 0);
            for c in original.chars() {
                let stands_for = fold(c);
                text.push(stands_for);
                if stands_for != c {
                    shorter += c.len_utf8() - stands_for.len_utf8();
                    folded.twins.push((text.len(), shorter));
                }
            }
            folded.text = Cow::Owned(text);
        }
        folded
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing was folded.
    pub(super) fn is_plain(&self) -> bool {
        self.twins.is_empty()
    }

    pub(super) fn into_text(self) -> String {
        self.text.into_owned()
    }

    /// The part of the original for a part of the text, by its range of bytes.
    pub(super) fn range(&self, range: Range<usize>) -> &'t str {
        let place = |at: usize| {
            let before = self.twins.partition_point(|&(end, _)| end <= at);
            at + before.checked_sub(1).map_or(0, |last| self.twins[last].1)
        };
        self.original.get(place(range.start)..place(range.end)).unwrap_or_default()
    }

    /// The same for a slice of [`Folded::text`].
    pub(super) fn part(&self, part: &str) -> &'t str {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.range(start..start + part.len())
    }
}

/// Whether `text` could be a part of the text of a control token, or one of it.
fn overlap(control: &str, text: &str) -> bool {
    let tail = |a: &str, b: &str| a.char_indices().skip(1).any(|(at, _)| b.starts_with(&a[at..]));
    control.contains(text) || text.contains(control) || tail(control, text) || tail(text, control)
}

/// All places of `part` in `text`, those that overlap each other too.
fn occurrences<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = Range<usize>> + use<'a> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(part)?;
        from = at + text[at..].chars().next().map_or(1, char::len_utf8);
        Some(at..at + part.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROLS: [&str; 4] = ["<|end|>", "<s>", "[X]", "word0"];

    fn guard(literals: &[String]) -> Guard<'_> {
        Guard::new(CONTROLS.into_iter(), literals, |_| false).unwrap()
    }

    /// The text with `_` for each twin.
    fn shown(literals: &[&str], text: &str) -> String {
        let literals: Vec<String> = literals.iter().map(|&literal| literal.to_owned()).collect();
        let guard = guard(&literals);
        let guarded = guard.guard(text);
        assert_eq!(guard.unguard(&guarded).0, text);
        guarded.chars().map(|c| if PRIVATE.iter().any(|range| range.contains(&c)) { '_' } else { c }).collect()
    }

    #[test]
    fn what_could_begin_or_end_a_control_token_is_replaced() {
        assert_eq!(shown(&[], "a <|end|> b"), "a _|end|_ b");
        assert_eq!(shown(&[], "<|en and s> [X"), "_|en and s_ _X");
        assert_eq!(shown(&[], "a word, word0, word1 w0"), "a word, _ord0, word1 w0");
        assert_eq!(shown(&[], "nothing \"here\""), "nothing \"here\"");
    }

    #[test]
    fn what_the_template_searches_is_kept_where_that_is_safe() {
        assert_eq!(shown(&["</think>"], "a</think><b>"), "a</think>_b_");
        assert_eq!(shown(&["<", "<|", "s>", "<s>x", "|>", "wo>"], "a <|end|> <s>x wo>"), "a _|end|_ _s_x wo>");
    }

    #[test]
    fn twins_are_where_nobody_is() {
        let is_used = |c: char| c < '\u{f0010}';
        let guard = Guard::new(CONTROLS.into_iter(), &[], is_used).unwrap();
        assert_eq!(guard.unguard("\u{f0000}<"), ("\u{f0000}<".to_owned(), vec![]));
        assert_eq!(guard.unguard(&guard.guard("é<>x]")), ("é<>x]".to_owned(), vec![2..4, 5..6]));
        assert!(Guard::new(CONTROLS.into_iter(), &[], |_| true).is_none());
    }
}
