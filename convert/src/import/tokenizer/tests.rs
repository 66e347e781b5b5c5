//! Tokenizers against the goldens of `splits.py` and `pieces.py`, without a model around them.

use std::fs;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::Metadata;
use ollm_runtime::tokenizer::{Tokenizer, byte_letter};
use serde_json::{Map, Value, json};

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

fn read_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap()
}

fn ids_of(json: &Value) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn document(value: Value) -> Document {
    Document { path: PathBuf::from("tokenizer.json"), value }
}

/// The files of a folder that has nothing but a tokenizer.
fn files(tokenizer: Value, pieces: Option<SentencePiece>) -> TokenizerFiles {
    let empty = || document(json!({}));
    TokenizerFiles {
        folder: PathBuf::from("no such folder"),
        tokenizer: document(tokenizer),
        pieces,
        settings: empty(),
        config: empty(),
        generation: empty(),
    }
}

fn metadata(keys: MetadataPairs) -> Metadata {
    let mut metadata = Metadata::default();
    keys.into_iter().try_for_each(|(key, value)| metadata.insert(key, value)).unwrap();
    metadata
}

/// Names that differ in nothing but what lists say anyway, or in what this vocabulary does not
/// show.
fn usual(pre: &str) -> &str {
    match pre {
        "glm4" | "dbrx" => "llama-bpe",
        _ => pre,
    }
}

/// Every pre-tokenizer of a `tokenizer.json` gets its name, and then gives the same tokens; that
/// which llama.cpp takes for lack of a name gets none.
#[test]
fn a_pre_tokenizer_has_the_name_of_what_it_does() {
    let golden = read_json("splits.json");
    let bytes: Vec<char> = (0..=255).map(byte_letter).collect();
    let hex = golden["pairs"].as_str().unwrap();
    let byte = |at: usize| bytes[usize::from_str_radix(&hex[at..at + 2], 16).unwrap()];
    let pairs: Vec<[char; 2]> = (0..hex.len()).step_by(4).map(|at| [byte(at), byte(at + 2)]).collect();
    let tokens = bytes.iter().map(char::to_string).chain(pairs.iter().map(|pair| pair.iter().collect()));
    let vocab: Map<String, Value> = tokens.zip((0..).map(|id: u32| id.into())).collect();
    let merges: Vec<String> = pairs.iter().map(|[left, right]| format!("{left} {right}")).collect();
    for (pre, parts) in golden["parts"].as_object().unwrap() {
        let json = json!({
            "version": "1.0", "added_tokens": [], "post_processor": null,
            "normalizer": parts["normalizer"], "pre_tokenizer": parts["pre_tokenizer"],
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        });
        let files = files(json.clone(), None);
        let vocabulary = HfVocabulary::read(&document(json.clone()), &document(json["model"].clone()), vocab.len());
        let (vocabulary, carried) = (vocabulary.unwrap(), [(CARRIED.to_owned(), json.to_string().into())]);
        let published = files.tokenizer(&[], &carried).unwrap();
        let mut keys = vocabulary.keys();
        keys.push(("tokenizer.ggml.add_bos_token".to_owned(), false.into()));
        let lists = files.lists_that_do(&published, &vocabulary, &keys);
        assert_eq!(lists.is_none(), pre == "default", "{pre}");
        let Some(lists) = lists else { continue };
        keys.extend(lists);
        let metadata = metadata(keys);
        assert_eq!(metadata.str("tokenizer.ggml.pre").unwrap(), usual(pre));
        let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
        for (text, ids) in golden["cases"].as_array().unwrap().iter().zip(golden["ids"][pre].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids_of(ids), "{pre}: {text:?}");
        }
    }
}

/// `tokenizer.model` files give the tokens that `SentencePiece` gives.
#[test]
fn sentencepiece_models_give_the_same_tokens() {
    let golden = read_json("pieces.json");
    for (name, ids) in golden["ids"].as_object().unwrap() {
        let model = SentencePiece::read(&self::golden(&format!("pieces/{name}.model"))).unwrap();
        let size = model.pieces.len() + 5;
        let (keys, notes) = files(json!({}), Some(model)).keys(size).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        let tokenizer = Tokenizer::from_metadata(&metadata(keys)).unwrap();
        for (text, ids) in golden["texts"].as_array().unwrap().iter().zip(ids.as_array().unwrap()) {
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids_of(ids), "{name}: {text:?}");
        }
    }
}
