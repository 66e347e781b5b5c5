//! The tensors of a stage: those it trains and those it holds fixed.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};

use crate::data::rng::Rng;
use crate::data::tensor_file::Tensors;
use crate::error::{Error, Result};
use crate::plugin::nets::{CONTROL, TensorSlot, control_slots, names, option_slots, value_slots};

/// How far a fresh delta or embedding is from zero: enough to tell the options apart, too little to
/// disturb the control (our decision).
const DELTA_SCALE: f32 = 0.01;
const EMBED_SCALE: f32 = 0.1;

/// Named tensors, some of them trainable.
pub struct Params {
    trained: BTreeMap<String, Var>,
    fixed: Tensors,
}

impl Params {
    /// Fresh tensors of the control: `W_o` is zero, so it starts as the backbone.
    pub fn control(spec: &PluginConfig, seed: u64, device: &Device) -> Result<Self> {
        Ok(Self { trained: initial(control_slots(spec), seed, device)?, fixed: Tensors::new() })
    }

    /// Fresh tensors of the options on a trained control.
    ///
    /// Kind `lowrank` keeps the control fixed, as the anchor of all options; kind `swiglu` goes on
    /// training it. With `keeps_control` the delta of latent [`CONTROL`] is zero (kind `lowrank`).
    pub fn options(
        spec: &PluginConfig,
        control: &Tensors,
        keeps_control: bool,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut trained = initial(option_slots(spec), seed, device)?;
        if let Some(delta) = trained.get_mut(names::DELTA_OUT).filter(|_| keeps_control) {
            let d = spec.backbone.hidden;
            let (rows, rank) = delta.dims2()?;
            let [before, after] =
                [(0, CONTROL * d), ((CONTROL + 1) * d, rows - (CONTROL + 1) * d)].map(|(at, n)| delta.narrow(0, at, n));
            let zeros = Tensor::zeros((d, rank), DType::F32, device)?;
            *delta = Var::from_tensor(&Tensor::cat(&[before?, zeros, after?], 0)?)?;
        }
        let mut fixed = Tensors::new();
        match spec.decoder {
            DecoderKind::LowRank { .. } => fixed.clone_from(control),
            DecoderKind::SwiGlu { .. } => trained.extend(variables(control)?),
        }
        Ok(Self { trained, fixed })
    }

    /// The tensors of a plugin of which the policy alone is trained. What the options of kind
    /// `lowrank` add to the control is multiplied by `spread`.
    pub fn policy(plugin: &Tensors, spread: f64) -> Result<Self> {
        let (policy, mut fixed): (Tensors, Tensors) =
            plugin.clone().into_iter().partition(|(name, _)| name.starts_with(names::POLICY));
        if let Some(delta) = fixed.get_mut(names::DELTA_OUT) {
            *delta = (&*delta * spread)?;
        }
        Ok(Self { trained: variables(&policy)?, fixed })
    }

    /// The tensors of a plugin of which the control's alone are trained.
    pub fn of_control(spec: &PluginConfig, plugin: &Tensors) -> Result<Self> {
        let slots = control_slots(spec);
        let (control, fixed): (Tensors, Tensors) =
            plugin.clone().into_iter().partition(|(name, _)| slots.iter().any(|slot| slot.0 == name));
        Ok(Self { trained: variables(&control)?, fixed })
    }

    /// Fresh tensors of a value head, which starts without an opinion.
    pub fn value(spec: &PluginConfig, seed: u64, device: &Device) -> Result<Self> {
        Ok(Self { trained: initial(value_slots(spec), seed, device)?, fixed: Tensors::new() })
    }

    /// Tensors that are all trained, from these values.
    pub fn all(tensors: &Tensors) -> Result<Self> {
        Ok(Self { trained: variables(tensors)?, fixed: Tensors::new() })
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let trained = self.trained.get(name).map(|var| var.as_tensor().clone());
        let tensor = trained.or_else(|| self.fixed.get(name).cloned());
        tensor.ok_or_else(|| candle_core::Error::CannotFindTensor { path: name.into() }.into())
    }

    /// The tensors that are trained.
    pub fn trained(&self) -> impl Iterator<Item = (&String, &Var)> {
        self.trained.iter()
    }

    /// All tensors, cut off from any graph.
    pub fn tensors(&self) -> Tensors {
        let trained = self.trained.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor()));
        trained.chain(self.fixed.clone()).collect()
    }

    /// Sets the trained tensors, each of which must be there.
    pub fn restore(&self, tensors: &Tensors) -> Result<()> {
        for (name, var) in &self.trained {
            let tensor = tensors.get(name).ok_or(candle_core::Error::CannotFindTensor { path: name.clone() })?;
            var.set(tensor).map_err(Error::Tensor)?;
        }
        Ok(())
    }
}

fn variables(tensors: &Tensors) -> Result<BTreeMap<String, Var>> {
    tensors.iter().map(|(name, tensor)| Ok((name.clone(), Var::from_tensor(&tensor.copy()?)?))).collect()
}

fn initial(slots: Vec<TensorSlot>, seed: u64, device: &Device) -> Result<BTreeMap<String, Var>> {
    slots
        .into_iter()
        .map(|(name, shape)| {
            let values = initial_values(name, &shape, seed);
            Ok((name.to_owned(), Var::from_vec(values, shape, device)?))
        })
        .collect()
}

fn initial_values(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let count = shape.iter().product();
    let fan_in = shape[shape.len() - 1] as f32;
    match name {
        names::OUT => vec![0.0; count],
        names::DELTA_OUT => normal(name, count, DELTA_SCALE, seed),
        names::EMBED => normal(name, count, EMBED_SCALE, seed),
        _ if name.contains("norm") => vec![1.0; count],
        _ if shape.len() == 1 => vec![0.0; count],
        // The policy starts uniform: no latent is preferred before anything was learned.
        _ if name.ends_with(".out.weight") => vec![0.0; count],
        _ => normal(name, count, fan_in.sqrt().recip(), seed),
    }
}

/// Normal numbers that depend on the name and the seed alone.
pub(crate) fn normal(name: &str, count: usize, scale: f32, seed: u64) -> Vec<f32> {
    let mut rng = Rng::stream(seed, name, 0);
    (0..count).map(|_| rng.normal() * scale).collect()
}
