//! Deterministic across instruction sets: whole models, and option sets of plugins, give the same
//! bits on every instruction set of this processor.

use std::sync::Arc;

use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{Gguf, TensorType, Writer};
use ollm_runtime::model::{Model, head};
use ollm_runtime::ops::{Exec, Quantized};
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Hold, LatentMode, Plugin, Selector};
use ollm_runtime::quant;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_tests::backbones::{self, Shape};
use ollm_tests::{golden, plugins};

/// Those after the eighth have activations, norms, places of norms, layers or experts that none
/// before has.
const FAMILIES: [&str; 30] = [
    "llama",
    "qwen2",
    "qwen3",
    "llama-rope-llama3",
    "llama-rope-linear",
    "mistral",
    "gemma3",
    "gemma2",
    "granite",
    "phi3",
    "mistral3",
    "olmo3",
    "hunyuan-dense",
    "stablelm",
    "stablelm-parallel",
    "starcoder2",
    "cohere2",
    "nemotron",
    "qwen2moe",
    "granitemoeshared",
    "granitehybrid",
    "granitehybridmoe",
    "falcon-h1-norm",
    "lfm2",
    "gemma3n",
    "gemma4",
    "gemma4_unified",
    "qwen35",
    "gpt-oss",
    "lfm2moe",
];
const OPTIONS: usize = 5;

/// The tiny backbone `name` of the goldens, its matrices of type `dtype`.
fn converted(name: &str, dtype: TensorType) -> Arc<Model> {
    let bytes = std::fs::read(golden(&format!("tiny/{name}.gguf"))).unwrap();
    let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        let mut values = vec![0.0; tensor.elements()];
        quant::decode(tensor.dtype, tensor.bytes(&bytes), &mut values).unwrap();
        let fits = tensor.dims.len() > 1 && (tensor.dims[0] as usize).is_multiple_of(dtype.block_len());
        let dtype = if fits { dtype } else { TensorType::F32 };
        writer.tensor(&tensor.name, &tensor.dims, dtype, quant::encode(dtype, &values).unwrap()).unwrap();
    }
    Arc::new(Model::from_storage(Storage::from(writer.to_bytes())).unwrap())
}

fn session(model: &Arc<Model>, plugin: Option<&Arc<Plugin>>, isa: Isa) -> Session {
    let options = SessionOptions { threads: 2, context: 64, isa: Some(isa), ..SessionOptions::default() };
    Session::new(Arc::clone(model), plugin.cloned(), &options).unwrap()
}

fn bits(x: &[f32]) -> impl Iterator<Item = u32> {
    x.iter().map(|x| x.to_bits())
}

/// Of what `run` gives: the same on every instruction set.
fn assert_same(what: &str, run: impl Fn(Isa) -> Vec<u32>) {
    let scalar = run(Isa::by_name("scalar").unwrap());
    for isa in Isa::available() {
        assert!(run(isa) == scalar, "{what}: {} differs from scalar", isa.name());
    }
}

/// A prefill, then steps of one token.
#[test]
fn logits_of_every_family_are_the_same_bits() {
    let tokens: Vec<u32> = (0..24).map(|i| i * 37 % 300).collect();
    for name in FAMILIES {
        for dtype in [TensorType::F32, TensorType::F16, TensorType::Bf16, TensorType::Q4_1, TensorType::Q8_0] {
            let model = converted(name, dtype);
            assert_same(&format!("{name} {dtype:?}"), |isa| {
                let (mut session, mut hidden, mut logits) = (session(&model, None, isa), Vec::new(), Vec::new());
                session.hidden_states(&tokens[..20], &mut hidden).unwrap();
                for token in &tokens[20..] {
                    session.hidden_states(std::slice::from_ref(token), &mut hidden).unwrap();
                }
                let mut exec = Exec { isa, pool: Pool::new(2).unwrap() };
                head(&mut exec, &model, &hidden, &mut Quantized::default(), &mut logits);
                bits(&hidden).chain(bits(&logits)).collect()
            });
        }
    }
}

/// The policy, each option of the option set, and the tokens of each way to select a latent.
#[test]
fn option_sets_are_the_same_bits() {
    let shape = Shape { vocab: 301, context: 64, hidden: 256, ffn: 256, heads: 8, kv_heads: 2, tied: false };
    for dtype in [TensorType::F16, TensorType::Q2K, TensorType::Q4K, TensorType::Q6K, TensorType::Iq4Xs] {
        let model = Arc::new(Model::from_storage(Storage::from(backbones::backbone(&shape, dtype))).unwrap());
        for kind in [DecoderKind::SwiGlu { width: 32 }, DecoderKind::LowRank { width: 32, rank: 32 }] {
            for plugin_type in [TensorType::F32, TensorType::Q8_0] {
                let file = plugins::plugin_file(&plugins::spec(&model, kind, OPTIONS), plugin_type, 0.5);
                let plugin = Arc::new(Plugin::from_storage(Storage::from(file.to_bytes()), &model).unwrap());
                for mode in [LatentMode::Policy, LatentMode::Mixture, LatentMode::Fixed(3)] {
                    assert_same(&format!("{dtype:?} {kind:?} {plugin_type:?} {mode:?}"), |isa| {
                        let mut session = session(&model, Some(&plugin), isa);
                        session.feed(&[10, 200, 31, 47, 5, 300, 0]).unwrap();
                        let selector = Selector::new(mode.clone(), Hold::Token, OPTIONS, 7).unwrap();
                        let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
                        let mut out: Vec<u32> = bits(session.policy().unwrap()).collect();
                        for option in session.option_set(9).unwrap() {
                            out.extend(option.top.iter().flat_map(|&(token, p)| [token, p.to_bits()]));
                        }
                        for _ in 0..12 {
                            let step = session.step(Some(&selector), &mut sampler).unwrap();
                            out.extend([step.token, step.logprob.to_bits()]);
                        }
                        out
                    });
                }
            }
        }
    }
}
