//! Mixtures of experts: the keys of `config.json` that tell of them, and their tensors, which
//! checkpoints have expert by expert or stacked.

use ollm_runtime::gguf::Value;
use ollm_runtime::model::{Family, Role, TensorName};

use super::compressed::MXFP4;
use super::document::Document;
use super::expert_keys::{DenseKeys, ExpertKeys, Single};
use super::part::Part;
use crate::Result;
use crate::quantize::{RowGroups, Rows, Strides};

/// The experts of a model.
pub(super) struct HfExperts {
    keys: &'static ExpertKeys,
    count: usize,
    used: usize,
    ffn: usize,
    /// The width of the shared expert; 0: there is none.
    pub(super) shared: usize,
    normalized: Option<bool>,
    /// How many of the first layers are dense.
    dense: usize,
    /// Each so-many-th layer has experts, but for those.
    every: usize,
    /// Whether the router has a bias for the choice.
    pub(super) selection_bias: bool,
    /// What weights are multiplied by.
    scale: f64,
}

impl HfExperts {
    /// Reads the keys; `ffn` is the width of the feed-forward network.
    pub(super) fn read(json: &Document, keys: &'static ExpertKeys, ffn: usize) -> Result<Self> {
        let size = |key: Option<(&str, usize)>, missing| match key {
            Some((key, missing)) => Ok::<_, crate::ConvertError>(json.opt_size(key)?.unwrap_or(missing)),
            None => Ok(missing),
        };
        let named = |key: &&&str| !json.is_null(key) && json.opt_size(key).is_ok_and(|found| found.is_some());
        let count = keys.count.0.iter().find(named).or(keys.count.0.first()).map(|key| (*key, keys.count.1));
        let count = size(count, keys.count.1)?;
        let used = json.opt_size("num_experts_per_tok")?.unwrap_or(keys.used);
        if used > count {
            return Err(json.bad("num_experts_per_tok", "at most the number of experts").into());
        }
        let shared = match keys.shared {
            Some((key, missing)) => json.opt_count(key)?.unwrap_or(missing),
            None => 0,
        };
        let flag = |key, missing| json.opt_bool(key).map(|flag| flag.unwrap_or(missing));
        let normalized = keys.normalized.map(|missing| flag("norm_topk_prob", missing)).transpose()?;
        let (dense, every) = match keys.dense {
            DenseKeys::None => (0, 1),
            DenseKeys::Listed => dense(json)?,
            DenseKeys::First(missing) => (json.opt_count("num_dense_layers")?.unwrap_or(missing), 1),
        };
        let selection_bias = keys.sigmoid && flag("use_expert_bias", true)?;
        let scale = json.opt_positive_if(keys.sigmoid, "routed_scaling_factor")?.unwrap_or(1.0);
        let ffn = size(keys.ffn, ffn)?;
        Ok(Self { keys, count, used, ffn, shared, normalized, dense, every, selection_bias, scale })
    }

    /// The keys in GGUF.
    pub(super) fn keys(&self, family: &Family) -> Vec<(&'static str, Value)> {
        let number = |n: usize| Value::U32(n as u32);
        let own = |is_own: bool, n: usize| is_own.then(|| number(n));
        let rule = family.experts.is_some_and(|rules| rules.normalized);
        let keys = [
            ("expert_count", Some(number(self.count))),
            ("expert_used_count", Some(number(self.used))),
            ("expert_feed_forward_length", own(self.keys.ffn.is_some(), self.ffn)),
            ("expert_shared_feed_forward_length", own(self.shared > 0, self.shared)),
            ("expert_weights_norm", self.normalized.filter(|&normalized| normalized != rule).map(Value::Bool)),
            // Sigmoids, as llama.cpp numbers them.
            ("expert_gating_func", own(self.keys.sigmoid, 2)),
            ("expert_weights_scale", self.scale.total_cmp(&1.0).is_ne().then_some(Value::F32(self.scale as f32))),
            ("leading_dense_block_count", own(self.dense > 0, self.dense)),
            ("interleave_moe_layer_step", own(self.every > 1, self.every)),
        ];
        keys.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The tensors of a layer that the tensor of this name may be, each a list of matrices that are
    /// stacked and what is taken of them; empty for what is no expert's or router's. `hidden` is
    /// the size of the hidden state.
    pub(super) fn tensors(&self, name: TensorName, hidden: usize) -> Vec<(Vec<String>, Part)> {
        let which = match name.role {
            Role::FfnRouter => {
                let end = if name.is_bias { "bias" } else { "weight" };
                let routers = self.keys.router.iter().filter_map(|name| name.strip_suffix("weight"));
                return routers.map(|module| (vec![format!("{module}{end}")], Part::Rows(Rows::All))).collect();
            }
            Role::FfnGateExperts => 0,
            Role::FfnUpExperts => 1,
            Role::FfnDownExperts => 2,
            _ => return Vec::new(),
        };
        if self.keys.turned {
            return self.turned(which, name.is_bias, hidden);
        }
        let first = if which == 1 { self.ffn } else { 0 };
        let single = self.keys.single.as_ref().map(|Single { prefix, names }| {
            let name = |expert: usize| format!("{prefix}{expert}.{}.weight", names[which]);
            ((0..self.count).map(name).collect(), Part::Rows(Rows::All))
        });
        let rows = Part::Rows(Rows::Groups(RowGroups { first, count: self.ffn, stride: 2 * self.ffn }));
        let part = if which < 2 { rows } else { Part::Rows(Rows::All) };
        let stacked = self.keys.stacked.iter().map(|names| (vec![names[which / 2].to_owned()], part));
        single.into_iter().chain(stacked).collect()
    }

    /// The same of gate (0), up (1) and down (2), or their biases, where they are turned.
    fn turned(&self, which: usize, is_bias: bool, hidden: usize) -> Vec<(Vec<String>, Part)> {
        let (outputs, inputs) = if which < 2 { (2 * self.ffn, hidden) } else { (hidden, self.ffn) };
        let step = if which < 2 { 2 } else { 1 };
        let first = which % 2;
        let names = self.keys.stacked.iter().map(|names| names[which / 2]);
        if is_bias {
            let strides = Strides { first, matrix: 0, row: outputs, column: step };
            let part = Part::Elements { strides, shape: [self.count, outputs, 1] };
            return names.map(|name| (vec![format!("{name}_bias")], part)).collect();
        }
        let strides = Strides { first, matrix: inputs * outputs, row: step, column: outputs };
        let whole = Part::Elements { strides, shape: [self.count, inputs, outputs] };
        let packed = Part::Rows(Rows::Groups(RowGroups { first, count: 1, stride: step }));
        let both = |name: &str| [(vec![name.to_owned()], whole), (vec![format!("{name}{MXFP4}")], packed)];
        names.flat_map(both).collect()
    }
}

/// How many of the first layers are dense, and that each so-many-th of the others has experts.
fn dense(json: &Document) -> Result<(usize, usize)> {
    const LAYERS: &str = "mlp_only_layers";
    let every = json.opt_size("decoder_sparse_step")?.unwrap_or(1);
    let Some(list) = json.opt_list(LAYERS)? else { return Ok((0, every)) };
    let mut layers: Vec<Option<u64>> = list.iter().map(serde_json::Value::as_u64).collect();
    layers.sort_unstable();
    if layers.iter().zip(0..).any(|(&layer, i)| layer != Some(i)) {
        return Err(json.unsupported(LAYERS, "the first layers").into());
    }
    Ok((layers.len(), every))
}
