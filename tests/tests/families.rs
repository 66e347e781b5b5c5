//! Each model family against what Hugging Face transformers gives on a tiny random checkpoint, and
//! the promise that the same input gives the same bits however it is cut into batches and threads.

use std::path::PathBuf;
use std::sync::Arc;

use ollm_runtime::cpu::{Isa, Pool};
use ollm_runtime::gguf::{Gguf, Value, Writer};
use ollm_runtime::model::{Model, ModelError, head};
use ollm_runtime::ops::{Exec, Quantized};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_tests::edited;

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

struct Golden {
    name: String,
    ids: Vec<u32>,
    model: Arc<Model>,
    hidden: Vec<f32>,
    logits: Vec<f32>,
}

fn load() -> Vec<Golden> {
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(goldens().join("tiny.json")).unwrap()).unwrap();
    let models = manifest["models"].as_array().unwrap();
    assert_eq!(models.len(), 46);
    models.iter().map(golden).collect()
}

fn golden(entry: &serde_json::Value) -> Golden {
    let name = entry["name"].as_str().unwrap().to_owned();
    let file = |suffix: &str| goldens().join("tiny").join(format!("{name}.{suffix}"));
    let floats = |suffix: &str| {
        let bytes = std::fs::read(file(suffix)).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    Golden {
        ids: entry["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect(),
        model: Arc::new(Model::open(&file("gguf")).unwrap()),
        hidden: floats("hidden.f32"),
        logits: floats("logits.f32"),
        name,
    }
}

fn session(model: &Arc<Model>, isa: Isa, threads: usize) -> Session {
    Session::new(
        Arc::clone(model),
        None,
        &SessionOptions { threads, context: 64, isa: Some(isa), ..SessionOptions::default() },
    )
    .unwrap()
}

fn logits(model: &Model, isa: Isa, hidden: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    let mut exec = Exec { isa, pool: Pool::new(2).unwrap() };
    head(&mut exec, model, hidden, &mut Quantized::default(), &mut out);
    out
}

/// The length of the difference, as a share of the length of `want`.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    length(&mut got.iter().zip(want).map(|(a, b)| a - b)) / length(&mut want.iter().copied())
}

#[test]
fn hidden_states_and_logits_are_those_of_transformers() {
    let (mut places, mut same) = (0, 0);
    for golden in load() {
        for isa in Isa::available() {
            let mut hidden = Vec::new();
            session(&golden.model, isa, 2).hidden_states(&golden.ids, &mut hidden).unwrap();
            let off = difference(&hidden, &golden.hidden);
            assert!(off < 1e-3, "{} {isa:?}: hidden states off by {off}", golden.name);
            let logits = logits(&golden.model, isa, &hidden);
            let off = difference(&logits, &golden.logits);
            assert!(off < 1e-3, "{} {isa:?}: logits off by {off}", golden.name);
            let vocab = golden.model.config().vocab;
            for (place, (got, want)) in logits.chunks(vocab).zip(golden.logits.chunks(vocab)).enumerate() {
                let (got, want) = (logprobs(got), logprobs(want));
                let divergence: f64 = want.iter().zip(&got).map(|(w, g)| w.exp() * (w - g)).sum();
                assert!(divergence < 1e-4, "{} {isa:?}: KL divergence {divergence} at {place}", golden.name);
                let top = |x: &[f64]| (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b]));
                places += 1;
                same += usize::from(top(&got) == top(&want));
            }
        }
    }
    assert!(same * 100 >= places * 99, "{same} of {places} top tokens are those of transformers");
}

fn logprobs(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - top).exp()).sum();
    logits.iter().map(|&x| f64::from(x - top) - sum.ln()).collect()
}

#[test]
fn rewound_forked_and_restored_sequences_go_on_with_the_same_bits() {
    for Golden { name, ids, model, .. } in load() {
        let open = || session(&model, Isa::widest(), 1);
        let states = |session: &mut Session, ids: &[u32]| {
            let mut hidden = Vec::new();
            session.hidden_states(ids, &mut hidden).unwrap();
            hidden
        };
        let whole = states(&mut open(), &ids);
        let rest = &whole[7 * model.config().hidden..];
        let mut origin = open();
        states(&mut origin, &ids[..10]);
        origin.rewind(7).unwrap();
        let mut fork = origin.fork().unwrap();
        let mut saved = Vec::new();
        origin.save(&mut saved).unwrap();
        let mut restored = open();
        restored.restore(&mut saved.as_slice()).unwrap();
        for (what, session) in [("rewound", &mut origin), ("forked", &mut fork), ("restored", &mut restored)] {
            assert_eq!(states(session, &ids[7..]), rest, "{name} {what}");
        }
    }
}

#[test]
fn bits_do_not_depend_on_batches_or_threads() {
    for golden in load() {
        for isa in Isa::available() {
            let run = |threads: usize, batch: usize| {
                let (mut session, mut hidden) = (session(&golden.model, isa, threads), Vec::new());
                for ids in golden.ids.chunks(batch) {
                    session.hidden_states(ids, &mut hidden).unwrap();
                }
                hidden
            };
            let whole = run(1, 24);
            for (threads, batch) in [(1, 1), (2, 5), (3, 24)] {
                assert_eq!(run(threads, batch), whole, "{} {isa:?} {threads} threads, batches of {batch}", golden.name);
            }
        }
    }
}

/// Converters may fuse queries, keys and values in any family, or keep them apart.
#[test]
fn queries_keys_and_values_may_be_one_matrix_in_any_family() {
    let ids = [5, 9, 200, 31, 7];
    let states = |bytes: Vec<u8>| {
        let (mut hidden, model) = (Vec::new(), Arc::new(Model::from_storage(Storage::from(bytes)).unwrap()));
        session(&model, Isa::widest(), 1).hidden_states(&ids, &mut hidden).unwrap();
        hidden
    };
    for name in ["qwen2", "llama"] {
        let bytes = std::fs::read(goldens().join("tiny").join(format!("{name}.gguf"))).unwrap();
        let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
        for (key, value) in gguf.metadata().iter() {
            writer.set(key, value.clone()).unwrap();
        }
        for tensor in gguf.tensors() {
            let (first, rest) = tensor.name.rsplit_once(".attn_").unwrap_or_default();
            match rest {
                "k.weight" | "v.weight" | "k.bias" | "v.bias" => {}
                "q.weight" | "q.bias" => {
                    let kind = &rest[2..];
                    let parts =
                        ["q", "k", "v"].map(|part| gguf.tensor(&format!("{first}.attn_{part}.{kind}")).unwrap());
                    let mut dims = tensor.dims.clone();
                    *dims.last_mut().unwrap() = parts.iter().map(|part| part.dims.last().unwrap()).sum();
                    let joined = parts.iter().flat_map(|part| part.bytes(&bytes)).copied().collect::<Vec<u8>>();
                    writer.tensor(&format!("{first}.attn_qkv.{kind}"), &dims, tensor.dtype, joined).unwrap();
                }
                _ => {
                    writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.bytes(&bytes).to_vec()).unwrap();
                }
            }
        }
        assert_eq!(states(writer.to_bytes()), states(bytes.clone()), "{name}");
    }
}

/// llama.cpp's converter writes GLM 4.1V so: its rope with sections of image positions rotates the
/// halves of a head.
#[test]
fn sections_of_image_positions_imply_that_the_halves_of_a_head_rotate() {
    // Four elements of each head rotate, of eight.
    const HALVES: [usize; 8] = [0, 2, 1, 3, 4, 5, 6, 7];
    let entry: serde_json::Value =
        serde_json::from_slice(&std::fs::read(goldens().join("tiny.json")).unwrap()).unwrap();
    let entry = entry["models"].as_array().unwrap().iter().find(|entry| entry["name"] == "glm4").unwrap();
    let sections = Value::from(vec![1_i32, 1, 0, 0]);
    let bytes = edited("glm4", &[("glm4.rope.dimension_sections", Some(sections))]);
    let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        let stored = tensor.bytes(&bytes);
        let rotates = ["attn_q.", "attn_k."].iter().any(|part| tensor.name.contains(part));
        let rows = *tensor.dims.last().unwrap() as usize;
        let row = |i: usize| &stored[(i / 8 * 8 + HALVES[i % 8]) * stored.len() / rows..][..stored.len() / rows];
        let moved = if rotates { (0..rows).flat_map(row).copied().collect() } else { stored.to_vec() };
        writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, moved).unwrap();
    }
    let (golden, mut hidden) = (golden(entry), Vec::new());
    let model = Arc::new(Model::from_storage(Storage::from(writer.to_bytes())).unwrap());
    session(&model, Isa::widest(), 1).hidden_states(&golden.ids, &mut hidden).unwrap();
    let off = difference(&hidden, &golden.hidden);
    assert!(off < 1e-3, "hidden states off by {off}");
}

/// Converters wrote this of dense Hunyuan models, and llama.cpp reads it so.
#[test]
fn one_expert_is_a_dense_network_where_the_family_has_no_experts() {
    let keys = ["hunyuan-dense.expert_count", "hunyuan-dense.expert_used_count"];
    let with = |count: u32| {
        let changes = keys.map(|key| (key, Some(Value::U32(count))));
        Model::from_storage(Storage::from(edited("hunyuan-dense", &changes)))
    };
    assert!(with(1).is_ok_and(|model| model.config().layers.iter().all(|layer| layer.experts.is_none())));
    assert!(matches!(with(2), Err(ModelError::Unsupported { key, .. }) if key == keys[0]));
}

/// ggml leaves outermost dimensions of 1 out when it writes a file again; others count.
#[test]
fn outermost_dimensions_of_1_tell_nothing() {
    let with_dims = |dims: &[u64]| {
        let bytes = std::fs::read(goldens().join("tiny/granitehybrid.gguf")).unwrap();
        let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
        for (key, value) in gguf.metadata().iter() {
            writer.set(key, value.clone()).unwrap();
        }
        for tensor in gguf.tensors() {
            let dims = if tensor.name == "output_norm.weight" { dims } else { &tensor.dims };
            writer.tensor(&tensor.name, dims, tensor.dtype, tensor.bytes(&bytes).to_vec()).unwrap();
        }
        Model::from_storage(Storage::from(writer.to_bytes()))
    };
    assert!(with_dims(&[32]).is_ok() && with_dims(&[32, 1, 1]).is_ok());
    for dims in [[1, 32], [16, 2]] {
        assert!(matches!(with_dims(&dims), Err(ModelError::TensorShape { .. })), "{dims:?}");
    }
}

const CAP: &str = "gemma2.attn_logit_softcapping";
const LOGIT_CAP: &str = "gemma2.final_logit_softcapping";
const WINDOW: &str = "gemma2.attention.sliding_window";

fn parameters(changes: &[(&str, Option<Value>)]) -> (Option<f32>, Option<f32>, Option<usize>) {
    let model = Model::from_storage(Storage::from(edited("gemma2", changes))).unwrap();
    let config = model.config();
    (config.attention_softcap, config.logit_softcap, config.sliding_window)
}

#[test]
fn gemma2_files_that_say_nothing_have_the_familys_caps_and_window_and_0_is_none() {
    let silent = parameters(&[(CAP, None), (LOGIT_CAP, None), (WINDOW, None)]);
    assert_eq!(silent, (Some(50.0), Some(30.0), Some(4096)));
    let zero = |key| (key, Some(if key == WINDOW { Value::U32(0) } else { Value::F32(0.0) }));
    assert_eq!(parameters(&[CAP, LOGIT_CAP, WINDOW].map(zero)), (None, None, None));
    // A window longer than any text is none to complain of.
    assert_eq!(parameters(&[(WINDOW, Some(Value::U32(u32::MAX)))]).2, Some(u32::MAX as usize));
}

#[test]
fn parameters_that_make_no_sense_are_refused_by_their_key() {
    let heads = Some(Value::U32(128));
    for (key, changes) in [
        (CAP, vec![(CAP, Some(Value::F32(1e9)))]),
        (CAP, vec![(CAP, Some(Value::F32(-1.0)))]),
        (CAP, vec![(CAP, Some(Value::F32(f32::NAN)))]),
        (LOGIT_CAP, vec![(LOGIT_CAP, Some(Value::F32(0.001)))]),
        ("gemma2.block_count", vec![("gemma2.block_count", Some(Value::U32(1 << 20)))]),
        (
            "gemma2.attention.key_length",
            vec![
                ("gemma2.attention.key_length", Some(Value::U32(1 << 20))),
                ("gemma2.attention.value_length", Some(Value::U32(1 << 20))),
                ("gemma2.attention.head_count", heads.clone()),
            ],
        ),
        // The model of 46 layers divides by the root of hidden size / heads, which would be 0.
        (
            "gemma2.attention.head_count",
            vec![
                ("gemma2.block_count", Some(Value::U32(46))),
                ("gemma2.attention.head_count", heads),
                ("gemma2.attention.scale", None),
            ],
        ),
    ] {
        match Model::from_storage(Storage::from(edited("gemma2", &changes))) {
            Err(ModelError::InvalidValue { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {:?}", other.err()),
        }
    }
}

#[test]
fn keys_of_one_family_are_checked_too() {
    for (name, key, value) in [
        ("mistral3", "attention.temperature_scale", Value::F32(-1.0)),
        ("mistral3", "rope.scaling.original_context_length", Value::U32(0)),
        ("granite", "logit_scale", Value::F32(-1.0)),
        ("granite", "residual_scale", Value::F32(f32::NAN)),
        ("smollm3", "attention.rope_pattern", Value::from(vec![true])),
        ("cohere2", "attention.layer_norm_epsilon", Value::F32(0.0)),
        ("qwen35", "attention.recurrent_layers", Value::from(vec![true])),
        ("qwen35", "nextn_predict_layers", Value::U32(4)),
        ("qwen35", "ssm.conv_kernel", Value::U32(1)),
        ("qwen35", "ssm.inner_size", Value::U32(40)),
        ("qwen35", "ssm.state_size", Value::U32(2048)),
        ("qwen35", "ssm.time_step_rank", Value::U32(5)),
        ("granitehybrid", "ssm.conv_kernel", Value::U32(1)),
        ("granitehybrid", "ssm.inner_size", Value::U32(42)),
        ("granitehybrid", "ssm.state_size", Value::U32(2048)),
        ("granitehybrid", "ssm.time_step_rank", Value::U32(5)),
        ("falcon-h1", "ssm.inner_size", Value::U32(42)),
        ("falcon-h1", "ssm.time_step_rank", Value::U32(5)),
        ("granitehybrid", "attention.head_count_kv", Value::from(vec![0_i32, 0, 3, 0])),
    ] {
        let key = format!("{name}.{key}");
        match Model::from_storage(Storage::from(edited(name, &[(&key, Some(value))]))) {
            Err(ModelError::InvalidValue { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {:?}", other.err()),
        }
    }
}

/// The last blocks of a file may be there for multi-token prediction.
#[test]
fn blocks_for_multi_token_prediction_are_not_run() {
    let states = |bytes: Vec<u8>| {
        let (mut hidden, model) = (Vec::new(), Arc::new(Model::from_storage(Storage::from(bytes)).unwrap()));
        session(&model, Isa::widest(), 1).hidden_states(&[5, 9, 200], &mut hidden).unwrap();
        (model.config().layers.len(), hidden)
    };
    for (name, layers) in [("qwen35", 3), ("llama", 1)] {
        let key = |key: &str| format!("{name}.{key}");
        let kinds = (name == "qwen35").then(|| Value::from(vec![true, true, false]));
        let idle = states(edited(name, &[(&key("nextn_predict_layers"), Some(Value::U32(1)))]));
        let bytes = edited(
            name,
            &[(&key("block_count"), Some(Value::U32(layers as u32))), (&key("attention.recurrent_layers"), kinds)],
        );
        let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
        for (key, value) in gguf.metadata().iter() {
            writer.set(key, value.clone()).unwrap();
        }
        let last = format!("blk.{layers}.");
        for tensor in gguf.tensors().iter().filter(|tensor| !tensor.name.starts_with(&last)) {
            writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.bytes(&bytes).to_vec()).unwrap();
        }
        assert_eq!(idle.0, layers);
        assert!(idle == states(writer.to_bytes()), "{name}");
    }
}

#[test]
fn which_layers_have_rope_is_the_familys_rule_or_the_files() {
    let ropes = |name: &str, changes: &[(&str, Option<Value>)]| -> Vec<bool> {
        let model = Model::from_storage(Storage::from(edited(name, changes))).unwrap();
        model.config().layers.iter().map(|layer| layer.has_rope).collect()
    };
    assert_eq!(ropes("smollm3", &[]), [true, true, true, false]);
    let pattern = Some(Value::from(vec![false, true, true, true]));
    assert_eq!(ropes("smollm3", &[("smollm3.attention.rope_pattern", pattern)]), [false, true, true, true]);
    assert_eq!(ropes("cohere2", &[]), [true, false]);
    assert_eq!(ropes("exaone4", &[("exaone4.attention.sliding_window", None)]), [true, true]);
    assert_eq!(ropes("granite", &[("granite.rope.scaling.finetuned", Some(Value::Bool(false)))]), [false, false]);
}

#[test]
fn a_file_of_another_kind_is_refused_for_what_it_is() {
    // As the projector of a vision model, which has no embeddings.
    let mut writer = Writer::new();
    writer.set("general.architecture", "clip").unwrap();
    let clip = Model::from_storage(Storage::from(writer.to_bytes()));
    assert!(matches!(&clip, Err(ModelError::UnknownArchitecture(name)) if name == "clip"), "{:?}", clip.err());
}

#[test]
fn a_cap_does_not_hide_damage() {
    let model = Model::from_storage(Storage::from(edited("gemma2", &[]))).unwrap();
    assert!(model.config().logit_softcap.is_some());
    let hidden = vec![f32::MAX; model.config().hidden];
    let out = logits(&model, Isa::widest(), &hidden);
    assert!(out.iter().any(|logit| !logit.is_finite()));
}
