//! What the value head learns from: hidden states of answers that were graded.

use candle_core::Tensor;

use crate::data::corpus::{Corpus, Problem};
use crate::error::Result;
use crate::eval::accuracy::Grade;
use crate::features::states::Features;
use crate::rollout::engine::Answer;

/// Answers to problems, as a text to be read by the backbone, and whether each is right.
pub struct GradedAnswers {
    /// A problem for each answer.
    pub corpus: Corpus,
    right: Vec<bool>,
}

impl GradedAnswers {
    /// The answers to each of `problems`, and their grades.
    pub fn new(problems: &[Problem], answers: &[Vec<Answer>], grades: &[Vec<Grade>]) -> Self {
        let one = |(problem, answers): (&Problem, &Vec<Answer>)| -> Vec<Problem> {
            let text = |answer: &Answer| Problem { answer: answer.text.clone(), expected: None, ..problem.clone() };
            answers.iter().map(text).collect()
        };
        Self {
            corpus: Corpus::new(problems.iter().zip(answers).flat_map(one).collect()),
            right: grades.iter().flatten().map(Grade::is_right).collect(),
        }
    }
}

/// Where in an answer a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind the last token of a line that is not the last.
    Line,
    /// Behind the last token of the answer.
    End,
}

/// Hidden states at the ends of lines and answers, and what became of the answers.
pub struct ValueExamples {
    /// `[N, d]`, f32
    pub states: Tensor,
    /// 1 for a right answer, 0 for a wrong one. `[N]`, f32
    pub labels: Tensor,
    /// Where each state is.
    pub places: Vec<Place>,
    /// Whether each answer is right.
    pub right: Vec<bool>,
}

impl ValueExamples {
    /// Of the features of graded answers. `ends_line`: whether a token ends a line. An answer that
    /// is longer than the context gives nothing.
    pub fn new(answers: &GradedAnswers, features: &Features<'_>, ends_line: &dyn Fn(u32) -> bool) -> Result<Self> {
        let (next, mut rows, mut places, mut right) = (features.next(), Vec::new(), Vec::new(), Vec::new());
        for (bounds, &is_right) in features.bounds().windows(2).zip(&answers.right) {
            // Row i is the state from which token i of the answer is predicted: it is behind token
            // i - 1. The last one is that from which the end of the turn is predicted.
            for row in bounds[0]..bounds[1] {
                let place = if row + 1 == bounds[1] {
                    Place::End
                } else if row > bounds[0] && ends_line(next[row - 1]) {
                    Place::Line
                } else {
                    continue;
                };
                rows.push(row as u32);
                places.push(place);
                right.push(is_right);
            }
        }
        let states = features.batch(&rows)?.hidden;
        let labels: Vec<f32> = right.iter().map(|&right| f32::from(u8::from(right))).collect();
        let labels = Tensor::from_vec(labels, rows.len(), states.device())?;
        Ok(Self { states, labels, places, right })
    }

    /// Number of states.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// No state at all.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use half::f16;

    #[test]
    fn states_are_those_behind_the_ends_of_lines_and_answers() {
        let problem = |answer: &str| Problem::new("q", answer);
        let corpus = Corpus::new(vec![problem("a"), problem("b"), problem("c")]);
        let answers = GradedAnswers { corpus, right: vec![true, false, true] };
        // Token 9 ends a line, token 0 the turn. The second answer is too long, the third empty.
        let next = vec![5, 9, 6, 9, 0, 0];
        let states: Vec<f16> = (0..6).map(|row| f16::from_f32(row as f32)).collect();
        let features = Features::new(&states, next, 1, vec![0, 5, 5, 6], &Device::Cpu);
        let examples = ValueExamples::new(&answers, &features, &|token| token == 9).unwrap();
        assert_eq!(examples.places, [Place::Line, Place::End, Place::End]);
        assert_eq!(examples.right, [true, true, true]);
        assert_eq!(examples.states.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [2.0, 4.0, 5.0]);
    }
}
