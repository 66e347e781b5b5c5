//! The `ollm-train` command.

mod accuracy;
mod args;
mod config;
mod lora;
mod prepare;
mod rl;

use std::path::PathBuf;
use std::process::ExitCode;

use ollm_train::eval::teacher_forced::{Models, evaluate};
use ollm_train::features::backbone::Backbone;
use ollm_train::fit::run::{Run, control_path, plugin_path};
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::Loaded;
use ollm_train::plugin::nets::parameters;
use ollm_train::sft::settings::Settings;
use ollm_train::sft::train::{Ended, Material, sft};
use ollm_train::{Error, Result};

use args::{Command, EvalArgs, FeaturesArgs, SftArgs};
use config::Invocation;
use lora::run_lora;
use prepare::{Text, Workplace, bar, budget};

fn main() -> ExitCode {
    match Invocation::parse().and_then(|invocation| run(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: &Invocation) -> Result<()> {
    match &invocation.cli.command {
        Command::Features(args) => run_features(args),
        Command::Sft(args) => run_sft(args, invocation.settings()?),
        Command::Lora(args) => run_lora(args, invocation.settings()?),
        Command::Rl(args) => rl::run(args, invocation.settings()?),
        Command::Eval(args) => run_eval(args),
        Command::Accuracy(args) => accuracy::run(args),
    }
}

fn run_features(args: &FeaturesArgs) -> Result<()> {
    let backbone = Backbone::open(&args.input.model)?;
    let place = Workplace::new(&backbone, &args.output, &args.input)?;
    let (_, limit, records) = place.cache(&args.input.data, args.input.limit)?;
    let tokens: usize = records.counts().take(limit).sum();
    println!("{limit} problems, {tokens} answer tokens in {}", args.output.display());
    Ok(())
}

fn run_sft(args: &SftArgs, recorded: String) -> Result<()> {
    let settings = args.settings();
    settings.check()?;
    let device = prepare::device(&args.device.device)?;
    // TF32 is ten times as fast, and its error is far below the noise of a batch.
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    let mut run = args.run.open(recorded)?;
    let backbone = Backbone::open(&args.input.model)?;
    let place = Workplace::new(&backbone, &args.device.features, &args.input)?;
    print_size(&settings, &place);

    let frozen = place.frozen(&device)?;
    let (head, candidates) = prepare::head(args.head, &frozen, &args.device)?;
    let load = |data: &[PathBuf], limit| -> Result<Text> {
        let text = place.text(data, limit, &device)?.with_segments(&backbone, settings.hold)?;
        if candidates { place.with_candidates(&frozen, text) } else { Ok(text) }
    };
    let train = load(&args.input.data, args.input.limit)?;
    let valid = if args.held_out.valid.is_empty() {
        None
    } else {
        Some(load(&args.held_out.valid, args.held_out.valid_limit)?)
    };
    let provenance = prepare::provenance(&args.input.data, &train, valid.as_ref());
    let valid = valid.as_ref().map(|text| &text.features);
    let material = Material { frozen: &frozen, head: &head, train: &train.features, valid, provenance: &provenance };
    let ended = sft(&material, &settings, &args.pace(), &mut run, &bar(0, "steps"))?;
    println!("{}", outcome(ended, &run));
    Ok(())
}

fn print_size(settings: &Settings, place: &Workplace<'_>) {
    let spec = settings.spec(&place.about);
    let (plugin, backbone) = (parameters(&spec), place.about.parameters);
    let (width, share) = (spec.decoder.width(), 100.0 * plugin as f64 / backbone as f64);
    println!("plugin: width {width}, {plugin} parameters, {share:.2} % of the backbone's {backbone}");
}

fn outcome(ended: Ended, run: &Run) -> String {
    match ended {
        Ended::Finished => format!("wrote {}", run.plugin().display()),
        Ended::Stopped => format!("stopped; --resume goes on from {}", run.checkpoint().display()),
    }
}

fn run_eval(args: &EvalArgs) -> Result<()> {
    let device = prepare::device(&args.device.device)?;
    let backbone = Backbone::open(&args.input.model)?;
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
    let features = place.text(&args.input.data, args.input.limit, &device)?.features;
    let frozen = place.frozen(&device)?;
    let mut models = Models::bind(&control, &plugin)?;
    if let Some(reference) = &args.reference {
        models = models.beside(&open(reference)?)?;
    }
    let bar = bar(features.len() as u64, "tokens");
    let report = evaluate(&frozen, &features, &models, budget(&args.device), &|rows| bar.inc(rows as u64))?;
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).expect("a report of numbers"));
    } else {
        print!("{report}");
    }
    Ok(())
}
