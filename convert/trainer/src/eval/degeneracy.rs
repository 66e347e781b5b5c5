//! Degeneracy: what can be wrong with a text, whatever its answer.
//!
//! | flaw | what it is |
//! |---|---|
//! | repetition | the same characters follow each other again and again: see [`repeats`] |
//! | language switch | long stretches in different languages: see [`Flaws::switch`] |
//! | foreign script | letters of a script that is neither Latin nor the question's: see [`Flaws::foreign`] |
//! | missing | no final answer |
//!
//! A text with any of them is *degenerate* ([`Flaws::is_degenerate`]). One that the limit of tokens
//! cut is not for that reason alone: it may be long and sound.

use std::collections::HashSet;

use unicode_script::{Script, UnicodeScript};
use whatlang::Lang;

use crate::eval::final_answer;

/// The share of foreign letters above which a text is degenerate: less is a name or a quotation.
const FOREIGN: f64 = 0.1;

/// Scripts and language of a question, by which its answers are measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionLanguage {
    scripts: HashSet<Script>,
    language: Option<Lang>,
}

impl QuestionLanguage {
    /// Those of a question. Latin is always among the scripts; with kana come kana and Han.
    pub fn of(question: &str) -> Self {
        const JAPANESE: [Script; 3] = [Script::Hiragana, Script::Katakana, Script::Han];
        let mut scripts: HashSet<Script> = letters(question).into_iter().chain([Script::Latin]).collect();
        if scripts.contains(&Script::Hiragana) || scripts.contains(&Script::Katakana) {
            scripts.extend(JAPANESE);
        }
        Self { scripts, language: language(question) }
    }
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flaws {
    /// Whether it repeats itself: see [`repeats`].
    pub repetition: bool,
    /// Whether its language is not that of the question, or its paragraphs differ in theirs. Known
    /// are languages of stretches with at least 40 letters in different words, where whatlang is
    /// sure (its confidence is above .9). Numbers, formulas and single letters are no words; a
    /// paragraph ends at a blank line.
    pub switch: bool,
    /// The share of its letters that are neither Latin nor of a script of the question; 0 without
    /// letters. One or two Greek letters that stand alone are mathematics (`Δx`, `πr²`), and no
    /// letters here; nor are mathematical alphabets, letterlike symbols, ordinals, and punctuation.
    pub foreign: f64,
    /// Whether it has no final answer.
    pub missing: bool,
}

impl Flaws {
    /// Those of an answer to a question.
    pub fn of(text: &str, question: &QuestionLanguage) -> Self {
        Self {
            repetition: repeats(text),
            switch: switches(text, question),
            foreign: foreign_share(text, question),
            missing: final_answer::extract(text).is_none(),
        }
    }

    /// Whether it repeats itself, switches its language, has no final answer, or more than a tenth
    /// of its letters are foreign.
    pub fn is_degenerate(&self) -> bool {
        self.repetition || self.switch || self.missing || self.foreign > FOREIGN
    }
}

/// How often statements, and long numbers, follow each other to be a repetition.
const STATEMENTS: usize = 4;
/// How often terms follow each other to be one: a sum has many that are the same.
const TERMS: usize = 20;
/// Characters of the longest term with a word in it.
const TERM: usize = 16;
/// Characters of the shortest repetition.
const SHORTEST: usize = 32;

/// Whether some characters follow each other again and again, over at least 32 characters, however
/// many they are (a digit, part of a word, a word, a sentence, some lines). Stretches of white
/// space count as one space. How often tells what they are:
///
/// | what is repeated | times |
/// |---|---|
/// | has neither letter nor digit (a table's rule) | never a repetition |
/// | digits alone (`1111…`, `1212…`) | 4 |
/// | has `=` (`3 * 4 = 12`) | 4 |
/// | has no letter (`5 + `, `0, `), or has `+` or `×` and at most 16 characters (`3 apples + `) | 20 |
/// | anything else (`estine`, `the `, sentences) | 4 |
///
/// Lines that are alike but for a number are no repetition. The time is that of `n log n`
/// comparisons for `n` characters; more only where most of a text is nearly periodic.
pub fn repeats(text: &str) -> bool {
    // Each word has its space, the last one too.
    let text: Vec<char> = text.split_whitespace().flat_map(|word| word.chars().chain([' '])).collect();
    (1..=text.len() / STATEMENTS).any(|period| repeats_after(&text, period))
}

/// Whether there is a repetition of so many characters.
fn repeats_after(text: &[char], period: usize) -> bool {
    let same = |&i: &usize| text.get(i + period).is_some_and(|later| *later == text[i]);
    let mut anchor = 0;
    // A repetition has its first anchor within its first period, so that at least two more follow.
    while anchor + 2 * period < text.len() {
        let end = anchor + (anchor..text.len()).take_while(same).count();
        if end >= anchor + 2 * period {
            let begin = anchor - (0..anchor).rev().take_while(same).count();
            if is_repetition(&text[begin..end + period], period) {
                return true;
            }
        }
        anchor = (end / period + 1) * period;
    }
    false
}

/// Whether a stretch that has this period is long enough.
fn is_repetition(stretch: &[char], period: usize) -> bool {
    let unit = &stretch[..period];
    let has = |of: &dyn Fn(char) -> bool| unit.iter().any(|&c| of(c));
    let letter = has(&char::is_alphabetic);
    let sum = period <= TERM && has(&|c| matches!(c, '+' | '×'));
    let times = match () {
        () if !has(&char::is_alphanumeric) => return false,
        () if has(&|c| c == '=') || !has(&|c| !c.is_numeric()) => STATEMENTS,
        () if !letter || sum => TERMS,
        () => STATEMENTS,
    };
    stretch.len() >= SHORTEST.max(times * period) && is_primitive(unit)
}

/// Whether it is not itself some characters, several times: then those are judged.
fn is_primitive(unit: &[char]) -> bool {
    let n = unit.len();
    !(1..=n / 2).any(|part| n.is_multiple_of(part) && unit[part..] == unit[..n - part])
}

/// Greek letters that are a symbol of mathematics at most, where they stand alone.
const SYMBOL: usize = 2;

/// The scripts of a text's letters. Symbols of mathematics are none.
fn letters(text: &str) -> Vec<Script> {
    let (mut found, mut greek) = (Vec::new(), 0);
    // The blank at the end ends a word.
    for c in text.chars().chain([' ']) {
        let (script, letter) = (c.script(), is_letter(c));
        match script {
            // A mark belongs to the letter before it.
            Script::Inherited => continue,
            Script::Greek if letter => {
                greek += 1;
                continue;
            }
            _ => {}
        }
        if greek > SYMBOL {
            found.extend(std::iter::repeat_n(Script::Greek, greek));
        }
        greek = 0;
        // Common are the letters of mathematical alphabets.
        if letter && script != Script::Common {
            found.push(script);
        }
    }
    found
}

/// Ordinals, letterlike symbols (K for kelvin, Ω for ohm), and the punctuation of CJK are none.
fn is_letter(c: char) -> bool {
    c.is_alphabetic() && !matches!(c, 'ª' | 'º' | '\u{2100}'..='\u{214f}' | '\u{3000}'..='\u{303f}')
}

fn foreign_share(text: &str, question: &QuestionLanguage) -> f64 {
    let letters = letters(text);
    let own = |script: &Script| *script == Script::Latin || question.scripts.contains(script);
    let foreign = letters.iter().filter(|script| !own(script)).count();
    foreign as f64 / letters.len().max(1) as f64
}

/// Letters in different words that tell a language.
const TELLING: usize = 40;

/// The language of a text, if it is long enough and the language is clear.
fn language(text: &str) -> Option<Lang> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !is_formula(word)).flat_map(words).collect();
    let mut seen = HashSet::new();
    let different = words.iter().filter(|word| seen.insert(**word));
    if different.map(|word| word.chars().filter(|&c| is_letter(c)).count()).sum::<usize>() < TELLING {
        return None;
    }
    whatlang::detect(&words.join(" ")).filter(whatlang::Info::is_reliable).map(|info| info.lang())
}

fn is_formula(word: &str) -> bool {
    word.contains(['\\', '_', '^', '=', '/', '@'])
}

/// What is between digits and signs. Single Latin letters are variables.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split(|c: char| c.script() == Script::Common && !matches!(c, '\'' | '’' | 'ー'));
    parts.filter(|part| part.len() > 1 || !part.is_ascii())
}

/// Whether question, text and paragraphs are in different languages.
fn switches(text: &str, question: &QuestionLanguage) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let paragraphs: Vec<String> = lines.split(|line| line.trim().is_empty()).map(|lines| lines.join("\n")).collect();
    let stretches = std::iter::once(text).chain(paragraphs.iter().map(String::as_str).filter(|p| *p != text));
    let mut known = question.language.into_iter().chain(stretches.filter_map(language));
    let first = known.next();
    known.any(|language| Some(language) != first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    const FINE: &str = "Natalia sold 48 / 2 = 24 clips in May, naïve as she is. 3 × 4 = 12\n#### 72";
    const ENGLISH: &str = "Natalia sold clips to many of her friends in April, and then she sold half as many in May.";
    const SPANISH: &str = "Primero calculamos cuántas manzanas tiene el niño, y después restamos las que se ha comido.";
    const CHINESE: &str =
        "小明有五个苹果，他的妈妈又给了他三个苹果，然后他吃掉了两个苹果。请问小明现在一共还剩下多少个苹果？";

    fn flaws(text: &str, question: &str) -> Flaws {
        Flaws::of(text, &QuestionLanguage::of(question))
    }

    #[test]
    fn a_sound_answer_has_no_flaw_and_any_flaw_is_degenerate() {
        let fine = flaws(FINE, ENGLISH);
        assert_eq!(fine, Flaws::default());
        assert!(!fine.is_degenerate());
        assert_eq!(flaws("", ""), Flaws { missing: true, ..Flaws::default() });
        for flaw in [
            Flaws { repetition: true, ..fine },
            Flaws { switch: true, ..fine },
            Flaws { missing: true, ..fine },
            Flaws { foreign: 0.11, ..fine },
        ] {
            assert!(flaw.is_degenerate(), "{flaw:?}");
        }
        assert!(!Flaws { foreign: 0.1, ..fine }.is_degenerate());
    }

    #[test]
    fn repetitions_of_any_length_count() {
        let sentence = "So he has 5 apples and gives 2 of them to his sister.";
        let lines = "He buys 3 pens for $2.\nThat is $6.\n\n";
        for text in [
            "estine".repeat(6),
            format!("The dest{}", "estine".repeat(20)),
            "1".repeat(32),
            format!("The answer is 3.{}", "3".repeat(40)),
            format!("12{}", "142857".repeat(6)),
            "the ".repeat(12),
            "he has 5 ".repeat(4),
            "he  has\n5 ".repeat(4),
            format!("first {} last", "one two three four five six ".repeat(4)),
            format!("It is\n{}", "The answer is 12.\n".repeat(4)),
            format!("Well. {}", [sentence; 4].join(" ")),
            format!("First some words. {}", lines.repeat(4)),
            format!("{} and cut of", format!("{sentence} And so on, {}.", "with more words ".repeat(3)).repeat(5)),
            "3 * 4 = 12\n".repeat(4),
            "= 5 ".repeat(9),
            "的".repeat(40),
            "5 + ".repeat(20),
            "3 apples + ".repeat(20),
            "A sum of many + signs, at length. ".repeat(4),
        ] {
            assert!(repeats(&text), "{text}");
        }
    }

    #[test]
    fn what_is_alike_in_a_sound_answer_is_no_repetition() {
        let products: Vec<String> = (4..40).map(|i| format!("3 * {i} = {}\n", 3 * i)).collect();
        let steps: Vec<String> =
            (1..30).map(|i| format!("{i}. He has {} apples and buys one more.\n", i + 4)).collect();
        for text in [
            "1,000,000",
            "1,000,000,000,000,000,000,000,000,000,000,000",
            "2222 + 1111",
            "ha ha ha",
            "aaah",
            "It is 0.3333333333333333, or 1/3.",
            "It is 100000000000000000000.",
            &"-".repeat(500),
            &"= ".repeat(100),
            "| day | pens |\n|-----|-----|-----|-----|-----|-----|-----|\n| 1 | 2 |",
            "| 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |",
            &"the ".repeat(7),
            &"he has 5 ".repeat(3),
            &"one two three four five six ".repeat(3),
            "5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 + 5 = 80",
            "5 apples + 5 apples + 5 apples + 5 apples + 5 apples = 25 apples",
            &format!("{}= 57 apples", "3 apples + ".repeat(19)),
            &"5 + ".repeat(19),
            &products.concat(),
            &steps.concat(),
            FINE,
            ENGLISH,
            "",
            "a",
        ] {
            assert!(!repeats(text), "{text}");
        }
    }

    #[test]
    fn a_repetition_is_found_wherever_it_begins() {
        for (before, period) in (0..40).zip([1, 2, 3, 5, 8, 13, 21, 34].into_iter().cycle()) {
            // Letters that do not repeat themselves.
            let unit: String = (0..period).map(|i| char::from(b'a' + (i * i % 23) as u8)).collect();
            let other: String = ('A'..='Z').cycle().take(before).collect();
            let enough = unit.repeat(4.max(SHORTEST.div_ceil(period)));
            assert!(repeats(&format!("{other}{enough}{other}")), "{before} {period}");
            let less: String = unit.chars().cycle().take(SHORTEST.max(4 * period) - 1).collect();
            assert!(!repeats(&format!("{other}{less}#{other}")), "{before} {period}");
        }
    }

    #[test]
    fn long_texts_are_judged_in_no_time() {
        let began = std::time::Instant::now();
        for text in ["-".repeat(20_000), "5 + 5 = 10, ".repeat(3) + &"ab".repeat(15) + &"-".repeat(9_000)] {
            assert!(!repeats(&text));
        }
        let prose: Vec<String> = (0..4_000).map(|i| format!("{} words ", i * i % 977)).collect();
        assert!(!repeats(&prose.concat()[..20_000]));
        assert!(began.elapsed().as_secs() < 20);
    }

    #[test]
    fn foreign_letters_are_those_of_words_that_neither_question_nor_mathematics_has() {
        for (text, question, want) in [
            ("ab да 1", "", 0.5),
            ("答案", "", 1.0),
            ("答案是七。", "小明有几个苹果？", 0.0),
            ("答えは7です", "りんごはいくつ", 0.0),
            ("리ンゴ", "사과는 몇 개", 2.0 / 3.0),
            ("да", "Сколько яблок?", 0.0),
            ("the area π r² is πr², with Δx, θ, αβ", "", 0.0),
            ("ab σφάλμα", "", 6.0 / 8.0),
            ("σφάλμα", "Πόσα μήλα έχει;", 0.0),
            ("𝑥 + 𝜎 = ℝ, 5 Ω, 300 K, 1ª, 2º, ℓ", "", 0.0),
            ("「7」、 7。", "", 0.0),
            ("123", "", 0.0),
        ] {
            assert_close(flaws(text, question).foreign as f32, want, 1e-6);
        }
    }

    #[test]
    fn a_switch_needs_long_stretches_of_clear_language() {
        let both = format!("{ENGLISH}\n \n{SPANISH}");
        for (text, question, want) in [
            (ENGLISH, ENGLISH, false),
            (SPANISH, SPANISH, false),
            (SPANISH, ENGLISH, true),
            (ENGLISH, SPANISH, true),
            (ENGLISH, CHINESE, true),
            (CHINESE, CHINESE, false),
            (both.as_str(), "", true),
            (both.as_str(), ENGLISH, true),
            ("Sí, son siete manzanas.", ENGLISH, false),
            ("x = 3 * 4 + \\frac{3}{4}\n\ny_1 = 12 / 5 kg, so 12 - 5 = 7\n\n#### 7", ENGLISH, false),
            (&"nicht ".repeat(40), ENGLISH, false),
            (FINE, "", false),
            ("", ENGLISH, false),
        ] {
            assert_eq!(flaws(text, question).switch, want, "{text}");
        }
    }
}
