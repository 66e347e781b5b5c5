//! `sample`: a model's answers as a data file.

use std::path::{Path, PathBuf};

use clap::Args;
use ollm_train::data::tensor_file::write_atomically;
use ollm_train::eval::accuracy::{Progress as _, Questions};
use ollm_train::features::segments::Hold;
use ollm_train::limits::require;
use ollm_train::plugin::deploy;
use ollm_train::rollout::answer_data;
use ollm_train::rollout::engine::{LatentPlan, Plan};
use ollm_train::rollout::library::Library;
use ollm_train::{Error, Result};

use crate::args::{InputArgs, RolloutArgs, count};
use crate::output::print;
use crate::prepare::{check_output, to_answer};
use crate::progress::{BarProgress, bar};

#[derive(Debug, Args)]
pub(crate) struct SampleArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The plugin: plugin.safetensors of a run, or a GGUF file [default: the backbone answers]
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: Option<PathBuf>,
    /// The latents of the answers, held as the plugin's file says: policy, drawn, mixture, all (one
    /// answer of each) or a number [default: drawn; of a plugin of one option, that one]
    #[arg(long, value_name = "LATENTS", requires = "plugin", value_parser = latents)]
    pub(crate) latents: Option<LatentPlan>,
    /// Temperature of the tokens; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub(crate) temperature: f32,
    /// Answers to each problem; not with --latents all
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) samples: Option<usize>,
    /// Only right answers
    #[arg(long)]
    pub(crate) right: bool,
    /// The data file, of JSON lines, which is replaced where it exists
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

/// Reads how latents are chosen.
fn latents(text: &str) -> std::result::Result<LatentPlan, String> {
    match text {
        "policy" => Ok(LatentPlan::Policy),
        "drawn" => Ok(LatentPlan::Sampled(1.0)),
        "mixture" => Ok(LatentPlan::Mixture),
        "all" => Ok(LatentPlan::Enumerated),
        number => number
            .parse()
            .map(LatentPlan::Fixed)
            .map_err(|_| format!("{text:?} is not policy, drawn, mixture, all or a number")),
    }
}

pub(crate) fn run(args: &SampleArgs) -> Result<()> {
    let (input, rollout) = (&args.input, &args.rollout);
    let read: Vec<&Path> = input.data.iter().chain([&input.model]).chain(&args.plugin).map(PathBuf::as_path).collect();
    check_output("--output", &args.output, &read)?;
    let backbone = input.backbone()?;
    let corpus = to_answer(input, &backbone, &input.data, input.limit)?;
    let questions = Questions::new(&corpus, input.limit, &rollout.answer)?;
    let about = backbone.describe()?;
    let plugin = args.plugin.as_deref().map(|path| deploy::open(path, &about)).transpose()?;
    let latents = match (&plugin, args.latents) {
        (None, _) => LatentPlan::Backbone,
        (Some(plugin), None) if plugin.spec.options == 1 => LatentPlan::Fixed(0),
        (Some(_), chosen) => chosen.unwrap_or(LatentPlan::Sampled(1.0)),
    };
    let all = latents == LatentPlan::Enumerated;
    require(!all || args.samples.is_none(), "--samples", "is the number of latents with --latents all: leave it out")?;
    let plan = Plan {
        latents,
        held: plugin.as_ref().map_or(Hold::All, |plugin| plugin.spec.hold),
        temperature: args.temperature,
        samples: plugin.as_ref().filter(|_| all).map_or(args.samples.unwrap_or(8), |plugin| plugin.spec.options),
        tokens: rollout.tokens,
        states: false,
        seed: rollout.seed,
    };
    let library = Library::new(&backbone, &rollout.rollouts, input.threads, rollout.slots);
    let bar = bar("sample", 0, "problems");
    let (shown, problems) = (BarProgress(&bar), questions.gold.len());
    shown.row("answers", problems);
    let answers = library.answers(plugin.as_ref(), &plan, &corpus, problems, &|| shown.problem())?;
    bar.finish_and_clear();
    let lines = answer_data::lines(&questions, &answers, args.right)?;
    rollout.answer.finish()?;
    let mut text = String::new();
    for line in &lines {
        let line = serde_json::to_string(line).map_err(|error| Error::bad_file(&args.output, error.to_string()))?;
        text.extend([&line, "\n"]);
    }
    write_atomically(&args.output, text.as_bytes())?;
    let kind = if args.right { "different right answers" } else { "different answers" };
    print(format_args!("{} {kind} to {problems} problems in {}\n", lines.len(), args.output.display()))
}
