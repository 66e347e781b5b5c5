//! `rl`: the policy learns from right answers.

use std::path::PathBuf;

use clap::Args;
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::options::schema::{HoldKind, Spec};
use ollm_train::accuracy::{Questions, Report, Table, held_row};
use ollm_train::backbone::Backbone;
use ollm_train::data::Corpus;
use ollm_train::library::Library;
use ollm_train::plugin::{self, Loaded};
use ollm_train::reinforce::{Material, Settings, reinforce};
use ollm_train::{Result, deploy, tensor_file};

use crate::accuracy::{RolloutArgs, Shown};
use crate::args::{InputArgs, RunArgs};
use crate::prepare::{bar, file_names};

#[derive(Debug, Args)]
pub(crate) struct RlArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Held-out problems, which decide when to stop (may be given several times)
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) valid: Vec<PathBuf>,
    /// Take only the first N held-out problems
    #[arg(long, value_name = "N")]
    pub(crate) valid_limit: Option<usize>,
    /// The plugin: plugin.safetensors of a run, or a GGUF file
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: PathBuf,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Steps, each over all problems
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) steps: u64,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub(crate) lr: f64,
    /// End after N looks at the held-out problems without more reward, and keep the policy that had most
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) patience: u64,
    /// Steps between looks
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) survey_every: u64,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

pub(crate) fn run(args: &RlArgs, recorded: String) -> Result<()> {
    let (input, rollout) = (&args.input, &args.rollout);
    let settings =
        Settings { steps: args.steps, lr: args.lr, patience: Some(args.patience), survey_every: args.survey_every };
    settings.check()?;
    let (train, valid) = (Corpus::read(&input.data)?, Corpus::read(&args.valid)?);
    let (train, valid) = (Questions::new(&train, input.limit)?, Questions::new(&valid, args.valid_limit)?);
    let mut run = args.run.open(recorded)?;
    let backbone = Backbone::open(&input.model)?;
    let about = backbone.describe()?;
    let plugin = deploy::open(&args.plugin, &about)?;
    let library = Library::new(&backbone, &rollout.rollouts, input.threads, rollout.places);
    let steps = bar(0, "problems");
    let table = |name: &str, questions: &Questions<'_>| {
        Table::held(&library, &plugin, questions, (rollout.tokens, rollout.seed), (name, &Shown(&steps)))
    };
    let (train_table, valid_table) = (table("training problems", &train)?, table("held-out problems", &valid)?);
    let identity = &[
        ("backbone", about.identity()),
        ("plugin", format!("{:016x}", deploy::hash(&plugin, PLUGIN_PREFIX)?)),
        ("data", name(&train)),
        ("valid", name(&valid)),
        ("tokens", rollout.tokens.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let material = Material { plugin: &plugin, train: &train_table, valid: &valid_table, identity };
    let Some(tensors) = reinforce(&material, &settings, args.run.stop_after, &mut run, &steps)? else {
        println!("stopped; --resume goes on from {}", run.checkpoint().display());
        return Ok(());
    };
    steps.finish_and_clear();

    let trained = Loaded { spec: Spec { hold: HoldKind::All, ..plugin.spec.clone() }, tensors };
    let provenance = [
        ("objective", "expected reward of held latents".to_owned()),
        ("data", file_names(&input.data)),
        ("data_hash", name(&train)),
        ("valid_hash", name(&valid)),
        ("steps", settings.steps.to_string()),
        ("learning_rate", settings.lr.to_string()),
        ("patience", args.patience.to_string()),
    ];
    tensor_file::save(&run.plugin(), &trained.tensors, &plugin::described(&trained.spec, provenance))?;
    let mut rows = Vec::new();
    for (text, table) in [("held-out", &valid_table), ("train", &train_table)] {
        for (name, policy) in [("imitation", &plugin), ("RL", &trained)] {
            rows.push(held_row(&format!("{name} policy, {text}"), table, policy, rollout.seed)?);
        }
    }
    print!("{}", Report { problems: valid.gold.len(), train_problems: train.gold.len(), rows });
    println!("wrote {}", run.plugin().display());
    Ok(())
}

/// Names the problems.
fn name(questions: &Questions<'_>) -> String {
    format!("{}:{}", questions.corpus.hash, questions.gold.len())
}
