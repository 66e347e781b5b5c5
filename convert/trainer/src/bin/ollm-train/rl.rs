//! `rl`: the policy learns from right answers.

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::plugin::schema::PluginConfig;
use ollm_train::Result;
use ollm_train::data::tensor_file::{self, FileMetadata};
use ollm_train::eval::accuracy::{
    AccuracyReport, AccuracyRow, Grade, LatentTable, ProblemUse, Progress, Questions, Reward, check_row, held_row,
};
use ollm_train::features::backbone::BackboneDescription;
use ollm_train::features::segments::Hold;
use ollm_train::limits::require;
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::{self, Loaded};
use ollm_train::rl::groups::{GroupSettings, Groups};
use ollm_train::rl::held::Held;
use ollm_train::rl::reward::RewardSource;
use ollm_train::rl::task::{RlSettings, reinforce};
use ollm_train::rollout::engine::{LatentPlan, Plan};
use ollm_train::rollout::library::Library;

use crate::args::{InputArgs, PluginArgs, RolloutArgs, RunArgs, count, steps};
use crate::output::print;
use crate::prepare::{BarProgress, bar, file_names};
use crate::world;

#[derive(Debug, Args)]
pub(crate) struct RlArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) given: PluginArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// How long a latent is held: for the whole answer, the gradient is exact, and each step is
    /// over all problems; else each step draws answers
    #[arg(long, value_name = "HOLD", default_value = "all")]
    pub(crate) hold: Hold,
    /// Answers drawn to a problem, which are compared with one another [default: 8]; not with
    /// --hold all
    #[arg(long, value_name = "N")]
    pub(crate) group: Option<usize>,
    /// Problems of a step [default: 16]; not with --hold all
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) problems: Option<usize>,
    /// The price of a token: an answer is worth 1 if it is right, less X for each of its tokens
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = price)]
    pub(crate) token_cost: f64,
    /// The policy to begin with [default: control, if the options keep it, else imitation]
    #[arg(long, value_enum)]
    pub(crate) start: Option<Start>,
    /// Steps
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = steps)]
    pub(crate) steps: u64,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub(crate) lr: f64,
    /// End after N evaluations on the validation problems without more reward, and keep the policy
    /// that had most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = steps)]
    pub(crate) patience: u64,
    /// Steps between evaluations
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = steps)]
    pub(crate) eval_every: u64,
    /// Compare each row of the table at the end with this one, problem by problem [default: the
    /// policy before]
    #[arg(long, value_name = "ROW")]
    pub(crate) against: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

/// The policy that RL begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    /// Chooses the control in every state, with a probability of a half
    Control,
    /// The plugin's own, which imitates what the text was likely written with
    Imitation,
}

/// A price: a number from 0 on.
fn price(text: &str) -> std::result::Result<f64, String> {
    let price = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| format!("{text:?} is no number from 0 on"))
}

impl RlArgs {
    fn groups(&self) -> Option<GroupSettings> {
        let &Self { hold: held, group, problems, ref rollout, .. } = self;
        let settings = |size, problems| GroupSettings {
            held,
            size,
            problems,
            tokens: rollout.tokens,
            reward: self.reward(),
            seed: rollout.seed,
        };
        (held != Hold::All).then(|| settings(group.unwrap_or(8), problems.unwrap_or(16)))
    }

    fn reward(&self) -> Reward {
        Reward { token_cost: self.token_cost }
    }

    fn settings(&self) -> RlSettings {
        let &Self { steps, lr, patience, eval_every, .. } = self;
        RlSettings { steps, lr, patience: Some(patience), eval_every }
    }

    /// Refuses flags that latents held for the whole answer do not need.
    fn check_hold(&self) -> Result<()> {
        let reason = "has no effect on latents held for the whole answer, whose gradient is exact: leave it out";
        for (name, given) in [("--group", self.group), ("--problems", self.problems)] {
            require(self.hold != Hold::All || given.is_none(), name, reason)?;
        }
        Ok(())
    }

    /// The rows of the table at the end: each way to choose, by the policy before and after.
    fn row_pairs(&self) -> &'static [RowPair] {
        const GROUPS: [RowPair; 2] = [
            RowPair { before: "imitation policy, most probable", after: "RL policy, most probable", drawn: false },
            RowPair { before: "imitation policy, drawn", after: "RL policy, drawn", drawn: true },
        ];
        if self.hold == Hold::All { &[HELD] } else { &GROUPS }
    }

    /// Refuses the name of no row before anything is learned.
    fn check_against(&self) -> Result<()> {
        let control = (self.hold == Hold::All).then_some(CONTROL);
        let rows = control.into_iter().chain(self.row_pairs().iter().flat_map(|pair| [pair.before, pair.after]));
        self.against.as_ref().map_or(Ok(()), |name| check_row(name, rows))
    }
}

/// Two rows: a way to choose latents, by the policy before and after.
#[derive(Debug)]
struct RowPair {
    before: &'static str,
    after: &'static str,
    /// Whether latents are drawn, for several answers to each problem.
    drawn: bool,
}

/// The control, where the options keep it.
const CONTROL: &str = "control, held";

/// The most probable latent, for the whole answer.
const HELD: RowPair = RowPair { before: "imitation policy, held", after: "RL policy, held", drawn: false };

pub(crate) fn run(args: &RlArgs, recorded: String) -> Result<()> {
    let (input, rollout) = (&args.input, &args.rollout);
    let settings = args.settings();
    settings.check()?;
    args.check_hold()?;
    args.check_against()?;
    args.groups().map_or(Ok(()), |groups| groups.check())?;
    let (train, valid) = (input.read(&input.data)?, input.read(&args.given.valid)?);
    let questions = |corpus, limit| Questions::new(corpus, limit, &rollout.answer);
    let (train, valid) = (questions(&train, input.limit)?, questions(&valid, args.given.valid_limit)?);
    let mut run = args.run.open(recorded)?;
    let backbone = input.backbone()?;
    let about = backbone.describe()?;
    let plugin = deploy::open(&args.given.plugin, &about)?;
    let control = deploy::control_latent(&plugin)?;
    let asks_control = args.against.as_deref() == Some(CONTROL);
    require(control.is_some() || !asks_control, "--against", "the options of this plugin do not keep the control")?;
    let start = match args.start {
        None if control.is_none() => Start::Imitation,
        start => start.unwrap_or(Start::Control),
    };
    let first = match start {
        Start::Control => &deploy::choosing_control(&plugin)?,
        Start::Imitation => &plugin,
    };
    let library = Library::new(&backbone, &rollout.rollouts, input.threads, rollout.slots).on(world::ranks());
    let bar = bar(0, "problems");
    let rl = RlRun {
        args,
        groups: args.groups(),
        plugin: &plugin,
        first,
        library: &library,
        train: &train,
        valid: &valid,
        bar: &bar,
    };
    let mut identity = rl.identity(&about)?;
    let (objective, mut rewards) = rl.rewards(&mut identity)?;
    let trained = reinforce(first, &mut *rewards, &settings, &identity, args.run.stop_after, &mut run, &bar)?;
    let Some(tensors) = trained else {
        return print(format_args!("stopped; --resume goes on from {}\n", run.checkpoint().display()));
    };

    let trained = Loaded { spec: PluginConfig { hold: args.hold, ..plugin.spec.clone() }, tensors };
    run.write(&run.plugin(), &trained.tensors, &file::described(&trained.spec, rl.provenance(objective)))?;
    let reports = rl.compare(&trained)?;
    bar.finish_and_clear();
    for report in reports {
        print(format_args!("{report}\n"))?;
    }
    print(format_args!("wrote {}\n", run.plugin().display()))
}

/// What the policy learns from.
struct RlRun<'a> {
    args: &'a RlArgs,
    /// How answers are drawn; none where all latents answer, held.
    groups: Option<GroupSettings>,
    plugin: &'a Loaded,
    /// The same options, with the policy that RL begins with.
    first: &'a Loaded,
    library: &'a Library<'a>,
    train: &'a Questions<'a>,
    valid: &'a Questions<'a>,
    bar: &'a ProgressBar,
}

impl<'a> RlRun<'a> {
    /// What a checkpoint must agree with, whatever the rewards.
    fn identity(&self, about: &BackboneDescription) -> Result<FileMetadata> {
        let fields = [
            ("backbone", about.identity()),
            ("plugin", format!("{:016x}", deploy::hash(self.first, PLUGIN_PREFIX)?)),
            ("data", name(self.train)),
            ("valid", name(self.valid)),
            ("tokens", self.args.rollout.tokens.to_string()),
            ("token_cost", self.args.token_cost.to_string()),
            ("answer", self.args.rollout.answer.to_string()),
        ];
        Ok(fields.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// What the plugin's file says of its training.
    fn provenance(&self, objective: &str) -> impl Iterator<Item = (&'static str, String)> {
        let groups = self.groups.as_ref().map(|groups| ("groups", tensor_file::sorted_json(groups)));
        let fields = [
            ("objective", objective.to_owned()),
            ("data", file_names(&self.args.input.data)),
            ("data_hash", name(self.train)),
            ("valid_hash", name(self.valid)),
            ("token_cost", self.args.token_cost.to_string()),
            ("steps", self.args.steps.to_string()),
            ("learning_rate", self.args.lr.to_string()),
            ("patience", self.args.patience.to_string()),
        ];
        fields.into_iter().chain(groups)
    }

    /// Where rewards come from, and its name; what else a checkpoint must agree with is added to
    /// `identity`.
    fn rewards(&self, identity: &mut FileMetadata) -> Result<(&'static str, Box<dyn RewardSource + 'a>)> {
        let &Self { args, first, library, train, valid, .. } = self;
        // Without it, a run of groups would go on as one of held latents.
        let groups = self.groups.as_ref().map_or("nothing".to_owned(), tensor_file::sorted_json);
        identity.insert("groups".into(), groups);
        let Some(groups) = self.groups.clone() else {
            let (train, valid) = (self.table("training problems", train)?, self.table("validation problems", valid)?);
            let held = Held::new(first, &train, &valid, args.reward())?;
            return Ok(("expected reward of held latents", Box::new(held)));
        };
        let (threads, slots) = (args.input.threads, args.rollout.slots);
        let groups = Groups::new(library.backbone, first, train, valid, groups, threads, slots)?.on(library.ranks());
        Ok(("group-normalised reward", Box::new(groups)))
    }

    /// The answers of all latents, held.
    fn table(&self, name: &str, questions: &Questions<'_>) -> Result<LatentTable> {
        let (tokens, seed) = (self.args.rollout.tokens, self.args.rollout.seed);
        LatentTable::held(self.library, self.plugin, questions, tokens, seed, name, &BarProgress(self.bar))
    }

    /// The policy before and after: on the validation problems, and where latents are held, so that
    /// nothing is answered for it, on the training problems.
    fn compare(&self, trained: &Loaded) -> Result<Vec<AccuracyReport>> {
        if self.groups.is_some() {
            let rows = |pair: &RowPair| {
                let answered = |name, policy| self.answered(name, policy, pair.drawn);
                Ok(vec![answered(pair.before, self.plugin)?, answered(pair.after, trained)?])
            };
            let rows: Vec<Vec<AccuracyRow>> = self.args.row_pairs().iter().map(rows).collect::<Result<_>>()?;
            return Ok(vec![self.report(self.valid, ProblemUse::ChoseStep, rows)?]);
        }
        let control = deploy::control_latent(self.plugin)?.map(|_| deploy::choosing_control(self.plugin));
        let control = control.transpose()?;
        let mut reports = Vec::new();
        for (name, questions, used) in [
            ("validation problems", self.valid, ProblemUse::ChoseStep),
            ("training problems", self.train, ProblemUse::Trained),
        ] {
            let table = self.table(name, questions)?;
            let row = |name, policy| held_row(name, &table, policy, self.args.rollout.seed);
            let control = control.iter().map(|control| row(CONTROL, control));
            let policies = [row(HELD.before, self.plugin), row(HELD.after, trained)];
            reports.push(self.report(questions, used, vec![control.chain(policies).collect::<Result<_>>()?])?);
        }
        Ok(reports)
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

    /// The row of a policy's answers to the validation problems.
    fn answered(&self, name: &str, policy: &Loaded, drawn: bool) -> Result<AccuracyRow> {
        let &RolloutArgs { tokens, seed, .. } = &self.args.rollout;
        let (latents, samples) = match &self.groups {
            Some(groups) if drawn => (LatentPlan::Sampled(1.0), groups.size),
            _ => (LatentPlan::Policy, 1),
        };
        let plan = Plan { latents, held: self.args.hold, temperature: 0.0, samples, tokens, states: false, seed };
        let (shown, problems) = (BarProgress(self.bar), self.valid.gold.len());
        shown.row(name, problems);
        let answers = self.library.answers(Some(policy), &plan, self.valid.corpus, problems, &|| shown.problem())?;
        let grades = self.valid.grade(&answers);
        let grades: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades.iter().collect()).collect();
        Ok(AccuracyRow::new(name, &grades, seed))
    }
}

/// Names the problems.
fn name(questions: &Questions<'_>) -> String {
    format!("{}:{}", questions.corpus.hash, questions.gold.len())
}
