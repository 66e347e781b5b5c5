//! `value`: the value head learns which answers will be right.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_train::Result;
use ollm_train::data::tensor_file::{self, FileMetadata};
use ollm_train::eval::accuracy::{Progress as _, Questions};
use ollm_train::features::segments::Hold;
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::{self, Loaded};
use ollm_train::rollout::engine::{LatentPlan, Plan};
use ollm_train::rollout::library::Library;
use ollm_train::value::examples::{GradedAnswers, ValueExamples};
use ollm_train::value::task::{ValueData, ValueReport, ValueSettings, train_value};

use crate::args::{InputArgs, RolloutArgs, RunArgs, ValidArgs, count, steps};
use crate::output::{self, print};
use crate::prepare::{Workplace, file_names, to_answer};
use crate::progress::{BarProgress, bar};
use crate::world;

#[derive(Debug, Args)]
pub(crate) struct ValueArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) valid: ValidArgs,
    /// The plugin: plugin.safetensors of a run, or a GGUF file
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: PathBuf,
    /// Held-out problems, on which the value head is measured in the end; without them it is on the
    /// validation problems
    #[arg(long, value_name = "FILE")]
    pub(crate) test: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Temperature of the answers' tokens, of which each latent gives one, held; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(crate) temperature: f32,
    /// Width of the value head
    #[arg(long, value_name = "V", default_value_t = 128, value_parser = count)]
    pub(crate) width: usize,
    /// Passes over the states
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = count)]
    pub(crate) epochs: usize,
    /// States a step
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = count)]
    pub(crate) batch: usize,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub(crate) lr: f64,
    /// End after N evaluations on the validation problems without a lower cross-entropy, and keep
    /// the best
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = steps)]
    pub(crate) patience: u64,
    /// Steps between evaluations
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = steps)]
    pub(crate) eval_every: u64,
    /// Folder of the feature caches
    #[arg(long, value_name = "FOLDER", default_value = "features")]
    pub(crate) features: PathBuf,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

impl ValueArgs {
    fn settings(&self) -> ValueSettings {
        let &Self { width, epochs, batch, lr, patience, eval_every, .. } = self;
        ValueSettings { width, epochs, batch, lr, patience, eval_every, seed: self.rollout.seed }
    }

    /// Answer z of a problem holds latent z.
    fn plan(&self, plugin: &Loaded) -> Plan {
        Plan {
            latents: LatentPlan::Enumerated,
            held: Hold::All,
            temperature: self.temperature,
            samples: plugin.spec.options,
            tokens: self.rollout.tokens,
            states: true,
            seed: self.rollout.seed,
        }
    }
}

pub(crate) fn run(args: &ValueArgs, recorded: String) -> Result<()> {
    let settings = args.settings();
    settings.check()?;
    world::check_judge(&args.rollout.answer)?;
    let backbone = args.input.backbone()?;
    let read = |data, limit| to_answer(&args.input, &backbone, data, limit);
    let (train, valid) = (read(&args.input.data, args.input.limit)?, read(&args.valid.valid, args.valid.valid_limit)?);
    let test = if args.test.is_empty() { None } else { Some(read(&args.test, None)?) };
    let questions = |corpus, limit| Questions::new(corpus, limit, &args.rollout.answer);
    let (train, valid) = (questions(&train, args.input.limit)?, questions(&valid, args.valid.valid_limit)?);
    let test = test.as_ref().map(|test| questions(test, None)).transpose()?;
    let mut run = args.run.open(recorded)?;
    let place = Workplace::new(&backbone, &args.features, &args.input)?;
    let plugin = deploy::open(&args.plugin, &place.about)?;
    let bar = bar("value", 0, "problems");
    let answerer = Answerer { args, place: &place, plugin: &plugin, bar: &bar };
    let (learned, decides) = (answerer.examples("training", &train)?, answerer.examples("validation", &valid)?);
    let identity: FileMetadata = [
        ("backbone", place.about.identity()),
        ("plugin", format!("{:016x}", deploy::hash(&plugin, PLUGIN_PREFIX)?)),
        ("data", name(&train)),
        ("valid", name(&valid)),
        ("answers", tensor_file::sorted_json(&args.plan(&plugin))),
        ("answer", args.rollout.answer.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let data = ValueData { plugin: &plugin, train: &learned, valid: &decides };
    let Some(trained) = train_value(data, &settings, &identity, args.run.stop_after, &mut run, &bar)? else {
        return print(format_args!("stopped; --resume goes on from {}\n", run.checkpoint().display()));
    };
    let training = [
        ("objective", "value of held latents".to_owned()),
        ("data", file_names(&args.input.data)),
        ("data_hash", name(&train)),
        ("valid_hash", name(&valid)),
        ("learning_rate", args.lr.to_string()),
    ];
    run.write(&run.plugin(), &trained.tensors, &file::described(&trained.spec, training))?;
    let (examples, of) = match &test {
        Some(test) => (&answerer.examples("held-out", test)?, "held-out problems"),
        None => (&decides, "validation problems, which chose the step"),
    };
    args.rollout.answer.finish()?;
    let report = ValueReport::new(&trained, examples)?;
    bar.finish_and_clear();
    print(format_args!("on the {of}:\n"))?;
    output::report(&report, false)?;
    print(format_args!("wrote {}\n", run.plugin().display()))
}

/// Answers problems, and reads the states of the answers.
struct Answerer<'a> {
    args: &'a ValueArgs,
    place: &'a Workplace<'a>,
    plugin: &'a Loaded,
    bar: &'a ProgressBar,
}

impl Answerer<'_> {
    fn examples(&self, what: &str, questions: &Questions<'_>) -> Result<ValueExamples> {
        let Self { args, place, plugin, bar } = *self;
        let (problems, shown) = (questions.gold.len(), BarProgress(bar));
        let library = Library::new(place.backbone, &args.rollout.rollouts, args.input.threads, args.rollout.slots);
        let library = library.on(world::ranks());
        shown.row(&format!("answers to {what} problems"), problems);
        let plan = args.plan(plugin);
        let answers = library.answers(Some(plugin), &plan, questions.corpus, problems, &|| shown.problem())?;
        let grades = questions.grade(&answers)?;
        let answers = GradedAnswers::new(questions.corpus.first(Some(problems)), &answers, &grades);
        let ends = place.backbone.token_ends();
        ValueExamples::new(&answers, &place.features(&answers.corpus)?, &|token| ends.ends_line(token))
    }
}

/// Names the problems.
fn name(questions: &Questions<'_>) -> String {
    format!("{}:{}", questions.corpus.hash, questions.gold.len())
}
