//! The shape of a network, read from metadata and checked.

use ollm_kernels::ops::{AttentionParams, KvHeads, Rotation};

use crate::gguf::{Gguf, GgufError, Metadata, TensorInfo};

use super::error::ModelError;
use super::experts::ExpertsConfig;
use super::family::{FAMILIES, Family, NormPlacement};
use super::keys::FamilyKeys;
use super::layer_kind::LayerKind;
use super::name::{Role, TensorName};
use super::pooling::{ClassifierConfig, DenseConfig, Pooling};
use super::rope::{self, Rope, RopeFactors};
use super::tensor::vector;

/// The batch size of prefill, in tokens: enough to reuse each weight, few enough for the scratch to
/// stay small.
pub const BATCH: usize = 256;

/// Layers of a backbone at most.
const MAX_LAYERS: usize = 4096;

/// Elements of all heads at most: sizes stay far from overflow, with 32 bits too.
const MAX_WIDTH: usize = 1 << 24;

/// Streams of AltUp at most.
pub(super) const MAX_STREAMS: usize = 8;

/// The shape of one transformer block. Heads are those of attention: other layers have none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerConfig {
    /// How it mixes tokens.
    pub kind: LayerKind,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// The layer before whose keys and values it attends to; `None`: its own.
    pub kv_source: Option<usize>,
    /// Width of the feed-forward network, if it is dense.
    pub ffn: usize,
    /// Its mixture of experts; `None`: it is dense.
    pub experts: Option<ExpertsConfig>,
    /// Gates are sparse: what they have over the mean of a token's, less so many of their standard
    /// deviations; the others are 0.
    pub gate_cutoff: Option<f32>,
    /// Whether its attention has the sliding window.
    pub is_sliding: bool,
    /// Whether queries and keys are rotated.
    pub has_rope: bool,
}

impl LayerConfig {
    /// Elements of all query heads of a token.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of all key heads of a token, and of all value heads.
    pub fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Floats of the layer's recurrent state, beside a hidden state of this size; 0 of attention,
    /// whose state is a KV cache.
    pub fn recurrent_width(&self, hidden: usize) -> usize {
        match self.kind {
            LayerKind::Attention => 0,
            LayerKind::ShortConvolution { taps } => (taps - 1) * hidden,
            LayerKind::GatedDeltaNet(shape) => shape.tail_width() + shape.state_width(),
            LayerKind::Mamba2(shape) | LayerKind::AttentionMamba2(shape) => shape.tail_width() + shape.state_width(),
        }
    }

    /// Width of what mixes tokens, before it is projected to the hidden state.
    fn mixed_width(&self, hidden: usize) -> usize {
        match self.kind {
            LayerKind::Attention => self.query_width(),
            LayerKind::ShortConvolution { .. } => hidden,
            LayerKind::GatedDeltaNet(shape) => shape.value_width(),
            LayerKind::Mamba2(shape) => shape.inner_width(),
            LayerKind::AttentionMamba2(shape) => self.query_width().max(shape.inner_width()),
        }
    }

    /// The heads, as attention wants them.
    pub fn kv_shape(&self) -> KvHeads {
        KvHeads { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim }
    }

    /// Width of the feed-forward network; of experts that of the widest.
    pub fn ffn_width(&self) -> usize {
        self.experts.map_or(self.ffn, |experts| experts.widest())
    }

    /// The widest input of a matrix of this layer, beside a hidden state of this size.
    pub(super) fn widest(&self, hidden: usize) -> usize {
        hidden.max(self.mixed_width(hidden)).max(self.ffn_width())
    }
}

/// The shape of a backbone.
#[derive(Clone, Debug)]
pub struct Config {
    /// The family.
    pub family: Family,
    /// The transformer blocks, at least one.
    pub layers: Vec<LayerConfig>,
    /// Blocks of the file after these, for multi-token prediction: they are not run.
    pub prediction_layers: usize,
    /// Size of the hidden state.
    pub hidden: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// The tokens among them that are never picked (`suppress_tokens` of transformers).
    pub suppressed: Vec<u32>,
    /// What each layer has of a token's per-layer embedding, if there are such: its elements.
    pub per_layer: Option<usize>,
    /// Streams of the hidden state, if there are several (AltUp).
    pub streams: Option<usize>,
    /// The context length: positions the model was trained for.
    pub context_length: usize,
    /// Attention is causal: the model continues texts. If it is bidirectional, a text is read as a
    /// whole, in one pass, and the model gives its embedding.
    pub causal: bool,
    /// Kinds of segments that tokens may belong to, if they have embeddings: all are of the first.
    pub token_types: Option<usize>,
    /// Where the norms of a layer are.
    pub norms: NormPlacement,
    /// Queries, keys and values are one matrix of the file, [`Role::FusedQueryKeyValue`].
    pub fused_attention: bool,
    /// The epsilon of every norm.
    pub norm_epsilon: f32,
    /// The scale of embeddings.
    pub embedding_scale: f32,
    /// The scale of what attention and the feed-forward network add.
    pub residual_scale: f32,
    /// The scale of logits, before their soft-cap.
    pub logit_scale: f32,
    /// The rotary position embedding (`RoPE`).
    pub rope: Rope,
    /// The same in sliding layers.
    pub sliding_rope: Rope,
    /// The sliding window of attention: positions that sliding layers see, if there are such
    /// layers.
    pub sliding_window: Option<usize>,
    /// The scale of attention scores.
    pub attention_scale: f32,
    /// How queries grow with their position.
    pub query_temperature: Option<QueryTemperature>,
    /// The soft-cap of attention scores: `cap * tanh(score / cap)`.
    pub attention_softcap: Option<f32>,
    /// The soft-cap of logits: `cap * tanh(logit / cap)`.
    pub logit_softcap: Option<f32>,
    /// How the hidden states of a text become its embedding, unless a caller says otherwise.
    pub pooling: Pooling,
    /// The dense layers that what was pooled goes through.
    pub dense: Vec<DenseConfig>,
    /// The head for classification, if the file has one.
    pub classifier: Option<ClassifierConfig>,
}

/// How queries grow with their position: by `1 + scale ln(1 + floor(position / length))` (Llama 4,
/// Ministral 3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryTemperature {
    /// The factor of the logarithm.
    pub scale: f32,
    /// The positions of one step.
    pub length: usize,
}

impl QueryTemperature {
    /// What the query at `position` is multiplied by.
    pub fn at(&self, position: usize) -> f32 {
        let steps = 1 + position / self.length;
        (1.0 + f64::from(self.scale) * (steps as f64).ln()) as f32
    }
}

impl Config {
    /// The sizes by their names, as reports show them; of layers that differ, those of the largest.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        let experts = self.layers.iter().find_map(|layer| layer.experts);
        let experts = experts.map(|it| [("experts", it.count), ("experts_used", it.used)]);
        let sizes = [
            ("layers", self.layers.len()),
            ("hidden", self.hidden),
            ("heads", self.most(|layer| layer.heads)),
            ("kv_heads", self.most(|layer| layer.kv_heads)),
            ("head_dim", self.most(|layer| layer.head_dim)),
            ("ffn", self.most(LayerConfig::ffn_width)),
            ("vocabulary", self.vocab),
            ("context", self.context_length),
        ];
        sizes.into_iter().chain(experts.into_iter().flatten()).collect()
    }

    /// Reads and checks the configuration of the backbone in `gguf`, whose bytes are `file`.
    pub fn from_gguf(gguf: &Gguf, file: &[u8]) -> Result<Self, ModelError> {
        // Some files do not name the size of the vocabulary elsewhere. A file of another kind is
        // refused for what it is, not for want of embeddings.
        let embedding = TensorName::new(Role::Embedding).to_string();
        let vocab = gguf.tensor(&embedding).map(TensorInfo::rows);
        let mut config = Self::from_metadata(gguf.metadata(), vocab.unwrap_or_default())?;
        vocab.ok_or(ModelError::MissingTensor(embedding))?;
        let attention = config.layers.iter().position(|layer| layer.kind.has_attention()).unwrap_or(0);
        let has = |role| gguf.tensor(&TensorName::in_layer(attention, role).to_string()).is_some();
        // llama.cpp's converter wrote that StableLM 3B is parallel, and its reader goes by the
        // norm.
        if has(config.family.ffn_norm) {
            config.norms = config.family.norms;
        }
        // A head for classification may be there without a word.
        if let Some(labels) = gguf.tensor(&TensorName::new(Role::ClassifierOutput).to_string()) {
            config.classifier.get_or_insert_with(|| ClassifierConfig::unnamed(labels.rows()));
            let keys = FamilyKeys::new(gguf.metadata(), config.family.name);
            config.pooling = keys.pooling(config.family, config.family.classifier.pooling())?;
        }
        // It fuses, or does not, the matrices of any family.
        config.fused_attention = has(Role::FusedQueryKeyValue);
        config.divide_ropes(gguf, file)?;
        Ok(config)
    }

    /// Reads and checks the configuration of a backbone of `vocab` tokens. What its tensors say of
    /// it, the factors of its rope, is not in it.
    pub fn from_metadata(metadata: &Metadata, vocab: usize) -> Result<Self, ModelError> {
        let name = metadata.str("general.architecture")?;
        let family = FAMILIES.iter().find(|family| family.name == name);
        let family = *family.ok_or_else(|| ModelError::UnknownArchitecture(name.to_owned()))?;
        let keys = FamilyKeys::new(metadata, family.name);
        let family = keys.with_sections(keys.with_activation(family)?);
        let hidden = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let [head_dim, sliding_head_dim] = keys.head_dims(hidden, heads)?;
        for dim in [head_dim, sliding_head_dim] {
            let width = heads.saturating_mul(dim);
            keys.require("attention.key_length", dim, width <= MAX_WIDTH, "at most 16777216 / head_count")?;
        }
        let blocks = keys.size("block_count")?;
        keys.require("block_count", blocks, blocks <= MAX_LAYERS, "at most 4096")?;
        let prediction_layers = keys.prediction_layers(blocks)?;
        let layers = blocks - prediction_layers;
        let mut kv_heads = keys.kv_heads(family, blocks, heads)?;
        kv_heads.truncate(layers);
        let kinds = keys.kinds(family, blocks, &kv_heads)?;
        let context_length = keys.opt_positions("context_length")?;
        let missing = || GgufError::MissingKey { key: keys.key("context_length") };
        let context_length = context_length.ok_or_else(missing)?;
        let [rope, sliding_rope] = keys.ropes(family, [head_dim, sliding_head_dim], context_length)?;
        let sliding_window = keys.sliding_window(family)?;
        let ffn = keys.ffn_widths(blocks)?;
        let sliding = keys.sliding_layers(family, layers, sliding_window)?;
        let ropes = keys.rope_layers(family, &sliding, sliding_window)?;
        let experts = keys.experts(family, layers, ffn[0])?;
        let kv_sources = keys.kv_sources(&sliding)?;
        let shared = kv_sources.iter().flatten().count();
        let rule = "0 where layers are recurrent";
        keys.require("attention.shared_kv_layers", shared, shared == 0 || family.recurrent.is_none(), rule)?;
        let gate_cutoffs = keys.gate_cutoffs(family, layers)?;
        let layer = |index: usize| {
            let is_sliding = sliding[index];
            let all = LayerConfig {
                kind: kinds[index],
                heads,
                kv_heads: kv_heads[index],
                head_dim: if is_sliding { sliding_head_dim } else { head_dim },
                kv_source: kv_sources[index],
                ffn: ffn[index],
                experts: experts[index],
                gate_cutoff: gate_cutoffs[index],
                is_sliding,
                has_rope: ropes[index],
            };
            let none = LayerConfig { heads: 0, kv_heads: 0, is_sliding: false, has_rope: false, ..all };
            if all.kind.has_attention() { all } else { none }
        };
        let [embedding_scale, residual_scale, logit_scale] = keys.scales(family, hidden, layers)?;
        let attention_scale = keys.attention_scale(family, layers, head_dim, hidden / heads)?;
        let config = Self {
            family,
            layers: (0..layers).map(layer).collect(),
            prediction_layers,
            hidden,
            vocab,
            suppressed: keys.suppressed(vocab)?,
            per_layer: keys.per_layer()?,
            streams: keys.streams(family)?,
            context_length,
            causal: keys.causal(family, &kinds)?,
            token_types: keys.token_types(family)?,
            norms: keys.norms(family)?,
            fused_attention: family.fused_attention,
            norm_epsilon: keys.epsilon(family)?,
            embedding_scale,
            residual_scale,
            logit_scale,
            rope,
            sliding_rope,
            sliding_window,
            attention_scale,
            query_temperature: keys.query_temperature()?,
            attention_softcap: keys.softcap("attn_logit_softcapping", family.attention_softcap)?,
            logit_softcap: keys.softcap("final_logit_softcapping", family.logit_softcap)?,
            pooling: keys.pooling(family, Pooling::Mean)?,
            dense: keys.dense_layers(hidden)?,
            classifier: keys.classifier()?,
        };
        keys.refuse_others(&rope::NAMES)?;
        Ok(config)
    }

    /// Tokens of a pass at most, of so many that are to be evaluated: a batch of them, or, if
    /// attention is bidirectional, all.
    pub fn pass_tokens(&self, tokens: usize) -> usize {
        if self.causal { tokens.min(BATCH) } else { tokens }
    }

    /// Elements of an embedding: those of a hidden state, or of what the last dense layer gives.
    pub fn embedding_width(&self) -> usize {
        self.dense.last().map_or(self.hidden, |dense| dense.outputs)
    }

    /// The most that a layer has of something.
    pub(crate) fn most(&self, size: impl Fn(&LayerConfig) -> usize) -> usize {
        self.layers.iter().map(size).max().unwrap_or(0)
    }

    /// Outputs of the matrix of queries of a layer, those of their gates included.
    pub(super) fn projected_queries(&self, layer: &LayerConfig) -> usize {
        layer.query_width() * if self.family.attention_gate { 2 } else { 1 }
    }

    /// The rope of layers with full attention, and of sliding ones, if there are such.
    pub fn ropes(&self) -> impl Iterator<Item = &Rope> {
        let sliding = self.sliding_window.map(|_| &self.sliding_rope);
        [&self.rope].into_iter().chain(sliding)
    }

    /// How heads are rotated in layers with full attention, and in sliding ones, in a context of so
    /// many positions.
    pub fn rotations(&self, context: usize) -> [Rotation; 2] {
        [&self.rope, &self.sliding_rope].map(|rope| rope.rotation(context))
    }

    /// The attention parameters of a layer, without its sinks, which are weights.
    pub fn attention_params(&self, layer: &LayerConfig) -> AttentionParams<'static> {
        let window = self.sliding_window.filter(|_| layer.is_sliding);
        let (scale, cap, causal) = (self.attention_scale, self.attention_softcap, self.causal);
        AttentionParams { scale, cap, causal, window, sinks: None }
    }

    /// Applies the factors that the file has: those of Llama 3.1, or those of `LongRoPE`.
    fn divide_ropes(&mut self, gguf: &Gguf, file: &[u8]) -> Result<(), ModelError> {
        let factors = |role| {
            let name = TensorName::new(role).to_string();
            gguf.tensor(&name).map(|_| vector(gguf, file, &name, self.rope.pairs())).transpose()
        };
        let factors = RopeFactors {
            all: factors(Role::RopeFactors)?,
            long: factors(Role::RopeFactorsLong)?,
            short: factors(Role::RopeFactorsShort)?,
        };
        let keys = FamilyKeys::new(gguf.metadata(), self.family.name);
        if keys.opt_str("rope.scaling.type")? == Some("longrope") {
            for (role, there) in [(Role::RopeFactorsLong, &factors.long), (Role::RopeFactorsShort, &factors.short)] {
                there.as_ref().ok_or_else(|| ModelError::MissingTensor(TensorName::new(role).to_string()))?;
            }
        }
        self.rope.divide(&factors);
        if !self.family.sliding_rope {
            self.sliding_rope.divide(&factors);
        }
        Ok(())
    }
}
