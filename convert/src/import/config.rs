//! `config.json`: the shape of a model, as transformers says it and as GGUF says it.

use ollm_runtime::gguf::{Metadata, Value};
use ollm_runtime::model::{Family, NormKind, Role, RopeLayers};

use super::architecture::{
    ATTENTION, Architecture, Defaults, HeadKind, LOGIT_SCALE, MAMBA, QUERY_SCALAR, RecurrentKeys, ScaleKeys,
};
use super::classifier::HfClassifier;
use super::dense::Dense;
use super::document::Document;
use super::experts::HfExperts;
use super::layer_shapes::LayerShapes;
use super::metadata::MetadataPairs;
use super::multipliers::Multipliers;
use super::part::rows_of_fused;
use super::recurrent::{HfRecurrent, adjusted_ffn};
use super::rope::Ropes;
use super::text_config::TextConfig;
use super::window::{WINDOW_KEY, Window, but_each};
use crate::quantize::{RowGroups, Rows};
use crate::{ConvertError, Result};

/// The shape of a model.
#[allow(clippy::struct_excessive_bools, reason = "what models have does not depend on what else they have")]
pub(super) struct HfConfig {
    /// `config.json`, and what its text model says of what it does not.
    pub(super) json: Document,
    pub(super) architecture: &'static Architecture,
    /// It is the text model of a multimodal one.
    pub(super) is_part: bool,
    /// What was guessed about it.
    pub(super) note: Option<String>,
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) experts: Option<HfExperts>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// What differs from layer to layer, where something may.
    pub(super) layer_shapes: Option<LayerShapes>,
    /// Streams of the hidden state of AltUp, where it has them.
    pub(super) streams: Option<usize>,
    /// Which layers are recurrent, where some may be.
    pub(super) recurrent: Option<HfRecurrent>,
    /// What the outputs of matrices are multiplied by, where something may.
    pub(super) multipliers: Option<Multipliers>,
    pub(super) head_dim: usize,
    pub(super) vocab: usize,
    /// The head is the embedding; `None` where only the weights tell.
    pub(super) tied: Option<bool>,
    /// Whether queries, keys and values, the output of attention, and the feed-forward network have
    /// biases.
    pub(super) biases: [bool; 3],
    /// Kinds of segments that tokens may belong to, if they have embeddings.
    token_types: Option<usize>,
    /// The dense layers behind the pooling.
    pub(super) dense: Vec<Dense>,
    context: usize,
    /// Rows of the table of positions that no text reaches: the first ones.
    skipped_positions: usize,
    /// The activation, where a file may name it.
    activation: Option<String>,
    /// The head for classification.
    pub(super) classifier: Option<HfClassifier>,
    norm_epsilon: f64,
    pub(super) ropes: Ropes,
    /// Which layers have rope, where it is not the family's rule.
    rope_layers: Option<Vec<bool>>,
    /// No layer has rope.
    is_ropeless: bool,
    /// Attention is causal.
    pub(super) causal: bool,
    /// Each head of queries and keys has a norm of its own.
    pub(super) head_norms: bool,
    /// Attention and the feed-forward network have the same input, or not.
    parallel: Option<bool>,
    scales: Vec<(&'static str, f64)>,
    window: Option<Window>,
    /// `query_pre_attn_scalar`: the head size in the scale of scores, where it differs from the
    /// one that the runtime takes.
    query_scalar: Option<f64>,
    attention_cap: Option<f64>,
    logit_cap: Option<f64>,
}

impl HfConfig {
    pub(super) fn read(whole: &Document) -> Result<Self> {
        let TextConfig { architecture, head, json, is_part, note } = TextConfig::find(whole)?;
        let json = &json.renamed(architecture.aliases);
        let defaults = &architecture.defaults;
        refuse(json, architecture)?;
        let size = |key, missing| Ok::<_, ConvertError>(json.opt_size(key)?.unwrap_or(missing));
        let flag = |key| Ok::<_, ConvertError>(json.opt_bool(key)?.unwrap_or(false));
        let layers = size("num_hidden_layers", defaults.layers)?;
        let hidden = size("hidden_size", defaults.hidden)?;
        let [heads, kv_heads, head_dim] = heads(json, defaults, hidden)?;
        let (skipped, context) = positions(json, architecture)?;
        let family = architecture.family();
        let tied = tied([whole, json], architecture, head, is_part)?;
        let rope_layers = rope_layers(json, family, layers)?;
        let is_ropeless = architecture.hybrid && json.opt_str("position_embedding_type")? != Some("rope");
        let widths = widths(json, architecture, layers)?;
        let ffn = widths[0];
        let window = Window::read(json, architecture, layers, rope_layers.as_deref())?;
        let layer_shapes = layer_shapes(json, architecture, window.as_ref(), [heads, kv_heads, head_dim], &widths)?;
        let full_head_dim = layer_shapes.as_ref().and_then(|shapes| shapes.full_head_dim);
        let recurrent = HfRecurrent::read(json, architecture.recurrent, layers, hidden)?;
        let multipliers = match &recurrent {
            Some(HfRecurrent::Mamba2 { shape, layers: None, .. }) => Some(Multipliers::read(json, *shape)?),
            _ => None,
        };
        let head_dims = [full_head_dim.unwrap_or(head_dim), head_dim];
        Ok(Self {
            json: whole.over(json),
            architecture,
            is_part,
            note,
            layers,
            hidden,
            ffn,
            experts: architecture.experts.map(|keys| HfExperts::read(json, keys, ffn)).transpose()?,
            heads,
            kv_heads,
            layer_shapes,
            streams: family.altup.then(|| streams(json)).transpose()?,
            recurrent,
            multipliers,
            head_dim,
            vocab: size("vocab_size", defaults.vocab)?,
            tied,
            biases: biases(json, architecture)?,
            token_types: family.token_types.then(|| size("type_vocab_size", 2)).transpose()?,
            dense: Vec::new(),
            context,
            skipped_positions: skipped,
            activation: named_activation(json, architecture)?,
            classifier: (head == HeadKind::Labels).then(|| HfClassifier::read(json, architecture)).transpose()?,
            norm_epsilon: json.opt_positive(architecture.epsilon)?.unwrap_or(defaults.norm_epsilon),
            ropes: Ropes::read(json, architecture, head_dims, context)?,
            rope_layers: rope_layers.filter(|found| !is_rule(family, found)),
            is_ropeless,
            causal: causal(json, architecture, window.is_some())?,
            head_norms: architecture.head_norms && flag("qk_layernorm")?,
            window,
            parallel: architecture.parallel.then(|| flag("use_parallel_residual")).transpose()?,
            scales: scales(json, architecture.scales, layers, hidden)?,
            query_scalar: query_scalar(json, architecture, head_dim, layers)?,
            attention_cap: cap(
                json,
                "attn_logit_softcapping",
                architecture.capped_scores,
                defaults.attention_cap,
                family.attention_softcap,
            )?,
            logit_cap: cap(
                json,
                "final_logit_softcapping",
                architecture.capped_logits,
                defaults.logit_cap,
                family.logit_softcap,
            )?,
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
            ("attention.head_count", self.heads),
            ("vocab_size", self.vocab),
        ];
        let shapes = match &self.layer_shapes {
            Some(shapes) => shapes.keys(self.head_dim),
            None => vec![
                ("feed_forward_length", Value::U32(self.ffn as u32)),
                ("attention.head_count_kv", self.key_heads()),
                ("attention.key_length", Value::U32(self.head_dim as u32)),
                ("attention.value_length", Value::U32(self.head_dim as u32)),
            ],
        };
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
        let floats = floats.into_iter().chain(scales).filter_map(|(name, x)| Some((name, Value::F32(x? as f32))));
        let windows = match &self.window {
            Some(window) if self.layer_shapes.is_some() => window.list(),
            Some(window) => window.keys(family),
            None if family.sliding_window.is_some() || self.architecture.named_window => {
                vec![(WINDOW_KEY, Value::U32(0))]
            }
            None => Vec::new(),
        };
        let others = [
            ("attention.rope_pattern", self.rope_layers.clone().map(Value::from)),
            ("rope.scaling.finetuned", self.is_ropeless.then_some(Value::Bool(false))),
            ("use_parallel_residual", self.parallel.map(Value::Bool)),
            ("altup.num_inputs", self.streams.map(|streams| Value::U32(streams as u32))),
            ("altup.active_idx", self.streams.map(|_| Value::U32(0))),
            ("attention.causal", (!self.causal).then_some(Value::Bool(false))),
            ("hidden_activation", self.activation.clone().map(Value::from)),
        ];
        let others = others.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let experts = self.experts.as_ref().map_or_else(Vec::new, |experts| experts.keys(family));
        let recurrent = self.recurrent.as_ref().map_or_else(Vec::new, HfRecurrent::keys);
        let own = sizes
            .chain(shapes)
            .chain(floats)
            .chain(windows)
            .chain(others)
            .chain(experts)
            .chain(recurrent)
            .map(|(name, value)| (name.to_owned(), value));
        let ropes = if family.rope == RopeLayers::None { Vec::new() } else { self.ropes.keys() };
        let dense = self.dense.iter().flat_map(Dense::keys);
        let classifier = self.classifier.iter().flat_map(|classifier| classifier.keys(family));
        let all = own
            .chain(ropes)
            .chain(dense)
            .chain(classifier)
            .map(|(name, value)| (format!("{}.{name}", family.name), value));
        let types = self.token_types.map(|types| ("tokenizer.ggml.token_type_count".to_owned(), (types as u32).into()));
        all.chain(types).collect()
    }

    /// The key heads: one number, or one for each layer where some have none.
    fn key_heads(&self) -> Value {
        let heads = self.kv_heads as u32;
        match &self.recurrent {
            // As llama.cpp writes lists.
            Some(HfRecurrent::ShortConvolutions { layers, .. } | HfRecurrent::Mamba2 { layers: Some(layers), .. }) => {
                layers.iter().map(|is| if *is { 0 } else { heads as i32 }).collect::<Vec<_>>().into()
            }
            Some(HfRecurrent::DeltaNets { .. } | HfRecurrent::Mamba2 { layers: None, .. }) | None => heads.into(),
        }
    }

    /// Which rows of a tensor of transformers this one of GGUF is.
    pub(super) fn rows(&self, role: Role) -> Rows {
        let (queries, head) = (self.heads / self.kv_heads * self.head_dim, self.head_dim);
        let (skipped, context) = (self.skipped_positions, self.context);
        match role {
            Role::PositionEmbedding if skipped > 0 => {
                Rows::Groups(RowGroups { first: skipped, count: context, stride: context + skipped })
            }
            Role::PerLayerEmbedding => {
                self.layer_shapes.as_ref().map_or(Rows::All, |shapes| shapes.per_layer_rows(self.vocab))
            }
            _ => {
                let is_shared = matches!(role, Role::FfnGateShared | Role::FfnUpShared);
                let shared = self.experts.as_ref().map_or(0, |experts| experts.shared);
                let ffn = if is_shared { shared } else { self.ffn };
                rows_of_fused(self.architecture.fusion, role, ffn, [queries, head])
            }
        }
    }
}

/// What some models of these families have and the runtime has not.
fn refuse(json: &Document, architecture: &Architecture) -> Result<()> {
    let key = architecture.activation;
    if json.opt_str(key)?.is_some_and(|name| !architecture.activations.contains(&name)) {
        return Err(json.unsupported(key, architecture.activations[0]).into());
    }
    for key in architecture.refused {
        let is_number = json.value.get(key).is_some_and(serde_json::Value::is_number);
        if is_number || json.opt_bool(key)? == Some(true) {
            return Err(json.unsupported(key, if is_number { "null" } else { "false" }).into());
        }
    }
    if architecture.family().learned_positions {
        const KIND: &str = "position_embedding_type";
        if json.opt_str(KIND)?.is_some_and(|kind| kind != "absolute") {
            return Err(json.unsupported(KIND, "absolute").into());
        }
    }
    for &(key, value, text) in architecture.fixed {
        if json.opt_number(key)?.is_some_and(|found| found.total_cmp(&value).is_ne()) {
            return Err(json.unsupported(key, text).into());
        }
    }
    if architecture.layer_shapes.is_some_and(|keys| keys.own_heads) {
        const BIDIRECTIONAL: &str = "use_bidirectional_attention";
        if json.opt_str(BIDIRECTIONAL)?.is_some_and(|kind| kind != "vision") {
            return Err(json.unsupported(BIDIRECTIONAL, "null, vision").into());
        }
    }
    if architecture.hybrid {
        const KINDS: &str = "layer_types";
        const EXPERTS: &str = "num_local_experts";
        let kinds = json.opt_list(KINDS)?.ok_or_else(|| json.missing(KINDS))?;
        let is_known = |kind: &serde_json::Value| {
            kind.as_str().is_some_and(|kind| ATTENTION.contains(&kind) || MAMBA.contains(&kind))
        };
        if !kinds.iter().all(is_known) {
            return Err(json.unsupported(KINDS, "mamba, attention").into());
        }
        json.opt_count(EXPERTS)?.ok_or_else(|| json.missing(EXPERTS))?;
    }
    Ok(())
}

/// Whether the head is the embedding, as the whole configuration says it and that of the text
/// model.
fn tied(
    [whole, json]: [&Document; 2],
    architecture: &Architecture,
    head: HeadKind,
    is_part: bool,
) -> Result<Option<bool>> {
    let tied = whole.opt_bool("tie_word_embeddings")?;
    let own = json.opt_bool("tie_word_embeddings")?;
    let is_convolution = matches!(architecture.recurrent, RecurrentKeys::ShortConvolutions { .. });
    let own = if is_convolution { json.opt_bool("tie_embedding")?.or(own) } else { own };
    Ok(match (is_part, own) {
        _ if head != HeadKind::Own => Some(true),
        // Where the class ties them; else a head that is not there is the embedding.
        (false, own) => own.or(architecture.defaults.tied.then_some(true)),
        (true, Some(own)) => Some(own || tied == Some(true)),
        (true, None) => tied,
    })
}

/// How many first positions of a table no text reaches, and how many it does.
fn positions(json: &Document, architecture: &Architecture) -> Result<(usize, usize)> {
    const KEY: &str = "max_position_embeddings";
    let rows = json.opt_positions(KEY)?.unwrap_or(architecture.defaults.context);
    let skipped = if architecture.padded_positions { 1 + json.opt_count("pad_token_id")?.unwrap_or(1) } else { 0 };
    let context = rows.checked_sub(skipped).filter(|&context| context > 0);
    Ok((skipped, context.ok_or_else(|| json.bad(KEY, "more than pad_token_id and 1"))?))
}

/// The activation, where a file may name it.
fn named_activation(json: &Document, architecture: &Architecture) -> Result<Option<String>> {
    let name = json.opt_str(architecture.activation)?;
    let name = name.or_else(|| architecture.activations.first().copied());
    Ok(name.filter(|_| architecture.family().named_activation).map(str::to_owned))
}

/// Whether attention is causal. In transformers `is_causal` counts for every class.
fn causal(json: &Document, architecture: &Architecture, has_window: bool) -> Result<bool> {
    const KEY: &str = "is_causal";
    let causal = architecture.family().causal && json.opt_bool(KEY)?.unwrap_or(true);
    if architecture.family().causal && !causal && has_window {
        return Err(json.unsupported(KEY, "true, beside a sliding window").into());
    }
    Ok(causal)
}

/// Heads of queries, heads of keys and values, and their size.
fn heads(json: &Document, defaults: &Defaults, hidden: usize) -> Result<[usize; 3]> {
    let heads = json.opt_size("num_attention_heads")?.unwrap_or(defaults.heads);
    let missing = defaults.kv_heads.filter(|_| !json.is_null("num_key_value_heads"));
    let kv_heads = json.opt_size("num_key_value_heads")?.or(missing).unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(json.bad("num_key_value_heads", "a divisor of num_attention_heads").into());
    }
    let missing = defaults.head_dim.filter(|_| !json.is_null("head_dim"));
    let head_dim = match json.opt_size("head_dim")?.or(missing) {
        Some(size) => size,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(json.bad("num_attention_heads", "a divisor of hidden_size").into()),
    };
    if head_dim.is_multiple_of(2) { Ok([heads, kv_heads, head_dim]) } else { Err(json.bad("head_dim", "even").into()) }
}

/// The widths of the feed-forward networks: of each layer where they may differ, else of all.
fn widths(json: &Document, architecture: &Architecture, layers: usize) -> Result<Vec<usize>> {
    let (key, missing) = (architecture.ffn, architecture.defaults.ffn);
    if architecture.layer_shapes.is_some() {
        return Ok(json.opt_sizes(key, layers)?.unwrap_or_else(|| vec![missing; layers]));
    }
    let is_adjusted = architecture.recurrent == RecurrentKeys::ShortConvolutions { adjusted: true };
    Ok(vec![if is_adjusted { adjusted_ffn(json, missing)? } else { json.opt_size(key)?.unwrap_or(missing) }])
}

/// What differs from layer to layer. `heads`: of queries, of keys and values, and their size.
fn layer_shapes(
    json: &Document,
    architecture: &Architecture,
    window: Option<&Window>,
    heads: [usize; 3],
    widths: &[usize],
) -> Result<Option<LayerShapes>> {
    match window {
        Some(Window { sliding, .. }) => LayerShapes::read(json, architecture, sliding, heads, widths),
        None if architecture.layer_shapes.is_some() => {
            Err(json.unsupported("layer_types", "some of sliding_attention").into())
        }
        None => Ok(None),
    }
}

/// `query_pre_attn_scalar`, where the runtime takes another one of itself.
fn query_scalar(json: &Document, architecture: &Architecture, head_dim: usize, layers: usize) -> Result<Option<f64>> {
    let scalar = json.opt_positive_if(architecture.scaled_scores, "query_pre_attn_scalar")?;
    let scalar = architecture.scaled_scores.then(|| scalar.unwrap_or(QUERY_SCALAR));
    let has_rule = architecture.family().query_pre_attn_scalar == Some(layers);
    Ok(scalar.filter(|scalar| scalar.total_cmp(&(head_dim as f64)).is_ne() || has_rule))
}

/// A soft-cap, if its key is read. `missing`: what it is where the key is missing. `silent`: what
/// the runtime takes where a file says nothing: there, none is 0.
fn cap(json: &Document, key: &str, is_read: bool, missing: Option<f64>, silent: Option<f32>) -> Result<Option<f64>> {
    match json.is_null(key) {
        true => Ok(silent.map(|_| 0.0)),
        false if is_read => Ok(json.opt_positive(key)?.or(missing)),
        false => Ok(None),
    }
}

/// Streams of AltUp.
fn streams(json: &Document) -> Result<usize> {
    const SCALED: &str = "altup_correct_scale";
    if json.opt_bool(SCALED)? == Some(false) {
        return Err(json.unsupported(SCALED, "true").into());
    }
    Ok(json.opt_size("altup_num_inputs")?.unwrap_or(4))
}

fn biases(json: &Document, architecture: &Architecture) -> Result<[bool; 3]> {
    let mut biases = [false; 3];
    for (bias, (key, missing)) in biases.iter_mut().zip(architecture.biases) {
        *bias = if key.is_empty() { missing } else { json.opt_bool(key)?.unwrap_or(missing) };
    }
    Ok(biases)
}

/// Which layers have rope, where the family has some without: `no_rope_layers` (1: rope, 0: none).
fn rope_layers(json: &Document, family: &Family, layers: usize) -> Result<Option<Vec<bool>>> {
    const KEY: &str = "no_rope_layers";
    let RopeLayers::AllBut(every) = family.rope else { return Ok(None) };
    let Some(list) = json.opt_list(KEY)? else {
        let every = json.opt_size("no_rope_layer_interval")?.unwrap_or(every);
        return Ok(Some((0..layers).map(|layer| but_each(layer, every)).collect()));
    };
    let rope = |value: &serde_json::Value| value.as_u64().filter(|rope| *rope < 2).map(|rope| rope == 1);
    let ropes: Option<Vec<bool>> = list.iter().map(rope).collect();
    let ropes = ropes.filter(|ropes| ropes.len() == layers);
    Ok(Some(ropes.ok_or_else(|| json.bad(KEY, "0 or 1 for each of num_hidden_layers"))?))
}

/// Whether a file that says nothing has rope in these layers.
fn is_rule(family: &Family, ropes: &[bool]) -> bool {
    let RopeLayers::AllBut(every) = family.rope else { return false };
    (0..ropes.len()).all(|layer| ropes[layer] == but_each(layer, every))
}

/// The scales, by their keys in GGUF.
fn scales(json: &Document, keys: ScaleKeys, layers: usize, hidden: usize) -> Result<Vec<(&'static str, f64)>> {
    let (embedding, residual, logits) = ("embedding_scale", "residual_scale", "logit_scale");
    Ok(match keys {
        ScaleKeys::None => Vec::new(),
        ScaleKeys::Granite => {
            let read = |key| Ok::<_, ConvertError>(json.opt_positive(key)?.unwrap_or(1.0));
            vec![
                ("attention.scale", read("attention_multiplier")?),
                (embedding, read("embedding_multiplier")?),
                (residual, read("residual_multiplier")?),
                (logits, read("logits_scaling")?),
            ]
        }
        ScaleKeys::MiniCpm => vec![
            (embedding, json.positive("scale_emb")?),
            (residual, json.positive("scale_depth")? / (layers as f64).sqrt()),
            (logits, hidden as f64 / json.positive("dim_model_base")?),
        ],
        ScaleKeys::Logits => vec![(logits, json.opt_positive("logit_scale")?.unwrap_or(LOGIT_SCALE))],
    })
}
