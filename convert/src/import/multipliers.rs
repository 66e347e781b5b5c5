//! The multipliers of Falcon H1 (maximal update parametrization: Yang et al. 2022, arXiv
//! 2203.03466), which GGUF has in the weights.

use ollm_runtime::model::{Mamba2Config, Role};

use super::document::Document;
use crate::Result;
use crate::quantize::{Change, RowScales};

/// What the outputs of matrices are multiplied by, one factor after the other.
pub(super) struct Multipliers {
    embedding: f32,
    head: f32,
    gate: f32,
    down: f32,
    key: f32,
    attention_in: f32,
    attention_out: f32,
    ssm_in: f32,
    ssm_out: f32,
    /// Of the gate, the inputs, B, C and the time steps.
    ssm: [f32; RowScales::PARTS],
    shape: Mamba2Config,
}

impl Multipliers {
    pub(super) fn read(json: &Document, shape: Mamba2Config) -> Result<Self> {
        let one = |key| json.opt_number(key).map(|x| x.map_or(1.0, |x| x as f32));
        let [gate, down] = list(json, "mlp_multipliers", "two numbers")?;
        let all = Self {
            embedding: one("embedding_multiplier")?,
            head: one("lm_head_multiplier")?,
            gate,
            down,
            key: one("key_multiplier")?,
            attention_in: one("attention_in_multiplier")?,
            attention_out: one("attention_out_multiplier")?,
            ssm_in: one("ssm_in_multiplier")?,
            ssm_out: one("ssm_out_multiplier")?,
            ssm: list(json, "ssm_multipliers", "five numbers")?,
            shape,
        };
        let is_tied = json.opt_bool("tie_word_embeddings")?.unwrap_or(false);
        if is_tied && all.embedding.total_cmp(&all.head).is_ne() {
            return Err(json.unsupported("tie_word_embeddings", "false where multipliers differ").into());
        }
        Ok(all)
    }

    /// What becomes of the values of a matrix; `None`: they stay.
    pub(super) fn change(&self, role: Role) -> Option<Change> {
        let factors = match role {
            Role::Embedding => [self.embedding, 1.0],
            Role::Head => [self.head, 1.0],
            Role::Query | Role::Value => [self.attention_in, 1.0],
            Role::Key => [self.key, self.attention_in],
            Role::AttentionOutput => [self.attention_out, 1.0],
            Role::FfnGate => [self.gate, 1.0],
            Role::FfnDown => [self.down, 1.0],
            Role::SsmOutput => [self.ssm_out, 1.0],
            Role::SsmInput => return Some(Change::Scale(self.inputs())),
            _ => return None,
        };
        Some(Change::Scale(RowScales {
            all: factors[0],
            rows: [0; RowScales::PARTS],
            parts: [factors[1]; RowScales::PARTS],
        }))
    }

    fn inputs(&self) -> RowScales {
        let (inner, group) = (self.shape.inner_width(), self.shape.groups * self.shape.state_size);
        RowScales { all: self.ssm_in, rows: [inner, inner, group, group, self.shape.heads], parts: self.ssm }
    }
}

/// A list of so many numbers; ones where it is missing.
fn list<const N: usize>(json: &Document, key: &str, rule: &'static str) -> Result<[f32; N]> {
    let Some(list) = json.opt_list(key)? else { return Ok([1.0; N]) };
    let number = |x: &serde_json::Value| x.as_f64().map(|x| x as f32).filter(|x| x.is_finite());
    let numbers: Option<Vec<f32>> = list.iter().map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| json.bad(key, rule).into())
}
