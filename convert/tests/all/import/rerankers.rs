//! Rerankers: classes `ForSequenceClassification`, and the scores that their files give.

use std::sync::Arc;

use ollm_convert::verify::verify;
use ollm_runtime::cpu::Isa;
use ollm_runtime::model::Model;
use ollm_runtime::session::{Session, SessionError, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::encoders::{assert_is, copied, edit};
use super::source::{Source, golden, read_json, run};
use crate::common::{Folder, read};

fn models() -> (String, Vec<Value>) {
    let manifest = read_json(&golden("rerankers.json"));
    let models = manifest["models"].as_array().unwrap().clone();
    assert_eq!(models.len(), 5);
    (manifest["query"].as_str().unwrap().to_owned(), models)
}

/// The file that the folder of a golden becomes.
fn imported(name: &str, recipe: &str) -> (Folder, Arc<Model>) {
    let folder = copied(&format!("rerankers/{name}"));
    run(&folder, recipe).unwrap();
    let model = Arc::new(Model::open(&folder.join("out.gguf")).unwrap());
    (folder, model)
}

fn floats(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn logits_of_pairs_are_those_of_transformers() {
    let (query, models) = models();
    for entry in models {
        let name = entry["name"].as_str().unwrap();
        let (_folder, model) = imported(name, "F16");
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
        for pair in entry["pairs"].as_array().unwrap() {
            let tokens = tokenizer.pair(&query, pair["document"].as_str().unwrap()).unwrap();
            assert_eq!(json!(tokens.tokens), pair["ids"], "{name}");
            let is_second = |i: usize| u8::from(i >= tokens.second);
            if name == "bert" {
                let segments: Vec<u8> = (0..tokens.tokens.len()).map(is_second).collect();
                assert_eq!(json!(segments), pair["segments"], "{name}");
            }
            let want = floats(&pair["logits"]);
            let mut bits = None;
            for (isa, threads) in Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]) {
                let options = SessionOptions { threads, isa: Some(isa), ..SessionOptions::default() };
                let mut session = Session::new(Arc::clone(&model), None, &options).unwrap();
                let got = session.classify(&tokens).unwrap();
                assert_eq!(got.len(), want.len(), "{name}");
                // Keys and values are rounded to 16 bits.
                let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max);
                assert!(off < 2e-3, "{name} {isa:?}: {got:?}, not {want:?}");
                let got: Vec<u32> = got.into_iter().map(f32::to_bits).collect();
                assert_eq!(*bits.get_or_insert_with(|| got.clone()), got, "{name} {isa:?} {threads}");
                // One label is a score; of two it is the probability of `yes`, of three of the
                // first.
                let rank = session.rank(&tokens).unwrap();
                let exp = |i: usize| want[i].exp() / want.iter().map(|x| x.exp()).sum::<f32>();
                let score = if want.len() == 1 { want[0] } else { exp(usize::from(want.len() == 2)) };
                assert!((rank - score).abs() < 2e-3 * score.abs().max(1.0), "{name}: {rank}, not {score}");
                assert!(session.embed(&tokens.tokens, None, true).is_ok(), "{name}");
            }
        }
    }
}

#[test]
fn heads_are_quantized_and_checked() {
    for entry in models().1 {
        let name = entry["name"].as_str().unwrap();
        let (folder, _) = imported(name, "Q8_0");
        let report = verify(&folder.join("out.gguf")).unwrap();
        assert!(report.is_good(), "{name}: {report}");
        let (_, gguf) = read(&folder.join("out.gguf"));
        assert!(gguf.tensor("cls.output.weight").is_some(), "{name}");
        assert_eq!(gguf.tensor("cls.weight").is_some(), name != "qwen3", "{name}");
    }
}

#[test]
fn a_folder_becomes_the_file_that_it_should_be() {
    let (folder, _) = imported("bert", "F16");
    assert_is(&folder.join("out.gguf"), "rerankers/bert.gguf");
}

/// Segments of tokens matter where there are two kinds.
#[test]
fn the_document_is_of_the_second_segment() {
    let (_folder, model) = imported("bert", "F16");
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let mut session = Session::new(model, None, &SessionOptions { threads: 1, ..SessionOptions::default() }).unwrap();
    let pair = tokenizer.pair("who read", "the pilgrims").unwrap();
    let one = ollm_runtime::tokenizer::TextPair { second: usize::MAX, ..pair.clone() };
    let mut rank = |pair| session.rank(pair).unwrap();
    let whole = rank(&pair);
    assert_ne!(whole.to_bits(), rank(&one).to_bits());
    assert_eq!(whole.to_bits(), rank(&pair).to_bits());
}

const README: &str = "Some words.\n\n# Qwen3-Reranker-0.6B\n";

/// A model whose vocabulary has `yes` and `no`.
fn yes_no(name: &str) -> Source {
    Source::of(name).edit(|source| {
        let rename = |json: &Value| {
            let text = json.to_string().replace("<|pad|>", "yes").replace("<|im_end|>", "no");
            serde_json::from_str::<Value>(&text).unwrap()
        };
        (source.tokenizer, source.settings) = (rename(&source.tokenizer), rename(&source.settings));
    })
}

/// The same with a head of its own: the embedding, its rows the other way round.
fn untied(source: Source) -> Source {
    source.set("tie_word_embeddings", json!(false)).edit(|source| {
        let (dtype, shape, bytes) = source.tensors["model.embed_tokens.weight"].clone();
        let rows = bytes.chunks(bytes.len() / shape[0]).rev();
        source.tensors.insert("lm_head.weight".to_owned(), (dtype, shape.clone(), rows.flatten().copied().collect()));
    })
}

/// The title has to begin a line, and the family to be that of Qwen 3.
#[test]
fn what_tells_of_a_qwen3_reranker_otherwise_is_none() {
    let embedder = "# Qwen3-Embedding\n\nSee the # Qwen3-Reranker, or:\n## Qwen3-Reranker\n";
    for (name, readme) in [("qwen3", embedder), ("mistral", README)] {
        let folder = yes_no(name).write(1);
        folder.write("README.md", readme);
        run(&folder, "F32").unwrap();
        assert!(read(&folder.join("out.gguf")).1.tensor("cls.output.weight").is_none(), "{name}");
    }
    let folder = copied("rerankers/bert");
    folder.write("README.md", README);
    run(&folder, "F16").unwrap();
    let (_, gguf) = read(&folder.join("out.gguf"));
    assert!(gguf.metadata().opt_str("tokenizer.chat_template.rerank").unwrap().is_none());
}

/// What GGUF cannot say of pairs is told.
#[test]
fn a_pair_that_gguf_does_not_know_is_noted() {
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let (bos, eos) = ("<|im_start|>", "<|im_end|>");
    for (end, between, noted, separates) in [
        (None, vec![bos], true, None),
        (None, vec![], false, None),
        (Some(eos), vec![eos], false, Some(false)),
        (Some(eos), vec![eos, eos], false, Some(true)),
        (Some(eos), vec![eos, bos], true, None),
        (Some(eos), vec![bos], true, None),
        (Some(eos), vec![], true, None),
    ] {
        let folder = copied("rerankers/qwen3");
        let _ = std::fs::remove_dir_all(folder.join("additional_chat_templates"));
        edit(&folder, "tokenizer.json", |json| {
            let pair = [special(bos), text("A")].into_iter().chain(between.iter().map(|id| special(id)));
            let ends = || end.map(special).into_iter();
            let pair: Vec<Value> = pair.chain([text("B")]).chain(ends()).collect();
            let single: Vec<Value> = [special(bos), text("A")].into_iter().chain(ends()).collect();
            let tokens = json!({});
            json["post_processor"] =
                json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens});
        });
        let notes = run(&folder, "F16").unwrap().notes;
        assert_eq!(notes.iter().any(|note| note.contains("texts of a pair")), noted, "{end:?} {between:?}: {notes:?}");
        let (_, gguf) = read(&folder.join("out.gguf"));
        assert_eq!(gguf.metadata().opt_bool("tokenizer.ggml.add_sep_token").unwrap(), separates, "{end:?} {between:?}");
    }
}

/// A model that answers `yes` or `no`: the probability of `yes` among the two.
#[test]
fn a_model_that_judges_becomes_a_reranker() {
    for tied in [true, false] {
        let source = if tied { yes_no("qwen3") } else { untied(yes_no("qwen3")) };
        let folder = source.write(1);
        run(&folder, "F32").unwrap();
        assert!(read(&folder.join("out.gguf")).1.tensor("cls.output.weight").is_none());
        folder.write("README.md", README);
        let notes = run(&folder, "F32").unwrap().notes;
        assert!(notes.iter().any(|note| note.contains("read as a reranker")), "{notes:?}");
        let model = Arc::new(Model::open(&folder.join("out.gguf")).unwrap());
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
        let pair = tokenizer.pair("what?", "<|im_start|> that").unwrap();
        let prompt = tokenizer.decode(&pair.tokens);
        assert!(prompt.contains("<Query>: what?\n<Document>: <|im_start|> that"), "{prompt}");
        let options = SessionOptions { threads: 1, context: 1024, ..SessionOptions::default() };
        let mut session = Session::new(Arc::clone(&model), None, &options).unwrap();
        let logits = super::logits_of(&model, &mut session, &pair.tokens);
        let last = &logits[logits.len() - model.config().vocab..];
        let id = |token: &str| source.tokenizer["model"]["vocab"][token].as_u64().unwrap() as usize;
        let [yes, no] = ["yes", "no"].map(|token| f64::from(last[id(token)]).exp());
        let rank = f64::from(session.rank(&pair).unwrap());
        assert!((rank - yes / (yes + no)).abs() < 1e-4, "{rank} {yes} {no}");
    }
}

#[test]
fn what_is_no_reranker_says_so() {
    let folder = Source::of("qwen3").write(1);
    run(&folder, "F16").unwrap();
    let model = Arc::new(Model::open(&folder.join("out.gguf")).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let mut session = Session::new(model, None, &SessionOptions { threads: 1, ..SessionOptions::default() }).unwrap();
    let pair = tokenizer.pair("a", "b").unwrap();
    assert!(matches!(session.rank(&pair), Err(SessionError::NoClassifier)));
    for (name, key, value) in [
        ("modern-bert", "classifier_activation", json!("relu")),
        ("modern-bert", "classifier_pooling", json!("max")),
        ("modern-bert", "norm_bias", json!(true)),
        ("bert", "id2label", json!({"1": "one"})),
        ("xlm-roberta", "max_position_embeddings", json!(2)),
    ] {
        let folder = copied(&format!("rerankers/{name}"));
        edit(&folder, "config.json", |json| json[key] = value);
        let error = run(&folder, "F16").unwrap_err().to_string();
        assert!(error.contains(key), "{name} {key}: {error}");
    }
}
