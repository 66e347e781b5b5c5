//! Rotary position embedding (RoPE): the bases, and the scaling of positions.

use std::f64::consts::TAU;

use ollm_runtime::gguf::Value;

use super::document::Document;
use crate::Result;

/// What `config.json` says of rope.
pub(super) struct Ropes {
    base: f64,
    /// The base in layers with a window, where it is another one.
    local_base: Option<f64>,
    scaling: Scaling,
    head_dim: usize,
}

enum Scaling {
    None,
    /// All positions are divided by this.
    Linear(f64),
    /// Slow frequencies are divided by `factor`, fast ones stay, those between are blended.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        context: usize,
    },
}

/// Where no base is given, in all configurations of transformers.
const BASE: f64 = 10_000.0;

impl Ropes {
    /// Reads both forms: `rope_parameters` of transformers 5, for each kind of layer where there
    /// are two, and `rope_theta` with `rope_scaling` of the versions before.
    pub(super) fn read(json: &Document, local: bool, head_dim: usize) -> Result<Self> {
        let parameters = json.part("rope_parameters")?;
        let of_kind = |kind: &str| match &parameters {
            Some(parameters) => parameters.part(kind),
            None => Ok(None),
        };
        let global = of_kind("full_attention")?.or(parameters.clone());
        let theta = |part: Option<Document>| part.map_or(Ok(None), |part| part.opt_positive("rope_theta"));
        let base = theta(global.clone())?.or(json.opt_positive("rope_theta")?).unwrap_or(BASE);
        let local_base = theta(of_kind("sliding_attention")?)?.or(json.opt_positive("rope_local_base_freq")?);
        let global = global.or(json.part("rope_scaling")?);
        let base = base * global.as_ref().map_or(Ok(1.0), |part| base_stretch(part, head_dim))?;
        let scaling = global.map_or(Ok(Scaling::None), |part| Scaling::read(&part))?;
        Ok(Self { base, local_base: local_base.filter(|_| local), scaling, head_dim })
    }

    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let mut keys = vec![("rope.freq_base", Value::F32(self.base as f32))];
        keys.extend(self.local_base.map(|base| ("rope.freq_base_swa", Value::F32(base as f32))));
        if let Scaling::Linear(factor) = self.scaling {
            keys.push(("rope.scaling.type", "linear".into()));
            keys.push(("rope.scaling.factor", Value::F32(factor as f32)));
        }
        keys
    }

    /// What each frequency is divided by, `rope_freqs.weight`: the rule of Llama 3.1
    /// (`_compute_llama3_parameters` in transformers).
    pub(super) fn factors(&self) -> Option<Vec<f32>> {
        let Scaling::Llama3 { factor, low, high, context } = self.scaling else { return None };
        let divisor = |i: usize| {
            let frequency = self.base.powf(-((2 * i) as f64) / self.head_dim as f64);
            let turns = context as f64 * frequency / TAU;
            let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / ((1.0 - blend) / factor + blend)
        };
        Some((0..self.head_dim / 2).map(|i| divisor(i) as f32).collect())
    }
}

impl Scaling {
    fn read(json: &Document) -> Result<Self> {
        let key = if json.get("rope_type").is_some() { "rope_type" } else { "type" };
        match json.opt_str(key)? {
            // A multimodal rope is plain for text. What is dynamic by `alpha` is in the base.
            None | Some("default" | "mrope") => Ok(Self::None),
            Some("dynamic") if json.get(ALPHA).is_some() => Ok(Self::None),
            Some("linear") => Ok(Self::Linear(stretch(json)?)),
            Some("llama3") => {
                let (low, high) = (json.positive("low_freq_factor")?, json.positive("high_freq_factor")?);
                if high <= low {
                    return Err(json.bad("high_freq_factor", "above low_freq_factor").into());
                }
                let context = json.positions("original_max_position_embeddings")?;
                Ok(Self::Llama3 { factor: stretch(json)?, low, high, context })
            }
            Some(_) => Err(json.unsupported(key, "default, linear, llama3").into()),
        }
    }
}

const ALPHA: &str = "alpha";

/// What the base is multiplied by: `alpha^(d / (d - 2))`, the NTK-aware scaling of `HunYuan`.
fn base_stretch(json: &Document, rotated: usize) -> Result<f64> {
    let alpha = json.opt_positive(ALPHA)?.unwrap_or(1.0);
    Ok(if rotated > 2 { alpha.powf(rotated as f64 / (rotated - 2) as f64) } else { 1.0 })
}

fn stretch(json: &Document) -> Result<f64> {
    let factor = json.positive("factor")?;
    if factor >= 1.0 { Ok(factor) } else { Err(json.bad("factor", "at least 1").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_frequencies_are_divided_fast_ones_stay_and_those_between_are_blended() {
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, context: 32 };
        let factors = Ropes { base: 100.0, local_base: None, scaling, head_dim: 16 }.factors().unwrap();
        assert_eq!((factors[0], factors[4], factors[7]), (1.0, 8.0, 8.0));
        assert!(1.0 < factors[1] && factors[1] < factors[2] && factors[2] < 8.0, "{factors:?}");
    }
}
