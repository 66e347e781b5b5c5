//! The vocabulary of a `tokenizer.json`: tokens, their types, and either merges of bytes or scores.

use std::collections::HashMap;

use ollm_runtime::gguf::Value as GgufValue;
use serde_json::Value;

use super::document::Document;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use crate::Result;

/// What a token is for: `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The tokens of a model.
pub(super) struct HfVocabulary {
    pub(super) kind: Kind,
    pub(super) texts: Vec<String>,
    pub(super) types: Vec<i32>,
    ids: HashMap<String, u32>,
}

/// A token as `tokenizer.json` lists it.
struct NewToken<'a> {
    id: &'a Value,
    text: &'a str,
    /// Its text in the GGUF file.
    stored: String,
    /// One of the types above.
    kind: i32,
}

/// How text becomes tokens.
pub(super) enum Kind {
    /// Bytes are merged: `gpt2`.
    Bytes { pre: &'static str, merges: Vec<String> },
    /// Characters are merged, what has no token becomes bytes: `llama`.
    Scores { scores: Vec<f32>, space_prefix: bool },
}

/// `tokenizer.ggml.pre` of the expressions that pieces are cut by.
const EXPRESSIONS: [(&str, &str); 2] = [
    (
        "llama-bpe",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "qwen2",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
];

/// The space of tokenizers with scores.
const SPACE: &str = "\u{2581}";

impl HfVocabulary {
    /// Reads the tokenizer of a model of `size` tokens. Tokens that the tokenizer has not are
    /// named, and never written.
    pub(super) fn read(tokenizer: &Document, size: usize) -> Result<Self> {
        let model = tokenizer.part("model")?.ok_or_else(|| tokenizer.missing("model"))?;
        if model.opt_str("type")? != Some("BPE") {
            return Err(model.unsupported("type", "BPE").into());
        }
        let mut vocabulary = Self {
            kind: Kind::Bytes { pre: "", merges: Vec::new() },
            texts: (0..size).map(|id| format!("[PAD{id}]")).collect(),
            types: vec![UNUSED; size],
            ids: HashMap::new(),
        };
        vocabulary.add_model(&model)?;
        let merges = merges(&model)?;
        let by_score = model.opt_bool("byte_fallback")?.unwrap_or(false);
        if by_score {
            vocabulary.mark(&model)?;
        }
        vocabulary.add_added(tokenizer, by_score)?;
        vocabulary.kind = if by_score {
            Kind::Scores { scores: vocabulary.scores(&merges), space_prefix: space_prefix(tokenizer)? }
        } else {
            plain(tokenizer, &model)?;
            let merges = merges.iter().map(|[left, right]| format!("{left} {right}")).collect();
            Kind::Bytes { pre: pre_tokenizer(tokenizer)?, merges }
        };
        Ok(vocabulary)
    }

    /// The lists of the vocabulary.
    pub(super) fn keys(&self) -> MetadataPairs {
        let mut keys: Vec<(&str, GgufValue)> =
            vec![("tokens", self.texts.clone().into()), ("token_type", self.types.clone().into())];
        keys.extend(match &self.kind {
            Kind::Bytes { pre, merges } => {
                vec![("model", "gpt2".into()), ("pre", (*pre).into()), ("merges", merges.clone().into())]
            }
            Kind::Scores { scores, space_prefix } => vec![
                ("model", "llama".into()),
                ("pre", "default".into()),
                ("scores", scores.clone().into()),
                ("add_space_prefix", (*space_prefix).into()),
            ],
        });
        keys.into_iter().map(|(name, value)| (format!("tokenizer.ggml.{name}"), value)).collect()
    }

    /// The id of a token.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    fn add_model(&mut self, model: &Document) -> Result<()> {
        const KEY: &str = "vocab";
        let vocab = model.get(KEY).ok_or_else(|| model.missing(KEY))?;
        let tokens = vocab.as_object().ok_or_else(|| bad(model, KEY, "an id for each token"))?;
        tokens
            .iter()
            .try_for_each(|(text, id)| self.add(model, KEY, NewToken { id, text, stored: text.clone(), kind: NORMAL }))
    }

    /// Tokens that are found in a text before all else. Their spaces are spaces.
    fn add_added(&mut self, tokenizer: &Document, by_score: bool) -> Result<()> {
        const KEY: &str = "added_tokens";
        for token in tokenizer.opt_list(KEY)?.into_iter().flatten() {
            let text = token["content"].as_str().ok_or_else(|| bad(tokenizer, KEY, "tokens with their content"))?;
            let special = token["special"].as_bool().unwrap_or(false);
            let kept = self.id(text).map(|id| self.types[id as usize]).filter(|&kind| kind == UNKNOWN);
            let kind = kept.unwrap_or(if special { CONTROL } else { USER_DEFINED });
            let stored = if by_score && !special { text.replace(SPACE, " ") } else { text.to_owned() };
            self.add(tokenizer, KEY, NewToken { id: &token["id"], text, stored, kind })?;
        }
        Ok(())
    }

    /// Adds a token of the list `key`.
    fn add(&mut self, json: &Document, key: &'static str, token: NewToken<'_>) -> Result<()> {
        let NewToken { id, text, stored, kind } = token;
        let size = self.texts.len();
        let id = id.as_u64().ok_or_else(|| bad(json, key, "an id for each token"))?;
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        if index >= size {
            let tokens = index.saturating_add(1);
            return Err(ImportError::TooManyTokens { path: json.path.clone(), tokens, vocabulary: size }.into());
        }
        if self.types[index] != UNUSED && self.id(text) != Some(id as u32) {
            return Err(bad(json, key, "an id of its own for each token").into());
        }
        (self.texts[index], self.types[index]) = (stored, kind);
        self.ids.insert(text.to_owned(), id as u32);
        Ok(())
    }

    /// Marks the tokens that stand for bytes, and the one that stands for what is not known.
    fn mark(&mut self, model: &Document) -> Result<()> {
        let unknown = model.opt_str("unk_token")?;
        for (text, kind) in self.texts.iter().zip(&mut self.types) {
            let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>')).unwrap_or_default();
            if digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                *kind = BYTE;
            } else if Some(text.as_str()) == unknown {
                *kind = UNKNOWN;
            }
        }
        Ok(())
    }

    /// A token that is merged earlier has a higher score; those that nothing is merged to, the
    /// lowest.
    fn scores(&self, merges: &[[&str; 2]]) -> Vec<f32> {
        let mut scores = vec![-(merges.len() as f32) - 1.0; self.texts.len()];
        let mut joined = String::new();
        for (rank, [left, right]) in merges.iter().enumerate().rev() {
            joined.clear();
            joined.extend([*left, *right]);
            if let Some(id) = self.id(&joined) {
                scores[id as usize] = -(rank as f32);
            }
        }
        scores
    }
}

fn bad(json: &Document, key: &str, rule: &'static str) -> ImportError {
    // The value itself may be megabytes long.
    ImportError::BadValue { path: json.path.clone(), key: key.to_owned(), value: "something else".to_owned(), rule }
}

/// The merges, in both forms: two tokens with a space between them, or a list of two.
fn merges(model: &Document) -> Result<Vec<[&str; 2]>> {
    const KEY: &str = "merges";
    let all = model.opt_list(KEY)?.ok_or_else(|| model.missing(KEY))?;
    let pairs = all.iter().map(|merge| match merge {
        Value::String(line) => line.split_once(' ').map(|(left, right)| [left, right]),
        merge => Some([merge[0].as_str()?, merge[1].as_str()?]),
    });
    pairs.collect::<Option<_>>().ok_or_else(|| bad(model, KEY, "pairs of tokens").into())
}

/// The steps of a part of a tokenizer: itself, or those that it is a sequence of.
fn steps<'a>(part: &'a Value, list: &str) -> &'a [Value] {
    part[list].as_array().map_or(std::slice::from_ref(part), Vec::as_slice)
}

/// Whether a space is put before a text, by the normalizer or by the pre-tokenizer.
fn space_prefix(tokenizer: &Document) -> Result<bool> {
    let part = |key| tokenizer.get(key).unwrap_or(&Value::Null);
    let is = |step: &Value, kind: &str| step["type"] == kind;
    let (normalizer, pre) = (part("normalizer"), part("pre_tokenizer"));
    let prepends = steps(normalizer, "normalizers").iter().any(|step| is(step, "Prepend"));
    let replaces = steps(normalizer, "normalizers").iter().any(|step| is(step, "Replace") && step["content"] == SPACE);
    let metaspace = steps(pre, "pretokenizers").iter().find(|step| is(step, "Metaspace"));
    match metaspace {
        Some(step) => Ok(step["prepend_scheme"] != "never"),
        None if replaces => Ok(prepends),
        None => Err(tokenizer.unsupported("normalizer", "one that replaces spaces by U+2581").into()),
    }
}

/// Refuses what a byte-level tokenizer of a GGUF file does not do to a text.
fn plain(tokenizer: &Document, model: &Document) -> Result<()> {
    let normalizer = tokenizer.get("normalizer").unwrap_or(&Value::Null);
    if !normalizer.is_null() && !steps(normalizer, "normalizers").iter().all(|step| step["type"] == "NFC") {
        return Err(tokenizer.unsupported("normalizer", "none, and NFC").into());
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
            return Err(model.unsupported(key, "none").into());
        }
    }
    Ok(())
}

/// The name of the pre-tokenizer that this one is.
fn pre_tokenizer(tokenizer: &Document) -> Result<&'static str> {
    const KEY: &str = "pre_tokenizer";
    let part = tokenizer.get(KEY).unwrap_or(&Value::Null);
    let found = match steps(part, "pretokenizers") {
        [bytes] if is_bytes(bytes, true) => Some("gpt2"),
        [digits, bytes] if is_digits(digits) && is_bytes(bytes, true) => Some("smollm"),
        [split, bytes] if is_bytes(bytes, false) => {
            EXPRESSIONS.iter().find(|(_, text)| is_split(split, text)).map(|(name, _)| *name)
        }
        _ => None,
    };
    let supported = "those of GPT-2, Llama 3, Qwen2 and SmolLM";
    found.ok_or_else(|| tokenizer.unsupported(KEY, supported).into())
}

fn is_bytes(step: &Value, regex: bool) -> bool {
    step["type"] == "ByteLevel"
        && step["add_prefix_space"] != true
        && step["use_regex"].as_bool().unwrap_or(true) == regex
}

fn is_digits(step: &Value) -> bool {
    step["type"] == "Digits" && step["individual_digits"] == true
}

fn is_split(step: &Value, expression: &str) -> bool {
    step["type"] == "Split"
        && step["pattern"]["Regex"] == expression
        && step["behavior"] == "Isolated"
        && step["invert"] != true
}
