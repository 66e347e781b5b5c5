//! Rotary position embedding (`RoPE`) as the metadata describe it: its base, and how it is scaled
//! for texts longer than those that the model was first trained on.
//!
//! | `rope.scaling.type` | frequencies |
//! |---|---|
//! | `none` | `base^(-2i/size)` |
//! | `linear` (also where there is none) | divided by `rope.scaling.factor` |
//! | `yarn` | slow ones divided by the factor, fast ones as they are, a ramp between (Peng et al. 2023, arXiv 2309.00071, section 3.2) |
//! | `longrope` | divided by a tensor of factors, one for short contexts and one for long ones (Ding et al. 2024, arXiv 2402.13753) |
//!
//! `rope.scaling.dynamic_factor` is a key of this project: dynamic NTK scaling, where the base
//! grows with the context. Contexts of up to the trained length are as without it, so readers that
//! do not know it lose nothing there. What depends on the length of a text (this, and `longrope`)
//! goes by the context of the session, not by the tokens so far: the keys in the cache stay as they
//! are.
//!
//! The rope of layers with a window, where the family has one of its own, has the same keys with
//! `_swa` at the end.

use std::borrow::Cow;
use std::f64::consts::TAU;

use ollm_kernels::ops::Rotation;

use super::error::ModelError;
use super::keys::FamilyKeys;

/// The rope of a kind of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// In contexts of up to `original` positions, and in longer ones where `beyond` has no others.
    rotation: Rotation,
    /// Positions that the model was first trained on.
    original: usize,
    beyond: Beyond,
}

/// What happens in contexts longer than the original one.
#[derive(Clone, Debug, PartialEq)]
enum Beyond {
    Same,
    /// Other frequencies.
    Frequencies(Vec<f32>),
    /// The base grows: dynamic NTK.
    Dynamic {
        base: f64,
        factor: f64,
    },
}

/// The three tensors of factors that a file may have.
pub(super) struct RopeFactors {
    pub(super) all: Option<Vec<f32>>,
    pub(super) long: Option<Vec<f32>>,
    pub(super) short: Option<Vec<f32>>,
}

impl Rope {
    /// Rotated pairs of a head.
    pub fn pairs(&self) -> usize {
        self.rotation.frequencies.len()
    }

    /// How heads are rotated in a context of so many positions.
    pub fn rotation(&self, context: usize) -> Rotation {
        Rotation { frequencies: self.frequencies(context).into_owned(), magnitude: self.rotation.magnitude }
    }

    /// Whether it is another one in contexts longer than the original one.
    pub fn depends_on_context(&self) -> bool {
        self.beyond != Beyond::Same
    }

    fn frequencies(&self, context: usize) -> Cow<'_, [f32]> {
        let own = &self.rotation.frequencies;
        match &self.beyond {
            Beyond::Frequencies(long) if context > self.original => long.into(),
            &Beyond::Dynamic { base, factor } if context > self.original => {
                let size = 2.0 * own.len() as f64;
                let stretch = factor * context as f64 / self.original as f64 - (factor - 1.0);
                let base = base * stretch.powf(size / (size - 2.0));
                plain(base, own.len()).map(|frequency| frequency as f32).collect()
            }
            _ => own.into(),
        }
    }

    /// Divides the frequencies by the factors of the file.
    pub(super) fn divide(&mut self, factors: &RopeFactors) {
        let divided = |by: &[f32]| self.rotation.frequencies.iter().zip(by).map(|(x, factor)| x / factor).collect();
        if let (Some(long), Some(short)) = (&factors.long, &factors.short) {
            self.beyond = Beyond::Frequencies(divided(long));
            self.rotation.frequencies = divided(short);
        } else if let Some(all) = &factors.all {
            self.rotation.frequencies = divided(all);
        }
    }
}

/// `base^(-2i/size)` for each of so many pairs.
fn plain(base: f64, pairs: usize) -> impl Iterator<Item = f64> {
    (0..pairs).map(move |i| base.powf(-(i as f64) / pairs as f64))
}

/// The keys of a rope.
pub(super) struct RopeKeys<'a> {
    pub(super) keys: &'a FamilyKeys<'a>,
    /// The name of the base.
    pub(super) base: &'static str,
    /// The base where it is missing.
    pub(super) missing_base: f32,
    /// What the other names end with.
    pub(super) suffix: &'static str,
    pub(super) head_dim: usize,
    pub(super) context_length: usize,
}

/// Names that only some types of scaling read.
pub(super) const NAMES: [&str; 12] = [
    "rope.scale_linear",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_ext_factor_swa",
    "rope.scaling.yarn_attn_factor_swa",
    "rope.scaling.yarn_beta_fast_swa",
    "rope.scaling.yarn_beta_slow_swa",
    "rope.scaling.yarn_log_multiplier_swa",
    "rope.dimension_count_swa",
];

/// What each is in rotated pairs: those above `fast` stay, those below `slow` are scaled.
struct Ramp {
    low: f64,
    high: f64,
}

impl Ramp {
    /// The share of `pair` that is scaled.
    fn share(&self, pair: usize) -> f64 {
        ((pair as f64 - self.low) / (self.high - self.low).max(0.001)).clamp(0.0, 1.0)
    }
}

/// How much `YaRN` sharpens attention for this factor: section 3.4.
fn yarn_magnitude(factor: f64, multiplier: f64) -> f64 {
    if factor > 1.0 { 0.1 * multiplier * factor.ln() + 1.0 } else { 1.0 }
}

impl RopeKeys<'_> {
    /// Reads the rope, without the factors of tensors.
    pub(super) fn read(&self) -> Result<Rope, ModelError> {
        let base = f64::from(self.keys.opt_positive(self.base)?.unwrap_or(self.missing_base));
        let pairs = self.size()? / 2;
        let original = self.keys.opt_positions(&self.name("rope.scaling.original_context_length"))?;
        let original = original.unwrap_or(self.context_length);
        let factor = self.factor()?;
        let plain = plain(base, pairs);
        let (frequencies, magnitude): (Vec<f64>, _) = match self.kind()? {
            "none" => (plain.collect(), 1.0),
            "yarn" => self.yarn(plain, base, factor, original)?,
            _ => (plain.map(|frequency| frequency / factor).collect(), 1.0),
        };
        let dynamic = self.positive("rope.scaling.dynamic_factor")?;
        let beyond = dynamic.map_or(Beyond::Same, |factor| Beyond::Dynamic { base, factor: factor.into() });
        if let Some(dynamic) = dynamic {
            let rule = "beside no other scaling, and with 4 rotated elements at least";
            let alone = factor.total_cmp(&1.0).is_eq() && self.kind()? == "linear" && pairs > 1;
            self.require("rope.scaling.dynamic_factor", &dynamic, alone, rule)?;
        }
        let magnitude = magnitude * f64::from(self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0));
        let frequencies = frequencies.into_iter().map(|frequency| frequency as f32).collect();
        Ok(Rope { rotation: Rotation { frequencies, magnitude: magnitude as f32 }, original, beyond })
    }

    /// Frequencies and magnitude.
    fn yarn(
        &self,
        plain: impl Iterator<Item = f64>,
        base: f64,
        factor: f64,
        original: usize,
    ) -> Result<(Vec<f64>, f64), ModelError> {
        let size = self.size()? as f64;
        let beta = |name, missing| Ok::<_, ModelError>(self.positive(name)?.map_or(missing, f64::from));
        let (fast, slow) = (beta("rope.scaling.yarn_beta_fast", 32.0)?, beta("rope.scaling.yarn_beta_slow", 1.0)?);
        self.keys.require(self.base, base, base > 1.0, "above 1, with YaRN")?;
        // The pair that turns so many times in the original context.
        let pair = |turns: f64| size * (original as f64 / (turns * TAU)).ln() / (2.0 * base.ln());
        let ramp = Ramp { low: pair(fast).floor().max(0.0), high: pair(slow).ceil().min(size - 1.0) };
        // Negative numbers mean that the type decides.
        let mix = self.float("rope.scaling.yarn_ext_factor")?.filter(|&mix| mix >= 0.0).map_or(1.0, f64::from);
        let blend = |(i, frequency): (usize, f64)| {
            let kept = (1.0 - ramp.share(i)) * mix;
            frequency / factor * (1.0 - kept) + frequency * kept
        };
        let frequencies = plain.enumerate().map(blend).collect();
        // Files say 1 where there is none.
        let given = self.positive("rope.scaling.yarn_attn_factor")?.filter(|&given| given.to_bits() != 1_f32.to_bits());
        let multiplier = self.float("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
        let magnitude = match given {
            _ if mix == 0.0 => given.map_or(1.0, f64::from),
            Some(given) => given.into(),
            None if multiplier != 0.0 => yarn_magnitude(factor, 1.0) / yarn_magnitude(factor, multiplier.into()),
            None => yarn_magnitude(factor, 1.0),
        };
        self.require(
            "rope.scaling.yarn_log_multiplier",
            &multiplier,
            magnitude.is_finite() && magnitude > 0.0,
            "larger",
        )?;
        Ok((frequencies, magnitude))
    }

    /// What most frequencies are divided by: the newer key, else the older one.
    fn factor(&self) -> Result<f64, ModelError> {
        // 0 is none, as llama.cpp has it.
        let some = |name| Ok::<_, ModelError>(self.float(name)?.filter(|&factor| factor != 0.0));
        let (name, factor) = match some("rope.scaling.factor")? {
            Some(factor) => ("rope.scaling.factor", factor),
            None => ("rope.scale_linear", some("rope.scale_linear")?.unwrap_or(1.0)),
        };
        self.require(name, &factor, factor > 0.0, "a positive number")?;
        Ok(factor.into())
    }

    fn kind(&self) -> Result<&str, ModelError> {
        let name = self.name("rope.scaling.type");
        match self.keys.opt_str(&name)?.unwrap_or("linear") {
            kind @ ("none" | "linear" | "yarn" | "longrope") => Ok(kind),
            other => Err(ModelError::Unsupported { key: self.keys.key(&name), value: other.to_owned() }),
        }
    }

    /// Elements of a head that are rotated.
    fn size(&self) -> Result<usize, ModelError> {
        const NAME: &str = "rope.dimension_count";
        let size = self.keys.opt_size(&self.name(NAME))?.unwrap_or(self.head_dim);
        let fits = size <= self.head_dim && size % 2 == 0;
        self.require(NAME, &size, fits, "even and at most the size of a head")?;
        Ok(size)
    }

    fn name(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    fn float(&self, name: &str) -> Result<Option<f32>, ModelError> {
        self.keys.opt_float(&self.name(name))
    }

    fn positive(&self, name: &str) -> Result<Option<f32>, ModelError> {
        self.keys.opt_positive(&self.name(name))
    }

    fn require(&self, name: &str, value: &dyn ToString, holds: bool, rule: &'static str) -> Result<(), ModelError> {
        self.keys.require(&self.name(name), value.to_string(), holds, rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{Metadata, Value};

    fn rope(pairs: &[(&str, Value)]) -> Result<Rope, ModelError> {
        let mut metadata = Metadata::default();
        for (name, value) in pairs {
            metadata.insert(format!("llama.{name}"), value.clone()).unwrap();
        }
        let keys = FamilyKeys::new(&metadata, "llama");
        let (base, missing_base) = ("rope.freq_base", 10_000.0);
        RopeKeys { keys: &keys, base, missing_base, suffix: "", head_dim: 8, context_length: 64 }.read()
    }

    fn frequencies(pairs: &[(&str, Value)], context: usize) -> Vec<f32> {
        rope(pairs).unwrap().rotation(context).frequencies
    }

    const BASE: (&str, Value) = ("rope.freq_base", Value::F32(10_000.0));

    #[test]
    fn the_older_name_of_linear_scaling_counts_where_there_is_no_newer_one() {
        let plain = frequencies(&[BASE], 64);
        let quarter: Vec<f32> = plain.iter().map(|x| x / 4.0).collect();
        let (old, new) = ("rope.scale_linear", "rope.scaling.factor");
        assert_eq!(frequencies(&[(old, Value::F32(4.0))], 64), quarter);
        assert_eq!(frequencies(&[(old, Value::F32(2.0)), (new, Value::F32(4.0))], 64), quarter);
        assert_eq!(frequencies(&[(old, Value::F32(4.0)), (new, Value::F32(0.0))], 64), quarter);
        assert_eq!(frequencies(&[(old, Value::F32(4.0)), ("rope.scaling.type", "none".into())], 64), plain);
        assert!(rope(&[(old, Value::F32(-4.0))]).is_err());
    }

    /// Those of llama.cpp (`rope_yarn` in ggml, and `llama-context.cpp`).
    #[test]
    fn yarn_sharpens_attention_as_its_keys_say() {
        let magnitude = |more: &[(&str, Value)]| {
            let yarn = [("rope.scaling.type", "yarn".into()), ("rope.scaling.factor", Value::F32(4.0))];
            rope(&[&yarn[..], more].concat()).unwrap().rotation(64).magnitude
        };
        let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-6;
        let usual = 0.1 * 4_f64.ln() + 1.0;
        assert!(close(magnitude(&[]), usual));
        assert!(close(magnitude(&[("rope.scaling.attn_factor", Value::F32(0.5))]), 0.5 * usual));
        let log = ("rope.scaling.yarn_log_multiplier", Value::F32(0.5));
        assert!(close(magnitude(&[log]), usual / (0.05 * 4_f64.ln() + 1.0)));
        assert!(close(magnitude(&[("rope.scaling.yarn_attn_factor", Value::F32(0.5))]), 0.5));
        assert!(close(magnitude(&[("rope.scaling.yarn_attn_factor", Value::F32(1.0))]), usual));
        assert!(close(magnitude(&[("rope.scaling.yarn_ext_factor", Value::F32(-1.0))]), usual));
        assert!(close(magnitude(&[("rope.scaling.yarn_ext_factor", Value::F32(0.0))]), 1.0));
    }

    #[test]
    fn the_context_decides_where_the_rope_depends_on_it() {
        let dynamic = [("rope.scaling.dynamic_factor", Value::F32(2.0))];
        assert_eq!(frequencies(&dynamic, 64), frequencies(&[BASE], 64));
        let longer = frequencies(&dynamic, 128);
        assert!(longer[..1] == [1.0] && longer[3] < frequencies(&[BASE], 64)[3]);
        let mut long = rope(&[("rope.scaling.original_context_length", Value::U32(16))]).unwrap();
        let factors = RopeFactors { all: None, long: Some(vec![4.0; 4]), short: Some(vec![2.0; 4]) };
        assert!(!long.depends_on_context());
        long.divide(&factors);
        assert!(long.depends_on_context());
        assert_eq!((long.rotation(16).frequencies[0], long.rotation(17).frequencies[0]), (0.5, 0.25));
        for (name, value) in [
            ("rope.scaling.type", Value::from("dynamic")),
            ("rope.scaling.factor", Value::F32(f32::NAN)),
            ("rope.dimension_count", Value::U32(9)),
            ("rope.scaling.original_context_length", Value::U32(0)),
        ] {
            assert!(rope(&[(name, value)]).is_err(), "{name}");
        }
    }
}
