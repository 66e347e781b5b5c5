//! Special tokens in a text: they are found before anything else is cut.
//!
//! As llama.cpp does it: the longest token text first, wherever it is; what lies between is
//! searched for the next one. Here all places are found in one pass.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;

use ollm_kernels::memory::{self, OutOfMemory};

use super::prefixes::Prefixes;

/// A token that is found by its text.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) id: u32,
    pub(super) text: String,
    /// Control tokens are found only where the caller asks for special tokens; user-defined ones
    /// always.
    pub(super) control: bool,
    pub(super) takes: TakesSpaces,
}

/// Whether the white space beside a token belongs to it (`lstrip` and `rstrip` of a
/// `tokenizer.json`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TakesSpaces {
    pub(super) before: bool,
    pub(super) behind: bool,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextPart<'t> {
    Text(&'t str),
    Token(u32),
}

/// A part of a text as merges take it: its text is normalized.
pub(super) enum Part<'t> {
    Text(Cow<'t, str>),
    Token(u32),
}

/// The ids of all parts; `append` appends those of a text.
pub(super) fn ids_of(
    parts: &[Part<'_>],
    mut append: impl FnMut(&str, &mut Vec<u32>) -> Result<(), OutOfMemory>,
) -> Result<Vec<u32>, OutOfMemory> {
    let mut ids = Vec::new();
    for part in parts {
        match part {
            Part::Token(id) => memory::extend(&mut ids, [*id].into_iter())?,
            Part::Text(text) => append(text, &mut ids)?,
        }
    }
    Ok(ids)
}

/// All special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct Specials {
    by_text: Prefixes<Sign>,
}

/// A special token without its text.
#[derive(Clone, Copy, Debug)]
struct Sign {
    id: u32,
    control: bool,
    takes: TakesSpaces,
}

/// Where a special token may be in a text.
#[derive(Clone, Copy)]
struct Place {
    length: usize,
    id: u32,
    start: usize,
    takes: TakesSpaces,
}

impl Specials {
    /// Empty texts are left out: they would be found everywhere. Of equal ones the lowest id
    /// counts.
    pub(super) fn new(mut list: Vec<Special>) -> Self {
        list.sort_by_key(|special| special.id);
        let sign = |Special { id, text, control, takes }| (text, Sign { id, control, takes });
        Self { by_text: Prefixes::new(list.into_iter().map(sign).collect()) }
    }

    /// Cuts `text` at its special tokens: at control tokens only where `control` has it so.
    pub(super) fn partition<'t>(
        &self,
        text: &'t str,
        control: ControlTokens<'_>,
    ) -> Result<Vec<TextPart<'t>>, OutOfMemory> {
        let mut parts = Vec::new();
        let mut end = 0;
        let mut takes_behind = false;
        let between = |range: Range<usize>, before: bool, behind: bool| {
            let text = &text[range];
            let text = if behind { text.trim_start() } else { text };
            let text = if before { text.trim_end() } else { text };
            (!text.is_empty()).then_some(TextPart::Text(text))
        };
        for Place { length, id, start, takes } in self.chosen(text, control)? {
            let text = between(end..start, takes.before, takes_behind);
            memory::extend(&mut parts, text.into_iter().chain([TextPart::Token(id)]))?;
            (end, takes_behind) = (start + length, takes.behind);
        }
        memory::extend(&mut parts, between(end..text.len(), false, takes_behind).into_iter())?;
        Ok(parts)
    }

    /// The places that count, from left to right: the longest first, those that touch none before.
    fn chosen(&self, text: &str, control: ControlTokens<'_>) -> Result<Vec<Place>, OutOfMemory> {
        let mut places = self.places(text, control)?;
        if places.is_empty() {
            return Ok(places);
        }
        // The longest text comes first, then the lowest id, then the leftmost place.
        places.sort_unstable_by_key(|place| (Reverse(place.length), place.id, place.start));
        let mut taken = memory::filled(false, text.len())?;
        places.retain(|place| {
            let last = place.start + place.length - 1;
            // What was taken is at least as long, so it cannot lie between the first byte and the
            // last.
            let free = !taken[place.start] && !taken[last];
            if free {
                taken[place.start..=last].fill(true);
            }
            free
        });
        places.sort_unstable_by_key(|place| place.start);
        Ok(places)
    }

    /// All places of special tokens, which may touch.
    fn places(&self, text: &str, control: ControlTokens<'_>) -> Result<Vec<Place>, OutOfMemory> {
        let mut places = Vec::new();
        for start in 0..text.len() {
            for (length, sign) in self.by_text.of(&text.as_bytes()[start..]) {
                if !sign.control || control.allow(&(start..start + length)) {
                    let place = Place { length, id: sign.id, start, takes: sign.takes };
                    memory::extend(&mut places, [place].into_iter())?;
                }
            }
        }
        Ok(places)
    }

    /// The texts of control tokens.
    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.by_text.iter().filter(|(_, sign)| sign.control).map(|(text, _)| text.as_str())
    }
}

/// Where the text of a control token is that token.
#[derive(Clone, Copy, Debug)]
pub(super) enum ControlTokens<'a> {
    /// Nowhere: it is text like any other.
    Nowhere,
    /// Wherever it does not touch these ranges of bytes, which are in order.
    Outside(&'a [Range<usize>]),
}

impl ControlTokens<'_> {
    /// In all of the text, or nowhere.
    pub(super) fn everywhere(special: bool) -> Self {
        if special { Self::Outside(&[]) } else { Self::Nowhere }
    }

    fn allow(self, range: &Range<usize>) -> bool {
        let Self::Outside(plain) = self else { return false };
        let next = plain.partition_point(|plain| plain.end <= range.start);
        plain.get(next).is_none_or(|plain| plain.start >= range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: ControlTokens<'_> = ControlTokens::Outside(&[]);

    fn specials() -> Specials {
        let takes = TakesSpaces::default();
        let special = |id, text: &str, control| Special { id, text: text.to_owned(), control, takes };
        Specials::new(vec![
            special(0, "<s>", true),
            special(1, "<s><s>", true),
            special(2, "bc", false),
            special(3, "abc", true),
            special(4, "", true),
        ])
    }

    #[test]
    fn the_longest_is_found_first() {
        use TextPart::{Text, Token};
        assert_eq!(
            specials().partition("x<s><s><s>y", EVERYWHERE).unwrap(),
            [Text("x"), Token(1), Token(0), Text("y")]
        );
        assert_eq!(specials().partition("<s>", EVERYWHERE).unwrap(), [Token(0)]);
        assert_eq!(specials().partition("abcbc", EVERYWHERE).unwrap(), [Token(3), Token(2)]);
        assert_eq!(specials().partition("", EVERYWHERE).unwrap(), []);
    }

    #[test]
    fn control_tokens_stay_text_unless_asked_for() {
        use TextPart::{Text, Token};
        assert_eq!(specials().partition("<s>abc", ControlTokens::Nowhere).unwrap(), [Text("<s>a"), Token(2)]);
    }

    #[test]
    fn white_space_beside_a_token_may_belong_to_it() {
        use TextPart::{Text, Token};
        let special = |id, text: &str, before, behind| {
            let takes = TakesSpaces { before, behind };
            Special { id, text: text.to_owned(), control: true, takes }
        };
        let specials = Specials::new(vec![special(0, "<l>", true, false), special(1, "<r>", false, true)]);
        let parts = |text: &'static str| specials.partition(text, EVERYWHERE).unwrap();
        assert_eq!(parts("a \n<l> b"), [Text("a"), Token(0), Text(" b")]);
        assert_eq!(parts("a <r>\n\u{a0} b "), [Text("a "), Token(1), Text("b ")]);
        assert_eq!(parts("<r> \n<l> <r> "), [Token(1), Token(0), Text(" "), Token(1)]);
        assert_eq!(specials.partition("a <r> b", ControlTokens::Nowhere).unwrap(), [Text("a <r> b")]);
    }

    /// A place that does not count hides none that does, even where the two overlap.
    #[test]
    fn control_tokens_are_found_outside_of_plain_text() {
        use TextPart::{Text, Token};
        let outside = |text: &'static str, plain: Range<usize>| {
            specials().partition(text, ControlTokens::Outside(std::slice::from_ref(&plain))).unwrap()
        };
        assert_eq!(outside("<s>a<s>", 0..1), [Text("<s>a"), Token(0)]);
        assert_eq!(outside("<s><s><s>", 1..2), [Text("<s>"), Token(1)]);
        assert_eq!(outside("<s>", 2..3), [Text("<s>")]);
        assert_eq!([3..4, 0..0].map(|plain| outside("<s>", plain)), [[Token(0)], [Token(0)]]);
        assert_eq!(specials().partition("é<s>", ControlTokens::Outside(&[3..4, 9..12])).unwrap(), [Text("é<s>")]);
    }

    /// One special token at a time, the longest first, the whole text searched for each.
    fn naive<'t>(list: &[(u32, String)], text: &'t str) -> Vec<TextPart<'t>> {
        let mut parts = vec![TextPart::Text(text)];
        for (id, special) in list {
            let cut = |part| match part {
                TextPart::Text(text) => {
                    let between = text.split(special.as_str()).map(TextPart::Text);
                    let mut cut: Vec<_> = between.flat_map(|text| [text, TextPart::Token(*id)]).collect();
                    cut.pop();
                    cut
                }
                token @ TextPart::Token(_) => vec![token],
            };
            parts = parts.into_iter().flat_map(cut).collect();
        }
        parts.retain(|part| !matches!(part, TextPart::Text("")));
        parts
    }

    #[test]
    fn the_parts_are_those_of_the_naive_search() {
        let mut random = ollm_kernels::random::Random::new(5);
        let mut text =
            |most: usize| -> String { (0..=random.below(most)).map(|_| ['a', 'b', 'é'][random.below(3)]).collect() };
        for _ in 0..300 {
            let texts: std::collections::BTreeSet<String> = (0..6).map(|_| text(5)).collect();
            let mut list: Vec<(u32, String)> = (0..).zip(texts).collect();
            list.sort_by_key(|(id, text)| (Reverse(text.len()), *id));
            let takes = TakesSpaces::default();
            let special = |(id, text): &(u32, String)| Special { id: *id, text: text.clone(), control: false, takes };
            let specials = Specials::new(list.iter().map(special).collect());
            let text = text(60);
            assert_eq!(
                specials.partition(&text, ControlTokens::Nowhere).unwrap(),
                naive(&list, &text),
                "{list:?} {text}"
            );
        }
    }
}
