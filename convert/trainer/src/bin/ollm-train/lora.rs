//! `ollm-train lora`.

use std::path::PathBuf;

use candle_core::{DType, Device};
use ollm_train::data::corpus::Corpus;
use ollm_train::data::tensor_file;
use ollm_train::features::backbone::{Backbone, Example, Frozen, Source};
use ollm_train::features::head::Head;
use ollm_train::lora::adapters::Lora;
use ollm_train::lora::network::Network;
use ollm_train::lora::{merged, task};
use ollm_train::plugin::file::Provenance;
use ollm_train::sft::train::Ended;
use ollm_train::{Error, Result};

use crate::args::LoraArgs;
use crate::prepare;

/// Bytes that logits may take, on each thread.
const LOGITS: usize = 256 << 20;

pub(crate) fn run_lora(args: &LoraArgs, recorded: String) -> Result<()> {
    let settings = args.settings();
    settings.check()?;
    let device = prepare::device(&args.device)?;
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    let mut run = args.run.open(recorded)?;
    prepare::check_output("--output", &run.merged(), &[&args.input.model])?;
    let backbone = Backbone::open(&args.input.model)?;
    let frozen = Frozen::new(backbone.describe()?, backbone.head(), backbone.embeddings(), &device)?;
    let network = Network::new(backbone.model(), &frozen.embedding, weight_type(&device))?;
    let lora = Lora::new(&settings, &network, frozen.about.parameters)?;
    merged::check(&args.input.model, backbone.model().gguf(), &lora, args.merged_type)?;
    print_size(&lora, frozen.about.parameters);

    let (train, data_hash) = examples(&backbone, &args.input.data, args.input.limit)?;
    let (valid, valid_hash) = match &args.held_out.valid {
        none if none.is_empty() => (Vec::new(), None),
        files => examples(&backbone, files, args.held_out.valid_limit).map(|(valid, hash)| (valid, Some(hash)))?,
    };
    let provenance = Provenance {
        data: prepare::file_names(&args.input.data),
        data_hash,
        tokens: train.iter().map(|example| example.tokens.len() - example.answer_start).sum(),
        valid_hash,
    };
    let head = Head::full(&frozen, LOGITS);
    let material = task::Material {
        network: &network,
        head: &head,
        about: &frozen.about,
        train: &train,
        valid: &valid,
        provenance: &provenance,
    };
    let pace = args.pace(device.is_cpu(), prepare::threads(&args.input));
    let bar = prepare::bar(0, "steps");
    if task::lora(&material, &settings, &pace, &mut run, &bar)? == Ended::Stopped {
        println!("stopped; --resume goes on from {}", run.checkpoint().display());
        return Ok(());
    }
    bar.finish_and_clear();
    let (tensors, _) = tensor_file::load(&run.lora(), &Device::Cpu)?;
    merged::write(backbone.model(), &lora, &tensors, args.merged_type, &run.merged())?;
    println!("wrote {} and {}", run.lora().display(), run.merged().display());
    Ok(())
}

/// Half the bytes where the hardware is made for them.
fn weight_type(device: &Device) -> DType {
    if device.is_cuda() { DType::BF16 } else { DType::F32 }
}

fn print_size(lora: &Lora, backbone: u64) {
    let (trained, rank) = (lora.parameters(), lora.rank);
    let share = 100.0 * trained as f64 / backbone as f64;
    println!("adapters: rank {rank}, {trained} parameters, {share:.2} % of the backbone's {backbone}");
}

/// The problems as tokens, without those that exceed the context, and the name of them all.
fn examples(backbone: &Backbone, data: &[PathBuf], limit: Option<usize>) -> Result<(Vec<Example>, String)> {
    let corpus = Corpus::read(data)?;
    let mut examples = Vec::new();
    let problems = corpus.first(limit);
    for problem in problems {
        examples.push(backbone.example(problem)?);
    }
    let before = examples.len();
    examples.retain(|example| example.tokens.len() - 1 <= backbone.context());
    prepare::print_left_out(before - examples.len(), before, backbone);
    if examples.is_empty() {
        Err(Error::NoData(data.to_vec()))
    } else {
        Ok((examples, format!("{}:{}", corpus.hash, problems.len())))
    }
}
