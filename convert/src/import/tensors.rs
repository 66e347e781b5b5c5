//! The tensors of a model: the runtime's schema under transformers' names, and what changes on the
//! way.

use ollm_runtime::model::{Family, Role, TensorName, TensorSpec, schema};
use ollm_runtime::ops::RopePairing;

use super::config::HfConfig;
use crate::Result;
use crate::quantize::Change;

/// A tensor that a checkpoint has to have.
pub(super) struct Wanted {
    /// The name in transformers.
    pub(super) name: String,
    /// The name in GGUF.
    pub(super) gguf: String,
    /// Row-major.
    pub(super) shape: Vec<usize>,
    pub(super) change: Change,
}

/// What the names in a checkpoint begin with.
pub(super) struct Names {
    /// Those of the model, without the head.
    pub(super) model: String,
    /// The name of the head.
    pub(super) head: String,
}

impl Default for Names {
    /// Those of a text model.
    fn default() -> Self {
        Self { model: MODEL.to_owned(), head: HEAD.to_owned() }
    }
}

impl Names {
    /// The name of a tensor that a text model alone has under `name`.
    fn of(&self, name: String) -> String {
        match name.strip_prefix(MODEL) {
            Some(rest) => format!("{}{rest}", self.model),
            None => self.head.clone(),
        }
    }
}

/// Every tensor of the schema that a checkpoint of this configuration has.
pub(super) fn wanted(config: &HfConfig, names: &Names) -> Result<Vec<Wanted>> {
    let specs = schema::tensors(&config.runtime()?).into_iter();
    Ok(specs
        .filter(|spec| config.has(spec))
        .filter_map(|TensorSpec { name, shape, .. }| {
            let change = config.change(name, shape.len());
            Some(Wanted {
                name: names.of(transformers_name(config.architecture.family(), name)?),
                gguf: name.to_string(),
                shape,
                change,
            })
        })
        .collect())
}

/// What a checkpoint may have beside them: a copy of the embedding, the frequencies that old ones
/// carry, and the other parts of a multimodal model.
pub(super) fn is_ignored(config: &HfConfig, names: &Names, name: &str) -> bool {
    let is_other = || config.is_part && !name.starts_with(&names.model) && name != names.head;
    config.tied == Some(true) && name == names.head || name.ends_with(".rotary_emb.inv_freq") || is_other()
}

const MODEL: &str = "model.";
const HEAD: &str = "lm_head.weight";

impl HfConfig {
    /// Whether a checkpoint has this tensor, if a file may leave it out.
    fn has(&self, spec: &TensorSpec) -> bool {
        match spec.name {
            _ if !spec.optional => true,
            TensorName { is_bias: true, .. } => self.output_bias,
            TensorName { role, .. } => role == Role::Head && self.tied != Some(true),
        }
    }

    /// What happens to a tensor of so many dimensions on the way.
    fn change(&self, name: TensorName, dims: usize) -> Change {
        let interleave = |heads| match self.architecture.family().pairing {
            RopePairing::Adjacent => Change::Interleave { heads },
            RopePairing::Halves => Change::None,
        };
        match name.role {
            Role::Query => interleave(self.heads),
            Role::Key => interleave(self.kv_heads),
            _ if dims == 1 && !name.is_bias && self.architecture.norms_from_one => Change::AddOne,
            _ => Change::None,
        }
    }
}

/// The name of a tensor in transformers; `None` for what checkpoints do not have.
pub(super) fn transformers_name(family: &Family, name: TensorName) -> Option<String> {
    let has_post_norms = family.post_norms;
    let module = match name.role {
        Role::Embedding => "model.embed_tokens",
        Role::Head => return Some(HEAD.to_owned()),
        Role::OutputNorm => "model.norm",
        Role::AttentionNorm => "input_layernorm",
        Role::Query => "self_attn.q_proj",
        Role::Key => "self_attn.k_proj",
        Role::Value => "self_attn.v_proj",
        Role::AttentionOutput => "self_attn.o_proj",
        Role::QueryNorm => "self_attn.q_norm",
        Role::KeyNorm => "self_attn.k_norm",
        Role::FfnNorm if has_post_norms => "pre_feedforward_layernorm",
        Role::FfnNorm | Role::AttentionPostNorm => "post_attention_layernorm",
        Role::FfnPostNorm => "post_feedforward_layernorm",
        Role::FfnGate => "mlp.gate_proj",
        Role::FfnUp => "mlp.up_proj",
        Role::FfnDown => "mlp.down_proj",
        _ => return None,
    };
    let layer = name.layer.map_or_else(String::new, |layer| format!("{MODEL}layers.{layer}."));
    Some(format!("{layer}{module}.{}", if name.is_bias { "bias" } else { "weight" }))
}
