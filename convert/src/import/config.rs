//! `config.json`: the shape of a model, as transformers says it and as GGUF says it.

use ollm_runtime::gguf::{Metadata, Value};

use super::architecture::{Architecture, QUERY_SCALAR, WINDOW, WindowRule};
use super::document::Document;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use super::rope::Ropes;
use crate::{ConvertError, Result};

const WINDOW_KEY: &str = "attention.sliding_window";

/// The shape of a model.
pub(super) struct HfConfig {
    pub(super) architecture: &'static Architecture,
    /// It is the text model of a multimodal one.
    pub(super) is_part: bool,
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) vocab: usize,
    /// The head is the embedding; `None` where only the weights tell.
    pub(super) tied: Option<bool>,
    /// All four matrices of attention have biases.
    pub(super) output_bias: bool,
    context: usize,
    norm_epsilon: f64,
    pub(super) ropes: Ropes,
    window: Option<Window>,
    /// `query_pre_attn_scalar`: the head size in the scale of scores, where it differs from the
    /// one that the runtime takes.
    query_scalar: Option<f64>,
    attention_cap: Option<f64>,
    logit_cap: Option<f64>,
}

/// The sliding window, and which layers have it.
struct Window {
    positions: usize,
    sliding: Vec<bool>,
}

/// The configuration of the text model, whole or a part of that of a multimodal one.
pub(super) struct TextConfig {
    architecture: &'static Architecture,
    json: Document,
    is_part: bool,
}

impl TextConfig {
    /// Finds it in `config.json`.
    pub(super) fn find(json: &Document) -> Result<Self> {
        let names = json.opt_list("architectures")?.map_or(&[][..], Vec::as_slice);
        let model_type = json.opt_str("model_type")?.unwrap_or_default();
        let whole = |architecture| Self { architecture, json: json.clone(), is_part: false };
        match names {
            [name] => {
                if let Some(architecture) = name.as_str().and_then(Architecture::named) {
                    return Ok(whole(architecture));
                }
            }
            // Without a name, as transformers' AutoConfig does it.
            [] => {
                let known = Architecture::of_type(model_type).filter(|known| known.name.is_some());
                match known {
                    Some(architecture) => return Ok(whole(architecture)),
                    None if model_type.is_empty() => return Err(json.missing("architectures").into()),
                    None => (),
                }
            }
            _ => return Err(json.bad("architectures", "a list of one name").into()),
        }
        let name = names.first().map_or(model_type, |name| name.as_str().unwrap_or_default());
        let unknown = || ImportError::UnknownArchitecture { path: json.path.clone(), name: name.to_owned() };
        let implied = Architecture::text_of(model_type);
        let (text, architecture) = match json.part("text_config")? {
            Some(text) => {
                let architecture = text.opt_str("model_type")?.map_or(implied, Architecture::of_type);
                (text, architecture)
            }
            // Old files have the keys of the text model beside the others.
            None => (json.clone(), implied),
        };
        Ok(Self { architecture: architecture.ok_or_else(unknown)?, json: text, is_part: true })
    }
}

impl HfConfig {
    pub(super) fn read(whole: &Document) -> Result<Self> {
        let TextConfig { architecture, json, is_part } = TextConfig::find(whole)?;
        let json = &json;
        let defaults = &architecture.defaults;
        refuse(json, architecture)?;
        let size = |key, missing| Ok::<_, ConvertError>(json.opt_size(key)?.unwrap_or(missing));
        let layers = size("num_hidden_layers", defaults.layers)?;
        let hidden = size("hidden_size", defaults.hidden)?;
        let heads = size("num_attention_heads", defaults.heads)?;
        let missing = defaults.kv_heads.filter(|_| !json.is_null("num_key_value_heads"));
        let kv_heads = size("num_key_value_heads", missing.unwrap_or(heads))?;
        if heads % kv_heads != 0 {
            return Err(json.bad("num_key_value_heads", "a divisor of num_attention_heads").into());
        }
        let head_dim = match json.opt_size("head_dim")?.or(defaults.head_dim) {
            Some(size) => size,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(json.bad("num_attention_heads", "a divisor of hidden_size").into()),
        };
        if head_dim % 2 != 0 {
            return Err(json.bad("head_dim", "even").into());
        }
        let context = json.opt_positions("max_position_embeddings")?.unwrap_or(defaults.context);
        // Where the runtime has a cap for a file that says nothing, none is 0.
        let family = architecture.family();
        let cap = |key, missing: Option<f64>, silent: Option<f32>| match json.is_null(key) {
            true => Ok(silent.map(|_| 0.0)),
            false if architecture.scaled_scores => Ok(json.opt_positive(key)?.or(missing)),
            false => Ok::<_, ConvertError>(None),
        };
        let scalar = json.opt_positive_if(architecture.scaled_scores, "query_pre_attn_scalar")?;
        let scalar = architecture.scaled_scores.then(|| scalar.unwrap_or(QUERY_SCALAR));
        let is_silent =
            |scalar: &f64| scalar.total_cmp(&(head_dim as f64)).is_eq() && family.query_pre_attn_scalar != Some(layers);
        let tied = whole.opt_bool("tie_word_embeddings")?;
        let tied = match (is_part, json.opt_bool("tie_word_embeddings")?) {
            (false, own) => Some(own.unwrap_or(defaults.tied)),
            (true, Some(own)) => Some(own || tied == Some(true)),
            (true, None) => tied,
        };
        Ok(Self {
            architecture,
            is_part,
            layers,
            hidden,
            ffn: size("intermediate_size", defaults.ffn)?,
            heads,
            kv_heads,
            head_dim,
            vocab: size("vocab_size", defaults.vocab)?,
            tied,
            output_bias: architecture.attention_bias && json.opt_bool("attention_bias")?.unwrap_or(false),
            context,
            norm_epsilon: json.opt_positive("rms_norm_eps")?.unwrap_or(defaults.norm_epsilon),
            ropes: Ropes::read(json, architecture, head_dim, context)?,
            window: Window::read(json, architecture, layers)?,
            query_scalar: scalar.filter(|scalar| !is_silent(scalar)),
            attention_cap: cap("attn_logit_softcapping", defaults.attention_cap, family.attention_softcap)?,
            logit_cap: cap("final_logit_softcapping", defaults.logit_cap, family.logit_softcap)?,
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
            None => family.sliding_window.map(|_| (WINDOW_KEY, Value::U32(0))).into_iter().collect(),
        };
        let prefix = family.name;
        let own = sizes.chain(floats).chain(windows).map(|(name, value)| (name.to_owned(), value));
        own.chain(self.ropes.keys()).map(|(name, value)| (format!("{prefix}.{name}"), value)).collect()
    }
}

/// What some models of these families have and the runtime has not.
fn refuse(json: &Document, architecture: &Architecture) -> Result<()> {
    let curves: &[&str] = match architecture.family().gelu {
        true => &["gelu_pytorch_tanh", "gelu_new"],
        false => &["silu", "swish"],
    };
    let key = architecture.activation;
    if json.opt_str(key)?.is_some_and(|name| !curves.contains(&name)) {
        return Err(json.unsupported(key, curves[0]).into());
    }
    if architecture.mlp_bias && json.opt_bool("mlp_bias")? == Some(true) {
        return Err(json.unsupported("mlp_bias", "false").into());
    }
    // Of these families, those with caps have it.
    if architecture.scaled_scores && json.opt_bool("use_bidirectional_attention")? == Some(true) {
        return Err(json.unsupported("use_bidirectional_attention", "false").into());
    }
    Ok(())
}

impl Window {
    fn read(json: &Document, architecture: &Architecture, layers: usize) -> Result<Option<Self>> {
        let sliding = match architecture.window {
            WindowRule::Never => return Ok(None),
            WindowRule::Optional { .. } if !json.opt_bool("use_sliding_window")?.unwrap_or(false) => return Ok(None),
            WindowRule::Always => vec![true; layers],
            WindowRule::Optional { first } => match json.opt_list("layer_types")? {
                Some(kinds) => by_type(json, kinds, layers)?,
                None => {
                    let first = json.opt_count("max_window_layers")?.unwrap_or(first);
                    (0..layers).map(|layer| layer >= first).collect()
                }
            },
            WindowRule::Interleaved { every } => match json.opt_list("layer_types")? {
                Some(kinds) => by_type(json, kinds, layers)?,
                None => {
                    // Only Gemma 3 has the key.
                    let given = json.opt_size_if(architecture.rope_by_kind, "sliding_window_pattern")?;
                    (0..layers).map(|layer| is_sliding(layer, given.unwrap_or(every))).collect()
                }
            },
        };
        let missing = (!json.is_null("sliding_window")).then_some(WINDOW);
        let positions = json.opt_positions("sliding_window")?.or(missing);
        Ok(positions.filter(|_| sliding.contains(&true)).map(|positions| Self { positions, sliding }))
    }

    /// `every`: the interval of layers with full attention, where nothing is said of them.
    fn keys(&self, every: usize) -> Vec<(&'static str, Value)> {
        const PATTERN: &str = "attention.sliding_window_pattern";
        let repeats = |every: usize| (0..self.sliding.len()).all(|i| self.sliding[i] == is_sliding(i, every));
        let mut keys = vec![(WINDOW_KEY, Value::U32(self.positions as u32))];
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
