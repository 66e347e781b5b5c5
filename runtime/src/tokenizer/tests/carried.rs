//! Tokenizers of which a file has the `tokenizer.json`.

use super::*;

/// The same vocabulary as a Hugging Face file.
fn json() -> String {
    let letters: Vec<String> =
        (0..=255).map(|byte| format!("{:?}: {byte}", bytes::to_char(byte).to_string())).collect();
    let words = MERGES.iter().zip(256..).map(|(merge, id)| format!("{:?}: {id}", merge.replace(' ', "")));
    let vocab: Vec<String> = letters.into_iter().chain(words).collect();
    let byte_level = r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
    let added = r#"{"id": 263, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}"#;
    format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{added}], "normalizer": null,
        "pre_tokenizer": {byte_level}, "post_processor": null, "decoder": {byte_level},
        "model": {{"type": "BPE", "vocab": {{{}}}, "merges": {MERGES:?}}}}}"#,
        vocab.join(", ")
    )
}

fn carried(json: String) -> Result<Tokenizer> {
    File::new("unknown").without("tokenizer.ggml.bos_token_id").with("tokenizer.huggingface.json", json).read()
}

#[test]
fn a_carried_tokenizer_is_used() {
    let (t, lists) = (carried(json()).unwrap(), tokenizer());
    for text in ["hello world", "é  中\n", "<|end|>hello", ""] {
        for special in [false, true] {
            assert_eq!(t.encode(text, special).unwrap(), lists.encode(text, special).unwrap(), "{text:?}");
        }
    }
    assert_eq!((t.vocab_size(), t.is_end(263), t.bos()), (264, true, None));
    assert_eq!(t.decode(&[259, 32, 263]), "hello <|end|>");
}

/// As in Gemma's files: spaces become U+2581, what is no token becomes bytes.
#[test]
fn a_carried_tokenizer_may_fall_back_to_bytes() {
    let mut vocab: Vec<String> = (0..=255).map(|byte| format!("\"<0x{byte:02X}>\": {byte}")).collect();
    let letters = ["\u{2581}", "a", "b", "\u{2581}a", "<s>", "\u{2581}\u{2581}"].into_iter().zip(256..);
    vocab.extend(letters.map(|(text, id)| format!("\"{text}\": {id}")));
    let json = format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": [{{"id": 260, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}}, {{"id": 261, "content": "▁▁", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": false}}],
        "normalizer": {{"type": "Replace", "pattern": {{"String": " "}}, "content": "▁"}},
        "decoder": {{"type": "Sequence", "decoders": [{{"type": "ByteFallback"}}, {{"type": "Fuse"}}]}},
        "model": {{"type": "BPE", "byte_fallback": true, "unk_token": null, "vocab": {{{}}},
        "merges": [["▁", "a"]]}}}}"#,
        vocab.join(", ")
    );
    let t = carried(json).unwrap();
    assert_eq!(t.encode("a a<s>é b", true).unwrap(), [257, 259, 260, 0xc3, 0xa9, 256, 258]);
    assert_eq!(t.decode(&[257, 259, 260, 0xc3, 0xa9, 256, 258]), "a a<s>é b");
    // Added tokens are decoded as others are.
    assert_eq!(t.decode(&[257, 261, 258]), "a  b");
}

#[test]
fn a_carried_tokenizer_that_cannot_be_used_is_an_error() {
    for (json, message) in [
        ("{".to_owned(), "tokenizer.huggingface.json"),
        (json().replace("\"decoder\": {\"type\": \"ByteLevel\"", "\"decoder\": {\"type\": \"Fuse\""), "byte-level"),
        (json().replace("\"hello\": 259", "\"hello\": 70000"), "its highest id makes 70001 tokens"),
        (json().replace("\"A A\"", "\"hello hello\""), "malformed"),
    ] {
        let error = carried(json).unwrap_err().to_string();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }
}

/// With a space before the beginning of a text alone, what follows a token is not a beginning: as
/// in the `tokenizers` crate, wherever the text is cut.
#[test]
fn plain_text_between_special_tokens_is_no_beginning() {
    let json = r#"{"version": "1.0", "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 4, "content": "<s>", "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false}],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}]},
        "model": {"type": "BPE", "vocab": {"▁": 0, "<": 1, "s": 2, ">": 3, "<s>": 4}, "merges": []}}"#;
    let t = File(vec![("tokenizer.huggingface.json", json.into())]).read().unwrap();
    assert_eq!(t.encode("s<s>s", true).unwrap(), [0, 2, 4, 2]);
    assert_eq!(t.encode_outside("<s>s<s>", &[]).unwrap(), [4, 2, 4]);
    assert_eq!(t.encode_outside("<s>s<s>", std::slice::from_ref(&(4..5))).unwrap(), [4, 2, 1, 2, 3]);
    assert_eq!(t.encode_outside("s<s>", std::slice::from_ref(&(1..2))).unwrap(), [0, 2, 1, 2, 3]);
    assert_eq!(t.control_texts().collect::<Vec<_>>(), ["<s>"]);
}
