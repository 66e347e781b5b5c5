//! Answers as data: what a model said, to be learned in turn.
//!
//! Answers that are right and different are what rejection-sampling fine-tuning learns from (RFT,
//! arXiv 2308.01825).

use serde::Serialize;

use crate::data::corpus::Problem;
use crate::error::Result;
use crate::eval::accuracy::Questions;
use crate::rollout::engine::Answer;

/// An answer as a line of a data file.
#[derive(Debug, Serialize)]
pub struct SampleLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    question: &'a str,
    answer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    right: bool,
    tokens: usize,
}

/// The answers to each problem as lines, each text once a problem: those that the model ended, and
/// that say something; with `only_right` those that are right.
///
/// # Errors
/// [`Error::Line`](crate::Error::Line) for a question in the middle of a conversation, which such a
/// line cannot hold.
pub fn lines<'a>(
    questions: &'a Questions<'_>,
    answers: &'a [Vec<Answer>],
    only_right: bool,
) -> Result<Vec<SampleLine<'a>>> {
    let grades = questions.grade(answers)?;
    let mut lines = Vec::new();
    let problems = questions.corpus.first(Some(questions.gold.len()));
    for (index, (problem, (answers, grades))) in problems.iter().zip(answers.iter().zip(&grades)).enumerate() {
        let Problem { before, question, expected, .. } = problem;
        let system = match before.as_slice() {
            [] => None,
            [turn] if turn.role == "system" => Some(turn.content.as_str()),
            _ => {
                return Err(questions.corpus.refuse(index, "sample answers questions that begin a conversation alone"));
            }
        };
        for (at, (answer, grade)) in answers.iter().zip(grades).enumerate() {
            let again = answers[..at].iter().any(|earlier| earlier.text == answer.text);
            let whole = answer.finished && !answer.text.trim().is_empty();
            if whole && !again && (!only_right || grade.is_right()) {
                lines.push(SampleLine {
                    system,
                    question,
                    answer: &answer.text,
                    expected: expected.as_deref(),
                    right: grade.is_right(),
                    tokens: answer.tokens,
                });
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::{Corpus, Turn};
    use crate::data::format::Fields;
    use crate::error::Error;
    use crate::eval::answer_rule::AnswerRule;
    use crate::testing;

    fn answer(text: &str) -> Answer {
        let (text, finished) = (text.trim_end_matches('~').to_owned(), !text.ends_with('~'));
        Answer { text, tokens: 3, finished, choices: Vec::new(), ids: Vec::new() }
    }

    fn turn(role: &str) -> Turn {
        Turn { role: role.into(), content: "Be brief.".into() }
    }

    #[test]
    fn right_answers_come_once_and_are_read_back() {
        let told = Problem { before: vec![turn("system")], ..Problem::new("3 - 1?", "#### 2") };
        let named = Problem { expected: Some("7".into()), ..Problem::new("3 + 4?", "so") };
        let corpus = Corpus::new(vec![told.clone(), named.clone()]);
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        let answers = [
            ["it is 2", "no, 3", "it is 2", "2~", " "].map(answer).to_vec(),
            ["7", "8", "7 of them", "none", "7 or~"].map(answer).to_vec(),
        ];
        assert_eq!(lines(&questions, &answers, false).unwrap().len(), 2 + 4);
        let right = lines(&questions, &answers, true).unwrap();
        let text: String = right.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let file = testing::folder("answer-data");
        std::fs::write(&file, text).unwrap();
        let read = Corpus::read(&[file.to_path_buf()], &Fields::default()).unwrap();
        let want = [
            Problem { answer: "it is 2".into(), ..told },
            Problem { answer: "7".into(), ..named.clone() },
            Problem { answer: "7 of them".into(), ..named },
        ];
        assert_eq!(read.first(None), want);
    }

    #[test]
    fn a_question_in_the_middle_of_a_conversation_is_refused() {
        let asked = Problem { before: vec![turn("user"), turn("assistant")], ..Problem::new("3 - 1?", "#### 2") };
        let corpus = Corpus::new(vec![asked]);
        let questions = Questions::new(&corpus, None, &AnswerRule::Number).unwrap();
        let refused = lines(&questions, &[vec![answer("2")]], true).err().unwrap();
        assert!(matches!(refused, Error::Line { .. }), "{refused}");
    }
}
