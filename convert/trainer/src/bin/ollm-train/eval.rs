//! `eval`: held-out scores.

use std::path::PathBuf;

use clap::Args;
use ollm_train::eval::teacher_forced::{ScoredModels, evaluate};
use ollm_train::fit::run::{control_path, plugin_path};
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::Loaded;
use ollm_train::{Error, Result};

use crate::args::{DeviceArgs, InputArgs};
use crate::output;
use crate::prepare::{self, Workplace, budget};
use crate::progress::bar;

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Folder of a run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<PathBuf>,
    /// A plugin file (GGUF or safetensors) of kind lowrank, in place of a run
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub(crate) plugin: Option<PathBuf>,
    /// Another plugin file, to say how often latents and tokens are the same
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let device = prepare::device(&args.device.device)?;
    let backbone = args.input.backbone()?;
    let place = Workplace::new(&backbone, &args.device.features, &args.input)?;
    let open = |path: &PathBuf| deploy::open(path, &place.about)?.to_device(&device);
    let (control, plugin) = match (&args.plugin, &args.run) {
        (None, Some(run)) => (
            Loaded::control(&control_path(run), &place.about, &device)?,
            Loaded::plugin(&plugin_path(run), &place.about, &device)?,
        ),
        (Some(file), _) => {
            let plugin = open(file)?;
            (deploy::control(&plugin)?, plugin)
        }
        (None, None) => {
            let reason = "say what to score: the folder of a run, or a file by --plugin".into();
            return Err(Error::Setting { name: "--run", reason });
        }
    };
    let features = place.text(args.input.read(&args.input.data)?, args.input.limit, None, &device)?.features;
    let frozen = place.frozen(&device)?;
    let mut models = ScoredModels::bind(&control, &plugin)?;
    if let Some(reference) = &args.reference {
        models = models.beside(&open(reference)?)?;
    }
    let bar = bar("eval", features.len() as u64, "tokens");
    let report = evaluate(&frozen, &features, &models, budget(&args.device), &|rows| bar.inc(rows as u64))?;
    bar.finish_and_clear();
    output::report(&report, args.json)
}
