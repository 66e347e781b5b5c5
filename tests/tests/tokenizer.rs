//! The tokenizer against llama-tokenize, on real and on purpose-made vocabularies (goldens of
//! `tokenizer.py`, `pairs.py`, `scores.py`), and against the published expressions (`splits.py`).

use std::fs;
use std::time::{Duration, Instant};

use ollm_runtime::gguf::{Gguf, Metadata, Writer};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::{Detokenizer, NORMALIZER_KEY, Tokenizer, byte_letter};
use ollm_tests::{golden, smollm2};
use serde_json::Value;

fn smollm2_file() -> Gguf {
    Gguf::parse(&Storage::open(&smollm2()).unwrap()).unwrap()
}

fn smollm2_tokenizer() -> Tokenizer {
    Tokenizer::from_metadata(smollm2_file().metadata()).unwrap()
}

/// The same vocabulary under another pre-tokenizer, and without normalization, which llama.cpp does
/// not do.
fn with_pre(metadata: &Metadata, pre: &str) -> Tokenizer {
    let mut writer = Writer::new();
    for (key, value) in metadata.iter().filter(|(key, _)| *key != "tokenizer.ggml.pre") {
        writer.set(key, value.clone()).unwrap();
    }
    writer.set("tokenizer.ggml.pre", pre).unwrap();
    writer.set(NORMALIZER_KEY, "none").unwrap();
    Tokenizer::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata()).unwrap()
}

fn read_json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap()
}

fn text_of(case: &Value) -> String {
    if let Some(file) = case["file"].as_str() {
        return fs::read_to_string(golden(file)).unwrap();
    }
    match &case["repeat"] {
        Value::Array(repeat) => repeat[0].as_str().unwrap().repeat(repeat[1].as_u64().unwrap() as usize),
        _ => case["text"].as_str().unwrap().to_owned(),
    }
}

fn ids_of(ids: &Value) -> Vec<u32> {
    ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Checks every case of one pre-tokenizer, and says which ones differ.
fn check(pre: &str, tokenizer: &Tokenizer, cases: &Value) {
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 50);
    let wrong: Vec<String> = cases.iter().filter_map(|case| difference(tokenizer, case)).collect();
    assert!(wrong.is_empty(), "{pre}: {} of {} cases differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn difference(tokenizer: &Tokenizer, case: &Value) -> Option<String> {
    let (text, expected) = (text_of(case), ids_of(&case["ids"]));
    let got = tokenizer.encode(&text, case["special"].as_bool().unwrap()).unwrap();
    let first = got.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    let head: String = text.chars().take(40).collect();
    (got != expected).then(|| format!("{head:?}: from token {first}: {:?} {:?}", &got[first..], &expected[first..]))
}

#[test]
fn ids_of_a_real_vocabulary() {
    let file = smollm2_file();
    for group in read_json("tokenizer.json").as_array().unwrap() {
        let pre = group["pre"].as_str().unwrap();
        check(pre, &with_pre(file.metadata(), pre), &group["cases"]);
    }
}

#[test]
fn ids_where_every_cut_shows() {
    for group in read_json("pairs.json").as_array().unwrap() {
        let pre = group["pre"].as_str().unwrap();
        let file = Gguf::parse(&fs::read(golden(&format!("pairs/{pre}.gguf"))).unwrap()).unwrap();
        check(pre, &with_pre(file.metadata(), pre), &group["cases"]);
    }
}

#[test]
fn ids_where_scores_decide() {
    for group in read_json("scores.json").as_array().unwrap() {
        let name = group["pre"].as_str().unwrap();
        let file = Gguf::parse(&fs::read(golden(&format!("scores/{name}.gguf"))).unwrap()).unwrap();
        check(name, &Tokenizer::from_metadata(file.metadata()).unwrap(), &group["cases"]);
    }
}

/// Every pre-tokenizer against Hugging Face's tokenizers with the published expressions, over a
/// vocabulary in which every pair of neighbouring bytes is a merge.
#[test]
fn pieces_are_those_of_the_published_expressions() {
    let golden = read_json("splits.json");
    let hex = golden["pairs"].as_str().unwrap().as_bytes();
    let letter = |digits: &[u8]| byte_letter(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
    let pairs: Vec<[char; 2]> = hex.chunks(4).map(|pair| [letter(&pair[..2]), letter(&pair[2..])]).collect();
    let letters = (0..=255).map(|byte| byte_letter(byte).to_string());
    let tokens: Vec<String> = letters.chain(pairs.iter().map(|pair| pair.iter().collect())).collect();
    let merges: Vec<String> = pairs.iter().map(|[left, right]| format!("{left} {right}")).collect();
    for (pre, ids) in golden["ids"].as_object().unwrap() {
        let mut writer = Writer::new();
        writer.set("tokenizer.ggml.model", "gpt2").unwrap();
        writer.set("tokenizer.ggml.pre", pre.as_str()).unwrap();
        writer.set("tokenizer.ggml.add_bos_token", false).unwrap();
        writer.set("tokenizer.ggml.tokens", tokens.clone()).unwrap();
        writer.set("tokenizer.ggml.merges", merges.clone()).unwrap();
        let tokenizer = Tokenizer::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata()).unwrap();
        for (text, expected) in golden["cases"].as_array().unwrap().iter().zip(ids.as_array().unwrap()) {
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids_of(expected), "{pre}: {text:?}");
        }
    }
}

#[test]
fn smollm2s_special_tokens() {
    let tokenizer = smollm2_tokenizer();
    assert_eq!((tokenizer.vocab_size(), tokenizer.bos(), tokenizer.eos()), (49152, Some(1), Some(2)));
    assert_eq!(tokenizer.add_bos(), None);
    let ends: Vec<u32> = (0..49152).filter(|&id| tokenizer.is_end(id)).collect();
    assert_eq!(ends, [0, 2]);
}

/// Whatever the tokens, the streamed text is the text; one token at a time, no character is cut.
#[test]
fn text_comes_back_token_by_token() {
    let tokenizer = smollm2_tokenizer();
    let text = fs::read_to_string(golden("text.txt")).unwrap() + "🎉 中文 é\u{301} नमस्ते";
    let mut stream = Detokenizer::new();
    let ids = tokenizer.encode(&text, true).unwrap();
    let pieces: String = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
    assert_eq!(pieces + &stream.finish(), text);
    assert_eq!(tokenizer.decode(&ids), text);
}

/// A user's text is never too long: time grows with its length, and the stack does not. The limit
/// is generous, since this also runs unoptimised on busy machines; square time would take hours.
#[test]
fn a_megabyte_takes_a_moment() {
    let tokenizer = smollm2_tokenizer();
    let prose = fs::read_to_string(golden("text.txt")).unwrap();
    for unit in [prose.as_str(), "A", " ", "7", "\n", "!", "🎉", "<|", "a b\n"] {
        let text = unit.repeat((1 << 20) / unit.len());
        let start = Instant::now();
        let ids = tokenizer.encode(&text, true).unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?} for {:?}",
            start.elapsed(),
            &unit[..unit.len().min(9)]
        );
        assert_eq!(tokenizer.decode(&ids), text);
    }
}
