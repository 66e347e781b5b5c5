//! The real model against an fp32 forward pass of the same dequantized weights
//! (`goldens/smollm2.py`).

use std::sync::Arc;

use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{Gguf, TensorType, Writer};
use ollm_runtime::model::{Model, head};
use ollm_runtime::ops::{Exec, KvType, Quantized, softmax};
use ollm_runtime::quant;
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_tests::{golden, smollm2};

const TOKENS: usize = 1145;
const POSITIONS: usize = TOKENS - 1;
const TOP: usize = 64;

/// The sections of `smollm2.bin`.
struct Golden {
    ids: Vec<u32>,
    top_ids: Vec<u32>,
    top_logprobs: Vec<f32>,
    rest_logprob: Vec<f32>,
}

fn load() -> Golden {
    let bytes = std::fs::read(golden("smollm2.bin")).unwrap();
    let words: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut words = words.into_iter();
    let mut take = |n: usize| words.by_ref().take(n).collect::<Vec<u32>>();
    let floats = |words: Vec<u32>| words.into_iter().map(f32::from_bits).collect();
    let ids = take(TOKENS);
    take(POSITIONS); // the log-probability of the next token
    let top_ids = take(POSITIONS * TOP);
    let top_logprobs = floats(take(POSITIONS * TOP));
    Golden { ids, top_ids, top_logprobs, rest_logprob: floats(take(POSITIONS)) }
}

/// `KL(golden || ours)` over the golden's 64 most probable tokens and all others together.
fn divergence(golden: &Golden, position: usize, ours: &[f32]) -> f64 {
    let row = position * TOP..(position + 1) * TOP;
    let mut rest = 1.0;
    let mut sum = 0.0;
    for (&id, &logprob) in golden.top_ids[row.clone()].iter().zip(&golden.top_logprobs[row]) {
        let (p, q) = (f64::from(logprob).exp(), f64::from(ours[id as usize]));
        sum += p * (f64::from(logprob) - q.ln());
        rest -= q;
    }
    let p = f64::from(golden.rest_logprob[position]);
    sum + p.exp() * (p - rest.max(1e-12).ln())
}

/// The distributions after each of these tokens, one after the other.
fn distributions(model: &Arc<Model>, kv_type: KvType, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) {
    let options = SessionOptions { threads: 2, context: TOKENS, kv_type, ..SessionOptions::default() };
    let mut session = Session::new(Arc::clone(model), None, &options).unwrap();
    let mut hidden = Vec::new();
    session.hidden_states(tokens, &mut hidden).unwrap();
    let mut exec = Exec { isa: Isa::select().unwrap(), pool: Pool::new(2).unwrap() };
    for (block, hidden) in hidden.chunks(64 * model.config().hidden).enumerate() {
        let mut logits = Vec::new();
        head(&mut exec, model, hidden, &mut Quantized::default(), &mut logits);
        for (i, row) in logits.chunks_exact_mut(model.config().vocab).enumerate() {
            softmax(exec.isa, row);
            each(block * 64 + i, row);
        }
    }
}

#[test]
fn distributions_are_those_of_the_dequantized_model() {
    let golden = load();
    let model = Arc::new(Model::open(&smollm2()).unwrap());
    for (kv_type, least) in [(KvType::F16, 0.965), (KvType::Q8_0, 0.95)] {
        let (mut kl, mut agree) = (0.0, 0);
        distributions(&model, kv_type, &golden.ids[..POSITIONS], |position, row| {
            kl += divergence(&golden, position, row);
            let top = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            agree += usize::from(top == golden.top_ids[position * TOP] as usize);
        });
        let (kl, agree) = (kl / POSITIONS as f64, agree as f64 / POSITIONS as f64);
        println!("{kv_type}: mean KL {kl:.5} nats, top-1 agreement {:.2} %", agree * 100.0);
        assert!(kl < 0.006, "mean KL {kl}");
        assert!(agree >= least, "top-1 agreement {agree}");
    }
}

/// The model with weights in half precision: no matmul quantizes its activations, whose rounding
/// makes .004 nats of any change of the last bits, and hides what the cache does.
fn with_floats() -> Arc<Model> {
    let bytes = std::fs::read(smollm2()).unwrap();
    let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        let mut values = vec![0.0; tensor.elements()];
        quant::decode(tensor.dtype, tensor.bytes(&bytes), &mut values).unwrap();
        let dtype = if tensor.dims.len() == 1 { TensorType::F32 } else { TensorType::F16 };
        writer.tensor(&tensor.name, &tensor.dims, dtype, quant::encode(dtype, &values).unwrap()).unwrap();
    }
    Arc::new(Model::from_storage(Storage::from(writer.to_bytes())).unwrap())
}

#[test]
fn a_quantized_kv_cache_changes_distributions_little() {
    let (tokens, model) = (&load().ids[..300], with_floats());
    let mut exact = Vec::new();
    distributions(&model, KvType::F16, tokens, |_, row| exact.extend_from_slice(row));
    let (mut kl, vocab) = (0.0, model.config().vocab);
    distributions(&model, KvType::Q8_0, tokens, |position, row| {
        let exact = exact[position * vocab..].iter().map(|&p| f64::from(p));
        kl += exact.zip(row).map(|(p, &q)| p * (p / f64::from(q)).ln()).sum::<f64>();
    });
    let kl = kl / tokens.len() as f64;
    println!("mean KL(F16 || Q8_0) {kl:.6} nats");
    assert!(kl > 0.0 && kl < 0.002, "mean KL {kl}");
}
