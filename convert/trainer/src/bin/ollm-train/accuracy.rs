//! `accuracy`: final answers in every way to deploy.

use std::path::{Path, PathBuf};

use clap::Args;
use ollm_train::Result;
use ollm_train::eval::accuracy::{AccuracyReport, ComparedSystems, Comparison, Questions, compare};
use ollm_train::features::backbone::BackboneDescription;
use ollm_train::features::segments::Hold;
use ollm_train::plugin::deploy;
use ollm_train::report::plot::{self, Bar};
use ollm_train::rollout::library::Library;

use crate::args::{InputArgs, RolloutArgs, count};
use crate::output;
use crate::prepare::{BarProgress, bar, check_output};
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
    /// Compare each row with this one, problem by problem [default: control, greedy]
    #[arg(long, value_name = "ROW")]
    pub(crate) against: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    /// Draw the accuracies as an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl AccuracyArgs {
    /// Refuses a picture in the place of a file that is read.
    fn check_svg(&self) -> Result<()> {
        let input = &self.input;
        if let Some(svg) = &self.svg {
            let data = input.data.iter().chain(&self.train).chain(&self.lora).chain(&self.rl);
            let inputs: Vec<&Path> = data.chain([&input.model, &self.plugin]).map(PathBuf::as_path).collect();
            check_output("--svg", svg, &inputs)?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &AccuracyArgs) -> Result<()> {
    let (input, rollout) = (&args.input, &args.rollout);
    args.check_svg()?;
    let (test, train) = (input.read(&input.data)?, input.read(&args.train)?);
    let questions = |corpus, limit| Questions::new(corpus, limit, &rollout.answer);
    let (test, train) = (questions(&test, input.limit)?, questions(&train, Some(args.train_limit))?);
    let backbone = input.backbone()?;
    let lora = args.lora.as_deref().map(|path| input.open(path)).transpose()?;
    let library = |backbone| Library::new(backbone, &rollout.rollouts, input.threads, rollout.slots).on(world::ranks());
    let about = backbone.describe()?;
    let plugin = deploy::open(&args.plugin, &about)?;
    let systems = ComparedSystems {
        library: library(&backbone),
        lora: lora.as_ref().map(library),
        control: deploy::control(&plugin)?,
        rl: open(args.rl.as_deref(), &about)?,
        plugin,
    };
    let comparison = Comparison {
        samples: args.samples,
        temperatures: args.temperatures.clone(),
        tokens: rollout.tokens,
        held: args.hold,
        against: args.against.clone(),
        seed: rollout.seed,
    };
    let bar = bar(0, "problems");
    let report = compare(&systems, &test, &train, &comparison, &BarProgress(&bar))?;
    bar.finish_and_clear();
    if let Some(path) = args.svg.as_ref().filter(|_| world::ranks().is_root()) {
        draw(path, &report)?;
    }
    output::report(&report, args.json)
}

fn open(path: Option<&Path>, about: &BackboneDescription) -> Result<Option<ollm_train::plugin::file::Loaded>> {
    path.map(|path| deploy::open(path, about)).transpose()
}

fn draw(path: &Path, report: &AccuracyReport) -> Result<()> {
    let bar = |row: &ollm_train::eval::accuracy::AccuracyRow| {
        let interval = row.accuracy;
        Bar { name: row.name.clone(), value: interval.mean, low: interval.low, high: interval.high }
    };
    let title = format!("final answers right, of {} problems", report.problems);
    plot::bars(path, &title, &report.rows.iter().map(bar).collect::<Vec<_>>())
}
