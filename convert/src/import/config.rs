//! `config.json`: the shape of a model, as transformers says it and as GGUF says it.

use ollm_runtime::gguf::{Metadata, Value};

use super::architecture::{self, Architecture};
use super::document::Document;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use super::rope::Ropes;
use crate::{ConvertError, Result};

const WINDOW: &str = "attention.sliding_window";

/// The shape of a model.
pub(super) struct HfConfig {
    pub(super) architecture: &'static Architecture,
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) vocab: usize,
    /// The head is the embedding.
    pub(super) tied: bool,
    /// All four matrices of attention have biases.
    pub(super) output_bias: bool,
    context: usize,
    norm_epsilon: f64,
    pub(super) ropes: Ropes,
    window: Option<Window>,
    /// `query_pre_attn_scalar`: the head size in the scale of scores, where it differs from the
    /// real one.
    query_scalar: Option<f64>,
    attention_cap: Option<f64>,
    logit_cap: Option<f64>,
}

/// The sliding window, and which layers have it.
struct Window {
    positions: usize,
    sliding: Vec<bool>,
}

impl HfConfig {
    pub(super) fn read(json: &Document) -> Result<Self> {
        let architecture = architecture(json)?;
        refuse(json, architecture)?;
        let (layers, hidden) = (json.size("num_hidden_layers")?, json.size("hidden_size")?);
        let heads = json.size("num_attention_heads")?;
        let kv_heads = json.opt_size("num_key_value_heads")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(json.bad("num_key_value_heads", "a divisor of num_attention_heads").into());
        }
        let head_dim = match json.opt_size("head_dim")? {
            Some(size) => size,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(json.bad("num_attention_heads", "a divisor of hidden_size").into()),
        };
        if head_dim % 2 != 0 {
            return Err(json.bad("head_dim", "even").into());
        }
        let family = architecture.family();
        let scaled = architecture.scaled_scores;
        let scalar = if scaled { json.opt_positive("query_pre_attn_scalar")? } else { None };
        // Where the family has a cap, none is 0.
        let cap = |key, missing: Option<f32>| match json.is_null(key) {
            true => Ok(missing.map(|_| 0.0)),
            false if scaled => Ok(json.opt_positive(key)?.or(missing.map(f64::from))),
            false => Ok::<_, ConvertError>(None),
        };
        Ok(Self {
            architecture,
            layers,
            hidden,
            ffn: json.size("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            vocab: json.size("vocab_size")?,
            tied: json.opt_bool("tie_word_embeddings")?.unwrap_or(architecture.tied),
            output_bias: json.opt_bool("attention_bias")?.unwrap_or(false),
            context: json.positions("max_position_embeddings")?,
            norm_epsilon: json.positive("rms_norm_eps")?,
            ropes: Ropes::read(json, architecture.family().sliding_rope, head_dim)?,
            window: Window::read(json, architecture, layers)?,
            query_scalar: scalar.filter(|scalar| scalar.total_cmp(&(head_dim as f64)).is_ne()),
            attention_cap: cap("attn_logit_softcapping", family.attention_softcap)?,
            logit_cap: cap("final_logit_softcapping", family.logit_softcap)?,
        })
    }

    /// The shape as the runtime reads it from these keys.
    pub(super) fn runtime(&self) -> Result<ollm_runtime::model::Config> {
        let mut metadata = Metadata::default();
        let architecture = ("general.architecture".to_owned(), self.architecture.family().name.into());
        for (key, value) in self.keys().into_iter().chain([architecture]) {
            metadata.insert(key, value).map_err(ConvertError::Output)?;
        }
        Ok(ollm_runtime::model::Config::from_metadata(&metadata, self.vocab)?)
    }

    /// The keys of the model in GGUF.
    pub(super) fn keys(&self) -> MetadataPairs {
        let sizes = [
            ("context_length", self.context),
            ("embedding_length", self.hidden),
            ("block_count", self.layers),
            ("feed_forward_length", self.ffn),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
            ("vocab_size", self.vocab),
        ];
        let floats = [
            ("attention.layer_norm_rms_epsilon", Some(self.norm_epsilon)),
            ("attention.scale", self.query_scalar.map(|scalar| 1.0 / scalar.sqrt())),
            ("attn_logit_softcapping", self.attention_cap),
            ("final_logit_softcapping", self.logit_cap),
        ];
        let sizes = sizes.into_iter().map(|(name, size)| (name, Value::U32(size as u32)));
        let floats = floats.into_iter().filter_map(|(name, x)| Some((name, Value::F32(x? as f32))));
        let family = self.architecture.family();
        let windows = match &self.window {
            Some(window) => window.keys(family.full_attention_interval),
            None => family.sliding_window.map(|_| (WINDOW, Value::U32(0))).into_iter().collect(),
        };
        let prefix = family.name;
        let all = sizes.chain(floats).chain(self.ropes.keys()).chain(windows);
        all.map(|(name, value)| (format!("{prefix}.{name}"), value)).collect()
    }
}

/// The architecture that a `config.json` names.
fn architecture(config: &Document) -> Result<&'static Architecture> {
    let names = config.opt_list("architectures")?.ok_or_else(|| config.missing("architectures"))?;
    let [name] = names.as_slice() else { return Err(config.bad("architectures", "a list of one name").into()) };
    let found = architecture::ALL.iter().find(|known| name.as_str() == Some(known.name));
    let unknown = || ImportError::UnknownArchitecture {
        path: config.path.clone(),
        name: name.as_str().map_or_else(|| name.to_string(), str::to_owned),
    };
    found.ok_or_else(|| unknown().into())
}

/// What some models of these families have and the runtime has not.
fn refuse(json: &Document, architecture: &Architecture) -> Result<()> {
    let curve = if architecture.family().gelu { "gelu_pytorch_tanh" } else { "silu" };
    for key in ["hidden_act", "hidden_activation"] {
        if json.opt_str(key)?.is_some_and(|name| name != curve) {
            return Err(json.unsupported(key, curve).into());
        }
    }
    if json.opt_bool("mlp_bias")? == Some(true) {
        return Err(json.unsupported("mlp_bias", "false").into());
    }
    if json.opt_bool("use_bidirectional_attention")? == Some(true) {
        return Err(json.unsupported("use_bidirectional_attention", "false").into());
    }
    if json.get("quantization_config").is_some() {
        return Err(json.unsupported("quantization_config", "weights that are F32, F16 or BF16").into());
    }
    if json.opt_positive("partial_rotary_factor")?.is_some_and(|factor| factor < 1.0) {
        return Err(json.unsupported("partial_rotary_factor", "1").into());
    }
    Ok(())
}

impl Window {
    fn read(json: &Document, architecture: &Architecture, layers: usize) -> Result<Option<Self>> {
        let wanted = !architecture.optional_window || json.opt_bool("use_sliding_window")?.unwrap_or(false);
        let missing = architecture.family().sliding_window.filter(|_| !json.is_null("sliding_window"));
        let positions = json.opt_positions("sliding_window")?.or(missing);
        let Some(positions) = positions.filter(|_| wanted) else { return Ok(None) };
        let sliding = match json.opt_list("layer_types")? {
            Some(kinds) => by_type(json, kinds, layers)?,
            None => by_rule(json, architecture, layers)?,
        };
        Ok(sliding.contains(&true).then_some(Self { positions, sliding }))
    }

    /// `every`: the interval of layers with full attention, where nothing is said of them.
    fn keys(&self, every: usize) -> Vec<(&'static str, Value)> {
        const PATTERN: &str = "attention.sliding_window_pattern";
        let repeats = |every: usize| (0..self.sliding.len()).all(|i| self.sliding[i] == is_sliding(i, every));
        let mut keys = vec![(WINDOW, Value::U32(self.positions as u32))];
        if !repeats(every) {
            let period = (1..=self.sliding.len()).find(|&every| repeats(every));
            let pattern = period.map_or_else(|| self.sliding.clone().into(), |every| Value::U32(every as u32));
            keys.push((PATTERN, pattern));
        }
        keys
    }
}

fn is_sliding(layer: usize, full_attention_interval: usize) -> bool {
    full_attention_interval == 0 || layer % full_attention_interval != full_attention_interval - 1
}

fn by_type(json: &Document, kinds: &[serde_json::Value], layers: usize) -> Result<Vec<bool>> {
    const KEY: &str = "layer_types";
    if kinds.len() != layers {
        return Err(json.bad(KEY, "a list of num_hidden_layers").into());
    }
    let local = |kind: &serde_json::Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(json.unsupported(KEY, "sliding_attention, full_attention").into()),
    };
    kinds.iter().map(local).collect()
}

/// The rules from the time before `layer_types`.
fn by_rule(json: &Document, architecture: &Architecture, layers: usize) -> Result<Vec<bool>> {
    if architecture.optional_window {
        let first = json.size("max_window_layers")?;
        return Ok((0..layers).map(|layer| layer >= first).collect());
    }
    let every = json.opt_size("sliding_window_pattern")?.or(json.opt_size("_sliding_window_pattern")?);
    let every = every.unwrap_or(architecture.family().full_attention_interval);
    Ok((0..layers).map(|layer| is_sliding(layer, every)).collect())
}
