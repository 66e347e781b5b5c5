//! `AdamW` with a clipped gradient, and the learning rate's schedule.
//!
//! candle-nn has an `AdamW`, but hides its moments; a checkpoint needs them.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};

use crate::data::tensor_file::Tensors;
use crate::error::Result;
use crate::plugin::params::Params;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// Decoupled weight decay, on matrices only.
const WEIGHT_DECAY: f64 = 0.01;
/// Gradients are scaled down to this norm, taken over all tensors of the step.
const MAX_NORM: f64 = 1.0;

/// The optimizer's state: first and second moments of each trained tensor.
pub struct AdamW {
    first: Tensors,
    second: Tensors,
}

impl AdamW {
    /// Zero moments.
    pub fn new(params: &Params) -> Result<Self> {
        let zeros = || params.trained().map(|(name, var)| Ok((name.clone(), var.zeros_like()?))).collect::<Result<_>>();
        Ok(Self { first: zeros()?, second: zeros()? })
    }

    /// Moves the trained tensors once. `step` counts from 0.
    pub fn step(&mut self, params: &Params, gradients: &GradStore, step: u64, rate: f64) -> Result<()> {
        self.apply(params, &gather(params, gradients), step, rate)
    }

    /// The same with gradients by name.
    pub fn apply(&mut self, params: &Params, gradients: &Tensors, step: u64, rate: f64) -> Result<()> {
        let scale = clip_scale(gradients)?;
        for (name, var) in params.trained() {
            if let Some(gradient) = gradients.get(name) {
                self.update(name, var, &gradient.broadcast_mul(&scale)?, step, rate)?;
            }
        }
        Ok(())
    }

    fn update(&mut self, name: &str, var: &candle_core::Var, gradient: &Tensor, step: u64, rate: f64) -> Result<()> {
        let moment =
            |old: &Tensor, new: &Tensor, beta: f64| -> Result<Tensor> { Ok(((old * beta)? + (new * (1.0 - beta))?)?) };
        let first = moment(&self.first[name], gradient, BETA1)?;
        let second = moment(&self.second[name], &gradient.sqr()?, BETA2)?;
        let time = (step + 1) as f64;
        let root = (second.sqrt()? * (1.0 - BETA2.powf(time)).sqrt().recip())?;
        let direction = (&first / (root + EPSILON)?)?;
        let decay = if var.rank() > 1 { 1.0 - rate * WEIGHT_DECAY } else { 1.0 };
        let pace = rate / (1.0 - BETA1.powf(time));
        var.set(&((var.as_tensor() * decay)? - (direction * pace)?)?.detach())?;
        self.first.insert(name.into(), first);
        self.second.insert(name.into(), second);
        Ok(())
    }

    /// The moments under `first.NAME` and `second.NAME`.
    pub fn tensors(&self) -> Tensors {
        let named = |kind: &'static str, moments: &Tensors| -> Vec<(String, Tensor)> {
            moments.iter().map(|(name, tensor)| (format!("{kind}.{name}"), tensor.clone())).collect()
        };
        named("first", &self.first).into_iter().chain(named("second", &self.second)).collect()
    }

    /// Takes up the moments that [`Self::tensors`] gave.
    pub fn restore(&mut self, tensors: &Tensors) -> Result<()> {
        let take = |kind: &str, moments: &mut Tensors| -> Result<()> {
            for (name, moment) in moments {
                let key = format!("{kind}.{name}");
                let found = tensors.get(&key).ok_or(candle_core::Error::CannotFindTensor { path: key })?;
                *moment = found.clone();
            }
            Ok(())
        };
        take("first", &mut self.first)?;
        take("second", &mut self.second)
    }
}

/// The gradients by name, in the order of the names: the norm's sum must not depend on a hash map's
/// order.
pub fn gather(params: &Params, gradients: &GradStore) -> Tensors {
    params.trained().filter_map(|(name, var)| Some((name.clone(), gradients.get(var)?.detach()))).collect()
}

/// `min(1, MAX_NORM / norm)`, kept on the device: reading it back would stall a GPU.
fn clip_scale(gradients: &Tensors) -> Result<Tensor> {
    let squares =
        gradients.values().map(|gradient| gradient.sqr()?.sum_all()).collect::<candle_core::Result<Vec<_>>>()?;
    let device = gradients.values().next().map_or(&Device::Cpu, Tensor::device).clone();
    let total = squares.iter().try_fold(Tensor::zeros((), DType::F32, &device)?, |sum, square| sum + square)?;
    Ok(((total.sqrt()? + EPSILON)?.recip()? * MAX_NORM)?.minimum(1.0)?)
}

/// Linear warm-up over the first 3 % of the steps (at most 100), then a cosine down to zero.
pub fn learning_rate(peak: f64, step: u64, steps: u64) -> f64 {
    let warmup = (steps / 33).clamp(1, 100) as f64;
    let (step, steps) = (step as f64, steps as f64);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step / steps).cos());
    peak * ((step + 1.0) / warmup).min(1.0) * cosine
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::nets::names;
    use crate::testing::assert_close;
    use ollm_runtime::plugin::schema::DecoderKind;

    #[test]
    fn the_rate_warms_up_and_decays_to_nothing() {
        assert_close(learning_rate(1.0, 0, 1000) as f32, 1.0 / 30.0, 1e-3);
        assert!(learning_rate(1.0, 29, 1000) > 0.99);
        assert_close(learning_rate(1.0, 500, 1000) as f32, 0.5, 1e-6);
        assert!(learning_rate(1.0, 999, 1000) < 1e-5);
    }

    #[test]
    fn the_first_step_follows_the_sign_and_decays_matrices() {
        let spec = crate::testing::spec(4, DecoderKind::LowRank { width: 3, rank: 1 });
        let params = Params::control(&spec, 0, &Device::Cpu).unwrap();
        let get = |name| params.tensor(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let before = get(names::GATE);
        // d loss / d gate = 3, / d norm = -0.5; the clip scales both, and a first Adam step is rate
        // · sign.
        let loss = (params.tensor(names::GATE).unwrap().sum_all().unwrap() * 3.0).unwrap();
        let loss = (loss - (params.tensor(names::NORM).unwrap().sum_all().unwrap() * 0.5).unwrap()).unwrap();
        let mut adam = AdamW::new(&params).unwrap();
        adam.step(&params, &loss.backward().unwrap(), 0, 0.1).unwrap();
        for (after, before) in get(names::GATE).iter().zip(before) {
            assert_close(*after, before * 0.999 - 0.1, 1e-5);
        }
        for norm in get(names::NORM) {
            assert_close(norm, 1.1, 1e-5);
        }
        let norm: f32 =
            adam.first.values().map(|m| m.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sum();
        assert_close(norm.sqrt(), 0.1, 1e-4);
    }
}
