//! Plugins of random weights, for tests that need one but no training.

use ollm_runtime::gguf::{TensorType, Writer};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::schema::{self, Backbone, DecoderKind, PluginConfig};
use ollm_runtime::quant;

/// What a plugin for `model` would say of itself.
///
/// # Panics
/// If the model cannot have one.
pub fn spec(model: &Model, decoder: DecoderKind, options: usize) -> PluginConfig {
    let backbone = Backbone::of(model.gguf(), model.storage()).unwrap();
    PluginConfig {
        options,
        norm_epsilon: 1e-5,
        decoder,
        encoder_width: 32,
        policy_width: 32,
        value_width: None,
        hold: Hold::Token,
        backbone,
    }
}

/// A plugin of random weights, at most `scale` in size. With `scale` 0 it is untrained: its policy
/// is random all the same, but what it adds to the hidden state is zero.
///
/// # Panics
/// If a tensor does not fit its type.
pub fn plugin_file(spec: &PluginConfig, dtype: TensorType, scale: f32) -> Writer<'static> {
    let mut writer = Writer::new();
    for (key, value) in schema::FILE_TYPE.map(|(key, value)| (key, value.into())).into_iter().chain(spec.to_metadata())
    {
        writer.set(key, value).unwrap();
    }
    let mut state = 1_u64;
    for (name, shape) in schema::tensors(spec) {
        let out = name.starts_with("ollm.decoder.out") || name.starts_with("ollm.decoder.delta_out");
        let scale = if out || scale > 0.0 { scale } else { 0.5 };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| random(&mut state) * scale).collect();
        let dtype = if shape.len() == 1 { TensorType::F32 } else { dtype };
        let dims: Vec<u64> = shape.iter().rev().map(|&n| n as u64).collect();
        writer.tensor(name, &dims, dtype, quant::encode(dtype, &values).unwrap()).unwrap();
    }
    writer
}

/// Between -1 and 1: the upper bits of a linear congruence (Knuth's MMIX).
fn random(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}
