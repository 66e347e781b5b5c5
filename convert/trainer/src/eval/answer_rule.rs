//! What the final answer of a text is, by a rule; and when two are the same.

use std::fmt;
use std::str::FromStr;

use num_rational::BigRational;
use regex_lite::Regex;

use crate::error::Result;
use crate::eval::answer_command::{AnswerCommand, AskedAnswer, CommandVerdict};
use crate::eval::expression::{Expression, boxed};
use crate::eval::final_answer;

/// A final answer. Equal ones are the same answer, however they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinalAnswer {
    /// An exact number.
    Number(BigRational),
    /// A mathematical expression in its normal form.
    Expression(Expression),
    /// A text.
    Text(String),
}

impl FinalAnswer {
    /// Whether it is an expression whose value is not known: it may be right, and counts as wrong.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Expression(expression) if expression.is_text())
    }
}

/// What the final answer of a text is.
#[derive(Clone, Debug, Default)]
pub enum AnswerRule {
    /// The number behind the last `####`, or else the last number.
    #[default]
    Number,
    /// What is in the last `\boxed{..}`; or else what stands behind the last `####`; or else the
    /// formula between `$` or `\(` that the last number is in; or else the last number. Compared as
    /// [`Expression`]s.
    Math,
    /// All of the text, but for white space.
    Text,
    /// A letter of `A` to `J`: in the last `\boxed{..}`, behind `answer is` or `####`, in brackets,
    /// alone on the last line, or before the text of the choice. A lower-case letter counts too,
    /// except behind a mark.
    Choice,
    /// The one group of a regular expression, of its last match.
    Regex(Regex),
    /// What a command says. To itself the rule is that of a text.
    Command(AnswerCommand),
}

/// What is said of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Its final answer, if it has one.
    pub answer: Option<FinalAnswer>,
    /// What it is worth: 1 if it is right, 0 if it is wrong; a command may give anything between.
    pub score: f64,
}

impl AnswerRule {
    /// How each rule is written, as [`AnswerRule::from_str`] reads it.
    pub const ALL: [&str; 6] = ["number", "math", "text", "choice", "regex:RE", "command:CMD"];

    /// The final answer of a text, if it has one.
    pub fn extract(&self, text: &str) -> Option<FinalAnswer> {
        match self {
            Self::Number => final_answer::extract(text).map(FinalAnswer::Number),
            Self::Math => {
                let marked = || text.rsplit_once("####").and_then(|(_, after)| after.trim().lines().next());
                let written = boxed(text).or_else(marked).filter(|answer| !answer.trim().is_empty());
                let written = written.or_else(|| last_formula(text));
                let number = || final_answer::extract(text).map(Expression::from);
                written.map(Expression::new).or_else(number).map(FinalAnswer::Expression)
            }
            Self::Text | Self::Command(_) => Some(words(text)).filter(|text| !text.is_empty()).map(FinalAnswer::Text),
            Self::Choice => choice(text).map(|letter| FinalAnswer::Text(letter.to_string())),
            Self::Regex(regex) => {
                let group = regex.captures_iter(text).last().and_then(|found| found.get(1));
                group.map(|group| FinalAnswer::Text(words(group.as_str())))
            }
        }
    }

    /// The final answer that the data give apart from the answer's text.
    pub fn expected(&self, answer: &str) -> Option<FinalAnswer> {
        match self {
            Self::Math => Some(FinalAnswer::Expression(Expression::new(boxed(answer).unwrap_or(answer)))),
            Self::Regex(_) => Some(FinalAnswer::Text(words(answer))),
            _ => self.extract(answer),
        }
    }

    /// What each answer is worth, by the final answers `gold` that are expected.
    ///
    /// # Errors
    /// [`Error::AnswerCommand`](crate::Error::AnswerCommand) of a command; no other rule fails.
    pub fn judge(&self, asked: &[AskedAnswer<'_>], gold: &[&FinalAnswer]) -> Result<Vec<Judgement>> {
        if let Self::Command(command) = self {
            let judgement = |verdict: CommandVerdict| Judgement {
                answer: verdict.final_answer.and_then(|text| self.extract(&text)),
                score: verdict.reward,
            };
            return Ok(command.judge(asked)?.into_iter().map(judgement).collect());
        }
        let judgement = |(asked, &gold): (&AskedAnswer<'_>, &&FinalAnswer)| {
            let answer = self.extract(asked.answer);
            Judgement { score: f64::from(u8::from(answer.as_ref() == Some(gold))), answer }
        };
        Ok(asked.iter().zip(gold).map(judgement).collect())
    }

    /// Ends what judges, where that is a process.
    ///
    /// # Errors
    /// As [`AnswerCommand::finish`].
    pub fn finish(&self) -> Result<()> {
        match self {
            Self::Command(command) => command.finish(),
            _ => Ok(()),
        }
    }
}

/// The text with one space between its words.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The last formula with a command or a power, where no number follows it: to take the last number
/// out of `$2\sqrt{3}$` would make another answer of it.
fn last_formula(text: &str) -> Option<&str> {
    let between = |(open, close): (&str, &str)| {
        let (before, behind) = text.rsplit_once(close)?;
        let (_, formula) = before.rsplit_once(open)?;
        let is_formula = formula.contains(['\\', '^']) && !behind.contains(|c: char| c.is_ascii_digit());
        is_formula.then_some(formula)
    };
    [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")].into_iter().find_map(between)
}

/// What stands before the letter of a choice, in lower case.
const CHOICE_MARKS: &[&str] = &[
    "answer is",
    "answer:",
    "answer\":",
    "ans:",
    "\u{7b54}\u{6848}\u{ff1a}",
    "\u{7b54}\u{6848}:",
    "answer -",
    "answer=",
    "answer =",
    "<answer>",
    "####",
    "option is",
    "choice is",
    "answer must be",
];

/// The last letter that is given as a choice.
fn choice(text: &str) -> Option<char> {
    if let Some(inside) = boxed(text) {
        return choice_letter(inside).or_else(|| choice_alone(inside));
    }
    let lower = text.to_ascii_lowercase();
    // `means:` does not end with the mark `ans:`.
    let begins = |at: usize| !lower[..at].ends_with(|c: char| c.is_ascii_alphabetic());
    let places = |mark| lower.match_indices(mark).filter(|(at, _)| begins(*at)).map(|(at, mark)| at + mark.len());
    let marked = CHOICE_MARKS.iter().flat_map(|mark| places(mark));
    let marked = marked.filter_map(|at| Some((at, choice_letter(&text[at..])?))).max().map(|(_, letter)| letter);
    marked.or_else(|| bracketed_choice(text)).or_else(|| choice_alone(text)).or_else(|| leading_choice(text))
}

/// What only sets a letter, or leads to it.
const CHOICE_LEADS: &[&str] =
    &["\\textbf", "\\mathrm", "\\mathbf", "\\text", "\\,", "\\(", "\\[", "option", "Option", "choice", "Choice"];

/// What may stand around a letter.
fn sets_choice(c: char) -> bool {
    let is_quote = |c| matches!(c, '"' | '\'' | '`' | '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}');
    c.is_whitespace() || is_quote(c) || matches!(c, '(' | '[' | '*' | ':' | '{' | '$' | '\u{ff08}' | '\u{ff1a}')
}

/// What follows what only sets a letter.
fn behind_leads(mut text: &str) -> &str {
    loop {
        let lead = CHOICE_LEADS.iter().find_map(|lead| text.strip_prefix(lead));
        let rest = lead.unwrap_or(text).trim_start_matches(sets_choice);
        if rest.len() == text.len() {
            return rest;
        }
        text = rest;
    }
}

/// The letter that a text begins with, behind what only sets it, with nothing of a word behind it;
/// `A` and `I` are words themselves.
fn choice_letter(text: &str) -> Option<char> {
    let mut chars = behind_leads(text).chars();
    let found = chars.next().filter(|c| ('A'..='J').contains(c))?;
    let ends = match chars.next() {
        None => true,
        Some(' ') => !matches!(found, 'A' | 'I'),
        // I'm
        Some('\'') => !chars.as_str().starts_with(char::is_alphabetic),
        Some(next) => !next.is_alphanumeric(),
    };
    ends.then_some(found)
}

/// The last letter in brackets, with no function before it: `(B)`, `[B]`, `(b)`.
fn bracketed_choice(text: &str) -> Option<char> {
    let inside = |(at, open): (usize, &str)| {
        let mut chars = text[at + 1..].chars();
        let letter = choice_of(chars.next()?)?;
        let closes = chars.next() == Some(if open == "(" { ')' } else { ']' });
        (closes && !text[..at].ends_with(char::is_alphanumeric)).then_some(letter)
    };
    text.rmatch_indices(['(', '[']).find_map(inside)
}

/// The letter that is all of the last line, whatever sets it: `**B**`, `b.`
fn choice_alone(text: &str) -> Option<char> {
    let mut chars = behind_leads(text.trim_end().lines().next_back()?).chars();
    let letter = choice_of(chars.next()?)?;
    chars.all(|c| sets_choice(c) || matches!(c, '.' | ')' | ']' | '}' | '\\' | '!')).then_some(letter)
}

/// The letter that begins the only line that begins like a choice: `B) Paris`, `Option B is right`.
fn leading_choice(text: &str) -> Option<char> {
    const BEHIND: [&str; 7] = [")", ".", ":", "\u{ff09}", " - ", " is correct", " is right"];
    let begins = |line: &str| {
        let rest = behind_leads(line.trim_start());
        let behind = rest.get(1..)?.trim_start_matches(['*', '"', '`', '\'']);
        let is_only = |others: &str| rest.starts_with(|c| c != 'I') && choice_letter(others).is_none();
        let is_set = behind.trim_end().is_empty()
            || BEHIND.iter().any(|begin| behind.starts_with(begin))
            || behind.strip_prefix(',').is_some_and(is_only);
        choice_letter(rest).filter(|_| is_set)
    };
    let mut letters = text.lines().filter_map(begins);
    let first = begins(text.trim_start().lines().next()?)?;
    (letters.next() == Some(first) && letters.next().is_none()).then_some(first)
}

/// The choice that a letter is, small or not.
fn choice_of(letter: char) -> Option<char> {
    Some(letter.to_ascii_uppercase()).filter(|letter| ('A'..='J').contains(letter))
}

impl fmt::Display for AnswerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => write!(f, "number"),
            Self::Math => write!(f, "math"),
            Self::Text => write!(f, "text"),
            Self::Choice => write!(f, "choice"),
            Self::Regex(regex) => write!(f, "regex:{regex}"),
            Self::Command(command) => command.fmt(f),
        }
    }
}

impl FromStr for AnswerRule {
    type Err = String;

    /// Reads one of [`AnswerRule::ALL`].
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(command) = text.strip_prefix("command:") {
            return match command.trim() {
                "" => Err("command: is followed by the command".into()),
                _ => Ok(Self::Command(AnswerCommand::new(command))),
            };
        }
        if let Some(pattern) = text.strip_prefix("regex:") {
            let regex =
                Regex::new(pattern).map_err(|error| format!("{pattern:?} is no regular expression: {error}"))?;
            let groups = regex.captures_len() - 1;
            return match groups {
                1 => Ok(Self::Regex(regex)),
                _ => Err(format!("{pattern:?} has {groups} groups, but must have one, which is the answer")),
            };
        }
        let plain = [Self::Number, Self::Math, Self::Text, Self::Choice];
        let found = plain.into_iter().find(|rule| rule.to_string() == text);
        found.ok_or_else(|| format!("{text:?} is no rule of an answer; there are {}", Self::ALL.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> AnswerRule {
        text.parse().unwrap()
    }

    #[test]
    fn boxes_are_compared_by_what_they_mean() {
        let math = rule("math");
        let gold = math.expected("2\\sqrt{3}").unwrap();
        for (text, is_right) in [
            ("so \\boxed{\\sqrt{12}}.", true),
            ("first \\boxed{3}, then \\boxed{2\\sqrt{3}}", true),
            ("\\boxed{2\\sqrt{3}} first, then \\boxed{3}", false),
            ("so \\boxed{3}", false),
            ("#### $2\\sqrt3$", true),
            ("3", false),
        ] {
            assert_eq!(math.extract(text).as_ref() == Some(&gold), is_right, "{text}");
        }
        for (text, is_right) in [
            ("It is $2\\sqrt{3}$.", true),
            ("So \\(x = \\sqrt{12}\\) units.", true),
            ("\\[ 2\\sqrt{3} \\]", true),
            ("$$\\sqrt{12}$$", true),
            ("It is $2^3$.", false),
        ] {
            assert_eq!(math.extract(text).as_ref() == Some(&gold), is_right, "{text}");
        }
        let three = math.expected("3").unwrap();
        for text in ["It is $2\\sqrt{3}$.", "\\(\\sqrt{3}\\)", "$x^3$"] {
            assert!(math.extract(text).as_ref() != Some(&three), "{text}");
        }
        assert!(math.extract("$x^2 = 9$, so x = 3").as_ref() == Some(&three));
        let half = math.expected("\\boxed{0.5}").unwrap();
        assert!(math.extract("It is 1/2").as_ref() == Some(&half) && math.extract("none").is_none());
        assert_eq!(rule("number").extract("#### 1,000"), rule("number").expected("1000"));
    }

    #[test]
    fn choices_texts_and_groups_are_read() {
        let choice = rule("choice");
        for (text, want) in [
            ("The answer is (B).", Some("B")),
            ("A good question. The answer is C", Some("C")),
            ("Answer: **D**", Some("D")),
            ("\\boxed{\\text{E}}", Some("E")),
            ("(A) is wrong, so (C)", Some("C")),
            ("B.", Some("B")),
            ("\\boxed{\\textbf{(B)}}", Some("B")),
            ("\\boxed{\\mathrm{C}}", Some("C")),
            ("**D**", Some("D")),
            ("Answer:\nB", Some("B")),
            ("The answer is B because", Some("B")),
            ("The correct option is B.", Some("B")),
            ("The answer is option (B).", Some("B")),
            ("So the answer must be \"B\".", Some("B")),
            ("<answer>C</answer>", Some("C")),
            ("Answer = 'C'", Some("C")),
            ("I choose [C]", Some("C")),
            ("`B`", Some("B")),
            ("Option B", Some("B")),
            ("B) Paris", Some("B")),
            ("First this, then that.\n\nB", Some("B")),
            ("First this.\n**c**\n", Some("C")),
            ("The answer is \\(B\\).", Some("B")),
            ("The answer is \u{201c}B\u{201d}.", Some("B")),
            ("{\"answer\": \"B\"}", Some("B")),
            ("Ans: B", Some("B")),
            ("\u{7b54}\u{6848}\u{ff1a}B", Some("B")),
            ("B, because A is wrong.", Some("B")),
            ("B - Paris", Some("B")),
            ("Option B is correct.", Some("B")),
            ("Choice B", Some("B")),
            ("b", Some("B")),
            ("(b)", Some("B")),
            ("A, B and C are all wrong", None),
            ("I, for one, cannot say", None),
            ("a dog", None),
            ("This means: B or C", None),
            ("B is the wrong one", None),
            ("f(a) and g[b]", None),
            ("A. Paris\nB. London", None),
            ("Option A is wrong", None),
            ("The answer is I'm not sure", None),
            ("The answer is A dog", None),
            ("The answer is I think 5", None),
            ("A dog", None),
            ("The answer is Blue", None),
            ("", None),
        ] {
            assert_eq!(choice.extract(text), want.map(|letter| FinalAnswer::Text(letter.into())), "{text}");
        }
        let text = rule("text");
        assert!(text.extract(" a  b\n") == text.expected("a b") && text.extract(" \n").is_none());
        let regex = rule("regex:x = (\\w+)");
        assert_eq!(regex.extract("x = 1, x = 2"), regex.expected(" 2"));
        assert!(regex.extract("y").is_none());
        for bad in ["regex:(", "regex:a", "regex:(a)(b)", "last"] {
            assert!(bad.parse::<AnswerRule>().is_err(), "{bad}");
        }
        for known in ["number", "math", "text", "choice", "regex:(a)"] {
            assert_eq!(rule(known).to_string(), known);
        }
    }
}
