//! What all that learns by `rl` shares.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::ProgressBar;
use ollm_train::Result;
use ollm_train::data::tensor_file::{FileMetadata, Tensors, sorted_json};
use ollm_train::eval::accuracy::{AccuracyReport, AccuracyRow, Grade, ProblemUse, Progress, Questions, Scoring};
use ollm_train::features::backbone::BackboneDescription;
use ollm_train::fit::run::RunFolder;
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::Loaded;
use ollm_train::rl::reward::RewardSource;
use ollm_train::rl::task::reinforce;
use ollm_train::rollout::engine::Plan;
use ollm_train::rollout::library::Library;

use super::args::{RlArgs, Start};
use crate::output::print;
use crate::prepare::file_names;
use crate::progress::BarProgress;

/// What learns from what.
pub(super) struct RlRun<'a> {
    pub(super) args: &'a RlArgs,
    pub(super) library: &'a Library<'a>,
    pub(super) about: &'a BackboneDescription,
    pub(super) train: &'a Questions<'a>,
    pub(super) valid: &'a Questions<'a>,
    pub(super) bar: &'a ProgressBar,
}

impl RlRun<'_> {
    /// The plugin.
    pub(super) fn plugin(&self) -> Result<Loaded> {
        let path = self.args.plugin.as_deref().unwrap_or(Path::new(""));
        deploy::open(path, self.about)
    }

    /// Trains what `rewards` starts with. `first`: what a checkpoint must agree with of that. None
    /// if it stopped, to be resumed.
    pub(super) fn train(
        &self,
        rewards: &mut dyn RewardSource,
        first: FileMetadata,
        folder: &mut RunFolder,
    ) -> Result<Option<Tensors>> {
        let identity: FileMetadata = self.identity().into_iter().chain(first).collect();
        let trained = reinforce(rewards, &self.args.settings(), &identity, self.args.run.stop_after, folder, self.bar)?;
        if trained.is_none() {
            print(format_args!("stopped; --resume goes on from {}\n", folder.checkpoint().display()))?;
        }
        Ok(trained)
    }

    /// What a checkpoint must agree with, whatever learns.
    fn identity(&self) -> FileMetadata {
        // Without the groups, a run of groups would go on as one of held latents.
        let groups = self.args.drawn().as_ref().map_or("nothing".to_owned(), sorted_json);
        let fields = [
            ("learn", format!("{:?}", self.args.learn).to_lowercase()),
            ("hold", self.args.hold().to_string()),
            ("groups", groups),
            ("entropy", self.args.entropy().to_string()),
            ("backbone", self.about.identity()),
            ("data", name(self.train)),
            ("valid", name(self.valid)),
            ("tokens", self.args.rollout.tokens.to_string()),
            ("token_cost", self.args.reward.token_cost.to_string()),
            ("answer", self.args.rollout.answer.to_string()),
        ];
        fields.map(|(key, value)| (key.to_owned(), value)).into()
    }

    /// What the file says of its training. `start`: where a policy began.
    pub(super) fn provenance(
        &self,
        objective: &str,
        start: Option<Start>,
    ) -> impl Iterator<Item = (&'static str, String)> {
        let groups = self.args.drawn().as_ref().map(|groups| ("groups", sorted_json(groups)));
        let start = start.and_then(|start| Some(("start", start.to_possible_value()?.get_name().to_owned())));
        let settings = self.args.settings();
        let fields = [
            ("objective", objective.to_owned()),
            ("data", file_names(&self.args.input.data)),
            ("data_hash", name(self.train)),
            ("valid_hash", name(self.valid)),
            ("token_cost", self.args.reward.token_cost.to_string()),
            ("entropy", self.args.entropy().to_string()),
            ("steps", settings.steps.to_string()),
            ("learning_rate", settings.lr.to_string()),
            ("patience", self.args.patience.to_string()),
        ];
        fields.into_iter().chain(start).chain(groups)
    }

    pub(super) fn scoring(&self) -> Scoring {
        Scoring { reward: self.args.reward(), seed: self.args.rollout.seed }
    }

    /// The row of a model's answers to the validation problems.
    pub(super) fn answered(
        &self,
        name: &str,
        library: &Library<'_>,
        plugin: Option<&Loaded>,
        plan: &Plan,
    ) -> Result<AccuracyRow> {
        let (shown, problems) = (BarProgress(self.bar), self.valid.gold.len());
        shown.row(name, problems);
        let answers = library.answers(plugin, plan, self.valid.corpus, problems, &|| shown.problem())?;
        let grades = self.valid.grade(&answers)?;
        let grades: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades.iter().collect()).collect();
        Ok(AccuracyRow::new(name, &grades, self.scoring()))
    }

    /// A table of groups of rows; the first of a group is what the others are compared with, unless
    /// told otherwise.
    pub(super) fn report(
        &self,
        questions: &Questions<'_>,
        used: ProblemUse,
        groups: Vec<Vec<AccuracyRow>>,
    ) -> Result<AccuracyReport> {
        let seed = self.args.rollout.seed;
        let compared = |group: Vec<AccuracyRow>| -> Vec<AccuracyRow> {
            let mut rows = group.into_iter();
            let Some(first) = rows.next() else { return Vec::new() };
            let others: Vec<AccuracyRow> = rows.map(|row| row.compared(&first, seed)).collect();
            [first].into_iter().chain(others).collect()
        };
        let rows = groups.into_iter().flat_map(compared).collect();
        let report = AccuracyReport { problems: questions.gold.len(), used, train_problems: None, rows };
        match &self.args.against {
            Some(name) => report.against(name, seed),
            None => Ok(report),
        }
    }

    /// Prints tables, and what was written.
    pub(super) fn end(&self, reports: Vec<AccuracyReport>, written: &[PathBuf]) -> Result<()> {
        self.bar.finish_and_clear();
        self.args.rollout.answer.finish()?;
        for report in reports {
            print(format_args!("{report}\n"))?;
        }
        let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        print(format_args!("wrote {}\n", written.join(" and ")))
    }
}

/// Names the problems.
fn name(questions: &Questions<'_>) -> String {
    format!("{}:{}", questions.corpus.hash, questions.gold.len())
}
