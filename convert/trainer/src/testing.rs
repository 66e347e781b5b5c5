//! What the tests share: a tiny backbone without a model, features that can be learned, and
//! comparison.

pub(crate) mod ranks;
mod speaker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use half::f16;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::schema::{self, DecoderKind, PluginConfig};
use ollm_runtime::session::{Session, SessionOptions};

use crate::data::rng::Rng;
use crate::data::tensor_file::Tensors;
use crate::features::backbone::{BackboneDescription, BackboneModel, Example, Frozen, TextSettings};
use crate::features::states::Features;
use crate::lora::adapters::{LoraSettings, LoraShape, LoraTarget};
use crate::lora::network::Network;
use crate::plugin::file::Loaded;
use crate::plugin::nets::{TensorSlot, control_slots, value_slots};
use crate::plugin::params::Params;

pub(crate) fn description(hidden: usize, vocab: usize) -> BackboneDescription {
    let backbone = schema::Backbone { architecture: "test".into(), hidden, vocab, fingerprint: "norms:0123".into() };
    BackboneDescription {
        backbone,
        norm_epsilon: 1e-5,
        logit_softcap: None,
        parameters: 100_000,
        content: "4567".into(),
    }
}

/// The settings of a short training: an epoch, a problem at a time.
pub(crate) fn lora_settings(targets: Vec<LoraTarget>, rank: Option<usize>) -> LoraSettings {
    let shape = LoraShape { targets, rank, alpha: None };
    LoraSettings { shape, epochs: 1, batch: 1, lr: 1e-3, eval_every: 1, patience: None, seed: 0 }
}

/// Questions of random tokens and lengths; the answer counts up from the question's last token
/// in steps of `stride`.
pub(crate) fn counting_problems(count: u32, stride: u32) -> Vec<Example> {
    let example = |i: u32| {
        let question: Vec<u32> = (0..3 + i % 4).map(|j| (i * 31 + j * 17) % 320).collect();
        let answer = (1..6).map(|j| (question[question.len() - 1] % 8 + j * stride) % 320);
        Example { answer_start: question.len(), tokens: question.iter().copied().chain(answer).collect() }
    };
    (0..count).map(example).collect()
}

pub(crate) fn normal(name: &str, shape: &[usize], scale: f32) -> Tensor {
    let mut rng = Rng::stream(0, name, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() * scale).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(crate) fn frozen(hidden: usize, vocab: usize) -> Frozen {
    frozen_with_cap(hidden, vocab, None)
}

/// The same with this soft-cap of logits.
pub(crate) fn frozen_with_cap(hidden: usize, vocab: usize, logit_softcap: Option<f32>) -> Frozen {
    let matrix = |name| normal(name, &[vocab, hidden], 0.5).flatten_all().unwrap().to_vec1().unwrap();
    let about = BackboneDescription { logit_softcap, ..description(hidden, vocab) };
    Frozen::new(about, matrix("head"), matrix("embedding"), &Device::Cpu).unwrap()
}

/// Random states; the token that follows is one of two that the state's first signs name, by a fair
/// coin. So a control can learn to do better than the backbone, and two options can do better than
/// one.
pub(crate) fn features(frozen: &Frozen, rows: usize) -> Features<'static> {
    let (hidden, vocab) = (frozen.about.backbone.hidden, frozen.about.backbone.vocab);
    let mut rng = Rng::stream(0, "states", 0);
    let (mut states, mut next) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let state: Vec<f32> = (0..hidden).map(|_| rng.normal()).collect();
        let class = usize::from(state[0] > 0.0) + 2 * usize::from(state[1] > 0.0);
        next.push(((2 * class + rng.below(2) as usize) % vocab) as u32);
        states.extend(state.iter().map(|&value| f16::from_f32(value)));
    }
    Features::new(&states, next, hidden, vec![0, rows / 2, rows], &Device::Cpu)
}

pub(crate) fn assert_close(left: f32, right: f32, tolerance: f32) {
    assert!((left - right).abs() <= tolerance, "{left} is not within {tolerance} of {right}");
}

/// A place for a folder, or a file, of this name: not there yet, and removed when dropped.
pub(crate) struct TestPath(PathBuf);

pub(crate) fn folder(name: &str) -> TestPath {
    let place = TestPath(std::env::temp_dir().join(format!("ollm-train-{}-{name}", std::process::id())));
    place.clear();
    place
}

impl TestPath {
    fn clear(&self) {
        let _ = std::fs::remove_file(&self.0).or_else(|_| std::fs::remove_dir_all(&self.0));
    }
}

impl AsRef<Path> for TestPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl std::ops::Deref for TestPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestPath {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How one call of a training run goes.
#[derive(Clone, Copy, Default)]
pub(crate) struct TrainCall {
    pub(crate) stop_after: Option<u64>,
    pub(crate) resume: bool,
}

impl TrainCall {
    /// A new run, to its end.
    pub(crate) const WHOLE: Self = Self { stop_after: None, resume: false };
    /// The rest of a run.
    pub(crate) const REST: Self = Self { stop_after: None, resume: true };

    /// A new run that stops after so many steps.
    pub(crate) const fn first(steps: u64) -> Self {
        Self { stop_after: Some(steps), resume: false }
    }
}

/// A small plugin: three options.
pub(crate) fn spec(hidden: usize, decoder: DecoderKind) -> PluginConfig {
    let backbone = description(hidden, 12).backbone;
    PluginConfig {
        options: 3,
        norm_epsilon: 1e-5,
        decoder,
        encoder_width: 6,
        policy_width: 5,
        value_width: None,
        hold: Hold::Token,
        backbone,
    }
}

/// All tensors of a plugin, none of them zero.
pub(crate) fn random_params(spec: &PluginConfig) -> Params {
    let tensors = |slots: Vec<TensorSlot>| -> Tensors {
        slots.into_iter().map(|(name, shape)| (name.to_owned(), normal(name, &shape, 0.4))).collect()
    };
    let params =
        Params::options(spec, &tensors([control_slots(spec), value_slots(spec)].concat()), false, 0, &Device::Cpu)
            .unwrap();
    params.restore(&tensors(schema::tensors(spec))).unwrap();
    params
}

/// A backbone of random weights that can be talked to: its tokens are the bytes, and one that ends
/// a turn.
pub(crate) fn speaker() -> BackboneModel {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    // Once open, it needs no name.
    let file = folder(&format!("speaker-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let values = |name: &str, shape: &[usize]| normal(name, shape, 0.5).flatten_all().unwrap().to_vec1().unwrap();
    std::fs::write(&file, speaker::file(&values)).unwrap();
    BackboneModel::open(&file, &TextSettings::default()).unwrap()
}

/// The matrices of a backbone.
pub(crate) fn frozen_of(backbone: &BackboneModel) -> Frozen {
    Frozen::new(backbone.describe().unwrap(), backbone.head(), backbone.embeddings(), &Device::Cpu).unwrap()
}

/// A plugin of random weights for [`speaker`].
pub(crate) fn speaker_plugin(backbone: &BackboneModel, options: usize) -> Loaded {
    let about = backbone.describe().unwrap();
    let spec =
        PluginConfig { options, backbone: about.backbone, ..spec(32, DecoderKind::LowRank { width: 8, rank: 4 }) };
    Loaded { tensors: random_params(&spec).tensors(), spec }
}

/// A tiny backbone of random weights, which the runtime's tests compare with Hugging Face's
/// transformers.
pub(crate) fn model(name: &str) -> Arc<Model> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/tiny");
    Arc::new(Model::open(&folder.join(format!("{name}.gguf"))).unwrap())
}

pub(crate) fn network(model: &Model, dtype: DType) -> Network {
    let (vocab, hidden) = (model.config().vocab, model.config().hidden);
    let embedding = Tensor::from_vec(model.embedding_weights(), (vocab, hidden), &Device::Cpu).unwrap();
    Network::new(model, &embedding, dtype).unwrap()
}

/// The runtime's hidden states of a sequence.
pub(crate) fn states(model: &Arc<Model>, tokens: &[u32]) -> Vec<f32> {
    let options = SessionOptions { threads: 1, context: tokens.len(), ..SessionOptions::default() };
    let mut out = Vec::new();
    Session::new(Arc::clone(model), None, &options).unwrap().hidden_states(tokens, &mut out).unwrap();
    out
}

/// The length of the difference, as a share of the length of `want`.
pub(crate) fn difference(got: &Tensor, want: &[f32]) -> f32 {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    length(&mut got.iter().zip(want).map(|(a, b)| a - b)) / length(&mut want.iter().copied())
}
