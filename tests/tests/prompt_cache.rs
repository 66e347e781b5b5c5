//! The folder of prompts: what comes from it is what would have been computed, to the last bit, and
//! the folder keeps its limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ollm_runtime::model::Model;
use ollm_runtime::ops::KvType;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{PromptCache, Session, SessionOptions};
use ollm_tests::golden;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ollm-prompts-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn model(name: &str) -> Arc<Model> {
    Arc::new(Model::open(&golden(&format!("tiny/{name}.gguf"))).unwrap())
}

fn session(model: &Arc<Model>) -> Session {
    let options = SessionOptions { threads: 2, context: 1024, ..SessionOptions::default() };
    Session::new(Arc::clone(model), None, &options).unwrap()
}

fn text(n: u32, seed: u32) -> Vec<u32> {
    (0..n).map(|i| (i + seed).wrapping_mul(7919) % 320).collect()
}

/// Six steps after the prompt, and the bits of the last hidden state.
fn continuation(session: &mut Session) -> (Vec<u32>, Vec<u32>) {
    let mut greedy = Sampler::new(SamplerOptions::default()).unwrap();
    let tokens = (0..6).map(|_| session.step(None, &mut greedy).unwrap().token).collect();
    (tokens, session.hidden().unwrap().iter().map(|x| x.to_bits()).collect())
}

fn computed(model: &Arc<Model>, tokens: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut session = session(model);
    session.feed(tokens).unwrap();
    continuation(&mut session)
}

fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect()
}

#[test]
fn what_comes_from_the_folder_is_what_would_have_been_computed() {
    let (model, folder) = (model("llama"), folder("same"));
    let cache = PromptCache::open(&folder, u64::MAX).unwrap();
    let long = text(200, 0);
    let changed = |at: usize| {
        let mut tokens = long.clone();
        tokens[at] = (tokens[at] + 1) % 320;
        tokens
    };
    for (tokens, found) in [
        (long.clone(), 0),
        (long.clone(), 199),
        (long[..150].to_vec(), 149),
        ([&long[..], &text(90, 5)].concat(), 200),
        (changed(120), 120),
        (changed(31), 0),
        (changed(32), 32),
        (text(20, 0), 0),
        (text(100, 17), 0),
    ] {
        let mut session = session(&model);
        assert_eq!(cache.feed(&mut session, &tokens).unwrap(), found, "{} tokens", tokens.len());
        assert_eq!(session.tokens(), tokens);
        assert_eq!(continuation(&mut session), computed(&model, &tokens));
    }
    // Not an empty session: the folder is left alone.
    let mut session = session(&model);
    session.feed(&[5]).unwrap();
    let before = files(&folder).len();
    assert_eq!((cache.feed(&mut session, &long).unwrap(), files(&folder).len()), (0, before));
    assert_eq!(session.position(), 201);
}

/// The same text under another type of cache, or of another model, is in a file of its own.
#[test]
fn what_differs_in_more_than_tokens_has_files_of_its_own() {
    let (model, folder) = (model("llama"), folder("types"));
    let cache = PromptCache::open(&folder, u64::MAX).unwrap();
    let of = |kv_type| {
        let options = SessionOptions { kv_type, context: 1024, ..SessionOptions::default() };
        Session::new(Arc::clone(&model), None, &options).unwrap()
    };
    for round in 0..2 {
        for kv_type in KvType::ALL {
            let found = cache.feed(&mut of(kv_type), &text(100, 3)).unwrap();
            assert_eq!(found, if round == 0 { 0 } else { 99 }, "{kv_type}");
        }
    }
    assert_eq!(files(&folder).len(), 2);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn files_that_are_damaged_or_of_another_model_are_not_used() {
    let (llama, qwen, folder) = (model("llama"), model("qwen2"), folder("damaged"));
    let cache = PromptCache::open(&folder, u64::MAX).unwrap();
    let tokens = text(120, 3);
    assert_eq!(cache.feed(&mut session(&llama), &tokens).unwrap(), 0);
    assert_eq!(cache.feed(&mut session(&qwen), &tokens).unwrap(), 0);
    for (path, length) in files(&folder) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[length as usize / 2] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    fs::write(folder.join("other.ollm-prompt"), b"nothing").unwrap();
    let mut one = session(&llama);
    assert_eq!(cache.feed(&mut one, &tokens).unwrap(), 0);
    assert_eq!(continuation(&mut one), computed(&llama, &tokens));
    // The damaged one was replaced.
    assert_eq!(cache.feed(&mut session(&llama), &tokens).unwrap(), 119);
}

#[test]
fn the_folder_keeps_its_limit_and_the_oldest_goes_first() {
    let (model, folder) = (model("llama"), folder("limit"));
    let prompts: Vec<Vec<u32>> = (0..4).map(|i| text(100, 1000 * i)).collect();
    let unlimited = PromptCache::open(&folder, u64::MAX).unwrap();
    unlimited.feed(&mut session(&model), &prompts[0]).unwrap();
    let size = files(&folder)[0].1;
    let cache = PromptCache::open(&folder, 2 * size).unwrap();
    let feed = |prompt: usize| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        cache.feed(&mut session(&model), &prompts[prompt]).unwrap()
    };
    assert_eq!([feed(1), feed(0), feed(2)], [0, 99, 0]);
    // 1 was not used for the longest time.
    assert_eq!(files(&folder).iter().map(|(_, bytes)| bytes).sum::<u64>(), 2 * size);
    assert_eq!([feed(0), feed(2), feed(1)], [99, 99, 0]);
    let small = PromptCache::open(&folder, size - 1).unwrap();
    assert_eq!(small.feed(&mut session(&model), &prompts[3]).unwrap(), 0);
    assert!(["/dev/null/folder", ""].iter().all(|folder| PromptCache::open(Path::new(folder), 1).is_err()));
}
