//! `sft`: control, options and policy.

use std::path::PathBuf;

use clap::Args;
use ollm_train::Result;
use ollm_train::data::corpus::Corpus;
use ollm_train::features::head::OutputHead;
use ollm_train::features::segments::Hold;
use ollm_train::fit::Ended;
use ollm_train::fit::run::RunFolder;
use ollm_train::limits::require;
use ollm_train::plugin::nets::parameters;
use ollm_train::sft::objective::Objective;
use ollm_train::sft::settings::{DecoderChoice, SftSettings};
use ollm_train::sft::train::{SftData, SftPace, sft};

use crate::args::{DeviceArgs, HeadChoice, HeldOutArgs, InputArgs, RunArgs, count, steps};
use crate::output::print;
use crate::prepare::{self, TextFeatures, Workplace};
use crate::progress::bar;

/// Problems that are shuffled with one another where their states are computed anew.
const SHUFFLE_BUFFER: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct SftArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) held_out: HeldOutArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Option count K
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub(crate) options: usize,
    /// Kind of decoder
    #[arg(long, value_enum, default_value_t = DecoderChoice::LowRank)]
    pub(crate) decoder: DecoderChoice,
    /// Width of the decoder; by default the plugin gets 1.56 % of the backbone's parameters
    #[arg(long, value_name = "U")]
    pub(crate) width: Option<usize>,
    /// Rank of an option's delta [default: 32]; decoder lowrank only
    #[arg(long, value_name = "R")]
    pub(crate) rank: Option<usize>,
    /// Keep the control as the first of the options, so that a policy can choose it [default: true;
    /// false with decoder swiglu and with one option]
    #[arg(long, value_name = "BOOL")]
    pub(crate) keep_control: Option<bool>,
    /// Width of the policy
    #[arg(long, value_name = "P", default_value_t = 256)]
    pub(crate) policy_width: usize,
    /// Width of the encoder
    #[arg(long, value_name = "E", default_value_t = 256)]
    pub(crate) encoder_width: usize,
    /// What trains the options: a learned prior with the exact posterior, or the paper's encoder
    /// and Gumbel-softmax
    #[arg(long, value_enum, default_value_t = Objective::Prior)]
    pub(crate) objective: Objective,
    /// How long a latent is held: the policy chooses at the start of each token, line or whole
    /// answer (all)
    #[arg(long, value_name = "HOLD", default_value = "token")]
    pub(crate) hold: Hold,
    /// KL that is aimed at, in nats a latent [default: 0.15 (prior), 0.2 (paper), 1 (held for a
    /// line or an answer; at most half of ln K)]
    #[arg(long, value_name = "NATS")]
    pub(crate) kl_target: Option<f64>,
    /// Passes over the data for the options
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) epochs: usize,
    /// Passes over the data for the control
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) control_epochs: usize,
    /// Passes over the data for the policy alone, on the finished options
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) policy_epochs: usize,
    /// Factor on what the options add to the control, before the policy's own stage [default: 1];
    /// decoder lowrank only
    #[arg(long, value_name = "FACTOR")]
    pub(crate) spread: Option<f64>,
    /// Begin with the tensors of another run, of the same sizes: its control.safetensors,
    /// options.safetensors or plugin.safetensors. A stage of 0 epochs leaves them as they are
    #[arg(long, value_name = "FILE")]
    pub(crate) init_from: Option<PathBuf>,
    /// Tokens a step; whole segments of about so many with --hold line or all
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) batch: usize,
    /// Tokens of a micro-batch; the processes of a run share those of a step [default: 128; all of
    /// --batch on a GPU]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) micro_batch: Option<usize>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    pub(crate) lr: f64,
    /// End a stage after N evaluations on the held-out problems without a lower loss, and keep the
    /// best evaluation's tensors
    #[arg(long, value_name = "N", requires = "validation", value_parser = steps)]
    pub(crate) patience: Option<u64>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Compute hidden states anew in each step, and store nothing: for texts whose states do not
    /// fit on the disk
    #[arg(long)]
    pub(crate) stream: bool,
    /// Shuffle only so many problems with one another [default: all; 64 with --stream, which has
    /// those of two buffers in memory]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) shuffle_buffer: Option<usize>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// What options are normalised over while training
    #[arg(long, value_enum, default_value_t = HeadChoice::Auto)]
    pub(crate) head: HeadChoice,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = steps)]
    pub(crate) checkpoint_every: u64,
    /// Held-out questions that are answered at each evaluation: logged, and shown shortened
    /// [default: 0]
    #[arg(long, value_name = "N", requires = "validation")]
    pub(crate) samples: Option<usize>,
    /// Steps between evaluations on the held-out problems [default: 250]
    #[arg(long, value_name = "N", requires = "validation", value_parser = steps)]
    pub(crate) eval_every: Option<u64>,
}

impl SftArgs {
    /// What decides the result.
    pub(crate) fn settings(&self) -> SftSettings {
        SftSettings {
            options: self.options,
            decoder: self.decoder,
            width: self.width,
            rank: self.rank.unwrap_or(32),
            keep_control: self.keep_control.unwrap_or(self.decoder == DecoderChoice::LowRank && self.options > 1),
            policy_width: self.policy_width,
            encoder_width: self.encoder_width,
            objective: self.objective,
            hold: self.hold,
            kl_target: self.kl_target.unwrap_or(self.objective.default_target(self.hold, self.options)),
            epochs: self.epochs,
            control_epochs: self.control_epochs,
            policy_epochs: self.policy_epochs,
            spread: self.spread.unwrap_or(1.0),
            batch: self.batch,
            micro_batch: self.micro_batch.unwrap_or(if self.device.device.starts_with("cpu") {
                128
            } else {
                self.batch
            }),
            shuffle_buffer: self.shuffle_buffer.or(self.stream.then_some(SHUFFLE_BUFFER)),
            lr: self.lr,
            seed: self.seed,
            patience: self.patience,
        }
    }

    /// Refuses flags that the kind of decoder does not have.
    fn check_decoder(&self) -> Result<()> {
        let reason = "has no effect on decoder swiglu: leave it out";
        for (name, given) in [("--rank", self.rank.is_some()), ("--spread", self.spread.is_some())] {
            require(self.decoder == DecoderChoice::LowRank || !given, name, reason)?;
        }
        Ok(())
    }

    /// What does not.
    pub(crate) fn pace(&self) -> SftPace {
        SftPace {
            checkpoint_every: self.checkpoint_every,
            eval_every: self.eval_every.unwrap_or(250),
            stop_after: self.run.stop_after,
            init_from: self.init_from.clone(),
        }
    }
}

pub(crate) fn run(args: &SftArgs, recorded: String) -> Result<()> {
    let settings = args.settings();
    settings.check()?;
    args.check_decoder()?;
    let device = prepare::device(&args.device.device)?;
    // TF32 is ten times as fast, and its error is far below the noise of a batch.
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    let (train, valid) = args.held_out.corpora(&args.input)?;
    let mut run = args.run.open(recorded)?;
    let backbone = args.input.backbone()?;
    let place = Workplace::new(&backbone, &args.device.features, &args.input)?;
    print_size(&settings, &place)?;

    let frozen = place.frozen(&device)?;
    let head = OutputHead::new(&frozen, prepare::budget(&args.device))?;
    let stream = settings.shuffle_buffer.filter(|_| args.stream).map(|problems| 2 * problems);
    let load = |corpus: Corpus, limit| -> Result<TextFeatures<'_>> {
        Ok(place.text(corpus, limit, stream, &device)?.with_segments(&backbone, settings.hold))
    };
    let mut train = load(train, args.input.limit)?;
    if prepare::scores_candidates(args.head, &device) {
        train = place.with_candidates(&frozen, train, stream)?;
    }
    let valid = valid.map(|corpus| load(corpus, args.held_out.valid_limit)).transpose()?;
    let provenance = prepare::provenance(&args.input.data, &train, valid.as_ref());
    let samples = valid.as_ref().and_then(|text| prepare::samples(&backbone, &text.corpus, args.samples, &args.input));
    let material = SftData {
        frozen: &frozen,
        head: &head,
        train: &train.features,
        valid: valid.as_ref().map(|text| &text.features),
        provenance: &provenance,
        samples: samples.as_ref(),
    };
    let ended = sft(&material, &settings, &args.pace(), &mut run, &bar("sft", 0, "steps"))?;
    print(outcome(ended, &run) + "\n")
}

fn print_size(settings: &SftSettings, place: &Workplace<'_>) -> Result<()> {
    let spec = settings.spec(&place.about);
    let (plugin, backbone) = (parameters(&spec), place.about.parameters);
    let (width, share) = (spec.decoder.width(), 100.0 * plugin as f64 / backbone as f64);
    print(format_args!("plugin: width {width}, {plugin} parameters, {share:.2} % of the backbone's {backbone}\n"))
}

fn outcome(ended: Ended, run: &RunFolder) -> String {
    match ended {
        Ended::Finished => format!("wrote {}", run.plugin().display()),
        Ended::Stopped => format!("stopped; --resume goes on from {}", run.checkpoint().display()),
    }
}
