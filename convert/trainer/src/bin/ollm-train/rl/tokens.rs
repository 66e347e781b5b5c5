//! What draws tokens learns: the control, or adapters on the backbone. The policy is compared with
//! them.

use candle_core::{DType, Device};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::plugin::schema::PluginConfig;
use ollm_train::Result;
use ollm_train::eval::accuracy::ProblemUse;
use ollm_train::features::backbone::{BackboneModel, Frozen};
use ollm_train::features::head::OutputHead;
use ollm_train::features::segments::Hold;
use ollm_train::fit::run::RunFolder;
use ollm_train::lora::adapters::{Lora, LoraShape, LoraTarget};
use ollm_train::lora::merged;
use ollm_train::lora::network::Network;
use ollm_train::lora::workers::WorkerPools;
use ollm_train::plugin::deploy;
use ollm_train::plugin::file::{self, Loaded};
use ollm_train::rl::adapters::AdapterActor;
use ollm_train::rl::groups::{Actor, Groups};
use ollm_train::rl::tokens::TokenActor;
use ollm_train::rollout::engine::{LatentPlan, Plan};
use ollm_train::rollout::library::Library;

use super::args::Learner;
use super::run::RlRun;
use crate::prepare;

/// Tokens that run through the network at a time, on each thread.
const PASS_TOKENS: usize = 512;

const OBJECTIVE: &str = "group-normalised reward of tokens";

/// The rows of the table at the end: before and after.
pub(super) fn row_names(learn: Learner) -> [&'static str; 2] {
    match learn {
        Learner::Adapters => ["backbone, greedy", "token RL of adapters, greedy"],
        Learner::Policy | Learner::Control => ["control, greedy", "token RL of the control, greedy"],
    }
}

/// The control of the plugin learns.
pub(super) fn control(run: &RlRun<'_>, folder: &mut RunFolder) -> Result<()> {
    let control = deploy::control(&run.plugin()?)?;
    let head = OutputHead::new(&frozen(run)?, prepare::LOGITS)?;
    let (threads, slots) = (run.args.input.threads, run.args.rollout.slots);
    let actor = TokenActor::new(run.library.backbone, &control, &head, threads, slots);
    let identity = [("plugin".to_owned(), format!("{:016x}", deploy::hash(&control, PLUGIN_PREFIX)?))].into();
    let Some(tensors) = run.train(&mut groups(run, &actor)?, identity, folder)? else { return Ok(()) };
    let trained = Loaded { spec: PluginConfig { hold: Hold::Token, ..control.spec.clone() }, tensors };
    folder.write(
        &folder.plugin(),
        &trained.tensors,
        &file::described(&trained.spec, run.provenance(OBJECTIVE, None)),
    )?;
    let row = |name, plugin| run.answered(name, run.library, Some(plugin), &greedy(run, LatentPlan::Fixed(0)));
    let [before, after] = row_names(Learner::Control);
    let rows = vec![row(before, &control)?, row(after, &trained)?];
    run.end(vec![run.report(run.valid, ProblemUse::ChoseStep, vec![rows])?], &[folder.plugin()])
}

/// Adapters on the backbone learn.
pub(super) fn adapters(run: &RlRun<'_>, folder: &mut RunFolder) -> Result<()> {
    let (args, backbone) = (run.args, run.library.backbone);
    let frozen = frozen(run)?;
    let head = OutputHead::new(&frozen, prepare::LOGITS)?;
    let network = Network::new(backbone.model(), &frozen.embedding, DType::F32)?;
    let shape = LoraShape { targets: LoraTarget::ALL.to_vec(), rank: None, alpha: None };
    let lora = Lora::new(&shape, &network, run.about.parameters)?;
    merged::check(&args.input.model, backbone.model().gguf(), &lora, TensorType::F16)?;
    prepare::check_output("--output", &folder.merged(), &[&args.input.model])?;
    let actor = AdapterActor {
        backbone,
        text: args.input.text()?,
        network: &network,
        head: &head,
        lora: &lora,
        seed: args.rollout.seed,
        workers: WorkerPools::new(prepare::threads(&args.input))?,
        ranks: folder.ranks().clone(),
        pass_tokens: PASS_TOKENS,
        threads: args.input.threads,
        slots: args.rollout.slots,
        scratch: folder.scratch(&format!("answering-{}.gguf", folder.ranks().rank())),
    };
    let identity = [("rank".to_owned(), lora.rank.to_string())].into();
    let Some(tensors) = run.train(&mut groups(run, &actor)?, identity, folder)? else { return Ok(()) };
    let about = lora.metadata(run.about).into_iter();
    let training = run.provenance(OBJECTIVE, None).map(|(key, value)| (format!("training.{key}"), value));
    folder.write(&folder.lora(), &tensors, &about.chain(training).collect())?;
    if folder.ranks().is_root() {
        merged::write(backbone.model(), &lora, &tensors, TensorType::F16, &folder.merged())?;
    }
    folder.ranks().barrier()?;
    let adapted = BackboneModel::open(&folder.merged(), &actor.text)?;
    let adapted =
        Library::new(&adapted, &args.rollout.rollouts, args.input.threads, args.rollout.slots).on(folder.ranks());
    let row = |name, library| run.answered(name, library, None, &greedy(run, LatentPlan::Backbone));
    let [before, after] = row_names(Learner::Adapters);
    let rows = vec![row(before, run.library)?, row(after, &adapted)?];
    let reports = vec![run.report(run.valid, ProblemUse::ChoseStep, vec![rows])?];
    run.end(reports, &[folder.lora(), folder.merged()])
}

fn frozen(run: &RlRun<'_>) -> Result<Frozen> {
    let backbone = run.library.backbone;
    Frozen::new(run.about.clone(), backbone.head(), backbone.embeddings(), &Device::Cpu)
}

fn groups<'a>(run: &RlRun<'a>, actor: &'a dyn Actor) -> Result<Groups<'a>> {
    Ok(Groups::new(actor, run.train, run.valid, run.args.groups())?.on(run.library.ranks()))
}

fn greedy(run: &RlRun<'_>, latents: LatentPlan) -> Plan {
    let (tokens, seed) = (run.args.rollout.tokens, run.args.rollout.seed);
    Plan { latents, held: Hold::Token, temperature: 0.0, samples: 1, tokens, states: false, seed }
}
