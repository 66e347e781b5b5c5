//! The vocabulary of a `tokenizer.json`: tokens, their types, and either merges of bytes or scores.

use std::collections::{HashMap, HashSet};

use ollm_runtime::gguf::Value as GgufValue;
use ollm_runtime::tokenizer::{NORMALIZER_KEY, usual_pre_tokenizers};
use serde_json::Value;

use super::document::Document;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use super::sentencepiece::Piece;
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
    kind: Kind,
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

/// A way in which lists say how text becomes tokens; `form` is there where the name implies another
/// one.
pub(super) enum Way {
    /// By merges, after a pre-tokenizer.
    Merged { model: &'static str, pre: &'static str, form: Option<&'static str> },
    /// By the scores of tokens.
    Scored { space_prefix: bool, form: Option<&'static str> },
}

impl Way {
    /// The name of a pre-tokenizer of bytes.
    pub(super) fn bytes_pre(&self) -> Option<&'static str> {
        match self {
            Self::Merged { model: "gpt2", pre, .. } => Some(pre),
            _ => None,
        }
    }
}

/// What text is made of before merges.
enum Kind {
    /// Bytes are merged.
    Bytes { merges: Vec<String> },
    /// Characters are merged, by rank or by score, and what has no token becomes bytes.
    Characters { merges: Vec<String>, scores: Vec<f32> },
    /// The longest tokens that a word begins with (`WordPiece`), or words alone (`WordLevel`). Only
    /// a carried tokenizer does it.
    Words,
    /// The tokens of the highest score in all (`Unigram`). Only a carried tokenizer does it.
    Unigrams { scores: Vec<f32> },
}

/// The space of tokenizers with scores.
const SPACE: &str = "\u{2581}";

impl HfVocabulary {
    /// Reads the tokenizer of a model of `size` tokens; `model` is its part of that name. Tokens
    /// that the tokenizer has not are named, and never written.
    pub(super) fn read(tokenizer: &Document, model: &Document, size: usize) -> Result<Self> {
        let mut vocabulary = Self::empty(size);
        match kind(model)? {
            "BPE" => vocabulary.read_bpe(tokenizer, model)?,
            "WordPiece" => vocabulary.read_words(tokenizer, model)?,
            "WordLevel" => vocabulary.read_whole_words(tokenizer, model)?,
            "Unigram" => vocabulary.read_unigrams(tokenizer, model)?,
            _ => return Err(model.unsupported("type", "BPE, Unigram, WordLevel, WordPiece").into()),
        }
        Ok(vocabulary)
    }

    /// The tokens of `SentencePiece`, and those that were added, which `added` has as a
    /// `tokenizer.json` has them; with the score of each token. No token has an id past `size`.
    pub(super) fn of_pieces(pieces: &[Piece], added: &Document, size: usize) -> Result<(Self, Vec<f32>)> {
        let mut vocabulary = Self::empty(size);
        let mut scores = vec![0.0; size];
        for (id, Piece { text, score, kind }) in pieces.iter().enumerate() {
            let stored = if *kind == USER_DEFINED { text.replace(SPACE, " ") } else { text.clone() };
            vocabulary.add(added, "pieces", NewToken { id: &id.into(), text, stored, kind: *kind })?;
            scores[id] = *score;
        }
        let lowest = scores.iter().copied().fold(0.0, f32::min) - 1.0;
        scores.iter_mut().skip(pieces.len()).for_each(|score| *score = lowest);
        vocabulary.make_room(added);
        vocabulary.add_added(added, true)?;
        Ok((vocabulary, scores))
    }

    fn empty(size: usize) -> Self {
        Self {
            kind: Kind::Words,
            texts: (0..size).map(|id| format!("[PAD{id}]")).collect(),
            types: vec![UNUSED; size],
            ids: HashMap::new(),
        }
    }

    fn read_bpe(&mut self, tokenizer: &Document, model: &Document) -> Result<()> {
        self.add_model(model)?;
        let merges = merges(model)?;
        let lines = merges.iter().map(|[left, right]| format!("{left} {right}")).collect();
        let of_characters = model.opt_bool("byte_fallback")?.unwrap_or(false);
        if of_characters {
            self.mark(model.opt_str("unk_token")?);
        }
        self.add_added(tokenizer, of_characters)?;
        self.kind = if of_characters {
            Kind::Characters { scores: self.scores(&merges), merges: lines }
        } else {
            Kind::Bytes { merges: lines }
        };
        Ok(())
    }

    /// As llama.cpp's converter writes them: U+2581 begins a word, and `##` no longer goes before
    /// what is none.
    fn read_words(&mut self, tokenizer: &Document, model: &Document) -> Result<()> {
        self.add_model(model)?;
        self.mark(model.opt_str("unk_token")?);
        self.add_added(tokenizer, false)?;
        for (text, _) in self.texts.iter_mut().zip(&self.types).filter(|&(_, &kind)| kind == NORMAL) {
            *text = text.strip_prefix("##").map_or_else(|| format!("{SPACE}{text}"), str::to_owned);
        }
        self.kind = Kind::Words;
        Ok(())
    }

    /// As word pieces of which each is a word.
    fn read_whole_words(&mut self, tokenizer: &Document, model: &Document) -> Result<()> {
        self.add_model(model)?;
        self.mark(model.opt_str("unk_token")?);
        self.add_added(tokenizer, false)?;
        for (text, _) in self.texts.iter_mut().zip(&self.types).filter(|&(_, &kind)| kind == NORMAL) {
            text.insert_str(0, SPACE);
        }
        self.kind = Kind::Words;
        Ok(())
    }

    fn read_unigrams(&mut self, tokenizer: &Document, model: &Document) -> Result<()> {
        const KEY: &str = "vocab";
        let entries = model.opt_list(KEY)?.ok_or_else(|| model.missing(KEY))?;
        let mut scores = vec![0.0; self.texts.len()];
        for (id, entry) in entries.iter().enumerate() {
            let pair = entry[0].as_str().zip(entry[1].as_f64());
            let (text, score) = pair.ok_or_else(|| bad(model, KEY, "tokens with their scores"))?;
            self.add(model, KEY, NewToken { id: &id.into(), text, stored: text.to_owned(), kind: NORMAL })?;
            scores[id] = score as f32;
        }
        let unknown = model.get("unk_id").and_then(Value::as_u64).and_then(|id| entries.get(id as usize));
        self.mark(unknown.and_then(|entry| entry[0].as_str()));
        self.add_added(tokenizer, true)?;
        self.kind = Kind::Unigrams { scores };
        Ok(())
    }

    /// The lists of the vocabulary.
    pub(super) fn keys(&self) -> MetadataPairs {
        let keys: [(&str, GgufValue); 2] =
            [("tokens", self.texts.clone().into()), ("token_type", self.types.clone().into())];
        keys.into_iter().map(|(name, value)| (format!("tokenizer.ggml.{name}"), value)).collect()
    }

    /// The ways in which lists may do what the tokenizer does, the usual ones first: which of them
    /// it is, is for its behaviour to tell. `form` is the tokenizer's normalization form.
    pub(super) fn ways(&self, form: &'static str) -> Vec<Way> {
        let merged = |model, (pre, usual)| Way::Merged { model, pre, form: Some(form).filter(|&form| form != usual) };
        match &self.kind {
            Kind::Words | Kind::Unigrams { .. } => Vec::new(),
            Kind::Bytes { .. } => {
                let mut names: Vec<_> = usual_pre_tokenizers().collect();
                names.sort_by_key(|&(_, usual)| usual != form);
                names.into_iter().map(|name| merged("gpt2", name)).collect()
            }
            Kind::Characters { .. } => {
                let form = Some(form).filter(|&form| form != "none");
                let scored = [false, true].map(|space_prefix| Way::Scored { space_prefix, form });
                scored.into_iter().chain([merged("gemma4", ("gemma4", "none"))]).collect()
            }
        }
    }

    /// The lists beside [`Self::keys`] that say a way.
    pub(super) fn lists(&self, way: &Way) -> MetadataPairs {
        let (mut keys, form): (Vec<(&str, GgufValue)>, _) = match (way, &self.kind) {
            (Way::Scored { space_prefix, form }, Kind::Characters { scores, .. }) => (
                vec![
                    ("model", "llama".into()),
                    ("pre", "default".into()),
                    ("scores", scores.clone().into()),
                    ("add_space_prefix", (*space_prefix).into()),
                ],
                form,
            ),
            (Way::Merged { model, pre, form }, Kind::Bytes { merges } | Kind::Characters { merges, .. }) => {
                (vec![("model", (*model).into()), ("pre", (*pre).into()), ("merges", merges.clone().into())], form)
            }
            _ => (Vec::new(), &None),
        };
        let form = form.map(|form| (NORMALIZER_KEY.to_owned(), form.into()));
        keys.drain(..).map(|(name, value)| (format!("tokenizer.ggml.{name}"), value)).chain(form).collect()
    }

    /// The lists of a tokenizer that none of the ways is like, for programs that read nothing else.
    pub(super) fn nearest(&self) -> MetadataPairs {
        let model = |name: &str| ("tokenizer.ggml.model".to_owned(), name.into());
        let mut keys = match &self.kind {
            Kind::Words => vec![model("bert")],
            Kind::Unigrams { scores } => {
                vec![model("t5"), ("tokenizer.ggml.scores".to_owned(), scores.clone().into())]
            }
            Kind::Bytes { .. } | Kind::Characters { .. } => {
                self.ways("none").first().map(|way| self.lists(way)).unwrap_or_default()
            }
        };
        keys.retain(|(key, _)| key != "tokenizer.ggml.pre");
        keys.push(("tokenizer.ggml.pre".to_owned(), "default".into()));
        keys
    }

    /// The id of a token.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// An id, where it is one of a token.
    pub(super) fn known(&self, id: u64) -> Option<u32> {
        (id < self.texts.len() as u64).then_some(id as u32)
    }

    fn add_model(&mut self, model: &Document) -> Result<()> {
        const KEY: &str = "vocab";
        let vocab = model.get(KEY).ok_or_else(|| model.missing(KEY))?;
        let tokens = vocab.as_object().ok_or_else(|| bad(model, KEY, "an id for each token"))?;
        tokens
            .iter()
            .try_for_each(|(text, id)| self.add(model, KEY, NewToken { id, text, stored: text.clone(), kind: NORMAL }))
    }

    /// Takes out the pieces whose ids are those of other tokens among the added ones: pieces of no
    /// use are there to be replaced (`[UNUSED_TOKEN_145]` by `<|im_end|>`).
    fn make_room(&mut self, added: &Document) {
        for token in added.value["added_tokens"].as_array().into_iter().flatten() {
            let id = token["id"].as_u64().filter(|&id| id < self.texts.len() as u64).map(|id| id as u32);
            let piece = id.filter(|&id| token["content"].as_str().is_some_and(|text| self.id(text) != Some(id)));
            if let Some(id) = piece {
                self.ids.retain(|_, other| *other != id);
                self.types[id as usize] = UNUSED;
            }
        }
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
        let index = id.as_u64().filter(|&id| id < size as u64);
        let index = index.ok_or_else(|| bad(json, key, "an id of the model for each token"))? as usize;
        let id = index as u32;
        if self.types[index] != UNUSED && self.id(text) != Some(id) {
            return Err(bad(json, key, "an id of its own for each token").into());
        }
        (self.texts[index], self.types[index]) = (stored, kind);
        self.ids.insert(text.to_owned(), id);
        Ok(())
    }

    /// Marks the tokens that stand for bytes, and the one that stands for what is not known.
    fn mark(&mut self, unknown: Option<&str>) {
        for (text, kind) in self.texts.iter().zip(&mut self.types) {
            let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>')).unwrap_or_default();
            if digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                *kind = BYTE;
            } else if Some(text.as_str()) == unknown {
                *kind = UNKNOWN;
            }
        }
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

/// The type of a model. Files of the first versions of `tokenizers` do not have it (those of BERT
/// and RoBERTa): it is by what else there is, as that reads them.
fn kind(model: &Document) -> Result<&str> {
    let has = |key: &str| model.value.get(key).is_some();
    Ok(match model.opt_str("type")? {
        Some(kind) => kind,
        None if has("type") => "",
        None if has("merges") => "BPE",
        None if has("max_input_chars_per_word") => "WordPiece",
        None if model.get("vocab").is_some_and(Value::is_array) => "Unigram",
        None if has("vocab") => "WordLevel",
        None => "",
    })
}

/// The merges, in both forms: two tokens with a space between them, or a list of two.
fn merges(model: &Document) -> Result<Vec<[&str; 2]>> {
    const KEY: &str = "merges";
    let all = model.opt_list(KEY)?.ok_or_else(|| model.missing(KEY))?;
    all.iter().map(pair).collect::<Option<_>>().ok_or_else(|| bad(model, KEY, "pairs of tokens").into())
}

fn pair(merge: &Value) -> Option<[&str; 2]> {
    match merge {
        Value::String(line) => line.split_once(' ').map(|(left, right)| [left, right]),
        merge => Some([merge[0].as_str()?, merge[1].as_str()?]),
    }
}

/// The steps of a part of a tokenizer: itself, or those that it is a sequence of.
fn steps<'a>(part: &'a Value, list: &str) -> &'a [Value] {
    part[list].as_array().map_or(std::slice::from_ref(part), Vec::as_slice)
}

/// The normalization form of a tokenizer, as GGUF files say it; what else its normalizer does is
/// for its behaviour to tell.
pub(super) fn form(tokenizer: &Document) -> &'static str {
    let normalizer = tokenizer.get("normalizer").unwrap_or(&Value::Null);
    let known = ["nfc", "nfd", "nfkc", "nfkd"].into_iter();
    let is = |step: &Value, form: &str| step["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(form));
    let mut steps = steps(normalizer, "normalizers").iter();
    steps.find_map(|step| known.clone().find(|form| is(step, form))).unwrap_or("none")
}

/// Drops the entries past `size`, and gives their number.
pub(super) fn cut_off<T>(list: &mut Vec<T>, size: usize) -> usize {
    let more = list.len().saturating_sub(size);
    list.truncate(size);
    more
}

/// Takes from a tokenizer the tokens that a model of `size` tokens has no row for, and what leads
/// to them. Gives their number.
pub(super) fn prune(tokenizer: &mut Document, size: usize) -> usize {
    let has = |id: &Value| id.as_u64().is_none_or(|id| id < size as u64);
    let mut gone = HashSet::new();
    if let Some(added) = tokenizer.value.get_mut("added_tokens").and_then(Value::as_array_mut) {
        let text = |token: &Value| token["content"].as_str().unwrap_or_default().to_owned();
        gone.extend(added.iter().filter(|token| !has(&token["id"])).map(text));
        added.retain(|token| has(&token["id"]));
    }
    let Some(model) = tokenizer.value.get_mut("model") else { return gone.len() };
    // Unigrams are numbered by their places.
    if let Some(vocab) = model.get_mut("vocab").and_then(Value::as_array_mut) {
        return gone.len() + cut_off(vocab, size);
    }
    let Some(vocab) = model.get_mut("vocab").and_then(Value::as_object_mut) else { return gone.len() };
    let more: HashSet<String> = vocab.iter().filter(|(_, id)| !has(id)).map(|(text, _)| text.clone()).collect();
    vocab.retain(|_, id| has(id));
    if let Some(merges) = model.get_mut("merges").and_then(Value::as_array_mut).filter(|_| !more.is_empty()) {
        let leads =
            |[left, right]: [&str; 2]| [left, right, &format!("{left}{right}")].iter().any(|&text| more.contains(text));
        merges.retain(|merge| !pair(merge).is_some_and(leads));
    }
    gone.extend(more);
    gone.len()
}
