//! Tokenizers: as lists where these do, else carried; special tokens, chat templates.

use std::collections::BTreeMap;

use ollm_runtime::gguf::Value as Stored;
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::common::read;

use super::source::{QWEN2, Source, added_token, imported, run};

#[test]
fn special_tokens_and_templates_come_from_where_they_are() {
    let mut source = Source::of("llama");
    let begin = json!({"SpecialToken": {"id": "<|im_start|>", "type_id": 0}});
    let text = |id: &str, kind: usize| json!({"Sequence": {"id": id, "type_id": kind}});
    source.tokenizer["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        {"type": "TemplateProcessing", "single": [begin, text("A", 0)], "pair": [begin, text("A", 0), text("B", 1)],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}}]});
    source.settings = json!({"bos_token": "<|im_start|>",
        "chat_template": [{"name": "default", "template": "D"}, {"name": "tools", "template": "T"}]});
    source.config["vocab_size"] = json!(321);
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let (_, shape, bytes) = source.tensors.get_mut(name).unwrap();
        shape[0] += 1;
        bytes.extend([0; 4 * 64]);
    }
    let folder = source.write(1);
    folder.write(
        "generation_config.json",
        json!({"eos_token_id": [2, 0, 3, 5, 151_643], "suppress_tokens": [7, 9]}).to_string(),
    );
    let summary = run(&folder, "F16").unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("token 5")), "{:?}", summary.notes);
    let (_, gguf) = read(&folder.join("out.gguf"));
    let metadata = gguf.metadata();
    let id = |name: &str| metadata.opt_u32(&format!("tokenizer.ggml.{name}_token_id")).unwrap();
    assert_eq!(["bos", "eos", "eot", "eom", "padding"].map(id), [Some(1), Some(2), Some(0), Some(3), None]);
    assert_eq!(metadata.get("tokenizer.ggml.add_bos_token"), Some(&Stored::Bool(true)));
    assert_eq!(metadata.str("tokenizer.chat_template").unwrap(), "D");
    assert_eq!(metadata.str("tokenizer.chat_template.tools").unwrap(), "T");
    assert_eq!(metadata.strings("tokenizer.ggml.tokens").unwrap()[320], "[PAD320]");
    assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap()[320], 5);
    assert_eq!(metadata.get("tokenizer.huggingface.json"), None);
    assert_eq!(metadata.i32s("tokenizer.ggml.suppress_tokens").unwrap(), [7, 9]);

    folder.write("generation_config.json", json!({"suppress_tokens": 7}).to_string());
    assert!(run(&folder, "F16").unwrap_err().to_string().contains("suppress_tokens"));
    folder.write("generation_config.json", json!({"suppress_tokens": null}).to_string());
    folder.write("chat_template.jinja", "J");
    run(&folder, "F16").unwrap();
    let (_, gguf) = read(&folder.join("out.gguf"));
    assert_eq!(gguf.metadata().str("tokenizer.chat_template").unwrap(), "J");

    folder.write("chat_template.json", json!({"chat_template": {"default": "K", "rag": "R"}}).to_string());
    std::fs::create_dir(folder.join("additional_chat_templates")).unwrap();
    folder.write("additional_chat_templates/tools.jinja", "U");
    run(&folder, "F16").unwrap();
    let (_, gguf) = read(&folder.join("out.gguf"));
    let template = |name: &str| gguf.metadata().str(&format!("tokenizer.chat_template{name}")).unwrap().to_owned();
    assert_eq!(["", ".rag", ".tools"].map(template), ["J", "R", "U"]);
}

/// The `tokenizer.json` of merges of characters, where the first `added` tokens are found before
/// all else.
fn of_characters(normalizers: &[Value], added: usize) -> Value {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "\u{2581}\u{2581}"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "a", "b", "\u{2581}a", "ab", "\u{2581}ab"].map(str::to_owned));
    let vocab: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let added: Vec<Value> = (0..added).map(|id| added_token(id, &tokens[id], id < 3)).collect();
    json!({
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges":
            [["\u{2581}", "\u{2581}"], ["a", "b"], ["\u{2581}", "a"], ["\u{2581}", "ab"], ["\u{2581}a", "b"]]},
    })
}

#[test]
fn merges_of_characters_become_scores() {
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prefix = json!({"type": "Prepend", "prepend": "\u{2581}"});
    let mut source = Source::of("llama");
    source.settings = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    // Llama's put a space before a text; Gemma's do not, and have runs of spaces as added tokens.
    for (normalizers, added, space_prefix) in [(&[prefix, space.clone()][..], 3, true), (&[space], 4, false)] {
        source.tokenizer = of_characters(normalizers, added);
        let (_, gguf) = imported(&source, "F16");
        let metadata = gguf.metadata();
        assert_eq!(metadata.get("tokenizer.huggingface.json"), None);
        assert_eq!(metadata.str("tokenizer.ggml.model").unwrap(), "llama");
        assert_eq!(metadata.get("tokenizer.ggml.add_space_prefix"), Some(&Stored::Bool(space_prefix)));
        let types = metadata.i32s("tokenizer.ggml.token_type").unwrap();
        assert_eq!((&types[..3], types[3], types[4]), (&[2, 3, 3][..], if added == 4 { 4 } else { 1 }, 6));
        assert_eq!((types[260], types[266]), (1, 5));
        let scores = metadata.f32s("tokenizer.ggml.scores").unwrap();
        assert_eq!(scores[260..266], [-6.0, -6.0, -6.0, -2.0, -1.0, -3.0]);
        let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
        let first = if space_prefix { 265 } else { 264 };
        assert_eq!(tokenizer.encode("ab a  \u{e9}", false).unwrap(), [first, 263, 3, 4 + 0xc3, 4 + 0xa9]);
    }
}

/// The pre-tokenizer and the normalization form that a file says, and whether it carries the JSON.
fn named(source: &Source) -> (String, Option<String>, bool) {
    let (_, gguf) = imported(source, "F16");
    let text = |key: &str| gguf.metadata().opt_str(key).unwrap().map(str::to_owned);
    let carried = text("tokenizer.huggingface.json");
    (text("tokenizer.ggml.pre").unwrap(), text("ollm.tokenizer.normalizer"), carried.is_some())
}

/// A split by an expression, and then bytes.
fn split_by(expression: &str, behavior: &str, invert: bool) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": expression}, "behavior": behavior, "invert": invert},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})
}

#[test]
fn a_pre_tokenizer_is_known_by_what_it_does() {
    let written_otherwise =
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
    let llama3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|");
    let gpt4o = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    let nfc = json!({"type": "NFC"});
    for (split, normalizer, expected) in [
        (split_by(QWEN2, "Isolated", false), &nfc, ("qwen2", None)),
        (split_by(QWEN2, "Removed", true), &nfc, ("qwen2", None)),
        (split_by(written_otherwise, "Removed", true), &nfc, ("qwen2", None)),
        (split_by(QWEN2, "Isolated", false), &Value::Null, ("deepseek-r1-qwen", None)),
        (split_by(&llama3, "Isolated", false), &Value::Null, ("llama-bpe", None)),
        (split_by(&llama3, "Isolated", false), &nfc, ("llama-bpe", Some("nfc"))),
        (split_by(&llama3, "Isolated", false), &json!({"type": "NFKC"}), ("llama-bpe", Some("nfkc"))),
        (split_by(gpt4o, "Isolated", false), &Value::Null, ("gpt-4o", None)),
    ] {
        let mut source = Source::of("llama");
        source.tokenizer["pre_tokenizer"] = split;
        source.tokenizer["normalizer"] = normalizer.clone();
        let (pre, form, carried) = named(&source);
        assert_eq!((pre.as_str(), form.as_deref(), carried), (expected.0, expected.1, false));
    }
}

/// What GGUF has no lists for goes into the file as it is, and is what the file is read by.
#[test]
fn a_tokenizer_that_no_lists_are_like_is_carried() {
    for (what, place, value) in [
        ("an unknown split", "/pre_tokenizer/pretokenizers/0/individual_digits", json!(false)),
        ("lower case", "/normalizer", json!({"type": "Lowercase"})),
        ("the end of a text", "/pre_tokenizer", json!({"type": "Whitespace"})),
        ("a token that takes the space before it", "/added_tokens/1/lstrip", json!(true)),
    ] {
        let source = Source::of("llama").edit(|source| *source.tokenizer.pointer_mut(place).unwrap() = value.clone());
        assert!(named(&source).2, "{what}");
    }
}

#[test]
fn tokens_that_the_model_has_no_rows_for_are_left_out() {
    let mut source = Source::of("llama");
    source.tokenizer["added_tokens"].as_array_mut().unwrap().push(added_token(320, "<more>", true));
    source.settings["pad_token"] = "<more>".into();
    let folder = source.write(1);
    let summary = run(&folder, "F16").unwrap();
    let notes = summary.notes.join("\n");
    assert!(notes.contains("no rows for 1 of the tokenizer's tokens") && notes.contains("<more>"), "{notes}");
    let (_, gguf) = read(&folder.join("out.gguf"));
    assert_eq!(gguf.metadata().strings("tokenizer.ggml.tokens").unwrap().len(), 320);
    assert_eq!(gguf.metadata().get("tokenizer.ggml.padding_token_id"), None);
}

#[test]
fn ids_of_padding_that_are_no_tokens_are_ignored() {
    for id in [json!(-1), json!(320)] {
        let mut source = Source::of("llama").set("pad_token_id", id);
        source.settings.as_object_mut().unwrap().remove("pad_token");
        let folder = source.write(1);
        let summary = run(&folder, "F16").unwrap();
        assert!(summary.notes.iter().any(|note| note.contains("pad_token_id")), "{:?}", summary.notes);
    }
}

/// Word pieces and unigrams, as embedding models have them: the file carries the tokenizer.
#[test]
fn tokenizers_of_words_are_carried() {
    let vocab = ["[UNK]", "[CLS]", "hello", "wor", "##ld", "!"];
    let added = [added_token(0, "[UNK]", true), added_token(1, "[CLS]", true)];
    let words = json!({
        "version": "1.0", "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab.iter().zip(0..).collect::<BTreeMap<_, i32>>()},
    });
    let scored = [("<unk>", 0.0), ("\u{2581}", -3.0), ("\u{2581}he", -1.0), ("llo", -1.5), ("\u{2581}hello", -4.0)];
    let unigrams = json!({
        "version": "1.0", "added_tokens": [added_token(0, "<unk>", true)], "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "decoder": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": scored},
    });
    let whole = json!({
        "version": "1.0", "added_tokens": [added_token(0, "[UNK]", true)], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "hello": 1, "##ld": 2, "!": 3}},
    });
    for (tokenizer, model, text, ids) in [
        (whole, "bert", "Hello  hello! WORLD[UNK]", &[1, 1, 3, 0, 0][..]),
        (words, "bert", "[CLS]Hello WORLD!é", &[1, 2, 3, 4, 5, 0]),
        (unigrams, "t5", "hello \u{ff48}ello?", &[2, 3, 2, 3, 0]),
    ] {
        let mut source = Source::of("llama");
        source.tokenizer = tokenizer;
        source.settings = json!({});
        source.config["bos_token_id"] = Value::Null;
        source.config["eos_token_id"] = Value::Null;
        let (_, gguf) = imported(&source, "F16");
        assert_eq!(gguf.metadata().str("tokenizer.ggml.model").unwrap(), model);
        let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
        assert_eq!(tokenizer.encode(text, true).unwrap(), ids, "{model}");
    }
}

/// As the first versions of `tokenizers` wrote them.
#[test]
fn tokenizers_need_not_say_their_kind() {
    let pieces = json!({"[UNK]": 0, "hello": 1, "wor": 2, "##ld": 3});
    let words = |model: Value| {
        json!({"added_tokens": [added_token(0, "[UNK]", true)], "pre_tokenizer": {"type": "Whitespace"},
            "decoder": null, "model": model})
    };
    let word_pieces = json!({"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": pieces});
    let unigrams = json!({"unk_id": 0, "vocab": [["[UNK]", 0.0], ["he", -1.0], ["llo", -1.0]]});
    for (model, ids) in [
        (word_pieces, &[1, 2, 3][..]),
        (json!({"unk_token": "[UNK]", "vocab": pieces}), &[1, 0]),
        (unigrams, &[1, 2, 0]),
    ] {
        let mut source = Source::of("llama");
        source.tokenizer = words(model);
        source.settings = json!({});
        source.config["bos_token_id"] = Value::Null;
        source.config["eos_token_id"] = Value::Null;
        let (_, gguf) = imported(&source, "F16");
        let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
        assert_eq!(tokenizer.encode("hello world", true).unwrap(), ids);
    }
    let source = Source::of("llama").edit(|source| {
        source.tokenizer["model"].as_object_mut().unwrap().remove("type");
    });
    assert_eq!(named(&source), named(&Source::of("llama")));
}

/// As in the folders of the first BERT models.
#[test]
fn tokens_around_a_text_need_no_other_names() {
    let mut source = Source::of("llama");
    source.tokenizer["post_processor"] =
        json!({"type": "BertProcessing", "cls": ["<|im_start|>", 1], "sep": ["<|im_end|>", 2]});
    source.settings = json!({});
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        source.config[key] = Value::Null;
    }
    let (_, gguf) = imported(&source, "F16");
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
    assert_eq!((tokenizer.add_bos(), tokenizer.add_eos()), (Some(1), Some(2)));
}

/// GGUF has keys for one token at each end of a text (GLM 4 has two before it).
#[test]
fn tokens_around_a_text_that_are_left_out_are_told() {
    let token = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let notes = |tokens: &[&str], settings: Value| {
        let mut source = Source::of("llama");
        let single: Vec<Value> =
            tokens.iter().map(|id| token(id)).chain([json!({"Sequence": {"id": "A", "type_id": 0}})]).collect();
        source.tokenizer["post_processor"] =
            json!({"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": {}});
        source.settings = settings;
        run(&source.write(1), "F16").unwrap().notes
    };
    let bos = json!({"bos_token": "<|im_start|>"});
    assert_eq!(notes(&["<|im_start|>"], bos.clone()), Vec::<String>::new());
    assert_eq!(notes(&["<|im_start|>"], json!({})), Vec::<String>::new());
    let two = notes(&["<|im_start|>", "<|pad|>"], bos);
    assert!(two.iter().any(|note| note.contains("puts <|im_start|> <|pad|> before a text")), "{two:?}");
    let decided = json!({"bos_token": "<|im_start|>", "add_bos_token": true});
    assert_eq!(notes(&["<|im_start|>", "<|pad|>"], decided), Vec::<String>::new());
}

/// A tokenizer of another kind is refused by name.
#[test]
fn the_kinds_of_tokenizers_are_told() {
    let mut source = Source::of("llama");
    source.tokenizer["model"] = json!({"type": "Other", "vocab": {}});
    let error = run(&source.write(1), "F16").unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && error.contains("BPE, Unigram, WordLevel, WordPiece"), "{error}");
}

/// A field of a message of protocol buffers.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn number(number: u64, value: i64) -> Vec<u8> {
    [varint(number << 3), varint(value as u64)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A `tokenizer.model` of pieces, their scores and types.
fn sentencepiece(kind: i64, map: &[u8]) -> Vec<u8> {
    let mut pieces: Vec<(String, f32, i64)> =
        [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(text, kind)| (text.to_owned(), 0.0, kind)).to_vec();
    pieces.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let merged =
        [("\u{2581}a", -0.5), ("ab", -1.0), ("\u{2581}", -2.0), ("a", -3.0), ("b", -4.0), ("\u{2581}\u{2581}", 0.0)];
    pieces.extend(merged.map(|(text, score)| (text.to_owned(), score, 1 + 3 * i64::from(score == 0.0))));
    let piece = |(text, score, kind): &(String, f32, i64)| {
        let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
        field(1, &[field(1, text.as_bytes()), score, number(3, *kind)].concat())
    };
    let trainer = field(2, &[number(3, kind), number(4, 8000), number(43, -1)].concat());
    let normalizer = [field(1, b"some name"), field(2, map), number(3, 1), number(4, 0)].concat();
    [pieces.iter().flat_map(piece).collect(), trainer, field(3, &normalizer)].concat()
}

#[test]
fn a_sentencepiece_model_alone_is_read() {
    let mut source = Source::of("llama");
    source.settings = json!({"added_tokens_decoder": {
        "265": {"content": "<|end|>", "special": true}, "330": {"content": "<more>", "special": true}}});
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        source.config[key] = Value::Null;
    }
    let folder = source.write(1);
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    folder.write("tokenizer.model", sentencepiece(2, &[]));
    folder.write("added_tokens.json", json!({"<|end|>": 265, "<tool>": 266}).to_string());
    let summary = run(&folder, "F16").unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("no rows for 1 of")), "{:?}", summary.notes);
    let (_, gguf) = read(&folder.join("out.gguf"));
    let metadata = gguf.metadata();
    let types = metadata.i32s("tokenizer.ggml.token_type").unwrap();
    assert_eq!((&types[..4], &types[264..268]), (&[2, 3, 3, 6][..], &[4, 3, 4, 5][..]));
    assert_eq!(metadata.f32s("tokenizer.ggml.scores").unwrap()[259..262], [-0.5, -1.0, -2.0]);
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
    assert_eq!((tokenizer.add_bos(), tokenizer.eos(), tokenizer.is_end(265)), (Some(1), Some(2), true));
    assert_eq!(
        tokenizer.encode("ab aé  <|end|>b", true).unwrap(),
        [259, 263, 259, 3 + 0xc3, 3 + 0xa9, 264, 265, 261, 263]
    );

    // Pieces that mean nothing are there to be replaced (InternLM 2).
    source.settings = json!({"added_tokens_decoder": {"264": {"content": "<|im_end|>", "special": true}}});
    folder.write("tokenizer_config.json", source.settings.to_string());
    std::fs::remove_file(folder.join("added_tokens.json")).unwrap();
    run(&folder, "F16").unwrap();
    let (_, gguf) = read(&folder.join("out.gguf"));
    assert_eq!(gguf.metadata().i32s("tokenizer.ggml.token_type").unwrap()[264], 3);
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
    assert_eq!(tokenizer.encode("a  <|im_end|>", true).unwrap(), [259, 261, 261, 264]);
    assert!(tokenizer.is_end(264));

    for (model, reason) in [
        (sentencepiece(3, &[]), "\"model_type\" is word"),
        (sentencepiece(2, b"map"), "precompiled_charsmap"),
        (b"<html>".to_vec(), "no SentencePiece model"),
        (Vec::new(), "no SentencePiece model"),
    ] {
        folder.write("tokenizer.model", model);
        let error = run(&folder, "F16").unwrap_err().to_string();
        assert!(error.contains("tokenizer.model") && error.contains(reason), "{error}");
    }
}
