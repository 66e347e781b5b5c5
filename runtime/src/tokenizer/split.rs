//! How a text falls into the pieces that merges never cross.
//!
//! The pieces are defined by regular expressions, quoted here: those of the published
//! `tokenizer.json`, as llama.cpp's `llama-vocab.cpp` quotes them, and else its own. They are
//! scanned by hand, in one pass and without backtracking, so that no text is too long. Where
//! llama.cpp only comes near the published expression (marks and the case of letters in Tekken's
//! and GPT-4o's), the model was trained with the published one, and it is what counts here.

use super::unicode::{
    is_deepseek_letter, is_digit, is_letter, is_lower, is_mark, is_number, is_punctuation, is_symbol, is_upper,
};

/// The length in bytes of the first piece of a text that is not empty.
pub(super) type Step = fn(&str) -> usize;

/// An alternative of an expression: the length of its match at the beginning of a text that is not
/// empty.
type Alternative = fn(&str) -> Option<usize>;

pub(super) const DEFAULT: &[Step] =
    &[|text| runs(text, |c| is_punctuation(c) || is_one_of(c, "$+<=>^~|")), gpt2, number_runs, three_digits];
pub(super) const GPT2: &[Step] = &[gpt2];
pub(super) const SMOLLM: &[Step] = &[lone_numbers, gpt2];
pub(super) const LLAMA3: &[Step] = &[|text| llama3(text, |text| number(text, 3))];
pub(super) const QWEN2: &[Step] = &[qwen2];
pub(super) const QWEN35: &[Step] = &[qwen35];
pub(super) const UFAKZEKA: &[Step] = &[ufakzeka];
pub(super) const MINICPM5: &[Step] = &[three_numbers, |text| llama3(text, |text| number(text, usize::MAX))];
pub(super) const SEED_CODER: &[Step] = &[seed_coder];
pub(super) const EXAONE_MOE: &[Step] = &[exaone_moe];
pub(super) const JAIS2: &[Step] = &[jais2];
pub(super) const LAGUNA: &[Step] = &[newlines, qwen2];
pub(super) const TEKKEN: &[Step] = &[tekken];
pub(super) const GPT4O: &[Step] = &[gpt4o];
pub(super) const TINY_AYA: &[Step] = &[whole_digits_by_threes, gpt4o];
pub(super) const YOUTU: &[Step] = &[youtu_scripts, youtu];
pub(super) const DEEPSEEK_LLM: &[Step] =
    &[line_ends, spaced_letters, spaced_marks, trailing_spaces, |text| runs(text, is_cjk_or_hangul), number_runs];
pub(super) const DEEPSEEK_CODER: &[Step] = &[
    line_ends,
    |text| first_of(text, &[|text| spaced(text, is_letter)]),
    |text| first_of(text, &[|text| spaced(text, is_punctuation)]),
    |text| runs(text, is_cjk_or_hangul),
    lone_numbers,
];
pub(super) const DEEPSEEK_V3: &[Step] = &[three_numbers, |text| runs(text, is_cjk_or_kana), deepseek_v3];
pub(super) const SPARK: &[Step] = &[three_numbers, |text| runs(text, is_cjk_or_kana), spark, lone_numbers];
pub(super) const FALCON: &[Step] =
    &[|text| runs(text, |c| is_punctuation(c) || is_one_of(c, "$+<=>^~|`")), gpt2, three_digits];
pub(super) const BLOOM: &[Step] = &[bloom];
pub(super) const VIKING: &[Step] = &[bloom, lone_numbers];
pub(super) const SUPERBPE: &[Step] = &[number_runs, digits_by_threes];
pub(super) const NEWLINES: &[Step] = &[newlines];

/// The pieces of a text: each step cuts what the step before it left whole.
#[derive(Debug)]
pub(super) struct Pieces<'t> {
    steps: &'static [Step],
    /// What each step has not cut yet.
    rest: Vec<&'t str>,
}

impl<'t> Pieces<'t> {
    pub(super) fn new(text: &'t str, steps: &'static [Step]) -> Self {
        let mut rest = vec![""; steps.len()];
        rest[0] = text;
        Self { steps, rest }
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let mut step = self.rest.iter().rposition(|rest| !rest.is_empty())?;
        loop {
            let (piece, after) = self.rest[step].split_at(self.steps[step](self.rest[step]));
            self.rest[step] = after;
            step += 1;
            match self.rest.get_mut(step) {
                Some(rest) => *rest = piece,
                None => return Some(piece),
            }
        }
    }
}

/// The first match of an expression, or what lies before it: both are pieces.
fn first_of(text: &str, alternatives: &[Alternative]) -> usize {
    let matches = |text: &str| alternatives.iter().find_map(|alternative| alternative(text));
    matches(text).unwrap_or_else(|| {
        let mut later = text.char_indices().map(|(at, _)| at).skip(1);
        later.find(|&at| matches(&text[at..]).is_some()).unwrap_or(text.len())
    })
}

/// `[..]+`: a run of characters of a class, or of others.
fn runs(text: &str, class: impl Fn(char) -> bool) -> usize {
    let inside = text.chars().next().is_some_and(&class);
    run(text, |c| class(c) == inside)
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(text: &str) -> usize {
    first_of(text, &[|text| contraction(text, str::eq), letters_numbers_or_marks, spaces])
}

/// With `\p{N}{1,3}` as numbers (Llama 3):
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|`
/// ` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
fn llama3(text: &str, numbers: Alternative) -> usize {
    first_of(text, &[any_contraction, word, numbers, punctuation, line_end, spaces])
}

/// As Llama 3's, with `\p{N}`.
fn qwen2(text: &str) -> usize {
    llama3(text, lone_number)
}

/// As Qwen 2's, with marks as parts of words: `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+` and
/// ` ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*`
fn qwen35(text: &str) -> usize {
    let word: Alternative = |text| led(text, is_line_lead, is_letter_or_mark);
    let punctuation: Alternative = |text| others(text, |c| is_other(c) && !is_mark(c), is_line_end);
    first_of(text, &[any_contraction, word, lone_number, punctuation, line_end, spaces])
}

/// As Qwen 2's, without contractions.
fn ufakzeka(text: &str) -> usize {
    first_of(text, &[word, lone_number, punctuation, line_end, spaces])
}

/// As Qwen 2's, with ` ?[^\s\p{L}\p{N}\r\n]+`
fn seed_coder(text: &str) -> usize {
    first_of(text, &[any_contraction, word, lone_number, |text| others(text, is_other, |_| false), line_end, spaces])
}

/// As Llama 3's, with `\s{512}(?!\S)|\s{256}(?!\S)|..|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`
fn jais2(text: &str) -> usize {
    first_of(text, &[any_contraction, word, |text| number(text, 3), punctuation, line_end, spaces_by_powers])
}

/// As Qwen 2's, with `[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+` and
/// ` ?[^\s\p{L}\p{N}]+[\r\n/]?`
fn exaone_moe(text: &str) -> usize {
    first_of(text, &[any_contraction, exaone_words, lone_number, exaone_punctuation, line_end, spaces])
}

/// With U = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and L = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`:
/// `[^\r\n\p{L}\p{N}]?U*L+|[^\r\n\p{L}\p{N}]?U+L*|\p{N}|`
/// ` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn tekken(text: &str) -> usize {
    first_of(text, &[cased_word, lone_number, punctuation_and_slashes, line_end, spaces])
}

/// As Tekken's, with `(?i:'s|'t|'re|'ve|'m|'ll|'d)?` after words and `\p{N}{1,3}`
fn gpt4o(text: &str) -> usize {
    let numbers: Alternative = |text| number(text, 3);
    first_of(text, &[contracted_word, numbers, punctuation_and_slashes, line_end, spaces])
}

/// As GPT-4o's, with `\p{N}`
fn youtu(text: &str) -> usize {
    first_of(text, &[contracted_word, lone_number, punctuation_and_slashes, line_end, spaces])
}

/// `[` punctuation of ASCII `][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|`
/// ` ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn deepseek_v3(text: &str) -> usize {
    let punctuation: Alternative = |text| others(text, is_mark_of_text, is_line_end);
    first_of(text, &[ascii_marked_word, deepseek_word, punctuation, line_end, spaces])
}

/// As `DeepSeek` V3's, with ` ?[\p{P}\p{S}]+` and `[\r\n]`
fn spark(text: &str) -> usize {
    let punctuation: Alternative = |text| others(text, is_mark_of_text, |_| false);
    let line_end: Alternative = |text| text.starts_with(is_line_end).then_some(1);
    first_of(text, &[ascii_marked_word, deepseek_word, punctuation, line_end, spaces])
}

/// ` ?[^(\s|.,!?…。，、।۔،)]+`
fn bloom(text: &str) -> usize {
    first_of(text, &[|text| others(text, |c| !c.is_whitespace() && !is_one_of(c, "(|.,!?…。，、।۔،)"), |_| false)])
}

/// `\s?[..]+` of `DeepSeek` LLM's letters.
fn spaced_letters(text: &str) -> usize {
    first_of(text, &[|text| spaced(text, is_deepseek_letter)])
}

/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`
fn spaced_marks(text: &str) -> usize {
    first_of(text, &[|text| spaced(text, is_deepseek_mark)])
}

/// `\s+$`
fn trailing_spaces(text: &str) -> usize {
    Some(text.trim_end().len()).filter(|&n| n > 0).unwrap_or(text.len())
}

/// `[\r\n]`
fn line_ends(text: &str) -> usize {
    if text.starts_with(is_line_end) { 1 } else { run(text, |c| !is_line_end(c)) }
}

/// `[^\n]+|[\n]+`
fn newlines(text: &str) -> usize {
    runs(text, |c| c == '\n')
}

/// `\p{N}`
fn lone_numbers(text: &str) -> usize {
    first_of(text, &[lone_number])
}

/// `\p{N}{1,3}`
fn three_numbers(text: &str) -> usize {
    first_of(text, &[|text| number(text, 3)])
}

/// `\p{N}+`
fn number_runs(text: &str) -> usize {
    runs(text, is_number)
}

/// `[0-9][0-9][0-9]`
fn three_digits(text: &str) -> usize {
    first_of(text, &[|text| (text.bytes().take(3).filter(u8::is_ascii_digit).count() == 3).then_some(3)])
}

/// `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`
fn youtu_scripts(text: &str) -> usize {
    let classes: [fn(char) -> bool; 4] = [
        |c| matches!(c, '가'..='힣' | 'ㄱ'..='ㆎ'),
        |c| is_one_of(c, "！…“”‘’—：；，") || matches!(c, '、'..='\u{303f}' | '\u{fe30}'..='\u{fe4f}'),
        |c| matches!(c, 'ㄅ'..='ㄯ'),
        is_cjk_or_kana,
    ];
    let class = |c: char| classes.iter().position(|class| class(c));
    let first = text.chars().next().and_then(class);
    run(text, |c| class(c) == first)
}

/// `(?=(\d{3})+(?!\d))`: a cut before each three digits, counted from the end of their run.
fn digits_by_threes(text: &str) -> usize {
    let mut at = 0;
    while at < text.len() {
        let start = at + run(&text[at..], |c| !is_digit(c));
        let end = start + run(&text[start..], is_digit);
        let count = text[start..end].chars().count();
        let mut cuts = (count % 3..count).step_by(3).map(|digits| start + characters(&text[start..], digits));
        if let Some(cut) = cuts.find(|&cut| cut > 0) {
            return cut;
        }
        at = end;
    }
    text.len()
}

/// `\d{1,3}(?=(?:\d{3})*\b)`
fn whole_digits_by_threes(text: &str) -> usize {
    let mut at = 0;
    loop {
        let before = at + run(&text[at..], |c| !is_digit(c));
        let after = before + run(&text[before..], is_digit);
        let whole = !text[after..].starts_with(is_word);
        if before == after || (whole && before > 0) {
            return before;
        }
        if whole {
            let over = text[..after].chars().count() % 3;
            return characters(text, if over == 0 { 3 } else { over });
        }
        at = after;
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`
fn contraction(text: &str, same: fn(&str, &str) -> bool) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let ends = ["s", "t", "re", "ve", "m", "ll", "d"];
    ends.iter().find(|end| rest.get(..end.len()).is_some_and(|head| same(head, end))).map(|end| 1 + end.len())
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`: U+017F is an `s` without case, which llama.cpp does not know.
fn any_contraction(text: &str) -> Option<usize> {
    const LONG_S: &str = "'\u{17f}";
    contraction(text, str::eq_ignore_ascii_case).or_else(|| text.starts_with(LONG_S).then_some(LONG_S.len()))
}

/// ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`
fn letters_numbers_or_marks(text: &str) -> Option<usize> {
    let (space, body) = optional_space(text);
    [is_letter, is_number, is_other].iter().map(|kind| run(body, kind)).find(|&n| n > 0).map(|n| space + n)
}

/// `[^\r\n\p{L}\p{N}]?\p{L}+`
fn word(text: &str) -> Option<usize> {
    led(text, is_line_lead, is_letter)
}

/// `[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+`
fn deepseek_word(text: &str) -> Option<usize> {
    led(text, |c| !(is_line_end(c) || is_letter(c) || is_mark_of_text(c)), is_letter_or_mark)
}

/// `[` punctuation of ASCII `][A-Za-z]+`
fn ascii_marked_word(text: &str) -> Option<usize> {
    let word = text.strip_prefix(|c: char| c.is_ascii_punctuation())?;
    Some(run(word, |c| c.is_ascii_alphabetic())).filter(|&n| n > 0).map(|n| 1 + n)
}

/// A run of a class, with one character before it that may be there.
fn led(text: &str, lead: impl Fn(char) -> bool, class: impl Fn(char) -> bool) -> Option<usize> {
    let lead = text.chars().next().filter(|&c| lead(c)).map_or(0, char::len_utf8);
    let from = |start: usize| Some(run(&text[start..], &class)).filter(|&n| n > 0).map(|n| start + n);
    from(lead).or_else(|| from(0))
}

/// `[^\r\n\p{L}\p{N}]?U*L+|[^\r\n\p{L}\p{N}]?U+L*`, see [`tekken`].
fn cased_word(text: &str) -> Option<usize> {
    let lead = text.chars().next().filter(|&c| is_line_lead(c)).map_or(0, char::len_utf8);
    let from = |start: usize, word: Alternative| word(&text[start..]).map(|n| start + n);
    let lower = from(lead, uppers_then_lower).or_else(|| from(0, uppers_then_lower));
    lower.or_else(|| from(lead, uppers)).or_else(|| from(0, uppers))
}

/// As [`cased_word`], with a contraction that may follow.
fn contracted_word(text: &str) -> Option<usize> {
    cased_word(text).map(|word| word + any_contraction(&text[word..]).unwrap_or(0))
}

/// `U*L+`: of letters that are in both classes, as many as leave one for the second.
fn uppers_then_lower(text: &str) -> Option<usize> {
    let upper = run(text, is_not_lower);
    let lower = run(&text[upper..], is_not_upper);
    let last = || text[..upper].char_indices().rev().find(|&(_, c)| is_not_upper(c));
    if lower > 0 { Some(upper + lower) } else { last().map(|(at, c)| at + c.len_utf8()) }
}

/// `U+L*`, where no `L` follows.
fn uppers(text: &str) -> Option<usize> {
    Some(run(text, is_not_lower)).filter(|&n| n > 0)
}

/// `[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+`
fn exaone_words(text: &str) -> Option<usize> {
    let lead = text.chars().next().filter(|&c| is_line_lead(c)).map_or(0, char::len_utf8);
    let mut end = lead;
    while let Some(word) = Some(&text[end..]).map(|rest| rest.strip_prefix(' ').filter(|_| end > lead).unwrap_or(rest))
        && word.starts_with(is_letter)
    {
        end = text.len() - word.len() + run(word, is_letter_or_mark);
    }
    (end > lead).then_some(end)
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n/]?`
fn exaone_punctuation(text: &str) -> Option<usize> {
    let end = others(text, is_other, |_| false)?;
    Some(end + usize::from(text[end..].starts_with(is_line_end)))
}

/// `\p{N}{1,most}`
fn number(text: &str, most: usize) -> Option<usize> {
    let length = text.chars().take(most).take_while(|&c| is_number(c)).map(char::len_utf8).sum();
    (length > 0).then_some(length)
}

/// `\p{N}`
fn lone_number(text: &str) -> Option<usize> {
    number(text, 1)
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n]*`
fn punctuation(text: &str) -> Option<usize> {
    others(text, is_other, is_line_end)
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n/]*`
fn punctuation_and_slashes(text: &str) -> Option<usize> {
    others(text, is_other, |c| is_line_end(c) || c == '/')
}

/// ` ?[class]+[tail]*`
fn others(text: &str, class: impl Fn(char) -> bool, tail: impl Fn(char) -> bool) -> Option<usize> {
    let (space, body) = optional_space(text);
    let marks = run(body, class);
    (marks > 0).then(|| space + marks + run(&body[marks..], tail))
}

/// `\s?[class]+`
fn spaced(text: &str, class: impl Fn(char) -> bool) -> Option<usize> {
    led(text, char::is_whitespace, class)
}

/// `\s*[\r\n]+`
fn line_end(text: &str) -> Option<usize> {
    text[..run(text, char::is_whitespace)].rfind(is_line_end).map(|last| last + 1)
}

/// `\s+(?!\S)|\s+`: a run of white space leaves its last character to the word that follows.
fn spaces(text: &str) -> Option<usize> {
    let run = run(text, char::is_whitespace);
    let last = text[..run].chars().next_back().map_or(0, char::len_utf8);
    let spared = if run < text.len() && run > last { run - last } else { run };
    (spared > 0).then_some(spared)
}

/// `\s{512}(?!\S)|\s{256}(?!\S)|..|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`
fn spaces_by_powers(text: &str) -> Option<usize> {
    const MOST: usize = 512;
    let count = text.chars().take(MOST + 1).take_while(|c| c.is_whitespace()).count();
    let ends_text = characters(text, count) == text.len();
    let spared = if ends_text { count } else { count.checked_sub(1)? };
    let power = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1].into_iter().find(|&power| power <= spared);
    Some(characters(text, power.unwrap_or(1)))
}

/// ` ?`
fn optional_space(text: &str) -> (usize, &str) {
    text.strip_prefix(' ').map_or((0, text), |rest| (1, rest))
}

/// The length in bytes of the longest prefix that `keep` likes.
fn run(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

/// The length in bytes of the first characters.
fn characters(text: &str, count: usize) -> usize {
    text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)
}

/// `[^\s\p{L}\p{N}]`
fn is_other(c: char) -> bool {
    !(c.is_whitespace() || is_letter(c) || is_number(c))
}

/// `[\r\n]`
fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// `[^\r\n\p{L}\p{N}]`
fn is_line_lead(c: char) -> bool {
    !(is_line_end(c) || is_letter(c) || is_number(c))
}

/// `[\p{L}\p{M}]`
fn is_letter_or_mark(c: char) -> bool {
    is_letter(c) || is_mark(c)
}

/// `[\p{P}\p{S}]`
fn is_mark_of_text(c: char) -> bool {
    is_punctuation(c) || is_symbol(c)
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
fn is_not_lower(c: char) -> bool {
    is_letter_or_mark(c) && !is_lower(c)
}

/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
fn is_not_upper(c: char) -> bool {
    is_letter_or_mark(c) && !is_upper(c)
}

/// `[!-/:-~！-／：-～‘-‟　-。]`
fn is_deepseek_mark(c: char) -> bool {
    matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '\u{2018}'..='\u{201f}' | '\u{3000}'..='。')
}

/// `\w`, as Oniguruma has it outside of classes, with which `tokenizers` reads expressions in
/// Python.
fn is_word(c: char) -> bool {
    let connects = matches!(c, '_' | '‿' | '⁀' | '⁔' | '︳' | '︴' | '﹍'..='﹏' | '＿');
    c.is_alphabetic() || is_mark(c) || is_digit(c) || connects || matches!(c, '²' | '³' | '¹' | '¼'..='¾')
}

/// `[一-龥぀-ゟ゠-ヿ]`
fn is_cjk_or_kana(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fa5}' | '\u{3040}'..='\u{30ff}')
}

/// `[一-龥ࠀ-一가-퟿]`
fn is_cjk_or_hangul(c: char) -> bool {
    matches!(c, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}')
}

/// `[of]`
fn is_one_of(c: char, of: &str) -> bool {
    of.contains(c)
}

#[cfg(test)]
mod tests {
    use tokenizers::utils::SysRegex;

    use super::super::oniguruma::translated;
    use super::super::pre::{self, Pre};
    use ollm_kernels::random::Random;

    fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        Pre::named(name).unwrap().pieces(text).collect()
    }

    #[test]
    fn known_examples() {
        for (name, text, expected) in [
            (
                "gpt2",
                "I've  got 123 'apples'\n\n x",
                &["I", "'ve", " ", " got", " 123", " '", "apples", "'", "\n\n", " x"][..],
            ),
            ("smollm", "x 123  y", &["x", " ", "1", "2", "3", " ", " y"]),
            ("smollm", "a  5", &["a", "  ", "5"]),
            ("llama-bpe", "I'VE 12345\n\n  (x)\r\n", &["I", "'VE", " ", "123", "45", "\n\n", " ", " (", "x", ")\r\n"]),
            ("qwen2", "a 12!\n\tb", &["a", " ", "1", "2", "!\n", "\tb"]),
            ("superbpe", "a 1234567 b", &["a ", "1", "234", "567", " b"]),
            ("tiny_aya", "1234567 1234a", &["1", "234", "567", " ", "123", "4", "a"]),
            ("tekken", "camelCase日A//\n", &["camel", "Case日", "A", "//\n"]),
            ("gpt-4o", "we'LL ÀÉé", &["we'LL", " ÀÉé"]),
        ] {
            assert_eq!(pieces(name, text), expected, "{name}: {text:?}");
        }
    }

    const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    const CONTRACTIONS: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
    const LLAMA3: &str = r"{C}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const QWEN2: &str = r"{C}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const QWEN35: &str =
        r"{C}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+{C}?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*{C}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const YOUTU: &str = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";
    const CJK: &str = "[一-龥぀-ゟ゠-ヿ]+";
    const CJK_HANGUL: &str = "[一-龥ࠀ-一가-퟿]+";
    const DEEPSEEK_V3: &str = r#"[!"\#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#;
    const SPARK: &str = r#"[!"\#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"#;
    const JAIS2: &str = r"{C}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
    const EXAONE_MOE: &str = r"{C}|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
    const SEED_CODER: &str = r"{C}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
    const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const BAILING: &str = r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
    const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
    const DIGITS: &str = "[0-9][0-9][0-9]";

    /// The expressions of each name, in a backtracking engine, one after the other, on random texts
    /// of nasty characters.
    #[test]
    fn the_scanner_agrees_with_the_expressions() {
        let minicpm5 = LLAMA3.replace("{1,3}", "+");
        let youtu = GPT4O.replace("{1,3}", "");
        for (name, expressions) in [
            ("default", &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", DIGITS][..]),
            ("gpt2", &[GPT2]),
            ("smollm", &[r"\p{N}", GPT2]),
            ("llama-bpe", &[LLAMA3]),
            ("qwen2", &[QWEN2]),
            ("qwen35", &[QWEN35]),
            ("bailingmoe", &[BAILING]),
            ("ufakzeka", &[UFAKZEKA]),
            ("seed-coder", &[SEED_CODER]),
            ("minicpm5", &[r"\p{N}{1,3}", &minicpm5]),
            ("jais-2", &[JAIS2]),
            ("laguna", &[r"[^\n]+|[\n]+", QWEN2]),
            ("exaone-moe", &[EXAONE_MOE]),
            ("tekken", &[TEKKEN]),
            ("gpt-4o", &[GPT4O]),
            ("tiny_aya", &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O]),
            ("youtu", &[YOUTU, &youtu]),
            ("deepseek-v3", &[r"\p{N}{1,3}", CJK, DEEPSEEK_V3]),
            ("spark2_5", &[r"\p{N}{1,3}", CJK, SPARK, r"\p{N}"]),
            ("deepseek-coder", &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_HANGUL, r"\p{N}"]),
            ("falcon", &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, DIGITS]),
            ("bloom", &[BLOOM]),
            ("viking", &[BLOOM, r"\p{N}"]),
            ("superbpe", &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"]),
            ("gemma4", &[r"[^\n]+|[\n]+"]),
        ] {
            let expressions = expressions.iter().map(|text| translated(&text.replace("{C}", CONTRACTIONS)));
            let compiled: Vec<SysRegex> = expressions.map(|text| SysRegex::new(&text).unwrap()).collect();
            for seed in 0..400 {
                let text = nasty(seed);
                let expected = compiled.iter().fold(vec![&*text], |pieces, expression| {
                    pieces.into_iter().flat_map(|piece| isolated(piece, expression)).collect()
                });
                assert_eq!(pieces(name, &text), expected, "{name}: {text:?}");
            }
        }
    }

    /// The matches of an expression and what lies between them.
    fn isolated<'t>(text: &'t str, expression: &SysRegex) -> Vec<&'t str> {
        let mut cuts: Vec<usize> = expression.find_iter(text).flat_map(|(start, end)| [start, end]).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).filter(|piece| !piece.is_empty()).collect()
    }

    /// Runs of a few classes of characters, so that long matches occur too.
    fn nasty(seed: u64) -> String {
        const CLASSES: [&str; 12] = [
            " ",
            " \u{a0}\t\u{3000}\u{85}",
            "\n\r",
            "sSlLtdvVeRmM",
            "'’",
            ".,(!/_-|$+<`~#。，、।",
            "éДßñÀǅʰ",
            "中あア가龥ㄱㄅก०",
            "0123456789",
            "١Ⅷ²½५",
            "\u{301}\u{93f}\u{20dd}",
            "🎉\u{200d}\u{fe0f}\u{0}\u{e000}\u{378}",
        ];
        let mut random = Random::new(seed);
        let mut text = String::new();
        for _ in 0..24 {
            let class: Vec<char> = CLASSES[random.below(CLASSES.len())].chars().collect();
            let most = if random.below(8) == 0 { 9 } else { 3 };
            let length = 1 + random.below(most);
            text.extend((0..length).map(|_| class[random.below(class.len())]));
        }
        text
    }

    #[test]
    fn long_runs_take_one_pass() {
        for unit in ["A", " ", "1", "\n", "!", " \n", "'", "é", "\u{301}", "日A", "\u{200d}", "\t中", "1a"] {
            let text = unit.repeat(60_000 / unit.len()) + "x";
            for (name, _) in pre::usual_pre_tokenizers().chain([("default", "none"), ("gemma4", "none")]) {
                assert_eq!(pieces(name, &text).concat().len(), text.len(), "{name} {unit:?}");
            }
        }
    }
}
