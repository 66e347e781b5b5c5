//! `config.json`: the shape of a model, as transformers says it and as GGUF says it.

use ollm_runtime::gguf::{Metadata, Value};
use ollm_runtime::model::{Family, NormKind, Role, RopeLayers};

use super::architecture::{self, Architecture, Fusion, ScaleKeys};
use super::document::Document;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use super::rope::Ropes;
use crate::quantize::RowGroups;
use crate::{ConvertError, Result};

const WINDOW: &str = "attention.sliding_window";
const ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";

/// The shape of a model.
pub(super) struct HfConfig {
    /// `config.json`, of a larger model with its text part on top.
    pub(super) json: Document,
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
    /// Whether queries, keys and values, the output of attention, and the feed-forward network have
    /// biases.
    pub(super) biases: [bool; 3],
    context: usize,
    norm_epsilon: f64,
    /// Elements of a head that are rotated.
    rotated: usize,
    pub(super) ropes: Ropes,
    /// Which layers have rope, where it is not the family's rule.
    rope_layers: Option<Vec<bool>>,
    /// Attention and the feed-forward network have the same input, or not.
    parallel: Option<bool>,
    /// The sections of a multimodal rope, which mean nothing to text.
    sections: Option<Vec<i32>>,
    /// The positions of the first training, where the model was trained for more later.
    original_context: Option<usize>,
    /// How queries grow with each such context before them.
    temperature: Option<f64>,
    scales: Vec<(&'static str, f64)>,
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
        let json = &text_part(json, architecture)?;
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
        let rotated = rotated(json, architecture, head_dim)?;
        let (original_context, temperature) = original_context(json)?;
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
            json: json.clone(),
            architecture,
            layers,
            hidden,
            ffn: json.size(architecture.ffn)?,
            heads,
            kv_heads,
            head_dim,
            vocab: json.size("vocab_size")?,
            tied: json.opt_bool("tie_word_embeddings")?.unwrap_or(architecture.tied),
            biases: biases(json, architecture)?,
            context: json.positions("max_position_embeddings")?,
            norm_epsilon: json.positive(architecture.epsilon)?,
            rotated,
            ropes: Ropes::read(json, architecture.family().sliding_rope, rotated)?,
            rope_layers: rope_layers(json, family, layers)?,
            parallel: json.opt_bool("use_parallel_residual")?,
            sections: sections(json)?,
            original_context,
            temperature,
            scales: scales(json, architecture.scales, layers, hidden)?,
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
            ("rope.dimension_count", self.rotated),
            ("vocab_size", self.vocab),
        ];
        let family = self.architecture.family();
        let epsilon = match family.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let floats = [
            (epsilon, Some(self.norm_epsilon)),
            ("attention.scale", self.query_scalar.map(|scalar| 1.0 / scalar.sqrt())),
            ("attn_logit_softcapping", self.attention_cap),
            ("final_logit_softcapping", self.logit_cap),
        ];
        let sizes = sizes.into_iter().map(|(name, size)| (name, Value::U32(size as u32)));
        let scales = self.scales.iter().map(|&(name, x)| (name, Some(x)));
        let floats = floats.into_iter().chain(scales);
        let floats = floats.filter_map(|(name, x)| Some((name, Value::F32(x? as f32))));
        let windows = match &self.window {
            Some(window) => window.keys(family.full_attention_interval),
            None if family.sliding_window.is_some() || self.architecture.named_window => {
                vec![(WINDOW, Value::U32(0))]
            }
            None => Vec::new(),
        };
        let mut all: Vec<(&str, Value)> = sizes.chain(floats).chain(self.ropes.keys()).chain(windows).collect();
        all.extend(self.rope_layers.clone().map(|layers| ("attention.rope_pattern", layers.into())));
        all.extend(self.parallel.map(|parallel| ("use_parallel_residual", Value::Bool(parallel))));
        all.extend(self.sections.clone().map(|sections| ("rope.dimension_sections", sections.into())));
        all.extend(self.temperature.map(|scale| ("attention.temperature_scale", Value::F32(scale as f32))));
        // The scaling of rope may have said it.
        if let Some(length) = self.original_context.filter(|_| all.iter().all(|(name, _)| *name != ORIGINAL_CONTEXT)) {
            all.push((ORIGINAL_CONTEXT, Value::U32(length as u32)));
        }
        all.into_iter().map(|(name, value)| (format!("{}.{name}", family.name), value)).collect()
    }

    /// Which rows of a tensor of transformers this one of GGUF is, if it is not all of them.
    pub(super) fn rows(&self, role: Role) -> Option<RowGroups> {
        let (queries, head) = (self.heads / self.kv_heads * self.head_dim, self.head_dim);
        let (first, count, stride) = match (self.architecture.fusion, role) {
            (Fusion::Gate, Role::FfnGate) => (0, self.ffn, 2 * self.ffn),
            (Fusion::Gate, Role::FfnUp) => (self.ffn, self.ffn, 2 * self.ffn),
            (Fusion::KeyHeads, Role::Query) => (0, queries, queries + 2 * head),
            (Fusion::KeyHeads, Role::Key) => (queries, head, queries + 2 * head),
            (Fusion::KeyHeads, Role::Value) => (queries + head, head, queries + 2 * head),
            _ => return None,
        };
        Some(RowGroups { first, count, stride })
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

/// What `config.json` says of the text part, with what it leaves out.
fn text_part(json: &Document, architecture: &Architecture) -> Result<Document> {
    let mut all = json.clone();
    let text = if architecture.multimodal { json.part("text_config")? } else { None };
    let keys = text.iter().filter_map(|text| text.value.as_object()).flatten();
    for (key, value) in keys.filter(|(key, value)| !value.is_null() || json.value.get(key).is_none()) {
        all.value[key] = value.clone();
    }
    for (key, value) in architecture.defaults {
        if all.value.get(key).is_none() {
            all.value[*key] = if value.fract() == 0.0 { (*value as u64).into() } else { (*value).into() };
        }
    }
    Ok(all)
}

/// What some models of these families have and the runtime has not.
fn refuse(json: &Document, architecture: &Architecture) -> Result<()> {
    // The second is an older name of the first.
    let key = if json.get("hidden_activation").is_some() { "hidden_activation" } else { "hidden_act" };
    if json.opt_str(key)?.is_some_and(|name| !architecture.activations.contains(&name)) {
        return Err(json.unsupported(key, architecture.activations[0]).into());
    }
    for key in ["use_bidirectional_attention", "qk_layernorm", "use_qk_norm_per_head"] {
        if json.opt_bool(key)? == Some(true) {
            return Err(json.unsupported(key, "false").into());
        }
    }
    if json.get("quantization_config").is_some() {
        return Err(json.unsupported("quantization_config", "weights that are F32, F16 or BF16").into());
    }
    for key in ["num_local_experts", "num_experts"] {
        if json.get(key).and_then(serde_json::Value::as_u64).is_some_and(|count| count > 1) {
            return Err(json.unsupported(key, "0").into());
        }
    }
    if json.opt_str("position_embedding_type")?.is_some_and(|kind| kind != "rope") {
        return Err(json.unsupported("position_embedding_type", "rope").into());
    }
    Ok(())
}

fn biases(json: &Document, architecture: &Architecture) -> Result<[bool; 3]> {
    let mut biases = [false; 3];
    for (bias, (key, missing)) in biases.iter_mut().zip(architecture.biases) {
        *bias = if key.is_empty() { false } else { json.opt_bool(key)?.unwrap_or(missing) };
    }
    Ok(biases)
}

/// Elements of a head that are rotated.
fn rotated(json: &Document, architecture: &Architecture, head_dim: usize) -> Result<usize> {
    const KEY: &str = "partial_rotary_factor";
    let ropes = json.part("rope_parameters")?;
    let inner = ropes.as_ref().map_or(Ok(None), |ropes| ropes.opt_positive(KEY))?;
    let share = inner.or(json.opt_positive(KEY)?).or(json.opt_positive("rotary_pct")?);
    let rotated = (share.unwrap_or(architecture.rotary_share) * head_dim as f64) as usize;
    if rotated == 0 || rotated % 2 != 0 || rotated > head_dim {
        return Err(json.bad(KEY, "at most 1, and an even number of a head's elements").into());
    }
    Ok(rotated)
}

/// Which layers have rope, where `no_rope_layers` (1: rope, 0: none) is not the family's rule.
fn rope_layers(json: &Document, family: &Family, layers: usize) -> Result<Option<Vec<bool>>> {
    const KEY: &str = "no_rope_layers";
    let RopeLayers::AllBut(every) = family.rope else { return Ok(None) };
    let interval = json.opt_size("no_rope_layer_interval")?.unwrap_or(every);
    let by_rule = |every: usize| (1..=layers).map(|layer| layer % every != 0).collect::<Vec<bool>>();
    let found = match json.opt_list(KEY)? {
        None => by_rule(interval),
        Some(list) => {
            let rope = |value: &serde_json::Value| value.as_u64().filter(|rope| *rope < 2).map(|rope| rope == 1);
            let ropes: Option<Vec<bool>> = list.iter().map(rope).collect();
            let ropes = ropes.filter(|ropes| ropes.len() == layers);
            ropes.ok_or_else(|| json.bad(KEY, "0 or 1 for each of num_hidden_layers"))?
        }
    };
    Ok(Some(found).filter(|found| *found != by_rule(every)))
}

/// `mrope_section`, padded to four.
fn sections(json: &Document) -> Result<Option<Vec<i32>>> {
    const KEY: &str = "mrope_section";
    let ropes = json.part("rope_parameters")?.or(json.part("rope_scaling")?);
    let Some(ropes) = ropes else { return Ok(None) };
    let Some(list) = ropes.opt_list(KEY)? else { return Ok(None) };
    let sections: Option<Vec<i32>> = list.iter().map(|value| i32::try_from(value.as_u64()?).ok()).collect();
    let mut sections = sections.filter(|list| list.len() <= 4).ok_or_else(|| ropes.bad(KEY, "at most four sizes"))?;
    sections.resize(4, 0);
    Ok(Some(sections))
}

/// The context that rope was made for, and how queries grow with each such context before them.
fn original_context(json: &Document) -> Result<(Option<usize>, Option<f64>)> {
    const KEY: &str = "original_max_position_embeddings";
    const BETA: &str = "llama_4_scaling_beta";
    let ropes = json.part("rope_parameters")?.or(json.part("rope_scaling")?);
    let temperature = ropes.as_ref().map_or(Ok(None), |ropes| ropes.opt_positive(BETA))?;
    let length = match &ropes {
        Some(ropes) if temperature.is_some() => Some(ropes.positions(KEY)?),
        _ => json.opt_positions(KEY)?,
    };
    Ok((length, temperature))
}

/// The scales, by their keys in GGUF.
fn scales(json: &Document, keys: ScaleKeys, layers: usize, hidden: usize) -> Result<Vec<(&'static str, f64)>> {
    let (embedding, residual, logits) = ("embedding_scale", "residual_scale", "logit_scale");
    Ok(match keys {
        ScaleKeys::None => Vec::new(),
        ScaleKeys::Granite => {
            let all = [
                ("attention.scale", "attention_multiplier"),
                (embedding, "embedding_multiplier"),
                (residual, "residual_multiplier"),
                (logits, "logits_scaling"),
            ];
            let mut scales = Vec::new();
            for (name, key) in all {
                // 1, where transformers takes it for one that is missing.
                scales.push((name, json.opt_positive(key)?.unwrap_or(1.0)));
            }
            scales
        }
        ScaleKeys::MiniCpm => vec![
            (embedding, json.positive("scale_emb")?),
            (residual, json.positive("scale_depth")? / (layers as f64).sqrt()),
            (logits, hidden as f64 / json.positive("dim_model_base")?),
        ],
        ScaleKeys::Logits => vec![(logits, json.positive("logit_scale")?)],
    })
}

impl Window {
    fn read(json: &Document, architecture: &Architecture, layers: usize) -> Result<Option<Self>> {
        let is_known = |kind: &serde_json::Value| kind == "attention" || kind == "full_attention";
        if json
            .opt_list("layer_types")?
            .is_some_and(|kinds| kinds.iter().any(|kind| !is_known(kind) && kind != "sliding_attention"))
        {
            return Err(json.unsupported("layer_types", "sliding_attention, full_attention").into());
        }
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
        Some("full_attention" | "attention") => Ok(false),
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
