use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use ollm_runtime::model::Model;

use super::{Network, Sequences};
use crate::error::Error;
use crate::testing::{assert_close, difference, model, network, normal, states};

/// A tiny model of each kind, which the runtime's tests compare with Hugging Face's transformers.
const MODELS: [&str; 11] = [
    "llama",
    "qwen2",
    "qwen3",
    "llama-rope-llama3",
    "llama-rope-linear",
    "smollm3",
    "granite",
    "minicpm",
    "seed_oss",
    "ernie4_5",
    "internlm2",
];

fn tokens(model: &Model, count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 37 + 11) % model.config().vocab as u32).collect()
}

#[test]
fn hidden_states_are_those_of_the_runtime_for_every_family() {
    for name in MODELS {
        let model = model(name);
        let all = tokens(&model, 40);
        let (first, second) = all.split_at(24);
        let mut sequences = Sequences::default();
        sequences.push(first, 0);
        sequences.push(second, 5);
        let mut want = states(&model, first);
        want.extend(&states(&model, second)[5 * model.config().hidden..]);
        // The runtime's keys and values have 16 bits.
        for (dtype, tolerance) in [(DType::F32, 2e-3), (DType::F16, 2e-2)] {
            let (hidden, _) = network(&model, dtype).forward(&sequences).unwrap();
            let off = difference(&hidden, &want);
            assert!(off < tolerance, "{name} {dtype:?}: off by {off}");
        }
    }
}

#[test]
fn what_is_not_computed_is_refused() {
    for (name, part) in [
        ("gemma3", "window"),
        ("gemma2", "window"),
        ("mistral", "window"),
        ("gemma", "activation"),
        ("phi3", "fused"),
        ("mistral3", "grow"),
        ("olmo2", "norms elsewhere"),
        ("hunyuan-dense", "norms of queries"),
        ("stablelm", "layer norms"),
        ("../encoders/gemma-embedding", "bidirectional"),
        ("../encoders/bert", "bidirectional"),
        ("glm4", "norms elsewhere"),
        ("qwen3moe", "experts"),
        ("lfm2", "recurrent"),
        ("lfm2moe", "recurrent"),
        ("gpt-oss", "sinks"),
        ("qwen35", "recurrent"),
        ("granitehybrid", "recurrent"),
        ("falcon-h1", "recurrent"),
        ("gemma3n", "streams"),
        ("gemma4", "per-layer"),
        ("gemma4_unified", "norms of values"),
    ] {
        let model = model(name);
        let (vocab, hidden) = (model.config().vocab, model.config().hidden);
        let embedding = Tensor::zeros((vocab, hidden), DType::F32, &candle_core::Device::Cpu).unwrap();
        let outcome = Network::new(&model, &embedding, DType::F32);
        assert!(matches!(outcome, Err(Error::Unsupported { part: found }) if found.contains(part)), "{name}");
    }
}

/// The sum of the hidden states, each with its own weight.
fn loss(network: &Network, sequences: &Sequences) -> f32 {
    let (hidden, _) = network.forward(sequences).unwrap();
    (&hidden * normal("weights", hidden.dims(), 1.0)).unwrap().sum_all().unwrap().to_scalar().unwrap()
}

#[test]
fn gradients_agree_with_finite_differences_for_every_matrix() {
    for name in MODELS {
        let model = model(name);
        let network = network(&model, DType::F32);
        let all = tokens(&model, 16);
        let mut sequences = Sequences::default();
        sequences.push(&all[..9], 2);
        sequences.push(&all[9..], 3);
        let (hidden, tape) = network.forward(&sequences).unwrap();
        let mut gradients = Vec::new();
        let weights = normal("weights", hidden.dims(), 1.0);
        let mut sink = |name: &str, x: &Tensor, gradient: &Tensor| {
            gradients.push((name.to_owned(), gradient.t()?.matmul(x)?));
            Ok(())
        };
        network.backward(tape, &weights, &mut sink).unwrap();
        assert_eq!(gradients.len(), network.matrices().count());
        for (matrix, gradient) in gradients {
            let direction = normal(&matrix, gradient.dims(), 1e-3);
            let along = (&gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let at = |times: f64| {
                let moved = network.with(|name, weight| {
                    Ok(if name == matrix { (weight + (&direction * times)?)? } else { weight.clone() })
                });
                loss(&moved.unwrap(), &sequences)
            };
            let slope = (at(1.0) - at(-1.0)) / 2.0;
            let norm = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
            let scale = norm.to_scalar::<f32>().unwrap() * 1e-3;
            assert_close(along / scale, slope / scale, 0.02);
        }
    }
}

#[test]
fn checkpointing_gives_the_same_bits() {
    for name in MODELS {
        let model = model(name);
        let network = network(&model, DType::F32);
        let all = tokens(&model, 16);
        let mut sequences = Sequences::default();
        sequences.push(&all[..9], 2);
        sequences.push(&all[9..], 3);
        let gradients = |network: Network| {
            let (hidden, tape) = network.forward(&sequences).unwrap();
            let mut all = vec![hidden.flatten_all().unwrap().to_vec1::<f32>().unwrap()];
            let mut sink = |_: &str, x: &Tensor, gradient: &Tensor| {
                all.push(gradient.t()?.matmul(x)?.flatten_all()?.to_vec1()?);
                Ok(())
            };
            network.backward(tape, &normal("weights", hidden.dims(), 1.0), &mut sink).unwrap();
            all
        };
        let kept = gradients(network.clone());
        assert!(kept.len() > 1 && kept == gradients(network.with_checkpointing(true)), "{name}");
    }
}

#[test]
fn the_real_model_has_the_hidden_states_of_the_runtime() {
    let Some(path) = std::env::var_os("OLLM_TEST_MODEL") else { return };
    let model = Arc::new(Model::open(Path::new(&path)).unwrap());
    let tokens = tokens(&model, 100);
    let mut sequences = Sequences::default();
    sequences.push(&tokens, 0);
    let (hidden, _) = network(&model, DType::F32).forward(&sequences).unwrap();
    // The runtime's products have activations of 8 bits.
    let off = difference(&hidden, &states(&model, &tokens));
    assert!(off < 0.05, "off by {off}");
}
