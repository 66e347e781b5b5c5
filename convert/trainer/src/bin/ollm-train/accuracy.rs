//! `accuracy`: final answers in every way to deploy.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use ollm_train::eval::accuracy::{AccuracyReport, AccuracyRow, ComparedSystems, Comparison, Questions, compare};
use ollm_train::features::segments::Hold;
use ollm_train::plugin::deploy;
use ollm_train::report::plot::{self, Axes, Bar, Series};
use ollm_train::rollout::library::Library;
use ollm_train::{Error, Result};

use crate::args::{InputArgs, RewardArgs, RolloutArgs, count, named_file};
use crate::output;
use crate::prepare::{check_output, to_answer};
use crate::progress::{BarProgress, bar};
use crate::world;

#[derive(Debug, Args)]
pub(crate) struct AccuracyArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Problems on which the best fixed latent is chosen (may be given several times)
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) train: Vec<PathBuf>,
    /// Take only the first N of them
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) train_limit: usize,
    /// The plugin, of kind lowrank: plugin.safetensors of a run, or a GGUF file
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: PathBuf,
    /// The same options with a policy from `rl`
    #[arg(long, value_name = "FILE")]
    pub(crate) rl: Option<PathBuf>,
    /// Another plugin on the backbone, and the name of its row: its most probable latents, held as
    /// its file says (may be given several times)
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    pub(crate) also: Vec<(String, PathBuf)>,
    /// The backbone with low-rank adapters merged into it, a GGUF file
    #[arg(long, value_name = "FILE")]
    pub(crate) lora: Option<PathBuf>,
    /// Draws for each problem
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = count)]
    pub(crate) samples: usize,
    /// Temperatures of adapters and control, at which their tokens are drawn
    #[arg(long, value_name = "T", value_delimiter = ',', default_value = "0.6,1")]
    pub(crate) temperatures: Vec<f32>,
    /// How long policies hold a latent in rows of their own
    #[arg(long, value_name = "HOLD", default_value = "all")]
    pub(crate) hold: Hold,
    #[command(flatten)]
    pub(crate) reward: RewardArgs,
    /// Compare each row with this one, problem by problem [default: control, greedy]
    #[arg(long, value_name = "ROW")]
    pub(crate) against: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    /// Draw the accuracies as an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Draw the accuracies over the tokens of an answer as an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens_svg: Option<PathBuf>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl AccuracyArgs {
    /// Refuses two rows of one name.
    fn check_also(&self) -> Result<()> {
        let mut names = HashSet::new();
        let repeated = self.also.iter().map(|(name, _)| name).find(|name| !names.insert(*name));
        repeated.map_or(Ok(()), |name| {
            let reason = format!("{name:?} is the name of two rows: give one of them another");
            Err(Error::Setting { name: "--also", reason })
        })
    }

    /// Refuses a picture in the place of a file that is read.
    fn check_svg(&self) -> Result<()> {
        let input = &self.input;
        for (flag, svg) in [("--svg", &self.svg), ("--tokens-svg", &self.tokens_svg)] {
            let Some(svg) = svg else { continue };
            let data = input.data.iter().chain(&self.train).chain(&self.lora).chain(&self.rl);
            let data = data.chain(self.also.iter().map(|(_, path)| path));
            let inputs: Vec<&Path> = data.chain([&input.model, &self.plugin]).map(PathBuf::as_path).collect();
            check_output(flag, svg, &inputs)?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &AccuracyArgs) -> Result<()> {
    let (input, rollout) = (&args.input, &args.rollout);
    args.check_svg()?;
    args.check_also()?;
    world::check_judge(&rollout.answer)?;
    let backbone = input.backbone()?;
    let (test, train) = (
        to_answer(input, &backbone, &input.data, input.limit)?,
        to_answer(input, &backbone, &args.train, Some(args.train_limit))?,
    );
    let questions = |corpus, limit| Questions::new(corpus, limit, &rollout.answer);
    let (test, train) = (questions(&test, input.limit)?, questions(&train, Some(args.train_limit))?);
    let lora = args.lora.as_deref().map(|path| input.open(path)).transpose()?;
    let library = |backbone| Library::new(backbone, &rollout.rollouts, input.threads, rollout.slots).on(world::ranks());
    let about = backbone.describe()?;
    let plugin = deploy::open(&args.plugin, &about)?;
    let systems = ComparedSystems {
        library: library(&backbone),
        lora: lora.as_ref().map(library),
        control: deploy::control(&plugin)?,
        rl: args.rl.as_deref().map(|path| deploy::open(path, &about)).transpose()?,
        others: args
            .also
            .iter()
            .map(|(name, path)| Ok((name.clone(), deploy::open(path, &about)?)))
            .collect::<Result<_>>()?,
        plugin,
    };
    let comparison = Comparison {
        samples: args.samples,
        temperatures: args.temperatures.clone(),
        tokens: rollout.tokens,
        held: args.hold,
        against: args.against.clone(),
        reward: args.reward.reward(),
        seed: rollout.seed,
    };
    let bar = bar("accuracy", 0, "problems");
    let report = compare(&systems, &test, &train, &comparison, &BarProgress(&bar))?;
    bar.finish_and_clear();
    rollout.answer.finish()?;
    if !world::ranks().is_root() {
        return Ok(());
    }
    if let Some(path) = &args.svg {
        draw(path, &report)?;
    }
    if let Some(path) = &args.tokens_svg {
        draw_tokens(path, &report)?;
    }
    output::report(&report, args.json)
}

fn draw(path: &Path, report: &AccuracyReport) -> Result<()> {
    let bar = |row: &AccuracyRow| {
        let interval = row.accuracy;
        Bar { name: row.name.clone(), value: interval.mean, low: interval.low, high: interval.high }
    };
    let title = format!("final answers right, of {} problems", report.problems);
    plot::bars(path, &title, &report.rows.iter().map(bar).collect::<Vec<_>>())
}

fn draw_tokens(path: &Path, report: &AccuracyReport) -> Result<()> {
    let axes = Axes { x: "tokens of an answer".into(), y: "accuracy".into() };
    let point = |row: &AccuracyRow| Series { name: row.name.clone(), points: vec![(row.tokens, row.accuracy.mean)] };
    plot::lines(path, &axes, &report.rows.iter().map(point).collect::<Vec<_>>())
}
