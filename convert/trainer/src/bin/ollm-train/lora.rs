//! `lora`: the baseline, adapters on the backbone.

use candle_core::{DType, Device};
use clap::Args;
use ollm_convert::tensor_type;
use ollm_runtime::gguf::TensorType;
use ollm_train::Result;
use ollm_train::data::corpus::Corpus;
use ollm_train::data::tensor_file;
use ollm_train::features::backbone::{BackboneModel, Example, Frozen, StateSource};
use ollm_train::features::head::OutputHead;
use ollm_train::fit::Ended;
use ollm_train::lora::adapters::{Lora, LoraShape, LoraTarget};
use ollm_train::lora::network::Network;
use ollm_train::lora::{adapters, merged, task};
use ollm_train::plugin::file::Provenance;

use crate::args::{HeldOutArgs, InputArgs, RunArgs, count, steps};
use crate::output::print;
use crate::prepare;
use crate::progress::bar;

#[derive(Debug, Args)]
pub(crate) struct LoraArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) held_out: HeldOutArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Matrices of each block that get adapters
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = LoraTarget::ALL)]
    pub(crate) targets: Vec<LoraTarget>,
    /// Rank of the adapters; by default they have 1.56 % of the backbone's parameters
    #[arg(long, value_name = "R")]
    pub(crate) rank: Option<usize>,
    /// What is learned is multiplied by alpha / rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA")]
    pub(crate) alpha: Option<f64>,
    /// Passes over the data
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count)]
    pub(crate) epochs: usize,
    /// Problems a step
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) batch: usize,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 5e-4)]
    pub(crate) lr: f64,
    /// Steps between evaluations on the held-out problems [default: 50]
    #[arg(long, value_name = "N", requires = "validation", value_parser = steps)]
    pub(crate) eval_every: Option<u64>,
    /// Held-out questions that are answered at each evaluation: logged, and shown shortened. Each
    /// time the backbone is written with the adapters in it, and removed [default: 0]
    #[arg(long, value_name = "N", requires = "validation")]
    pub(crate) samples: Option<usize>,
    /// Stop after N evaluations in a row that found nothing better
    #[arg(long, value_name = "N", requires = "validation", value_parser = steps)]
    pub(crate) patience: Option<u64>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to compute: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Tokens that run through the network at a time, on each thread [default: 512; 16384 on a GPU]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) pass_tokens: Option<usize>,
    /// Keep each block's input alone for the backward pass, and compute its activations again: less
    /// memory, a forward pass more, the same result
    #[arg(long)]
    pub(crate) gradient_checkpointing: bool,
    /// Type of the changed matrices in merged.gguf
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = tensor_type)]
    pub(crate) merged_type: TensorType,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = steps)]
    pub(crate) checkpoint_every: u64,
}

impl LoraArgs {
    /// What decides the result.
    pub(crate) fn settings(&self) -> adapters::LoraSettings {
        adapters::LoraSettings {
            shape: LoraShape { targets: self.targets.clone(), rank: self.rank, alpha: self.alpha },
            epochs: self.epochs,
            batch: self.batch,
            lr: self.lr,
            eval_every: self.eval_every.unwrap_or(50),
            patience: self.patience,
            seed: self.seed,
        }
    }

    /// What does not.
    pub(crate) fn pace(&self, on_cpu: bool, threads: usize) -> task::LoraPace {
        task::LoraPace {
            checkpoint_every: self.checkpoint_every,
            stop_after: self.run.stop_after,
            threads: if on_cpu { threads } else { 1 },
            pass_tokens: self.pass_tokens.unwrap_or(if on_cpu { 512 } else { 16384 }),
        }
    }
}

pub(crate) fn run(args: &LoraArgs, recorded: String) -> Result<()> {
    let settings = args.settings();
    settings.check()?;
    let device = prepare::device(&args.device)?;
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    let (train, valid) = args.held_out.corpora(&args.input)?;
    let mut run = args.run.open(recorded)?;
    prepare::check_output("--output", &run.merged(), &[&args.input.model])?;
    let backbone = args.input.backbone()?;
    let frozen = Frozen::new(backbone.describe()?, backbone.head(), backbone.embeddings(), &device)?;
    let network = Network::new(backbone.model(), &frozen.embedding, weight_type(&device))?;
    let network = network.with_checkpointing(args.gradient_checkpointing);
    let lora = Lora::new(&settings.shape, &network, frozen.about.parameters)?;
    merged::check(&args.input.model, backbone.model().gguf(), &lora, args.merged_type)?;
    print_size(&lora, frozen.about.parameters)?;

    let (train, data_hash) = examples(&backbone, &train, args.input.limit)?;
    let samples = valid.as_ref().and_then(|valid| prepare::samples(&backbone, valid, args.samples, &args.input));
    let valid = valid.map(|corpus| examples(&backbone, &corpus, args.held_out.valid_limit)).transpose()?;
    let (valid, valid_hash) = valid.map_or((Vec::new(), None), |(valid, hash)| (valid, Some(hash)));
    let provenance = Provenance {
        data: prepare::file_names(&args.input.data),
        data_hash,
        tokens: train.iter().map(|example| example.tokens.len() - example.answer_start).sum(),
        valid_hash,
    };
    let head = OutputHead::new(&frozen, prepare::LOGITS)?;
    let material = task::LoraData {
        network: &network,
        head: &head,
        about: &frozen.about,
        train: &train,
        valid: &valid,
        provenance: &provenance,
        samples: samples.as_ref(),
    };
    let pace = args.pace(device.is_cpu(), prepare::threads(&args.input));
    let bar = bar("lora", 0, "steps");
    if task::lora(&material, &settings, &pace, &mut run, &bar)? == Ended::Stopped {
        return print(format_args!("stopped; --resume goes on from {}\n", run.checkpoint().display()));
    }
    bar.finish_and_clear();
    if run.ranks().is_root() {
        let (tensors, _) = tensor_file::load(&run.lora(), &Device::Cpu)?;
        merged::write(backbone.model(), &lora, &tensors, args.merged_type, &run.merged())?;
    }
    print(format_args!("wrote {} and {}\n", run.lora().display(), run.merged().display()))
}

/// Half the bytes where the hardware is made for them.
fn weight_type(device: &Device) -> DType {
    if device.is_cuda() { DType::BF16 } else { DType::F32 }
}

fn print_size(lora: &Lora, backbone: u64) -> Result<()> {
    let (trained, rank) = (lora.parameters(), lora.rank);
    let share = 100.0 * trained as f64 / backbone as f64;
    print(format_args!("adapters: rank {rank}, {trained} parameters, {share:.2} % of the backbone's {backbone}\n"))
}

/// The problems as tokens, without those that exceed the context, and the name of them all.
fn examples(backbone: &BackboneModel, corpus: &Corpus, limit: Option<usize>) -> Result<(Vec<Example>, String)> {
    let mut examples = Vec::new();
    let problems = corpus.first(limit);
    for problem in problems {
        examples.push(backbone.example(problem)?);
    }
    let before = examples.len();
    examples.retain(|example| example.tokens.len() - 1 <= backbone.context());
    prepare::print_left_out(before - examples.len(), before, backbone);
    if examples.is_empty() {
        Err(corpus.no_data())
    } else {
        Ok((examples, format!("{}:{}", corpus.hash, problems.len())))
    }
}
