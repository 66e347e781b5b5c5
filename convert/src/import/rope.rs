//! Rotary position embedding (RoPE): the bases, and the scaling of positions, as
//! `modeling_rope_utils.py` of transformers 5 reads them.
//!
//! `rope_scaling`, where it says anything, takes the place of `rope_parameters`; what it lacks
//! stands beside it in the configuration. Gemma 3 and OLMo 3 have a rope for each kind of layers,
//! and `rope_scaling` is laid over that of full attention.

use std::f64::consts::TAU;

use ollm_runtime::gguf::Value;
use ollm_runtime::model::Role;
use serde_json::Map;

use super::architecture::Architecture;
use super::document::Document;
use super::metadata::MetadataPairs;
use crate::Result;

/// What `config.json` says of rope.
pub(super) struct Ropes {
    full: Rope,
    /// That of layers with a window, where it is another one.
    sliding: Option<Rope>,
    /// How queries grow with each context that the rope was made for, and its positions.
    temperature: Option<(f64, usize)>,
    /// `original_max_position_embeddings`, where the configuration has it beside the rope.
    original: Option<usize>,
    /// The sections of image positions, which mean nothing to text.
    sections: Option<Vec<i32>>,
}

struct Rope {
    base: f64,
    scaling: Scaling,
    /// Elements of a head that are rotated.
    size: usize,
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
    /// As in the paper (Peng et al. 2023, arXiv 2309.00071).
    Yarn {
        factor: f64,
        fast: f64,
        slow: f64,
        context: usize,
        truncate: bool,
        magnitude: f64,
    },
    /// Each frequency has a divisor, another one in contexts longer than the original.
    Long {
        short: Vec<f32>,
        long: Vec<f32>,
        context: usize,
        magnitude: f64,
    },
    /// The base grows with the context.
    Dynamic(f64),
    /// The first pairs are rotated, so many, with frequencies of all pairs divided by `factor`.
    Proportional {
        factor: f64,
        rotated: usize,
    },
}

/// The configuration beside the parameters of a rope.
struct Beside<'a> {
    json: &'a Document,
    architecture: &'a Architecture,
    /// The key of the base there.
    theta_key: &'static str,
    theta: f64,
    /// Whether its `original_max_position_embeddings` counts.
    original: bool,
    /// What `truncate` of `YaRN` is, if not what the parameters say.
    truncate: Option<bool>,
    head_dim: usize,
    context: usize,
}

impl Ropes {
    /// `head_dims`: elements of a head in layers with full attention, and in those with a window.
    pub(super) fn read(
        json: &Document,
        architecture: &Architecture,
        head_dims: [usize; 2],
        context: usize,
    ) -> Result<Self> {
        let [head_dim, sliding_head_dim] = head_dims;
        let parameters = json.part("rope_parameters")?.unwrap_or_else(|| json.with(architecture.rope()));
        let scaling = json.part("rope_scaling")?;
        let beside = Beside {
            json,
            architecture,
            theta_key: "rope_theta",
            theta: architecture.defaults.rope_theta,
            original: true,
            truncate: None,
            head_dim,
            context,
        };
        let kind = |name| parameters.part(name);
        let Some((theta_key, theta)) = architecture.sliding_rope else {
            let said = scaling.filter(|scaling| !scaling.is_empty()).or(kind("full_attention")?);
            let said = said.unwrap_or_else(|| parameters.clone());
            return Ok(Self {
                full: beside.rope(&said)?,
                sliding: None,
                temperature: beside.temperature(&said)?,
                original: architecture.defaults.original_context.map(|_| beside.original(&said)).transpose()?,
                sections: sections(&said)?.filter(|_| !architecture.family().halves_with_sections),
            });
        };
        let truncate = parameters.opt_bool("truncate")?;
        let beside = Beside { original: false, truncate: Some(truncate.unwrap_or(true)), ..beside };
        let silent = || json.with(Map::from_iter([("rope_type".to_owned(), "default".into())]));
        let full = kind("full_attention")?.unwrap_or_else(silent);
        let full = scaling.map_or(full.clone(), |scaling| scaling.over(&full));
        let sliding = Beside { theta_key, theta, head_dim: sliding_head_dim, ..beside };
        let sliding = sliding.rope(&kind("sliding_attention")?.unwrap_or_else(silent))?;
        if sliding.factors().next().is_some() {
            let part = kind("sliding_attention")?.unwrap_or_else(silent);
            return Err(part.unsupported("rope_type", "default, linear, dynamic, yarn in layers with a window").into());
        }
        let full = beside.rope(&full)?;
        Ok(Self { full, sliding: Some(sliding), temperature: None, original: None, sections: None })
    }

    /// The keys, without the family.
    pub(super) fn keys(&self) -> MetadataPairs {
        let sliding = self.sliding.iter().flat_map(|rope| rope.keys("_swa"));
        let mut keys: MetadataPairs = self.full.keys("").into_iter().chain(sliding).collect();
        let mut add = |name: &str, value| {
            // The scaling may have said it.
            if keys.iter().all(|(known, _)| known != name) {
                keys.push((name.to_owned(), value));
            }
        };
        add("rope.dimension_count", Value::U32(self.full.size as u32));
        if let Some(sliding) = self.sliding.as_ref().filter(|sliding| sliding.size != self.full.size) {
            add("rope.dimension_count_swa", Value::U32(sliding.size as u32));
        }
        if let Some((scale, _)) = self.temperature {
            add("attention.temperature_scale", Value::F32(scale as f32));
        }
        if let Some(positions) = self.temperature.map(|(_, positions)| positions).or(self.original) {
            add(ORIGINAL_CONTEXT, Value::U32(positions as u32));
        }
        if let Some(sections) = &self.sections {
            add("rope.dimension_sections", sections.clone().into());
        }
        keys
    }

    /// The tensors of what each frequency is divided by.
    pub(super) fn factors(&self) -> impl Iterator<Item = (Role, Vec<f32>)> {
        self.full.factors()
    }
}

impl Rope {
    fn keys(&self, suffix: &str) -> MetadataPairs {
        let float = |name: &'static str, x: f64| (name, Value::F32(x as f32));
        let positions = |n: usize| (ORIGINAL_CONTEXT, Value::U32(n as u32));
        let kind = |name: &str| ("rope.scaling.type", name.into());
        let mut keys = vec![float("rope.freq_base", self.base)];
        // What is 1, or the usual number, is left out.
        let unusual = |name, x: f64, usual: f64| x.total_cmp(&usual).is_ne().then(|| float(name, x));
        match &self.scaling {
            Scaling::None | Scaling::Llama3 { .. } | Scaling::Proportional { .. } => (),
            Scaling::Linear(factor) => keys.extend([kind("linear"), float("rope.scaling.factor", *factor)]),
            Scaling::Yarn { truncate: false, magnitude, .. } => {
                keys.extend(unusual("rope.scaling.attn_factor", *magnitude, 1.0));
            }
            &Scaling::Yarn { factor, fast, slow, context, magnitude, .. } => {
                keys.extend([kind("yarn"), float("rope.scaling.factor", factor), positions(context)]);
                keys.extend(unusual("rope.scaling.yarn_beta_fast", fast, FAST));
                keys.extend(unusual("rope.scaling.yarn_beta_slow", slow, SLOW));
                keys.extend(unusual("rope.scaling.attn_factor", magnitude / sharpened(factor, 1.0), 1.0));
            }
            &Scaling::Long { context, magnitude, .. } => {
                keys.extend([kind("longrope"), positions(context)]);
                keys.extend(unusual("rope.scaling.attn_factor", magnitude, 1.0));
            }
            Scaling::Dynamic(factor) => keys.push(float("rope.scaling.dynamic_factor", *factor)),
        }
        keys.into_iter().map(|(name, value)| (format!("{name}{suffix}"), value)).collect()
    }

    fn factors(&self) -> impl Iterator<Item = (Role, Vec<f32>)> {
        let pairs = self.size / 2;
        let plain = |i: usize| self.base.powf(-(i as f64) / pairs as f64);
        let of_all = |divisor: &dyn Fn(usize) -> f64| {
            vec![(Role::RopeFactors, (0..pairs).map(|i| divisor(i) as f32).collect::<Vec<_>>())]
        };
        let factors = match &self.scaling {
            // The rule of Llama 3.1: `_compute_llama3_parameters` in transformers.
            &Scaling::Llama3 { factor, low, high, context } => of_all(&|i| {
                let turns = context as f64 * plain(i) / TAU;
                let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                1.0 / ((1.0 - blend) / factor + blend)
            }),
            // GGUF has no key for it.
            &Scaling::Yarn { factor, fast, slow, context, truncate: false, .. } => {
                let size = self.size as f64;
                let pair = |turns: f64| size * (context as f64 / (turns * TAU)).ln() / (2.0 * self.base.ln());
                let (low, high) = (pair(fast).max(0.0), pair(slow).min(size - 1.0));
                let width = if high.total_cmp(&low).is_eq() { 0.001 } else { high - low };
                of_all(&|i| {
                    let share = ((i as f64 - low) / width).clamp(0.0, 1.0);
                    1.0 / (share / factor + (1.0 - share))
                })
            }
            // A pair with this divisor does not turn in any context.
            &Scaling::Proportional { factor, rotated } => of_all(&|i| if i < rotated { factor } else { 1e30 }),
            Scaling::Long { short, long, .. } => {
                vec![(Role::RopeFactorsLong, long.clone()), (Role::RopeFactorsShort, short.clone())]
            }
            _ => Vec::new(),
        };
        factors.into_iter()
    }
}

const ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";

/// `beta_fast` and `beta_slow` of `YaRN` where they are missing.
const FAST: f64 = 32.0;
const SLOW: f64 = 1.0;

/// How much `YaRN` sharpens attention for this factor: section 3.4.
fn sharpened(factor: f64, multiplier: f64) -> f64 {
    if factor > 1.0 { 0.1 * multiplier * factor.ln() + 1.0 } else { 1.0 }
}

impl Beside<'_> {
    /// The rope of these parameters.
    fn rope(&self, parameters: &Document) -> Result<Rope> {
        let base = parameters.opt_positive("rope_theta")?.or(self.json.opt_positive(self.theta_key)?);
        let (base, size) = (base.unwrap_or(self.theta), self.size(parameters)?);
        let kind = kind(parameters)?.1;
        let alpha = if self.architecture.alpha { parameters.opt_number("alpha")?.filter(|&x| x != 0.0) } else { None };
        match alpha.filter(|_| kind == "dynamic") {
            // NTK-aware scaling: the context does not matter.
            Some(alpha) => {
                let base = base * alpha.powf(size as f64 / (size as f64 - 2.0));
                if !((base as f32).is_finite() && base > 0.0 && size > 2) {
                    return Err(parameters.bad("alpha", "positive, and such that the base stays a number").into());
                }
                Ok(Rope { base, scaling: Scaling::None, size })
            }
            None => Ok(Rope { base, scaling: self.scaling(parameters, size)?, size }),
        }
    }

    /// Elements of a head that are rotated.
    fn size(&self, parameters: &Document) -> Result<usize> {
        const KEY: &str = "partial_rotary_factor";
        let share = parameters.opt_positive(KEY)?.or(self.json.opt_positive(KEY)?);
        let Some(missing) = self.architecture.rotary_share else {
            // They rotate whole heads, and read the key with other types alone.
            let kind = kind(parameters)?.1;
            let is_part = !is_plain(kind) && kind != PROPORTIONAL && share.is_some_and(|share| share < 1.0);
            return if is_part { Err(parameters.unsupported(KEY, "1").into()) } else { Ok(self.head_dim) };
        };
        let size = (share.unwrap_or(missing) * self.head_dim as f64) as usize;
        if size == 0 || !size.is_multiple_of(2) || size > self.head_dim {
            let place = if parameters.get(KEY).is_some() { parameters } else { self.json };
            return Err(place.bad(KEY, "at most 1, and an even number of a head's elements").into());
        }
        Ok(size)
    }

    /// How queries grow with each original context before them, if they do.
    fn temperature(&self, parameters: &Document) -> Result<Option<(f64, usize)>> {
        let scale = if self.architecture.temperature { parameters.opt_positive("llama_4_scaling_beta")? } else { None };
        scale.map(|scale| Ok((scale, self.original(parameters)?))).transpose()
    }

    fn scaling(&self, json: &Document, size: usize) -> Result<Scaling> {
        let (key, kind) = kind(json)?;
        match kind {
            _ if is_plain(kind) => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear(stretch(json)?)),
            "dynamic" if size > 2 => Ok(Scaling::Dynamic(stretch(json)?)),
            "llama3" => {
                let (low, high) = (json.positive("low_freq_factor")?, json.positive("high_freq_factor")?);
                if high <= low {
                    return Err(json.bad("high_freq_factor", "above low_freq_factor").into());
                }
                Ok(Scaling::Llama3 { factor: stretch(json)?, low, high, context: self.original(json)? })
            }
            // The first configurations of Phi 3.
            "su" | "yarn" if json.get("long_factor").is_some() => self.long(json, size),
            "yarn" => self.yarn(json),
            "longrope" => self.long(json, size),
            PROPORTIONAL if self.architecture.rotary_share.is_none() => {
                let share = json.opt_positive("partial_rotary_factor")?.unwrap_or(1.0).min(1.0);
                let factor = if json.get("factor").is_some() { stretch(json)? } else { 1.0 };
                Ok(Scaling::Proportional { factor, rotated: (share * size as f64 / 2.0) as usize })
            }
            _ => Err(json.unsupported(key, "default, linear, dynamic, yarn, longrope, llama3").into()),
        }
    }

    fn yarn(&self, json: &Document) -> Result<Scaling> {
        let context = self.original(json)?;
        let factor = if json.get("factor").is_some() { stretch(json)? } else { self.longer(context) };
        let scale = |key| Ok::<_, crate::ConvertError>(json.opt_number(key)?.filter(|&x| x != 0.0));
        let magnitude = match (json.opt_positive("attention_factor")?, scale("mscale")?, scale("mscale_all_dim")?) {
            (Some(given), ..) => given,
            (None, Some(one), Some(all)) => sharpened(factor, one) / sharpened(factor, all),
            _ => sharpened(factor, 1.0),
        };
        if !(magnitude.is_finite() && magnitude > 0.0) {
            return Err(json.bad("mscale", "such that attention is scaled by a positive number").into());
        }
        Ok(Scaling::Yarn {
            factor,
            fast: scale("beta_fast")?.unwrap_or(FAST),
            slow: scale("beta_slow")?.unwrap_or(SLOW),
            context,
            truncate: match self.truncate {
                Some(truncate) => truncate,
                None => json.opt_bool("truncate")?.unwrap_or(true),
            },
            magnitude,
        })
    }

    fn long(&self, json: &Document, size: usize) -> Result<Scaling> {
        let context = self.original(json)?;
        let factor = if json.get("factor").is_some() { stretch(json)? } else { self.longer(context) };
        let implied = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (context as f64).ln()).sqrt() };
        let divisors = |key| -> Result<Vec<f32>> {
            let list = json.opt_list(key)?.ok_or_else(|| json.missing(key))?;
            let numbers: Option<Vec<f32>> = list.iter().map(|x| Some(x.as_f64()? as f32)).collect();
            let is_good = |x: &f32| x.is_finite() && *x > 0.0;
            let numbers = numbers.filter(|all| all.len() == size / 2 && all.iter().all(is_good));
            numbers.ok_or_else(|| json.bad(key, "a positive number for each rotated pair of a head").into())
        };
        Ok(Scaling::Long {
            short: divisors("short_factor")?,
            long: divisors("long_factor")?,
            context,
            magnitude: json.opt_positive("attention_factor")?.unwrap_or(implied),
        })
    }

    /// Positions before the scaling.
    fn original(&self, json: &Document) -> Result<usize> {
        const KEY: &str = "original_max_position_embeddings";
        let missing = self.architecture.defaults.original_context;
        let above = if self.original { self.json.opt_positions(KEY)?.or(missing) } else { None };
        Ok(above.or(json.opt_positions(KEY)?).unwrap_or(self.context))
    }

    /// The factor where there is none.
    fn longer(&self, original: usize) -> f64 {
        self.context as f64 / original as f64
    }
}

/// The type of a rope that turns a part of a head's pairs.
const PROPORTIONAL: &str = "proportional";

/// The key of the type, and the type.
fn kind(json: &Document) -> Result<(&'static str, &str)> {
    let key = if json.get("rope_type").is_some() { "rope_type" } else { "type" };
    Ok((key, json.opt_str(key)?.unwrap_or("default")))
}

/// Whether a rope of this type is not scaled. In text all sections of image positions count alike.
fn is_plain(kind: &str) -> bool {
    matches!(kind, "default" | "mrope")
}

/// `mrope_section`, padded to four.
fn sections(json: &Document) -> Result<Option<Vec<i32>>> {
    const KEY: &str = "mrope_section";
    let Some(list) = json.opt_list(KEY)? else { return Ok(None) };
    let sections: Option<Vec<i32>> = list.iter().map(|value| i32::try_from(value.as_u64()?).ok()).collect();
    let mut sections = sections.filter(|list| list.len() <= 4).ok_or_else(|| json.bad(KEY, "at most four sizes"))?;
    sections.resize(4, 0);
    Ok(Some(sections))
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
        let rope = Rope { base: 100.0, scaling, size: 16 };
        let (role, factors) = rope.factors().next().unwrap();
        assert_eq!((role, factors[0], factors[4], factors[7]), (Role::RopeFactors, 1.0, 8.0, 8.0));
        assert!(1.0 < factors[1] && factors[1] < factors[2] && factors[2] < 8.0, "{factors:?}");
    }
}
