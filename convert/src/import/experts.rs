//! Mixtures of experts: the keys of `config.json` that tell of them, and their tensors, which
//! checkpoints have expert by expert or stacked.

use ollm_runtime::gguf::Value;
use ollm_runtime::model::{Family, Role};

use super::document::Document;
use super::expert_keys::{ExpertKeys, Single};
use crate::Result;
use crate::quantize::RowGroups;

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
        let normalized =
            if keys.may_normalize { Some(json.opt_bool("norm_topk_prob")?.unwrap_or(false)) } else { None };
        let (dense, every) = if keys.may_be_dense { dense(json)? } else { (0, 1) };
        Ok(Self { keys, count, used, ffn: size(keys.ffn, ffn)?, shared, normalized, dense, every })
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
            ("leading_dense_block_count", own(self.dense > 0, self.dense)),
            ("interleave_moe_layer_step", own(self.every > 1, self.every)),
        ];
        keys.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The tensors of a layer that the tensor of this role may be, each a list of matrices that are
    /// stacked and the rows that are taken of them; empty for what is no expert's or router's.
    pub(super) fn tensors(&self, role: Role) -> Vec<(Vec<String>, Option<RowGroups>)> {
        let (which, first) = match role {
            Role::FfnRouter => return self.keys.router.iter().map(|name| (vec![(*name).to_owned()], None)).collect(),
            Role::FfnGateExperts => (0, 0),
            Role::FfnUpExperts => (1, self.ffn),
            Role::FfnDownExperts => (2, 0),
            _ => return Vec::new(),
        };
        let single = self.keys.single.as_ref().map(|Single { prefix, names }| {
            let name = |expert: usize| format!("{prefix}{expert}.{}.weight", names[which]);
            ((0..self.count).map(name).collect(), None)
        });
        let rows = (which < 2).then_some(RowGroups { first, count: self.ffn, stride: 2 * self.ffn });
        let stacked = self.keys.stacked.iter().map(|names| (vec![names[which / 2].to_owned()], rows));
        single.into_iter().chain(stacked).collect()
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
