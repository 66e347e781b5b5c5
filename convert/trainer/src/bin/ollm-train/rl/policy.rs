//! The policy learns: a latent for the whole answer, or for each token or line.

use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::plugin::schema::PluginConfig;
use ollm_train::Result;
use ollm_train::data::tensor_file::FileMetadata;
use ollm_train::eval::accuracy::{AccuracyReport, AccuracyRow, LatentTable, ProblemUse, Questions, held_row};
use ollm_train::features::segments::Hold;
use ollm_train::fit::run::RunFolder;
use ollm_train::limits::require;
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::{self, Loaded};
use ollm_train::rl::groups::Groups;
use ollm_train::rl::held::Held;
use ollm_train::rl::latents::LatentActor;
use ollm_train::rl::regression::regressed;
use ollm_train::rollout::engine::{LatentPlan, Plan};

use super::args::Start;
use super::run::RlRun;
use crate::args::RolloutArgs;
use crate::progress::BarProgress;

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

/// Latents that are chosen anew.
const CHOSEN_ANEW: [RowPair; 2] = [
    RowPair { before: "imitation policy, most probable", after: "RL policy, most probable", drawn: false },
    RowPair { before: "imitation policy, drawn", after: "RL policy, drawn", drawn: true },
];

/// The rows of the tables at the end.
pub(super) fn row_names(hold: Hold) -> Vec<&'static str> {
    let held = hold == Hold::All;
    let pairs = if held { std::slice::from_ref(&HELD) } else { &CHOSEN_ANEW };
    held.then_some(CONTROL).into_iter().chain(pairs.iter().flat_map(|pair| [pair.before, pair.after])).collect()
}

pub(super) fn run(run: &RlRun<'_>, folder: &mut RunFolder) -> Result<()> {
    let plugin = run.plugin()?;
    let control = deploy::control_latent(&plugin)?;
    let asks_control = run.args.against.as_deref() == Some(CONTROL);
    require(control.is_some() || !asks_control, "--against", "the options of this plugin do not keep the control")?;
    let start = match run.args.start {
        None if control.is_none() => Start::Imitation,
        start => start.unwrap_or(Start::Control),
    };
    let (objective, trained) = if let Some(groups) = run.args.drawn() {
        let first = first_policy(run, start, &plugin, None)?;
        let (threads, slots) = (run.args.input.threads, run.args.rollout.slots);
        let actor = LatentActor::new(run.library.backbone, &first, run.args.hold(), threads, slots)?;
        let mut rewards = Groups::new(&actor, run.train, run.valid, groups)?.on(run.library.ranks());
        ("group-normalised reward", run.train(&mut rewards, identity(&first)?, folder)?)
    } else {
        let table = |name, questions| held_table(run, &plugin, name, questions);
        let (train, valid) = (table("training problems", run.train)?, table("validation problems", run.valid)?);
        let first = first_policy(run, start, &plugin, Some(&train))?;
        let mut rewards = Held::new(&first, &train, &valid, run.args.reward(), run.args.entropy())?;
        ("expected reward of held latents", run.train(&mut rewards, identity(&first)?, folder)?)
    };
    let Some(tensors) = trained else { return Ok(()) };
    let trained = Loaded { spec: PluginConfig { hold: run.args.hold(), ..plugin.spec.clone() }, tensors };
    let training = run.provenance(objective, Some(start));
    folder.write(&folder.plugin(), &trained.tensors, &file::described(&trained.spec, training))?;
    run.end(compare(run, &plugin, &trained)?, &[folder.plugin()])
}

/// The plugin with the policy to begin with. `train`: the answers that a regression learns from.
fn first_policy(run: &RlRun<'_>, start: Start, plugin: &Loaded, train: Option<&LatentTable>) -> Result<Loaded> {
    match (start, train) {
        (Start::Control, _) => deploy::choosing_control(plugin),
        (Start::Regression, Some(table)) => regressed(plugin, table, run.args.reward(), run.args.entropy()),
        _ => Ok(plugin.clone()),
    }
}

/// What a checkpoint must agree with of the policy that was there at first.
fn identity(first: &Loaded) -> Result<FileMetadata> {
    Ok([("plugin".to_owned(), format!("{:016x}", deploy::hash(first, PLUGIN_PREFIX)?))].into())
}

/// The answers of all latents, held.
fn held_table(run: &RlRun<'_>, plugin: &Loaded, name: &str, questions: &Questions<'_>) -> Result<LatentTable> {
    let RolloutArgs { tokens, seed, .. } = run.args.rollout;
    LatentTable::held(run.library, plugin, questions, tokens, seed, name, &BarProgress(run.bar))
}

/// The policy before and after: on the validation problems, and where latents are held, so that
/// nothing is answered for it, on the training problems.
fn compare(run: &RlRun<'_>, plugin: &Loaded, trained: &Loaded) -> Result<Vec<AccuracyReport>> {
    if run.args.hold() != Hold::All {
        let rows = |pair: &RowPair| {
            let answered = |name, policy| answered(run, name, policy, pair.drawn);
            Ok(vec![answered(pair.before, plugin)?, answered(pair.after, trained)?])
        };
        let rows: Vec<Vec<AccuracyRow>> = CHOSEN_ANEW.iter().map(rows).collect::<Result<_>>()?;
        return Ok(vec![run.report(run.valid, ProblemUse::ChoseStep, rows)?]);
    }
    let control = deploy::control_latent(plugin)?.map(|_| deploy::choosing_control(plugin)).transpose()?;
    let mut reports = Vec::new();
    for (name, questions, used) in [
        ("validation problems", run.valid, ProblemUse::ChoseStep),
        ("training problems", run.train, ProblemUse::Trained),
    ] {
        let table = held_table(run, plugin, name, questions)?;
        let row = |name, policy| held_row(name, &table, policy, run.scoring());
        let control = control.iter().map(|control| row(CONTROL, control));
        let policies = [row(HELD.before, plugin), row(HELD.after, trained)];
        reports.push(run.report(questions, used, vec![control.chain(policies).collect::<Result<_>>()?])?);
    }
    Ok(reports)
}

/// The row of a policy's answers to the validation problems.
fn answered(run: &RlRun<'_>, name: &str, policy: &Loaded, drawn: bool) -> Result<AccuracyRow> {
    let RolloutArgs { tokens, seed, .. } = run.args.rollout;
    let (latents, samples) = match run.args.drawn() {
        Some(groups) if drawn => (LatentPlan::Sampled(1.0), groups.size),
        _ => (LatentPlan::Policy, 1),
    };
    let plan = Plan { latents, held: run.args.hold(), temperature: 0.0, samples, tokens, states: false, seed };
    run.answered(name, run.library, Some(policy), &plan)
}
