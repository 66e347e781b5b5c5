//! Sample completions: what the model answers to a few held-out questions while it is trained.

use std::fmt;
use std::sync::Arc;

use ollm_runtime::model::Model;
use serde::Serialize;

use crate::data::corpus::{Corpus, Problem};
use crate::error::Result;
use crate::features::backbone::BackboneModel;
use crate::features::segments::Hold;
use crate::plugin::file::Loaded;
use crate::rollout::engine::{LatentPlan, Plan, RolloutEngine};

/// Tokens of a sample at most.
pub const SAMPLE_TOKENS: usize = 256;

/// A question and what the model says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The question.
    pub question: String,
    /// The final answer of the data where they name it, or else all of the data's answer.
    pub expected: String,
    /// The model's answer.
    pub answer: String,
}

impl Sample {
    /// An answer to a problem.
    pub fn new(problem: &Problem, answer: impl Into<String>) -> Self {
        let expected = problem.expected.clone().unwrap_or_else(|| problem.answer.clone());
        Self { question: problem.question.clone(), expected, answer: answer.into() }
    }
}

/// Shortened, on one line.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", shortened(&self.question, 60), shortened(&self.answer, 160))
    }
}

/// The words of a text on one line: its end rather than its beginning, as answers differ there.
fn shortened(text: &str, length: usize) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let count = words.chars().count();
    if count <= length {
        return words;
    }
    let end: String = words.chars().skip(count - length).collect();
    format!("..{end}")
}

/// The questions that are asked, and who answers.
pub struct SampleQuestions<'a> {
    backbone: &'a BackboneModel,
    problems: Vec<Problem>,
    threads: usize,
}

impl<'a> SampleQuestions<'a> {
    /// The first `count` problems of a corpus, answered on `threads` threads (0: one for each
    /// core), greedily, in at most [`SAMPLE_TOKENS`] tokens.
    pub fn new(backbone: &'a BackboneModel, corpus: &Corpus, count: usize, threads: usize) -> Self {
        Self { backbone, problems: corpus.first(Some(count)).to_vec(), threads }
    }

    /// The model that a plugin or adapters belong to.
    pub fn backbone(&self) -> &'a BackboneModel {
        self.backbone
    }

    /// The answers with a plugin.
    pub fn with_plugin(&self, plugin: &Loaded, latents: LatentPlan) -> Result<Vec<Sample>> {
        let engine = RolloutEngine::new(self.backbone, Some(plugin), self.threads, self.problems.len())?;
        self.ask(&engine, latents, plugin.spec.hold)
    }

    /// The answers of another model of the same tokens and templates.
    pub fn with_model(&self, model: &Arc<Model>) -> Result<Vec<Sample>> {
        let engine = RolloutEngine::on(model, self.backbone, None, self.threads, self.problems.len())?;
        self.ask(&engine, LatentPlan::Backbone, Hold::All)
    }

    fn ask(&self, engine: &RolloutEngine<'_>, latents: LatentPlan, held: Hold) -> Result<Vec<Sample>> {
        let plan = Plan { latents, held, temperature: 0.0, samples: 1, tokens: SAMPLE_TOKENS, states: false, seed: 0 };
        let mut samples = Vec::with_capacity(self.problems.len());
        engine.run(&self.problems, &plan, &mut |index, answers| {
            samples.extend(answers.into_iter().map(|answer| Sample::new(&self.problems[index], answer.text)));
            Ok(())
        })?;
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_first_questions_are_answered_with_a_plugin_and_by_another_model() {
        let backbone = testing::speaker();
        let plugin = testing::speaker_plugin(&backbone, 3);
        let problem = |question: &str| Problem::new(question, "1");
        let corpus = Corpus::new(["ab", "c", "d"].map(problem).to_vec());
        let questions = SampleQuestions::new(&backbone, &corpus, 2, 1);
        let asked = |samples: &[Sample]| samples.iter().map(|sample| sample.question.clone()).collect::<Vec<_>>();
        let (with, without) = (
            questions.with_plugin(&plugin, LatentPlan::Fixed(1)).unwrap(),
            questions.with_model(backbone.model()).unwrap(),
        );
        assert_eq!((asked(&with), asked(&without)), (vec!["ab".into(), "c".into()], vec!["ab".into(), "c".into()]));
        assert!(with != without && with[0].expected == "1" && !with[0].answer.is_empty());
        assert_eq!(questions.with_plugin(&plugin, LatentPlan::Fixed(1)).unwrap(), with);
    }

    #[test]
    fn a_sample_is_shown_on_one_line_by_its_end() {
        let sample = Sample::new(&Problem::new("a\nb", "1"), format!("{}\n#### 7", "word ".repeat(100)));
        let shown = sample.to_string();
        assert!(shown.starts_with("a b -> ..") && shown.ends_with("word #### 7") && shown.len() < 240, "{shown}");
    }
}
