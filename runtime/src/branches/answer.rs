//! The final answer of a text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex_lite::Regex;

use super::number::{self, numbers};

/// How the final answer is found in a text. Numbers are compared by value: `1,234.50` is `1234.5`,
/// and so is `2469/2`.
#[derive(Clone, Default)]
pub enum AnswerRule {
    /// The number behind the last `####`, or else the last number.
    #[default]
    Number,
    /// What stands behind the last `####`, to the end of its line.
    Hash,
    /// What stands in the last `\boxed{}`.
    Boxed,
    /// The one group of a regular expression, where it matches last.
    Regex(Regex),
    /// The whole text.
    Text,
    /// What the application says.
    Callback(Arc<Extract>),
}

/// Bytes of a rule, at most.
const MAX_RULE: usize = 1 << 16;

type Extract = dyn Fn(&str) -> Option<String> + Send + Sync;

impl AnswerRule {
    /// How each rule is written, as [`AnswerRule::from_str`] reads it; a callback cannot be
    /// written.
    pub const ALL: [&str; 5] = ["number", "hash", "boxed", "regex:RE", "text"];

    /// The answer of a text, if it has one.
    pub fn extract(&self, text: &str) -> Option<String> {
        let found = match self {
            Self::Number => {
                let marked = behind_mark(text).and_then(|after| numbers(after).next());
                return marked.or_else(|| numbers(text).last());
            }
            Self::Hash => behind_mark(text)?,
            Self::Boxed => boxed(text)?,
            Self::Regex(regex) => regex.captures_iter(text).last()?.get(1)?.as_str(),
            Self::Text => return Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
            Self::Callback(answer) => return answer(text),
        };
        let found = found.trim();
        let answer = number::whole(found).unwrap_or_else(|| found.to_owned());
        (!answer.is_empty()).then_some(answer)
    }
}

impl fmt::Display for AnswerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => write!(f, "number"),
            Self::Hash => write!(f, "hash"),
            Self::Boxed => write!(f, "boxed"),
            Self::Regex(regex) => write!(f, "regex:{regex}"),
            Self::Text => write!(f, "text"),
            Self::Callback(_) => write!(f, "callback"),
        }
    }
}

impl fmt::Debug for AnswerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnswerRule({self})")
    }
}

impl FromStr for AnswerRule {
    type Err = AnswerRuleError;

    /// Reads one of [`AnswerRule::ALL`].
    fn from_str(text: &str) -> Result<Self, AnswerRuleError> {
        if text.len() > MAX_RULE {
            return Err(AnswerRuleError::TooLong { bytes: text.len() });
        }
        match text.split_once(':') {
            None => match text {
                "number" => Ok(Self::Number),
                "hash" => Ok(Self::Hash),
                "boxed" => Ok(Self::Boxed),
                "text" => Ok(Self::Text),
                _ => Err(AnswerRuleError::Unknown(text.to_owned())),
            },
            Some(("regex", pattern)) => {
                let wrong = |error: regex_lite::Error| AnswerRuleError::Regex {
                    pattern: pattern.to_owned(),
                    reason: error.to_string(),
                };
                let regex = Regex::new(pattern).map_err(wrong)?;
                match regex.captures_len() - 1 {
                    1 => Ok(Self::Regex(regex)),
                    groups => Err(AnswerRuleError::Groups { pattern: pattern.to_owned(), groups }),
                }
            }
            Some(_) => Err(AnswerRuleError::Unknown(text.to_owned())),
        }
    }
}

/// Why a text is no rule for answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerRuleError {
    /// It names none.
    Unknown(String),
    /// It is longer than any sensible one.
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// The pattern is no regular expression.
    Regex {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The pattern must have one group: the answer.
    Groups {
        /// The pattern.
        pattern: String,
        /// How many it has.
        groups: usize,
    },
}

impl fmt::Display for AnswerRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => {
                write!(f, "{text:?} is no rule for answers; there are {}", AnswerRule::ALL.join(", "))
            }
            Self::TooLong { bytes } => write!(f, "a rule for answers of {bytes} bytes is longer than {MAX_RULE}"),
            Self::Regex { pattern, reason } => write!(f, "{pattern:?} is no regular expression: {reason}"),
            Self::Groups { pattern, groups } => {
                write!(f, "the regular expression {pattern:?} has {groups} groups, but must have one: the answer")
            }
        }
    }
}

impl std::error::Error for AnswerRuleError {}

/// What stands behind the last `####`, to the end of its line.
fn behind_mark(text: &str) -> Option<&str> {
    text.rsplit_once("####")?.1.lines().next()
}

/// What stands in the last `\boxed{}` whose braces are closed.
fn boxed(text: &str) -> Option<&str> {
    const BEGIN: &str = "\\boxed{";
    let inside = |(at, _): (usize, &str)| {
        let rest = &text[at + BEGIN.len()..];
        let mut depth = 1;
        let end = rest.char_indices().find(|&(_, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        end.map(|(end, _)| &rest[..end])
    };
    text.rmatch_indices(BEGIN).find_map(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(rule: &str, text: &str) -> Option<String> {
        rule.parse::<AnswerRule>().unwrap().extract(text)
    }

    #[test]
    fn numbers_are_read_however_they_are_written() {
        for (text, answer) in [
            ("It is 3.\n#### 1,234\n", Some("1234")),
            ("#### 7\nThat took 3 steps.", Some("7")),
            ("#### none, but 10", Some("10")),
            ("The answer is 18.", Some("18")),
            ("The answer is 18.00", Some("18")),
            ("so 10-5", Some("5")),
            ("x = -5", Some("-5")),
            ("x = \u{2212}5%", Some("-5")),
            ("-0.0", Some("0")),
            ("007", Some("7")),
            (".5", Some("0.5")),
            ("-.50", Some("-0.5")),
            ("1,2,3", Some("3")),
            ("1/4 of it", Some("0.25")),
            ("2/4, so 2/3", Some("2/3")),
            ("a loss of -$2", Some("-2")),
            ("1,234,567.250 dollars", Some("1234567.25")),
            ("12,34", Some("34")),
            ("é9é", Some("9")),
            ("no number", None),
            ("", None),
        ] {
            assert_eq!(extract("number", text).as_deref(), answer, "{text:?}");
        }
    }

    #[test]
    fn each_rule_finds_its_answer() {
        for (rule, text, answer) in [
            ("hash", "3\n#### 1,000 \n5", Some("1000")),
            ("hash", "#### yes, 3", Some("yes, 3")),
            ("hash", "####  ", None),
            ("hash", "3", None),
            ("boxed", r"\boxed{1} and \boxed{\frac{1}{2}} or", Some("0.5")),
            ("boxed", r"\boxed{\$18}", Some("18")),
            ("boxed", r"\boxed{\sqrt{2}}", Some(r"\sqrt{2}")),
            ("boxed", r"\boxed{ 4.0 } then \boxed{5", Some("4")),
            ("boxed", r"\boxed{}", None),
            ("boxed", "4", None),
            ("regex:answer: (\\w+)", "answer: no\nanswer: yes", Some("yes")),
            ("regex:=(-?[0-9,]+)", "=1,000", Some("1000")),
            ("regex:(a)|b", "b", None),
            ("text", "  two words\n", Some("two words")),
            ("text", " \n", None),
        ] {
            assert_eq!(extract(rule, text).as_deref(), answer, "{rule} {text:?}");
        }
        let first = AnswerRule::Callback(Arc::new(|text| text.split(' ').next().map(str::to_owned)));
        assert_eq!(first.extract("a b").as_deref(), Some("a"));
    }

    #[test]
    fn a_rule_is_read_as_it_is_written_and_what_is_none_is_refused() {
        for text in ["number", "hash", "boxed", "regex:a:(b)", "text"] {
            assert_eq!(text.parse::<AnswerRule>().unwrap().to_string(), text);
        }
        for text in ["", "numbers", "number:1", "text:"] {
            assert!(matches!(text.parse::<AnswerRule>(), Err(AnswerRuleError::Unknown(_))), "{text}");
        }
        assert!(matches!("regex:(".parse::<AnswerRule>(), Err(AnswerRuleError::Regex { .. })));
        assert!(matches!("regex:a+".parse::<AnswerRule>(), Err(AnswerRuleError::Groups { groups: 0, .. })));
        assert!(matches!("regex:(a)(b)".parse::<AnswerRule>(), Err(AnswerRuleError::Groups { groups: 2, .. })));
        let long = format!("regex:({})", "a".repeat(1 << 16));
        assert!(matches!(long.parse::<AnswerRule>(), Err(AnswerRuleError::TooLong { .. })));
        assert!("regex:(?:a)(b)".parse::<AnswerRule>().is_ok());
    }
}
