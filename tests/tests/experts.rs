//! Mixtures of experts: which experts a pass reads, and that nothing else in a pass changes a
//! token's bits.

use std::collections::BTreeSet;
use std::sync::Arc;

use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{Gguf, TensorInfo, TensorType, Value, Writer};
use ollm_runtime::memory::OutOfMemory;
use ollm_runtime::model::{Adapter, Model, ModelError, Part, Role, Scratch, Stage, State, TensorName, forward};
use ollm_runtime::ops::Exec;
use ollm_runtime::quant;
use ollm_runtime::storage::Storage;
use ollm_tests::{edited, golden};

const MODELS: [&str; 9] = [
    "mixtral",
    "qwen2moe",
    "qwen3moe",
    "olmoe",
    "granitemoe",
    "granitemoeshared",
    "granitehybridmoe",
    "gpt-oss",
    "lfm2moe",
];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden(&format!("tiny/{name}.gguf"))).unwrap()
}

/// The file with its matrices in `dtype`, where their rows are whole blocks of it, and other
/// values.
fn rewritten(bytes: &[u8], dtype: TensorType, values: impl Fn(&TensorInfo, &mut [f32])) -> Arc<Model> {
    let (gguf, mut writer) = (Gguf::parse(bytes).unwrap(), Writer::new());
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        let mut all = vec![0.0; tensor.elements()];
        quant::decode(tensor.dtype, tensor.bytes(bytes), &mut all).unwrap();
        values(tensor, &mut all);
        let fits = tensor.dims.len() > 1 && tensor.cols().is_multiple_of(dtype.block_len());
        let dtype = if fits { dtype } else { TensorType::F32 };
        writer.tensor(&tensor.name, &tensor.dims, dtype, quant::encode(dtype, &all).unwrap()).unwrap();
    }
    Arc::new(Model::from_storage(Storage::from(writer.to_bytes())).unwrap())
}

/// A run of the tokens of several sequences in one pass: hidden states, and what was read of which
/// layer's experts.
fn run(model: &Model, isa: Isa, threads: usize, sequences: &[&[u32]]) -> (Vec<f32>, BTreeSet<(usize, usize)>) {
    let config = model.config();
    let mut states: Vec<State> = sequences.iter().map(|_| State::new(config, 64)).collect();
    let parts = states.iter_mut().zip(sequences).map(|(state, tokens)| {
        state.reserve(0..tokens.len()).unwrap();
        Part { state, tokens, first: 0, second: usize::MAX, drafted: 0, adapters: &[] }
    });
    let (mut exec, mut scratch) = (Exec { isa, pool: Pool::new(threads).unwrap() }, Scratch::default());
    let mut used = BTreeSet::new();
    let mut watch = |stage: Stage<'_>| {
        if let Stage::ExpertInput { layer, role: Role::FfnGateExperts, expert, tokens, x } = stage {
            assert_eq!(x.len(), tokens * config.hidden);
            assert!(used.insert((layer, expert)), "the matrices of an expert are read once a pass");
        }
        Ok::<_, OutOfMemory>(())
    };
    forward(&mut exec, model, &mut parts.collect::<Vec<_>>(), &mut scratch, &mut watch).unwrap();
    (scratch.hidden().to_vec(), used)
}

#[test]
fn bits_of_a_sequence_do_not_depend_on_those_beside_it() {
    let sequences: [&[u32]; 4] = [&[5, 9, 200, 31, 7], &[11], &[300, 2, 2, 17, 90, 41, 8], &[11, 12]];
    for name in MODELS {
        for dtype in [TensorType::F32, TensorType::Q8_0, TensorType::Q4_0] {
            let model = rewritten(&file(name), dtype, |_, _| ());
            for isa in Isa::available() {
                let together = run(&model, isa, 3, &sequences).0;
                let alone: Vec<f32> = sequences.iter().flat_map(|tokens| run(&model, isa, 1, &[tokens]).0).collect();
                assert!(together.iter().all(|x| x.is_finite()));
                assert!(together == alone, "{name} {dtype} {isa:?}");
            }
        }
    }
}

#[test]
fn experts_of_no_token_are_not_read() {
    for name in MODELS {
        let (bytes, isa) = (file(name), Isa::widest());
        let model = rewritten(&bytes, TensorType::F32, |_, _| ());
        let (hidden, used) = run(&model, isa, 2, &[&[7]]);
        let sparse = model.config().layers.iter().filter(|layer| layer.experts.is_some()).count();
        assert_eq!(used.len(), 2 * sparse, "{name}");
        let poisoned = rewritten(&bytes, TensorType::F32, |tensor, values| {
            let expert_role = [Role::FfnGateExperts, Role::FfnUpExperts, Role::FfnDownExperts];
            let Some(TensorName { layer: Some(layer), role, .. }) = TensorName::parse(&tensor.name) else { return };
            if !expert_role.contains(&role) {
                return;
            }
            let size = values.len() / *tensor.dims.last().unwrap() as usize;
            for (expert, values) in values.chunks_mut(size).enumerate() {
                if !used.contains(&(layer, expert)) {
                    values.fill(1e30);
                }
            }
        });
        assert!(run(&poisoned, isa, 2, &[&[7]]).0 == hidden, "{name}");
    }
}

#[test]
fn a_step_reads_the_experts_of_one_token() {
    let model = rewritten(&file("olmoe"), TensorType::F32, |_, _| ());
    let (weights, all) = (model.weights(), |layer: usize| {
        let stacks = model.weights().layers[layer].stacks().map(|stack| stack.weight.size() as u64);
        let matrices = model.weights().layers[layer].matrices().map(|linear| linear.weight.size() as u64);
        (stacks.sum::<u64>(), matrices.sum::<u64>())
    });
    let (stacks, matrices) = all(0);
    assert_eq!(stacks, 5 * 3 * 16 * 32 * 4);
    assert_eq!(weights.layers[0].step_bytes(), matrices + stacks / 5 * 2);
}

#[test]
fn keys_that_make_no_sense_are_refused() {
    for (name, key, value) in [
        ("qwen3moe", "expert_used_count", Value::U32(6)),
        ("qwen3moe", "expert_used_count", Value::U32(0)),
        ("qwen2moe", "leading_dense_block_count", Value::U32(9)),
        ("olmoe", "interleave_moe_layer_step", Value::U32(0)),
    ] {
        let key = format!("{name}.{key}");
        match Model::from_storage(Storage::from(edited(name, &[(&key, Some(value))]))) {
            Err(ModelError::InvalidValue { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {:?}", other.err()),
        }
    }
    for (name, key) in [("qwen2", "expert_count"), ("olmoe", "expert_gating_func")] {
        let key = format!("{name}.{key}");
        match Model::from_storage(Storage::from(edited(name, &[(&key, Some(Value::U32(9)))]))) {
            Err(ModelError::Unsupported { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {:?}", other.err()),
        }
    }
}

#[test]
fn adapters_of_single_experts_are_refused_by_their_matrix() {
    let model = Arc::new(Model::open(&golden("tiny/olmoe.gguf")).unwrap());
    let adapter = |matrix: &str, rows: u64| {
        let mut writer = Writer::new();
        writer.set("general.type", "adapter").unwrap().set("adapter.type", "lora").unwrap();
        writer.set("adapter.lora.alpha", 1.0_f32).unwrap();
        for (factor, dims) in [("lora_a", [32, 1]), ("lora_b", [1, rows])] {
            let values = vec![0; 4 * (dims[0] * dims[1]) as usize];
            writer.tensor(&format!("blk.0.{matrix}.weight.{factor}"), &dims, TensorType::F32, values).unwrap();
        }
        Adapter::from_storage(Storage::from(writer.to_bytes()), &model)
    };
    assert_eq!(adapter("ffn_gate_inp", 5).unwrap().matrices(), 1);
    match adapter("ffn_up_exps", 80) {
        Err(ModelError::NotAdaptable(name)) => assert_eq!(name, "blk.0.ffn_up_exps.weight"),
        other => panic!("{:?}", other.err()),
    }
}
