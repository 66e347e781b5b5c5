//! The shape of a network, read from metadata and checked.

use crate::gguf::{Array, Gguf, GgufError, Metadata, TensorInfo, Value};
use crate::ops::{Activation, AttentionParams, KvHeads, Rotation};

use super::error::ModelError;
use super::experts::ExpertsConfig;
use super::family::{DefaultScales, FAMILIES, Family, NormKind, NormPlacement, RecurrentKind, RopeLayers};
use super::keys::{FamilyKeys, MAX_SIZE};
use super::layer_kind::LayerKind;
use super::name::{Role, TensorName};
use super::pooling::{ClassifierConfig, DenseConfig, Pooling};
use super::rope::{self, Rope, RopeFactors, RopeKeys};
use super::tensor::vector;

/// The batch size of prefill, in tokens: enough to reuse each weight, few enough for the scratch to
/// stay small.
pub const BATCH: usize = 256;

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
        }
    }

    /// Width of what mixes tokens, before it is projected to the hidden state.
    fn mixed_width(&self, hidden: usize) -> usize {
        match self.kind {
            LayerKind::Attention => self.query_width(),
            LayerKind::ShortConvolution { .. } => hidden,
            LayerKind::GatedDeltaNet(shape) => shape.value_width(),
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
        let attention = config.layers.iter().position(|layer| layer.kind == LayerKind::Attention).unwrap_or(0);
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
        let family = keys.with_activation(family)?;
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
            match all.kind {
                LayerKind::Attention => all,
                _ => LayerConfig { heads: 0, kv_heads: 0, is_sliding: false, has_rope: false, ..all },
            }
        };
        let [embedding_scale, residual_scale, logit_scale] = keys.scales(family, hidden, layers)?;
        let attention_scale = keys.attention_scale(family, layers, head_dim, hidden / heads)?;
        let config = Self {
            family,
            layers: (0..layers).map(layer).collect(),
            prediction_layers,
            hidden,
            vocab,
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

/// What the keys of the rope of sliding layers end with.
const SLIDING: &str = "_swa";

/// Layers of a backbone at most.
const MAX_LAYERS: usize = 4096;

/// Elements of all heads at most: sizes stay far from overflow, with 32 bits too.
const MAX_WIDTH: usize = 1 << 24;

impl FamilyKeys<'_> {
    /// Elements of a head in layers that see all positions, and in those with a window.
    fn head_dims(&self, hidden: usize, heads: usize) -> Result<[usize; 2], ModelError> {
        let size = if let Some(size) = self.opt_size("attention.key_length")? {
            size
        } else {
            let divides = hidden.is_multiple_of(heads);
            self.require("attention.head_count", heads, divides, "a divisor of embedding_length")?;
            hidden / heads
        };
        let sliding = self.opt_size("attention.key_length_swa")?.unwrap_or(size);
        for (name, size, rule) in [
            ("attention.value_length", size, "the same as attention.key_length"),
            ("attention.value_length_swa", sliding, "the same as attention.key_length_swa"),
        ] {
            let value = self.opt_size(name)?.unwrap_or(size);
            self.require(name, value, value == size, rule)?;
        }
        Ok([size, sliding])
    }

    /// A size of each layer: a list with one for each, or one number; `None` without the key.
    fn layer_sizes(&self, name: &str, layers: usize) -> Result<Option<Vec<usize>>, ModelError> {
        let Some(Value::Array(list)) = self.get(name) else {
            return Ok(self.opt_size(name)?.map(|size| vec![size; layers]));
        };
        self.require(name, list.len(), list.len() == layers, "as long as block_count says")?;
        let size = |value: Value| {
            let size = value.as_u32().map(|size| size as usize).filter(|&size| size <= MAX_SIZE);
            let rule = "a list of whole numbers, at most 1048576";
            size.ok_or_else(|| ModelError::InvalidValue { key: self.key(name), value: value.to_string(), rule })
        };
        list.iter().map(size).collect::<Result<_, _>>().map(Some)
    }

    /// The width of each layer's feed-forward network.
    fn ffn_widths(&self, layers: usize) -> Result<Vec<usize>, ModelError> {
        const NAME: &str = "feed_forward_length";
        let widths = self.layer_sizes(NAME, layers)?;
        let widths = widths.ok_or_else(|| GgufError::MissingKey { key: self.key(NAME) })?;
        self.require(NAME, 0, widths.iter().all(|&width| width > 0), "at least 1")?;
        Ok(widths)
    }

    /// The layers whose keys and values the last ones have, as many as the file says: of those
    /// before them the last that is sliding as they are, or is not.
    fn kv_sources(&self, sliding: &[bool]) -> Result<Vec<Option<usize>>, ModelError> {
        const NAME: &str = "attention.shared_kv_layers";
        let (layers, shared) = (sliding.len(), self.opt_u32(NAME)?.unwrap_or(0) as usize);
        let own = layers.saturating_sub(shared);
        let source = |layer: usize| sliding[..own].iter().rposition(|&is_sliding| is_sliding == sliding[layer]);
        let sources: Vec<_> = (0..layers).map(|layer| source(layer).filter(|_| layer >= own)).collect();
        let rule = "such that a layer of each kind is before them";
        self.require(NAME, shared, sources[own..].iter().all(Option::is_some), rule)?;
        Ok(sources)
    }

    /// Elements that each layer has of a per-layer embedding; 0 is none.
    fn per_layer(&self) -> Result<Option<usize>, ModelError> {
        const NAME: &str = "embedding_length_per_layer_input";
        match self.opt_u32(NAME)? {
            None | Some(0) => Ok(None),
            Some(_) => self.opt_size(NAME),
        }
    }

    /// Streams of the hidden state of AltUp, where the family has it.
    fn streams(&self, family: Family) -> Result<Option<usize>, ModelError> {
        const NAME: &str = "altup.num_inputs";
        if !family.altup {
            return Ok(None);
        }
        let streams = self.opt_size(NAME)?.unwrap_or(4);
        self.require(NAME, streams, (2..=MAX_STREAMS).contains(&streams), "2 to 8")?;
        Ok(Some(streams))
    }

    /// Where the gates of each layer are cut off, in standard deviations over their mean; minus
    /// infinity is nowhere.
    fn gate_cutoffs(&self, family: Family, layers: usize) -> Result<Vec<Option<f32>>, ModelError> {
        const NAME: &str = "activation_sparsity_scale";
        if !family.sparse_gates {
            return Ok(vec![None; layers]);
        }
        let value = self.get(NAME).ok_or_else(|| GgufError::MissingKey { key: self.key(NAME) })?;
        let Value::Array(Array::F32(list)) = value else {
            let (key, found) = (self.key(NAME), value.describe());
            return Err(GgufError::WrongType { key, expected: "a list of numbers of 32 bits", found }.into());
        };
        self.require(NAME, list.len(), list.len() == layers, "as long as block_count says")?;
        let cutoff = |&x: &f32| {
            self.require(NAME, x, x.is_finite() || x == f32::NEG_INFINITY, "numbers, or minus infinity")?;
            Ok(Some(x).filter(|x| x.is_finite()))
        };
        list.iter().map(cutoff).collect()
    }

    /// Key heads of each layer. 0 is a recurrent layer, where the family has them.
    fn kv_heads(&self, family: Family, layers: usize, heads: usize) -> Result<Vec<usize>, ModelError> {
        const NAME: &str = "attention.head_count_kv";
        let counts = self.layer_sizes(NAME, layers)?.unwrap_or_else(|| vec![heads; layers]);
        for &count in &counts {
            let is_recurrent = count == 0 && family.recurrent == Some(RecurrentKind::ShortConvolution);
            let divides = count > 0 && count <= heads && heads.is_multiple_of(count);
            self.require(NAME, count, is_recurrent || divides, "a divisor of attention.head_count")?;
        }
        Ok(counts)
    }

    /// The family with the activation function that the file names, as those of `ModernBERT` do.
    fn with_activation(&self, family: Family) -> Result<Family, ModelError> {
        const NAME: &str = "hidden_activation";
        if !family.named_activation {
            return Ok(family);
        }
        match self.opt_str(NAME)? {
            None | Some("gelu") => Ok(family),
            Some("silu") => Ok(Family { activation: Activation::Silu, ..family }),
            Some(other) => Err(ModelError::Unsupported { key: self.key(NAME), value: other.to_owned() }),
        }
    }

    fn epsilon(&self, family: Family) -> Result<f32, ModelError> {
        let name = match family.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        self.opt_positive(name)?.ok_or_else(|| GgufError::MissingKey { key: self.key(name) }.into())
    }

    /// Where the norms of a layer are.
    fn norms(&self, family: Family) -> Result<NormPlacement, ModelError> {
        match self.opt_bool("use_parallel_residual")? {
            Some(true) => Ok(NormPlacement::Parallel),
            _ => Ok(family.norms),
        }
    }

    /// The scales of embeddings, residuals and logits.
    fn scales(&self, family: Family, hidden: usize, layers: usize) -> Result<[f32; 3], ModelError> {
        let (size, layers) = (hidden as f32, layers as f32);
        let missing = match family.scales {
            Some(DefaultScales { embedding, depth, base_hidden }) => {
                [embedding, depth / layers.sqrt(), size / base_hidden]
            }
            None => [if family.scaled_embedding { size.sqrt() } else { 1.0 }, 1.0, 1.0],
        };
        // 0 is none, as llama.cpp has it.
        let read = |name, missing| match self.opt_float(name)? {
            Some(0.0) => Ok(1.0),
            _ => Ok::<_, ModelError>(self.opt_positive(name)?.unwrap_or(missing)),
        };
        let logits = read("logit_scale", missing[2])?;
        Ok([
            read("embedding_scale", missing[0])?,
            read("residual_scale", missing[1])?,
            if family.divided_logits { 1.0 / logits } else { logits },
        ])
    }

    /// How queries grow with their position; a scale of 0 is not at all.
    fn query_temperature(&self) -> Result<Option<QueryTemperature>, ModelError> {
        const SCALE: &str = "attention.temperature_scale";
        const LENGTH: &str = "rope.scaling.original_context_length";
        let scale = self.opt_float(SCALE)?.unwrap_or(0.0);
        self.require(SCALE, scale, (0.0..=1e3).contains(&scale), "0 to 1000")?;
        if scale == 0.0 {
            return Ok(None);
        }
        let missing = || GgufError::MissingKey { key: self.key(LENGTH) };
        let length = self.opt_positions(LENGTH)?.ok_or_else(missing)?;
        Ok(Some(QueryTemperature { scale, length }))
    }

    /// Which layers have rope, by which of them are sliding: a list, or the family's rule.
    fn rope_layers(&self, family: Family, sliding: &[bool], window: Option<usize>) -> Result<Vec<bool>, ModelError> {
        const NAME: &str = "attention.rope_pattern";
        const SWITCH: &str = "rope.scaling.finetuned";
        let layers = sliding.len();
        if let Some(value) = self.get(NAME) {
            let Value::Array(Array::Bool(ropes)) = value else {
                let (key, found) = (self.key(NAME), value.describe());
                return Err(GgufError::WrongType { key, expected: "a list of booleans", found }.into());
            };
            self.require(NAME, ropes.len(), ropes.len() == layers, "as long as block_count says")?;
            return Ok(ropes.clone());
        }
        let switch = self.opt_bool(SWITCH)?.unwrap_or(true);
        let has_rope = |layer: usize| match family.rope {
            RopeLayers::All => true,
            RopeLayers::AllBut(every) => layer % every != every - 1,
            RopeLayers::Sliding => sliding[layer] || window.is_none(),
            RopeLayers::Switched => switch,
            RopeLayers::None => false,
        };
        Ok((0..layers).map(has_rope).collect())
    }

    /// Whether attention is causal; the layers mix tokens in these ways.
    fn causal(&self, family: Family, kinds: &[LayerKind]) -> Result<bool, ModelError> {
        const NAME: &str = "attention.causal";
        let causal = self.opt_bool(NAME)?.unwrap_or(family.causal);
        let is_recurrent = kinds.iter().any(|kind| *kind != LayerKind::Attention);
        self.require(NAME, causal, causal || !is_recurrent, "true, as its recurrent layers are")?;
        Ok(causal)
    }

    /// A soft-cap; 0 is none, and one that is missing is the family's.
    fn softcap(&self, name: &str, missing: Option<f32>) -> Result<Option<f32>, ModelError> {
        match self.opt_float(name)? {
            None => Ok(missing),
            Some(0.0) => Ok(None),
            Some(cap) => {
                // Scores far below the cap would lose precision.
                self.require(name, cap, (1.0..=10_000.0).contains(&cap), "0, for none, or 1 to 10000")?;
                Ok(Some(cap))
            }
        }
    }

    /// The positions that sliding layers see; 0 is all, and a number that is missing is the
    /// family's.
    fn sliding_window(&self, family: Family) -> Result<Option<usize>, ModelError> {
        let window = self.opt_u32("attention.sliding_window")?;
        let window = window.map(|window| window as usize).or(family.sliding_window);
        Ok(window.filter(|&window| window > 0))
    }

    fn attention_scale(&self, family: Family, layers: usize, head: usize, share: usize) -> Result<f32, ModelError> {
        let is_share = family.query_pre_attn_scalar == Some(layers);
        self.require("attention.head_count", share, !is_share || share > 0, "at most embedding_length")?;
        let size = if is_share { share } else { head };
        let missing = family.attention_scale.unwrap_or(1.0 / (size as f32).sqrt());
        Ok(self.opt_positive("attention.scale")?.unwrap_or(missing))
    }

    /// Which layers are sliding: a list, or every layer but each so-many-th.
    fn sliding_layers(&self, family: Family, layers: usize, window: Option<usize>) -> Result<Vec<bool>, ModelError> {
        const NAME: &str = "attention.sliding_window_pattern";
        let every = match self.get(NAME) {
            Some(Value::Array(Array::Bool(sliding))) => {
                self.require(NAME, sliding.len(), sliding.len() == layers, "as long as block_count says")?;
                return Ok(sliding.iter().map(|&sliding| sliding && window.is_some()).collect());
            }
            Some(_) => self.opt_u32(NAME)?.unwrap_or(0) as usize,
            None => family.full_attention_interval,
        };
        Ok((0..layers).map(|layer| window.is_some() && family.slides(layer, every)).collect())
    }

    /// The rope of layers that see all positions, and that of those with a window.
    fn ropes(&self, family: Family, head_dims: [usize; 2], context_length: usize) -> Result<[Rope; 2], ModelError> {
        const BASE: &str = "rope.freq_base";
        const SLIDING_BASE: &str = "rope.freq_base_swa";
        let missing_base = self.opt_positive(BASE)?.unwrap_or(10_000.0);
        let [head_dim, sliding_head_dim] = head_dims;
        let keys = RopeKeys { keys: self, base: BASE, missing_base, suffix: "", head_dim, context_length };
        let missing_base = family.sliding_rope_base.unwrap_or(missing_base);
        // Where it is not one of its own, the scaling is the same.
        let suffix = if family.sliding_rope { SLIDING } else { "" };
        let sliding = RopeKeys { base: SLIDING_BASE, missing_base, suffix, head_dim: sliding_head_dim, ..keys };
        Ok([keys.read()?, sliding.read()?])
    }
}
