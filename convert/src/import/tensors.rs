//! The tensors of a model: the runtime's schema under transformers' names, and what changes on the
//! way.

use ollm_runtime::model::{NormPlacement, Role, TensorName, TensorSpec, schema};
use ollm_runtime::ops::RopePairing;

use super::architecture::Architecture;
use super::config::HfConfig;
use super::part::Part;
use super::recurrent::HfRecurrent;
use crate::Result;
use crate::quantize::{Change, Order, Rows, Strides};

/// A tensor that a checkpoint has to have.
pub(super) struct Wanted {
    /// Where it may be: in the first of these that the checkpoint has.
    pub(super) origins: Vec<Origin>,
    /// The name in GGUF.
    pub(super) gguf: String,
    /// Row-major.
    pub(super) shape: Vec<usize>,
    pub(super) order: Order,
    pub(super) change: Change,
}

/// Where a checkpoint may have a tensor.
pub(super) struct Origin {
    /// The names in transformers: one, or those of matrices that are stacked.
    pub(super) names: Vec<String>,
    /// What of that it is.
    pub(super) part: Part,
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
            None if name == HEAD => self.head.clone(),
            None => name,
        }
    }
}

/// Every tensor of the schema that a checkpoint of this configuration has; of those that it may
/// have in vain, those that are there.
pub(super) fn wanted(config: &HfConfig, names: &Names, is_there: impl Fn(&str) -> bool) -> Result<Vec<Wanted>> {
    let is_needless = |name| config.layer_shapes.as_ref().is_some_and(|shapes| shapes.is_needless(name));
    let specs = schema::tensors(&config.runtime()?).into_iter();
    Ok(specs
        .filter(|spec| config.has(spec))
        .filter_map(|TensorSpec { name, shape, .. }| {
            let (order, change) = (config.order(name.role), config.change(name, shape.len()));
            let mut origins = config.origins(name, names);
            if is_needless(name) {
                origins.retain(|origin| origin.names.iter().all(|name| is_there(name)));
            }
            (!origins.is_empty()).then(|| Wanted { origins, gguf: name.to_string(), shape, order, change })
        })
        .collect())
}

/// The names that a tensor of a text model has in a multimodal one, of several versions.
pub(super) fn in_larger(name: &str) -> impl Iterator<Item = String> + use<> {
    let inner = name.strip_prefix(MODEL).map(|rest| format!("model.language_model.{rest}"));
    inner.into_iter().chain([format!("language_model.{name}")])
}

/// The names that a tensor of a text model has in a class without a head, and in those of encoders.
pub(super) fn in_class(name: &str) -> impl Iterator<Item = String> + use<> {
    let inner = name.strip_prefix(MODEL).map(str::to_owned);
    inner
        .into_iter()
        .flat_map(|rest| ["", "language_model.", "bert.", "roberta."].map(|class| format!("{class}{rest}")))
}

/// What a checkpoint may have beside them: a copy of the embedding, the frequencies that old ones
/// carry, keys and values that are those of another layer, and the other parts of a multimodal
/// model.
pub(super) fn is_ignored(config: &HfConfig, names: &Names, name: &str) -> bool {
    let is_other = || config.is_part && !name.starts_with(&names.model) && name != names.head;
    let is_needless = || {
        let part = name.strip_prefix(&names.model).and_then(|rest| rest.strip_prefix("layers."));
        let part = part.and_then(|rest| rest.split_once('.'));
        config.layer_shapes.as_ref().zip(part).is_some_and(|(shapes, (layer, part))| {
            shapes.is_shared(layer.parse().ok()) && SHARED.iter().any(|module| part.starts_with(module))
        })
    };
    config.tied == Some(true) && name == head(config.architecture, names)
        || name.ends_with(".rotary_emb.inv_freq")
        || is_idle(config.architecture, names, name)
        || is_needless()
        || is_other()
}

/// The name of the head.
pub(super) fn head(architecture: &Architecture, names: &Names) -> String {
    outer(architecture, names, Role::Head)
}

/// The name of the embedding.
pub(super) fn embedding(architecture: &Architecture, names: &Names) -> String {
    outer(architecture, names, Role::Embedding)
}

fn outer(architecture: &Architecture, names: &Names, role: Role) -> String {
    transformers_name(architecture, TensorName::new(role)).map_or_else(String::new, |name| names.of(name))
}

/// Whether a tensor is of a part that is not run.
fn is_idle(architecture: &Architecture, names: &Names, name: &str) -> bool {
    let inner = name.strip_prefix(&names.model).unwrap_or(name);
    architecture.idle.iter().any(|part| name.starts_with(part) || inner.starts_with(part))
}

/// What a layer may have in vain that has the keys and values of another.
const SHARED: [&str; 4] = ["self_attn.k_proj.", "self_attn.v_proj.", "self_attn.k_norm.", "self_attn.v_norm."];

const MODEL: &str = "model.";
const HEAD: &str = "lm_head.weight";

impl HfConfig {
    /// Where a checkpoint may have a tensor; nowhere, if it is none of those that they have.
    fn origins(&self, name: TensorName, names: &Names) -> Vec<Origin> {
        let experts = self.experts.as_ref().map_or_else(Vec::new, |experts| experts.tensors(name, self.hidden));
        let layer = layer(self.architecture, name);
        let experts = experts.into_iter().map(|(tensors, part)| Origin {
            names: tensors.into_iter().map(|tensor| names.of(format!("{layer}{tensor}"))).collect(),
            part,
        });
        if let Some(dense) = self.dense.iter().find(|dense| dense.role == name.role) {
            return vec![Origin { names: vec![dense.tensor(name.is_bias)], part: Part::Rows(Rows::All) }];
        }
        if let Some((module, streams)) = projections(name.role).zip(self.streams) {
            let names = (1..streams).map(|stream| names.of(format!("{MODEL}{module}.{}.weight", stream - 1)));
            return vec![Origin { names: names.collect(), part: Part::Rows(Rows::All) }];
        }
        let answers = self.classifier.as_ref().and_then(|classifier| classifier.answers);
        if let Some([yes, no]) = answers.filter(|_| name.role == Role::ClassifierOutput) {
            return vec![self.answers(yes, no, names)];
        }
        let other = transformers_name(self.architecture, name);
        // Old checkpoints of TensorFlow have these names.
        let old = other.as_ref().and_then(|other| {
            let module = other.strip_suffix(".LayerNorm.weight").map(|module| (module, "gamma"));
            let module = module.or_else(|| other.strip_suffix(".LayerNorm.bias").map(|module| (module, "beta")));
            module.map(|(module, part)| format!("{module}.LayerNorm.{part}"))
        });
        let other = other
            .into_iter()
            .chain(old)
            .map(|other| Origin { names: self.of_heads(name.role, names.of(other)), part: self.part(name.role) });
        // Of what is tied, a checkpoint may have the one or the other.
        let tied = (name == TensorName::new(Role::Embedding) && self.tied == Some(true))
            .then(|| Origin { names: vec![head(self.architecture, names)], part: self.part(name.role) });
        experts.chain(other).chain(tied).collect()
    }

    /// What a tensor is of that of transformers.
    fn part(&self, role: Role) -> Part {
        let own = self.recurrent.as_ref().and_then(|recurrent| recurrent.part(role));
        own.unwrap_or_else(|| Part::Rows(self.rows(role)))
    }

    /// The rows of two tokens in the head, which may be the embedding.
    fn answers(&self, yes: usize, no: usize, names: &Names) -> Origin {
        let role = if self.tied == Some(true) { Role::Embedding } else { Role::Head };
        let name = transformers_name(self.architecture, TensorName::new(role)).unwrap_or_default();
        let row = no.wrapping_sub(yes).wrapping_mul(self.hidden);
        let strides = Strides { first: yes * self.hidden, matrix: 0, row, column: 1 };
        let part = Part::Elements { strides, shape: [1, self.vocab, self.hidden] };
        Origin { names: vec![names.of(name)], part }
    }

    /// The names of the parts that a tensor is stacked of: those of single heads, if their norms
    /// have weights of their own.
    fn of_heads(&self, role: Role, name: String) -> Vec<String> {
        let heads = match role {
            Role::QueryNorm if self.head_norms => self.heads,
            Role::KeyNorm if self.head_norms => self.kv_heads,
            _ => return vec![name],
        };
        let module = name.trim_end_matches(".weight");
        (0..heads).map(|head| format!("{module}.norms.{head}.weight")).collect()
    }

    /// Whether a checkpoint has this tensor, if a file may leave it out.
    fn has(&self, spec: &TensorSpec) -> bool {
        let [inputs, output, ffn] = self.biases;
        let shapes = self.layer_shapes.as_ref();
        match spec.name {
            _ if !spec.optional => true,
            name if shapes.is_some_and(|shapes| shapes.lacks(name)) => false,
            TensorName { is_bias: true, role, .. } => match role {
                Role::Classifier => self.classifier.as_ref().is_some_and(|classifier| classifier.biases[0]),
                Role::ClassifierOutput => self.classifier.as_ref().is_some_and(|classifier| classifier.biases[1]),
                Role::Dense2 | Role::Dense3 => self.dense.iter().any(|dense| dense.role == role && dense.has_bias),
                Role::FfnSelectionBias => self.experts.as_ref().is_some_and(|experts| experts.selection_bias),
                Role::FfnGate | Role::FfnUp | Role::FfnDown => ffn,
                Role::SsmKernel => matches!(self.recurrent, Some(HfRecurrent::Mamba2 { has_bias: true, .. })),
                Role::AttentionOutput => output,
                _ => inputs && !self.is_delta_net(spec.name.layer),
            },
            TensorName { role: Role::QueryNorm | Role::KeyNorm, .. } if self.architecture.head_norms => self.head_norms,
            TensorName { role: Role::Key | Role::Value | Role::KeyNorm | Role::LayerScale, .. }
            | TensorName { role: Role::Classifier | Role::ClassifierNorm, .. } => true,
            TensorName { role: Role::SsmNorm, .. } => {
                matches!(self.recurrent, Some(HfRecurrent::Mamba2 { has_norm: true, .. }))
            }
            TensorName { role, .. } => role == Role::Head && self.tied != Some(true) && self.causal,
        }
    }

    /// Whether a layer is a gated delta net: none of its matrices has a bias.
    fn is_delta_net(&self, layer: Option<usize>) -> bool {
        match (&self.recurrent, layer) {
            (Some(HfRecurrent::DeltaNets { layers, .. }), Some(layer)) => layers[layer],
            _ => false,
        }
    }

    /// The order that the rows or columns of a tensor get.
    fn order(&self, role: Role) -> Order {
        let interleave = |heads| match self.architecture.family().pairing {
            RopePairing::Adjacent if !self.architecture.interleaved => Order::Interleaved { heads },
            RopePairing::Adjacent | RopePairing::Halves => Order::Stored,
        };
        match role {
            Role::Query => interleave(self.heads),
            Role::Key => interleave(self.kv_heads),
            _ => self.recurrent.as_ref().map_or(Order::Stored, |recurrent| recurrent.order(role)),
        }
    }

    /// What happens to the values of a tensor of so many dimensions on the way.
    fn change(&self, name: TensorName, dims: usize) -> Change {
        let multiplied = self.multipliers.as_ref().and_then(|multipliers| multipliers.change(name.role));
        match name.role {
            _ if multiplied.is_some() => multiplied.unwrap_or(Change::None),
            Role::SsmScale => Change::NegativeExp,
            Role::SsmNorm => Change::None,
            _ if dims == 1 && !name.is_bias && self.architecture.norms_from_one => Change::AddOne,
            _ => Change::None,
        }
    }
}

/// The name of a tensor in transformers; `None` for what checkpoints do not have.
pub(super) fn transformers_name(architecture: &Architecture, name: TensorName) -> Option<String> {
    let other = architecture.modules.iter().find(|(role, _)| *role == name.role);
    let end = if name.is_bias { "bias" } else { "weight" };
    let in_mixer =
        |part: &str| Some(format!("{}{}.{part}", layer(architecture, name), architecture.recurrent.module()));
    let module = match name.role {
        _ if other.is_some() => other.map(|(_, module)| *module)?,
        Role::Embedding => "model.embed_tokens",
        Role::Head => "lm_head",
        Role::OutputNorm => "model.norm",
        Role::ClassifierOutput => "score",
        Role::AttentionNorm => "input_layernorm",
        Role::Query => "self_attn.q_proj",
        Role::Key => "self_attn.k_proj",
        Role::Value => "self_attn.v_proj",
        Role::AttentionOutput => "self_attn.o_proj",
        Role::QueryNorm => "self_attn.q_norm",
        Role::KeyNorm => "self_attn.k_norm",
        Role::FfnNorm if architecture.family().norms == NormPlacement::Around => "pre_feedforward_layernorm",
        Role::FfnNorm | Role::AttentionPostNorm => "post_attention_layernorm",
        Role::FfnPostNorm => "post_feedforward_layernorm",
        Role::FfnGate => "mlp.gate_proj",
        Role::FfnUp => "mlp.up_proj",
        Role::FfnDown => "mlp.down_proj",
        Role::FfnSharedRouter => "mlp.shared_expert_gate",
        Role::FfnGateShared => "mlp.shared_expert.gate_proj",
        Role::FfnUpShared => "mlp.shared_expert.up_proj",
        Role::FfnDownShared => "mlp.shared_expert.down_proj",
        Role::DeltaGate => "linear_attn.in_proj_z",
        Role::DeltaDecay => "linear_attn.in_proj_a",
        Role::DeltaRate => "linear_attn.in_proj_b",
        Role::SsmInput => return in_mixer(&format!("in_proj.{end}")),
        Role::SsmKernel => return in_mixer(&format!("conv1d.{end}")),
        Role::SsmNorm => return in_mixer(&format!("norm.{end}")),
        Role::SsmOutput => return in_mixer(&format!("out_proj.{end}")),
        // These are parameters of their own.
        Role::FfnSelectionBias => return Some(format!("{}feed_forward.expert_bias", layer(architecture, name))),
        Role::AttentionSinks => return Some(format!("{}self_attn.sinks", layer(architecture, name))),
        Role::SsmStep => return in_mixer("dt_bias"),
        Role::SsmScale => return in_mixer("A_log"),
        Role::SsmSkip => return in_mixer("D"),
        Role::ConvolutionInput => "conv.in_proj",
        Role::ConvolutionKernel => "conv.conv",
        Role::ConvolutionOutput => "conv.out_proj",
        Role::PerLayerEmbedding => "model.embed_tokens_per_layer",
        Role::PerLayerProjection => "model.per_layer_model_projection",
        Role::PerLayerProjectionNorm => "model.per_layer_projection_norm",
        Role::AltUpRouter => "altup.modality_router",
        Role::AltUpRouterNorm => "altup.router_norm",
        Role::AltUpPrediction => "altup.prediction_coefs",
        Role::AltUpCorrection => "altup.correction_coefs",
        // A parameter of its own.
        Role::AltUpCorrectionScale => return Some(format!("{}altup.correct_output_scale", layer(architecture, name))),
        Role::LaurelLeft => "laurel.linear_left",
        Role::LaurelRight => "laurel.linear_right",
        Role::LaurelPostNorm => "laurel.post_laurel_norm",
        Role::PerLayerGate => "per_layer_input_gate",
        Role::PerLayerOutput => "per_layer_projection",
        Role::PerLayerPostNorm => "post_per_layer_input_norm",
        // No module, but a buffer.
        Role::LayerScale => return Some(format!("{}layer_scalar", layer(architecture, name))),
        _ => return None,
    };
    Some(format!("{}{module}.{end}", layer(architecture, name)))
}

/// The modules whose matrices GGUF has in one tensor, one for each stream of AltUp but the first.
fn projections(role: Role) -> Option<&'static str> {
    match role {
        Role::AltUpProjections => Some("altup_projections"),
        Role::AltUpUnembeddings => Some("altup_unembed_projections"),
        _ => None,
    }
}

/// The name of a tensor of the model, without what those of the model begin with.
pub(super) fn in_model(architecture: &Architecture, name: TensorName) -> Option<String> {
    transformers_name(architecture, name).and_then(|name| name.strip_prefix(MODEL).map(str::to_owned))
}

/// What the name of a tensor of a layer begins with.
fn layer(architecture: &Architecture, name: TensorName) -> String {
    name.layer.map_or_else(String::new, |layer| format!("{MODEL}{}{layer}.", architecture.layers))
}
