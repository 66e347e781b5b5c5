//! The tensors of a model: transformers' names and the ecosystem's, shapes, and what changes on the way.

use ollm_runtime::ops::RopePairing;

use super::config::Config;
use crate::quantize::Change;

/// A tensor that a model has to have.
pub(super) struct Wanted {
    /// The name in transformers.
    pub(super) name: String,
    /// The name in GGUF.
    pub(super) gguf: String,
    /// Row-major.
    pub(super) shape: Vec<usize>,
    pub(super) change: Change,
}

/// The embedding; the layers; the last norm; the head, if it is another matrix.
pub(super) fn wanted(config: &Config) -> impl Iterator<Item = Wanted> {
    let matrix = |name: &str, gguf: &str| Wanted {
        name: name.to_owned(),
        gguf: gguf.to_owned(),
        shape: vec![config.vocab, config.hidden],
        change: Change::None,
    };
    let embedding = matrix("model.embed_tokens.weight", "token_embd.weight");
    let layers = (0..config.layers).flat_map(|layer| Layer { config, layer }.tensors());
    let norm = Wanted {
        shape: vec![config.hidden],
        change: norm_change(config),
        ..matrix("model.norm.weight", "output_norm.weight")
    };
    let head = (!config.tied).then(|| matrix(HEAD, "output.weight"));
    [embedding].into_iter().chain(layers).chain([norm]).chain(head)
}

const HEAD: &str = "lm_head.weight";

/// What a checkpoint may have beside them: a copy of the embedding, and the frequencies that old ones carry.
pub(super) fn is_ignored(config: &Config, name: &str) -> bool {
    config.tied && name == HEAD || name.ends_with(".rotary_emb.inv_freq")
}

fn norm_change(config: &Config) -> Change {
    if config.architecture.norms_from_one { Change::AddOne } else { Change::None }
}

struct Layer<'a> {
    config: &'a Config,
    layer: usize,
}

impl Layer<'_> {
    fn tensors(&self) -> Vec<Wanted> {
        let &Config { hidden, ffn, heads, kv_heads, head_dim, output_bias, .. } = self.config;
        let family = self.config.architecture.family();
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let bias = family.attention_bias || output_bias;
        let mut all = vec![self.norm("input_layernorm", "attn_norm", hidden)];
        all.extend(self.linear("self_attn.q_proj", "attn_q", [queries, hidden], bias, self.rotated(heads)));
        all.extend(self.linear("self_attn.k_proj", "attn_k", [keys, hidden], bias, self.rotated(kv_heads)));
        all.extend(self.linear("self_attn.v_proj", "attn_v", [keys, hidden], bias, Change::None));
        all.extend(self.linear("self_attn.o_proj", "attn_output", [hidden, queries], output_bias, Change::None));
        if family.qk_norm {
            all.push(self.norm("self_attn.q_norm", "attn_q_norm", head_dim));
            all.push(self.norm("self_attn.k_norm", "attn_k_norm", head_dim));
        }
        if family.post_norms {
            all.push(self.norm("post_attention_layernorm", "post_attention_norm", hidden));
            all.push(self.norm("pre_feedforward_layernorm", "ffn_norm", hidden));
            all.push(self.norm("post_feedforward_layernorm", "post_ffw_norm", hidden));
        } else {
            all.push(self.norm("post_attention_layernorm", "ffn_norm", hidden));
        }
        for (name, gguf, shape) in [
            ("mlp.gate_proj", "ffn_gate", [ffn, hidden]),
            ("mlp.up_proj", "ffn_up", [ffn, hidden]),
            ("mlp.down_proj", "ffn_down", [hidden, ffn]),
        ] {
            all.extend(self.linear(name, gguf, shape, false, Change::None));
        }
        all
    }

    /// What becomes of the rows of queries and keys.
    fn rotated(&self, heads: usize) -> Change {
        match self.config.architecture.family().pairing {
            RopePairing::Adjacent => Change::Interleave { heads },
            RopePairing::Halves => Change::None,
        }
    }

    fn norm(&self, name: &str, gguf: &str, size: usize) -> Wanted {
        self.tensor(name, gguf, "weight", &[size], norm_change(self.config))
    }

    fn linear(&self, name: &str, gguf: &str, shape: [usize; 2], bias: bool, change: Change) -> Vec<Wanted> {
        let mut all = vec![self.tensor(name, gguf, "weight", &shape, change)];
        all.extend(bias.then(|| self.tensor(name, gguf, "bias", &shape[..1], change)));
        all
    }

    fn tensor(&self, name: &str, gguf: &str, kind: &str, shape: &[usize], change: Change) -> Wanted {
        let layer = self.layer;
        Wanted {
            name: format!("model.layers.{layer}.{name}.{kind}"),
            gguf: format!("blk.{layer}.{gguf}.{kind}"),
            shape: shape.to_vec(),
            change,
        }
    }
}
