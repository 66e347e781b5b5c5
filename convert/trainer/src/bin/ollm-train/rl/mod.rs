//! `rl`: learning from right answers.

mod policy;
mod tokens;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use ollm_train::Result;
use ollm_train::data::tensor_file::{FileMetadata, Tensors, sorted_json};
use ollm_train::eval::accuracy::{
    AccuracyReport, AccuracyRow, Grade, ProblemUse, Progress, Questions, Reward, Scoring, check_row,
};
use ollm_train::features::backbone::BackboneDescription;
use ollm_train::features::segments::Hold;
use ollm_train::fit::run::RunFolder;
use ollm_train::limits::require;
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::Loaded;
use ollm_train::rl::groups::GroupSettings;
use ollm_train::rl::reward::RewardSource;
use ollm_train::rl::task::{RlSettings, reinforce};
use ollm_train::rollout::engine::Plan;
use ollm_train::rollout::library::Library;

use crate::args::{InputArgs, RewardArgs, RolloutArgs, RunArgs, ValidArgs, count, price, steps};
use crate::output::print;
use crate::prepare::file_names;
use crate::progress::{BarProgress, bar};
use crate::world;

#[derive(Debug, Args)]
pub(crate) struct RlArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) valid: ValidArgs,
    /// The plugin: plugin.safetensors of a run, or a GGUF file; not with --learn adapters
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// What learns: the policy, whose actions are latents; or, to compare, what draws tokens
    #[arg(long, value_enum, default_value = "policy")]
    pub(crate) learn: Learner,
    /// How long a latent is held: for the whole answer, the gradient is exact, and each step is
    /// over all problems; else each step draws answers [default: all]; with --learn policy alone
    #[arg(long, value_name = "HOLD")]
    pub(crate) hold: Option<Hold>,
    /// Answers drawn to a problem, which are compared with one another [default: 8]; not with
    /// latents that are held for the whole answer
    #[arg(long, value_name = "N")]
    pub(crate) group: Option<usize>,
    /// Problems of a step [default: 16]; not with latents that are held for the whole answer
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) problems: Option<usize>,
    #[command(flatten)]
    pub(crate) reward: RewardArgs,
    /// What a nat of the policy's entropy is worth beside the reward, so that it does not prefer one
    /// latent everywhere before it has seen where others are better [default: 0.1]; of latents held
    /// for the whole answer alone
    #[arg(long, value_name = "X", value_parser = price)]
    pub(crate) entropy: Option<f64>,
    /// The policy to begin with [default: control, if the options keep it, else imitation]
    #[arg(long, value_enum)]
    pub(crate) start: Option<Start>,
    /// Steps
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = steps)]
    pub(crate) steps: u64,
    /// Peak learning rate [default: 1e-3 for the policy, 3e-4 for control and adapters]
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,
    /// End after N evaluations on the validation problems without more reward, and keep what had
    /// most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = steps)]
    pub(crate) patience: u64,
    /// Steps between evaluations
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = steps)]
    pub(crate) eval_every: u64,
    /// Validation questions whose answers each evaluation logs, and shows shortened
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) samples: usize,
    /// Compare each row of the table at the end with this one, problem by problem [default: what
    /// was before]
    #[arg(long, value_name = "ROW")]
    pub(crate) against: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

/// What learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Learner {
    /// The policy: its actions are latents, tokens are greedy
    Policy,
    /// The control's own parameters: its actions are tokens, drawn at temperature 1
    Control,
    /// Low-rank adapters on the backbone: their actions are tokens, drawn at temperature 1
    Adapters,
}

/// The policy that RL begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    /// Chooses the control in every state, with a probability of a half
    Control,
    /// The plugin's own, which imitates what the text was likely written with
    Imitation,
}

impl RlArgs {
    /// How answers are drawn to learn from.
    fn groups(&self) -> GroupSettings {
        let &Self { group, problems, ref rollout, .. } = self;
        let (size, problems) = (group.unwrap_or(8), problems.unwrap_or(16));
        let (tokens, reward, seed) = (rollout.tokens, self.reward(), rollout.seed);
        GroupSettings { size, problems, tokens, reward, seed }
    }

    /// That of groups, if answers are drawn; else all latents answer, held.
    fn drawn(&self) -> Option<GroupSettings> {
        (self.learn != Learner::Policy || self.hold() != Hold::All).then(|| self.groups())
    }

    fn hold(&self) -> Hold {
        self.hold.unwrap_or(Hold::All)
    }

    fn entropy(&self) -> f64 {
        self.entropy.unwrap_or(0.1)
    }

    fn reward(&self) -> Reward {
        self.reward.reward()
    }

    fn settings(&self) -> RlSettings {
        let &Self { steps, lr, patience, eval_every, samples, .. } = self;
        let rate = if self.learn == Learner::Policy { 1e-3 } else { 3e-4 };
        RlSettings { steps, lr: lr.unwrap_or(rate), patience: Some(patience), eval_every, samples }
    }

    /// Refuses flags that do not go together.
    fn check(&self) -> Result<()> {
        let exact = "has no effect on latents held for the whole answer, whose gradient is exact: leave it out";
        for (name, given) in [("--group", self.group), ("--problems", self.problems)] {
            require(self.drawn().is_some() || given.is_none(), name, exact)?;
        }
        require(
            self.drawn().is_none() || self.entropy.is_none(),
            "--entropy",
            "is of latents held for the whole answer",
        )?;
        let policy = self.learn == Learner::Policy;
        let latents = "is of latents, and with --learn control or adapters there are none: leave it out";
        require(policy || self.hold.is_none(), "--hold", latents)?;
        require(policy || self.start.is_none(), "--start", latents)?;
        let adapters = self.learn == Learner::Adapters;
        let needed = "is needed: the policy or the control that learns is in it";
        require(adapters || self.plugin.is_some(), "--plugin", needed)?;
        let without = "has no effect on adapters, which are on the backbone alone: leave it out";
        require(!adapters || self.plugin.is_none(), "--plugin", without)?;
        self.drawn().map_or(Ok(()), |groups| groups.check())
    }

    /// Refuses the name of no row before anything is learned.
    fn check_against(&self) -> Result<()> {
        let rows = match self.learn {
            Learner::Policy => policy::row_names(self.hold()),
            Learner::Control | Learner::Adapters => tokens::row_names(self.learn).to_vec(),
        };
        self.against.as_ref().map_or(Ok(()), |name| check_row(name, rows.iter().copied()))
    }
}

pub(crate) fn run(args: &RlArgs, recorded: String) -> Result<()> {
    let (input, rollout) = (&args.input, &args.rollout);
    args.settings().check()?;
    world::check_judge(&rollout.answer)?;
    args.check()?;
    args.check_against()?;
    let (train, valid) = (input.read(&input.data)?, input.read(&args.valid.valid)?);
    let questions = |corpus, limit| Questions::new(corpus, limit, &rollout.answer);
    let (train, valid) = (questions(&train, input.limit)?, questions(&valid, args.valid.valid_limit)?);
    let mut folder = args.run.open(recorded)?;
    let backbone = input.backbone()?;
    let about = backbone.describe()?;
    let library = Library::new(&backbone, &rollout.rollouts, input.threads, rollout.slots).on(world::ranks());
    let bar = bar("rl", 0, "problems");
    let run = RlRun { args, library: &library, about: &about, train: &train, valid: &valid, bar: &bar };
    match args.learn {
        Learner::Policy => policy::run(&run, &mut folder),
        Learner::Control => tokens::control(&run, &mut folder),
        Learner::Adapters => tokens::adapters(&run, &mut folder),
    }
}

/// What learns from what.
struct RlRun<'a> {
    args: &'a RlArgs,
    library: &'a Library<'a>,
    about: &'a BackboneDescription,
    train: &'a Questions<'a>,
    valid: &'a Questions<'a>,
    bar: &'a ProgressBar,
}

impl RlRun<'_> {
    /// The plugin.
    fn plugin(&self) -> Result<Loaded> {
        let path = self.args.plugin.as_deref().unwrap_or(Path::new(""));
        deploy::open(path, self.about)
    }

    /// Trains what `rewards` starts with. `first`: what a checkpoint must agree with of that. None
    /// if it stopped, to be resumed.
    fn train(
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

    /// What the file says of its training.
    fn provenance(&self, objective: &str) -> impl Iterator<Item = (&'static str, String)> {
        let groups = self.args.drawn().as_ref().map(|groups| ("groups", sorted_json(groups)));
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
        fields.into_iter().chain(groups)
    }

    fn scoring(&self) -> Scoring {
        Scoring { reward: self.args.reward(), seed: self.args.rollout.seed }
    }

    /// The row of a model's answers to the validation problems.
    fn answered(&self, name: &str, library: &Library<'_>, plugin: Option<&Loaded>, plan: &Plan) -> Result<AccuracyRow> {
        let (shown, problems) = (BarProgress(self.bar), self.valid.gold.len());
        shown.row(name, problems);
        let answers = library.answers(plugin, plan, self.valid.corpus, problems, &|| shown.problem())?;
        let grades = self.valid.grade(&answers)?;
        let grades: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades.iter().collect()).collect();
        Ok(AccuracyRow::new(name, &grades, self.scoring()))
    }

    /// A table of groups of rows; the first of a group is what the others are compared with, unless
    /// told otherwise.
    fn report(
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
    fn end(&self, reports: Vec<AccuracyReport>, written: &[PathBuf]) -> Result<()> {
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
