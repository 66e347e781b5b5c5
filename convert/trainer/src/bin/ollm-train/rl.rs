//! `rl`: the policy learns from right answers.

use std::path::PathBuf;

use clap::Args;
use ollm_runtime::options::schema::{HoldKind, Spec};
use ollm_train::accuracy::{Questions, Report, Table, held_row};
use ollm_train::backbone::Backbone;
use ollm_train::data::Corpus;
use ollm_train::library::Library;
use ollm_train::plugin::{self, Loaded};
use ollm_train::reinforce::{Settings, reinforce};
use ollm_train::run::Run;
use ollm_train::{Result, deploy, tensor_file};

use crate::accuracy::{RolloutArgs, Shown};
use crate::args::InputArgs;
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
    /// Folder of the run: log, plugin
    #[arg(short, long, value_name = "RUN")]
    pub(crate) output: PathBuf,
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
    /// Go on with the run in that folder: answers that are there are not made again
    #[arg(long)]
    pub(crate) resume: bool,
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
    let mut run = Run::open(&args.output, args.resume)?.with_settings(recorded);
    let backbone = Backbone::open(&input.model)?;
    let plugin = deploy::open(&args.plugin, &backbone.describe()?)?;
    run.record()?;
    let library = Library::new(&backbone, &rollout.rollouts, input.threads, rollout.places);
    let steps = bar(0, "problems");
    let table = |name: &str, questions: &Questions<'_>| {
        Table::held(&library, &plugin, questions, (rollout.tokens, rollout.seed), (name, &Shown(&steps)))
    };
    let (train_table, valid_table) = (table("training problems", &train)?, table("held-out problems", &valid)?);
    // The steps are taken anew; the answers were what took time.
    run.rewind_log(0)?;
    steps.set_position(0);
    let tensors = reinforce(&plugin, (&train_table, &valid_table), &settings, &mut run, &steps)?;
    steps.finish_and_clear();

    let trained = Loaded { spec: Spec { hold: HoldKind::All, ..plugin.spec.clone() }, tensors };
    let provenance = [
        ("objective", "expected reward of held latents".to_owned()),
        ("data", file_names(&input.data)),
        ("data_hash", format!("{}:{}", train.corpus.hash, train.gold.len())),
        ("valid_hash", format!("{}:{}", valid.corpus.hash, valid.gold.len())),
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
