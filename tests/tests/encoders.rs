//! Models with bidirectional attention against what transformers gives on tiny random checkpoints:
//! tokens, hidden states, embeddings; the same bits on any number of threads and on every
//! instruction set; and what they refuse.

use std::sync::Arc;

use ollm_runtime::cpu::Isa;
use ollm_runtime::gguf::{Gguf, TensorType, Value, Writer};
use ollm_runtime::model::{Model, ModelError};
use ollm_runtime::quant;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionError, SessionOptions, SnapshotError};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::golden;

struct Golden {
    name: String,
    model: Arc<Model>,
    ids: Vec<u32>,
    hidden: Vec<f32>,
    embedding: Vec<f32>,
    /// More tokens than a batch of a causal model has.
    long_ids: Vec<u32>,
    long_embedding: Vec<f32>,
}

fn manifest() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(golden("encoders.json")).unwrap()).unwrap()
}

fn load() -> Vec<Golden> {
    let manifest = manifest();
    let models = manifest["models"].as_array().unwrap();
    assert_eq!(models.len(), 5);
    models.iter().map(one).collect()
}

fn one(entry: &serde_json::Value) -> Golden {
    let name = entry["name"].as_str().unwrap().to_owned();
    let ids = |key: &str| entry[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let floats = |key: &str| entry[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    let hidden = std::fs::read(golden(&format!("encoders/{name}.hidden.f32"))).unwrap();
    Golden {
        model: Arc::new(Model::open(&golden(&format!("encoders/{name}.gguf"))).unwrap()),
        ids: ids("ids"),
        hidden: hidden.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        embedding: floats("embedding"),
        long_ids: ids("long_ids"),
        long_embedding: floats("long_embedding"),
        name,
    }
}

fn session(model: &Arc<Model>, isa: Isa, threads: usize) -> Session {
    let options = SessionOptions { threads, isa: Some(isa), ..SessionOptions::default() };
    Session::new(Arc::clone(model), None, &options).unwrap()
}

/// The length of the difference, as a share of the length of `want`.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    length(&mut got.iter().zip(want).map(|(a, b)| a - b)) / length(&mut want.iter().copied())
}

#[test]
fn hidden_states_and_embeddings_are_those_of_transformers() {
    for golden in load() {
        for isa in Isa::available() {
            let mut session = session(&golden.model, isa, 2);
            let mut hidden = Vec::new();
            session.hidden_states(&golden.ids, &mut hidden).unwrap();
            let close = |what: &str, got: &[f32], want: &[f32]| {
                let off = difference(got, want);
                // As far as keys and values that are rounded to 16 bits bring it in four layers.
                assert!(off < 2e-3, "{} {isa:?}: {what} off by {off}", golden.name);
            };
            close("hidden states", &hidden, &golden.hidden);
            close("embedding", &session.embed(&golden.ids, None, true).unwrap(), &golden.embedding);
            close("long embedding", &session.embed(&golden.long_ids, None, true).unwrap(), &golden.long_embedding);
        }
    }
}

/// The tokens that the model's file has, around the text.
#[test]
fn a_text_has_the_tokens_of_the_published_tokenizer() {
    let (manifest, text) = (manifest(), "text");
    let text = manifest[text].as_str().unwrap();
    for golden in load() {
        let tokenizer = Tokenizer::from_metadata(golden.model.gguf().metadata()).unwrap();
        let mut ids = tokenizer.encode(text, false).unwrap();
        tokenizer.enclose(&mut ids).unwrap();
        assert_eq!(ids, golden.ids, "{}", golden.name);
        tokenizer.enclose(&mut ids).unwrap();
        assert_eq!(ids, golden.ids, "{}: enclosed twice", golden.name);
    }
}

/// A model with its matrices of type `dtype`.
fn converted(model: &Model, dtype: TensorType) -> Arc<Model> {
    let (gguf, bytes, mut writer) = (model.gguf(), model.storage(), Writer::new());
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        let mut values = vec![0.0; tensor.elements()];
        quant::decode(tensor.dtype, tensor.bytes(bytes), &mut values).unwrap();
        let fits = tensor.dims.len() > 1 && (tensor.dims[0] as usize).is_multiple_of(dtype.block_len());
        let dtype = if fits && tensor.dtype != TensorType::F32 { dtype } else { TensorType::F32 };
        writer.tensor(&tensor.name, &tensor.dims, dtype, quant::encode(dtype, &values).unwrap()).unwrap();
    }
    Arc::new(Model::from_storage(Storage::from(writer.to_bytes())).unwrap())
}

#[test]
fn bits_do_not_depend_on_threads_or_the_instruction_set() {
    for golden in load() {
        for dtype in [TensorType::F32, TensorType::F16, TensorType::Q4_1, TensorType::Q8_0] {
            let model = converted(&golden.model, dtype);
            let run = |isa, threads, ids: &[u32]| -> Vec<u32> {
                let (mut session, mut states) = (session(&model, isa, threads), Vec::new());
                session.hidden_states(ids, &mut states).unwrap();
                states.extend(session.embed(ids, None, false).unwrap());
                states.into_iter().map(f32::to_bits).collect()
            };
            for ids in [&golden.ids, &golden.long_ids, &golden.ids[..1].to_vec()] {
                let scalar = run(Isa::by_name("scalar").unwrap(), 1, ids);
                for isa in Isa::available() {
                    for threads in [1, 3] {
                        assert!(run(isa, threads, ids) == scalar, "{} {dtype:?} {isa:?} {threads}", golden.name);
                    }
                }
            }
        }
    }
}

/// A token sees what follows it, and a text leaves nothing behind.
#[test]
fn a_text_is_read_as_a_whole_and_forgotten() {
    for Golden { name, model, ids, .. } in load() {
        let mut session = session(&model, Isa::widest(), 1);
        let mut states = |ids: &[u32]| {
            let mut states = Vec::new();
            session.hidden_states(ids, &mut states).unwrap();
            assert!(session.tokens().is_empty(), "{name}");
            states
        };
        let whole = states(&ids);
        assert_eq!(states(&ids), whole, "{name}");
        let cut = states(&ids[..ids.len() - 1]);
        assert_ne!(cut[..8], whole[..8], "{name}");
    }
}

#[test]
fn what_continues_a_text_is_refused() {
    for Golden { name, model, ids, .. } in load() {
        let refused = |outcome: Result<(), SessionError>| {
            assert!(matches!(outcome, Err(SessionError::Bidirectional)), "{name}: {outcome:?}");
        };
        let mut session = session(&model, Isa::widest(), 1);
        let mut saved = Vec::new();
        session.save(&mut saved).unwrap();
        refused(session.feed(&ids));
        refused(session.append(&ids));
        refused(session.feed_prompt(&ids).map(drop));
        refused(session.replace_prompt(&ids, 0));
        refused(session.hidden().map(drop));
        refused(session.step(None, &mut Sampler::new(SamplerOptions::default()).unwrap()).map(drop));
        refused(session.score(&ids, None, &mut |_| ()));
        let restored = session.restore(&mut saved.as_slice());
        assert!(matches!(restored, Err(SnapshotError::Session(SessionError::Bidirectional))), "{name}: {restored:?}");
        assert!(session.tokens().is_empty(), "{name}");
        assert!(matches!(session.embed(&[], None, true), Err(SessionError::Empty)));
        let context = session.context();
        let long = vec![5; context + 1];
        let full = session.embed(&long, None, true);
        assert!(matches!(full, Err(SessionError::ContextFull { position: 0, .. })), "{name}: {:?}", full.err());
        session.embed(&long[1..], None, true).unwrap();
    }
}

/// The buffers of a pass grow with the text: a limit has to hold for all of it.
#[test]
fn a_text_that_needs_more_memory_than_it_may_is_refused() {
    let Golden { model, ids, long_ids, .. } = load().remove(1);
    let mut options = SessionOptions { threads: 1, ..SessionOptions::default() };
    let needed = Session::memory_needed(model.config(), None, &options);
    options.memory_limit = Some(needed.kv + needed.scratch);
    Session::new(Arc::clone(&model), None, &options).unwrap().embed(&long_ids, None, true).unwrap();
    options.memory_limit = Some((needed.kv + needed.scratch) / 3);
    let mut small = Session::new(Arc::clone(&model), None, &options).unwrap();
    assert!(matches!(small.embed(&long_ids, None, true), Err(SessionError::MemoryLimit { .. })));
    small.embed(&ids, None, true).unwrap();
}

/// Each position has an embedding: there are no others.
#[test]
fn a_context_ends_where_position_embeddings_do() {
    for Golden { name, model, .. } in load() {
        let options = SessionOptions { context: 1000, ..SessionOptions::default() };
        let context = Session::new(Arc::clone(&model), None, &options).unwrap().context();
        assert_eq!(context, if ["bert", "roberta"].contains(&&*name) { 320 } else { 1000 }, "{name}");
    }
}

/// A model of this golden with other keys, or without them, and without this tensor.
fn edited(name: &str, changes: &[(&str, Option<Value>)], gone: &str) -> Result<Model, ModelError> {
    let bytes = std::fs::read(golden(&format!("encoders/{name}.gguf"))).unwrap();
    let (gguf, mut writer) = (Gguf::parse(&bytes).unwrap(), Writer::new());
    for (key, value) in gguf.metadata().iter() {
        let changed = changes.iter().find(|(changed, _)| key.ends_with(changed));
        if let Some(value) = changed.map_or(Some(value), |(_, changed)| changed.as_ref()) {
            writer.set(key, value.clone()).unwrap();
        }
    }
    for tensor in gguf.tensors().iter().filter(|tensor| tensor.name != gone) {
        writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.bytes(&bytes).to_vec()).unwrap();
    }
    Model::from_storage(Storage::from(writer.to_bytes()))
}

/// What the last dense layer gives is as wide as it says.
#[test]
fn an_embedding_may_be_wider_than_hidden_states() {
    let gone = [("dense_3_feat_in", None), ("dense_3_feat_out", None)];
    let model = Arc::new(edited("gemma-embedding", &gone, "dense_3.weight").unwrap());
    let (hidden, width) = (model.config().hidden, model.config().embedding_width());
    assert_eq!((hidden, width), (32, 96));
    let mut session = session(&model, Isa::widest(), 1);
    let embedding = session.embed(&[1, 5, 2], None, true).unwrap();
    let norm: f32 = embedding.iter().map(|x| x * x).sum();
    assert!(embedding.len() == 96 && (norm - 1.0).abs() < 1e-5, "{norm}");
    // The mean of the hidden states, through the layer.
    let mut states = Vec::new();
    session.hidden_states(&[1, 5, 2], &mut states).unwrap();
    let mean: Vec<f32> = (0..hidden).map(|i| (0..3).map(|t| states[t * hidden + i]).sum::<f32>() / 3.0).collect();
    let weight = model.gguf().tensor("dense_2.weight").unwrap();
    let mut rows = vec![0.0; weight.elements()];
    quant::decode(weight.dtype, weight.bytes(model.storage()), &mut rows).unwrap();
    let dot = |row: &[f32]| row.iter().zip(&mean).map(|(a, b)| a * b).sum::<f32>();
    let want: Vec<f32> = rows.chunks(hidden).map(dot).collect();
    assert!(difference(&session.embed(&[1, 5, 2], None, false).unwrap(), &want) < 1e-5);
}

#[test]
fn keys_and_tables_that_do_not_fit_are_refused() {
    for (name, key, value) in
        [("gemma-embedding", "dense_2_feat_in", 48), ("gemma-embedding", "dense_3_feat_in", 32), ("bert", "length", 0)]
    {
        match edited(name, &[(key, Some(Value::U32(value)))], "") {
            Err(ModelError::InvalidValue { key: found, .. }) => assert!(found.ends_with(key), "{found}"),
            other => panic!("{key}: {:?}", other.err()),
        }
    }
    for (key, tensor) in [("context_length", "position_embd.weight"), ("token_type_count", "token_types.weight")] {
        match edited("bert", &[(key, Some(Value::U32(7)))], "") {
            Err(ModelError::TensorShape { name, .. }) => assert_eq!(name, tensor),
            other => panic!("{key}: {:?}", other.err()),
        }
    }
    let silent = edited("bert", &[("token_type_count", Some(Value::U32(0)))], "");
    assert!(matches!(silent, Err(ModelError::UnexpectedTensor(name)) if name == "token_types.weight"));
}
