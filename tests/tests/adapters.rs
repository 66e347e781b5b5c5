//! Low-rank adapters at run time: what they give is what a backbone gives that they were merged
//! into, and the same bits whatever runs beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ollm_convert::adapter::{self, Adapter as AdapterFile, Factors};
use ollm_runtime::cpu::Isa;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::{Adapter, Model, ModelError, TensorName};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, Session, SessionError, SessionOptions, Turn};
use ollm_tests::golden;

const RANK: usize = 4;

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ollm-adapters-{}-{name}.gguf", std::process::id()))
}

fn backbone() -> Arc<Model> {
    Arc::new(Model::open(&golden("tiny/llama.gguf")).unwrap())
}

/// Factors of a matrix, different for each seed.
fn factors([out, input]: [usize; 2], seed: usize) -> Factors {
    let values = |n: usize, seed: usize| (0..n).map(|i| ((i * 31 + seed * 17) % 23) as f32 / 115.0 - 0.1).collect();
    Factors { rank: RANK, a: values(RANK * input, seed), b: values(out * RANK, seed + 1) }
}

/// An adapter file of all matrices of all layers.
fn adapter_file(model: &Model, name: &str, seed: usize) -> PathBuf {
    let mut pairs = BTreeMap::new();
    for (layer, weights) in model.weights().layers.iter().enumerate() {
        for linear in weights.matrices() {
            let matrix = model.matrix(&linear.weight);
            let name = TensorName::in_layer(layer, linear.role).to_string();
            pairs.insert(name, factors([matrix.rows(), matrix.cols()], seed + layer));
        }
    }
    write(&AdapterFile::new(8.0, pairs).of(Some("llama".into())), name)
}

fn write(file: &AdapterFile, name: &str) -> PathBuf {
    let path = scratch(name);
    file.write(TensorType::F32, &path, true).unwrap();
    path
}

fn adapter(model: &Model, name: &str, seed: usize) -> Arc<Adapter> {
    Arc::new(Adapter::open(&adapter_file(model, name, seed), model).unwrap())
}

fn session(model: &Arc<Model>, threads: usize, isa: Option<Isa>) -> Session {
    let options = SessionOptions { threads, context: 512, isa, ..SessionOptions::default() };
    Session::new(Arc::clone(model), None, &options).unwrap()
}

fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| i.wrapping_mul(7919) % 320).collect()
}

fn bits(hidden: &[f32]) -> Vec<u32> {
    hidden.iter().map(|x| x.to_bits()).collect()
}

fn greedy() -> Sampler {
    Sampler::new(SamplerOptions::default()).unwrap()
}

#[test]
fn an_adapter_beside_its_backbone_is_one_that_was_merged_into_it() {
    let model = backbone();
    let file = adapter_file(&model, "merged-from", 3);
    let merged = scratch("merged");
    adapter::merge(&golden("tiny/llama.gguf"), &file, &merged, TensorType::F32, true).unwrap();
    let merged = Arc::new(Model::open(Path::new(&merged)).unwrap());
    let hidden = |model: &Arc<Model>, scale: Option<f32>| {
        let mut session = session(model, 2, None);
        let adapter = || Arc::new(Adapter::open(&file, model).unwrap());
        session.set_adapters(scale.map(|scale| (adapter(), scale)).into_iter().collect()).unwrap();
        session.feed(&text(40)).unwrap();
        session.hidden().unwrap().to_vec()
    };
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let (plain, adapted, expected) = (hidden(&model, None), hidden(&model, Some(1.0)), hidden(&merged, None));
    assert!(distance(&adapted, &expected) < 0.02, "{}", distance(&adapted, &expected));
    assert!(distance(&plain, &expected) > 0.2, "the adapter changes nothing: {}", distance(&plain, &expected));
    assert_eq!(bits(&hidden(&model, Some(0.0))), bits(&plain));
}

#[test]
fn threads_instruction_sets_cuts_and_neighbours_do_not_matter() {
    let model = backbone();
    let adapters = [adapter(&model, "one", 1), adapter(&model, "two", 9)];
    let sets = [
        vec![],
        vec![(Arc::clone(&adapters[0]), 1.0)],
        vec![(Arc::clone(&adapters[1]), 0.5), (Arc::clone(&adapters[0]), -0.25)],
    ];
    let alone = |set: usize, threads, isa, cuts: &[usize]| {
        let (mut session, prompt) = (session(&model, threads, isa), text(70));
        session.set_adapters(sets[set].clone()).unwrap();
        let mut rest = &prompt[..];
        for &cut in cuts {
            session.feed(&rest[..cut]).unwrap();
            rest = &rest[cut..];
        }
        let steps: Vec<u32> = (0..6).map(|_| session.step(None, &mut greedy()).unwrap().token).collect();
        (steps, bits(session.hidden().unwrap()))
    };
    let expected: Vec<_> = (0..3).map(|set| alone(set, 1, None, &[70])).collect();
    assert!(expected[0].1 != expected[1].1 && expected[1].1 != expected[2].1);
    for isa in Isa::available() {
        for (threads, cuts) in [(1, &[70][..]), (3, &[1, 69]), (2, &[33, 37])] {
            for set in 0..3 {
                assert_eq!(alone(set, threads, Some(isa), cuts), expected[set], "{isa:?} {threads} {cuts:?} {set}");
            }
        }
    }
    // All in one batch.
    let mut sessions: Vec<Session> = (0..3)
        .map(|set| {
            let mut session = session(&model, 2, None);
            session.set_adapters(sets[set].clone()).unwrap();
            session.feed(&text(70)).unwrap();
            session
        })
        .collect();
    let (mut batch, mut tokens) = (Batch::default(), vec![Vec::new(); 3]);
    for _ in 0..6 {
        let mut samplers = [greedy(), greedy(), greedy()];
        let turns = sessions.iter_mut().zip(&mut samplers);
        let mut turns: Vec<_> = turns.map(|(session, sampler)| Turn { session, selector: None, sampler }).collect();
        for (tokens, step) in tokens.iter_mut().zip(batch.step(&mut turns)) {
            tokens.push(step.unwrap().token);
        }
    }
    for (set, (tokens, session)) in tokens.into_iter().zip(&mut sessions).enumerate() {
        assert_eq!((tokens, bits(session.hidden().unwrap())), expected[set]);
    }
}

/// A session that changes its adapter keeps its text; what it computes anew is as if it had never
/// had another one.
#[test]
fn a_session_changes_its_adapter_and_keeps_its_text() {
    let model = backbone();
    let one = adapter(&model, "switched", 5);
    let (prompt, more) = (text(30), text(50)[30..].to_vec());
    let mut plain = session(&model, 2, None);
    plain.feed(&prompt).unwrap();
    let mut changed = plain.fork().unwrap();
    changed.set_adapters(vec![(one, 1.0)]).unwrap();
    changed.feed(&more).unwrap();
    let fork = changed.fork().unwrap();
    assert_eq!((changed.tokens(), fork.adapters().len()), (&text(50)[..], 1));
    plain.feed(&more).unwrap();
    assert_ne!(bits(changed.hidden().unwrap()), bits(plain.hidden().unwrap()));
    changed.set_adapters(Vec::new()).unwrap();
    changed.rewind(prompt.len()).unwrap();
    changed.feed(&more).unwrap();
    assert_eq!(bits(changed.hidden().unwrap()), bits(plain.hidden().unwrap()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = backbone();
    let open = |path: &Path| Adapter::open(path, &model).map(drop).unwrap_err();
    assert!(matches!(open(&golden("tiny/llama.gguf")), ModelError::NoAdapter { key: "general.type", .. }));
    let file = |matrix: &str, shape, architecture: &str| {
        let pairs = [(matrix.to_owned(), factors(shape, 1))].into();
        write(&AdapterFile::new(8.0, pairs).of(Some(architecture.into())), "wrong")
    };
    let query = "blk.0.attn_q.weight";
    assert!(matches!(open(&file(query, [64, 64], "qwen2")), ModelError::OtherArchitecture { .. }));
    assert!(matches!(open(&file(query, [3, 64], "llama")), ModelError::TensorShape { .. }));
    for matrix in ["blk.99.attn_q.weight", "output.weight", "token_embd.weight", "strange"] {
        let error = open(&file(matrix, [64, 64], "llama"));
        assert!(matches!(&error, ModelError::NotAdaptable(name) if name == matrix), "{error}");
    }
    let other = backbone();
    let mut session = session(&other, 1, None);
    let foreign = session.set_adapters(vec![(adapter(&model, "foreign", 1), 1.0)]);
    assert!(matches!(foreign, Err(SessionError::OtherAdapter)));
    let infinite = session.set_adapters(vec![(adapter(&other, "infinite", 1), f32::INFINITY)]);
    assert!(matches!(infinite, Err(SessionError::AdapterScale(_))) && session.adapters().is_empty());
}
