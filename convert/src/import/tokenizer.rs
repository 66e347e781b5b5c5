//! `tokenizer.json` and what belongs to it, as GGUF says it: the lists `tokenizer.ggml.*`, and the
//! original beside them where they do not do what it does.

use std::cell::LazyCell;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{Metadata, Value as GgufValue};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::behaviour::{self, Cuts};
use super::document::Document;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use super::sentencepiece::SentencePiece;
use super::templates;
use super::vocabulary::{self, HfVocabulary};
use crate::Result;

/// The key of a `tokenizer.json` as it is.
const CARRIED: &str = "tokenizer.huggingface.json";

/// The files of a folder that say how text becomes tokens, and what ends a text.
pub(super) struct TokenizerFiles {
    folder: PathBuf,
    tokenizer: Document,
    /// `tokenizer.model`, where there is no `tokenizer.json`; then `tokenizer` has the tokens that
    /// were added.
    pieces: Option<SentencePiece>,
    settings: Document,
    /// `config.json` and `generation_config.json`, which name special tokens by their ids.
    config: Document,
    generation: Document,
}

/// What is between the texts of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joint {
    /// Nothing, as behind a text.
    Nothing,
    /// The token that ends a text.
    End,
    /// The same, then the separator.
    EndAndSeparator,
    /// What GGUF has no key for.
    Other,
}

impl TokenizerFiles {
    pub(super) fn open(folder: &Path, config: Document) -> Result<Self> {
        let [json, model] = ["tokenizer.json", "tokenizer.model"].map(|name| folder.join(name));
        let settings = Document::read_if_there(&folder.join("tokenizer_config.json"))?;
        let alone = model.exists() && !json.exists();
        let pieces = alone.then(|| SentencePiece::read(&model)).transpose()?;
        let tokenizer = if alone { added_tokens(folder, &settings)? } else { Document::read(&json)? };
        Ok(Self {
            folder: folder.to_owned(),
            tokenizer,
            pieces,
            settings,
            generation: Document::read_if_there(&folder.join("generation_config.json"))?,
            config,
        })
    }

    /// `tokenizer.json`.
    pub(super) fn json(&self) -> &Document {
        &self.tokenizer
    }

    /// The keys of the tokenizer for a model of `size` tokens, and what the user should know.
    pub(super) fn keys(mut self, size: usize) -> Result<(MetadataPairs, Vec<String>)> {
        let pieces = self.pieces.as_mut().map_or(0, |model| vocabulary::cut_off(&mut model.pieces, size));
        let pruned = pieces + vocabulary::prune(&mut self.tokenizer, size);
        let (mut keys, mut notes) = match &self.pieces {
            Some(pieces) => self.keys_of_pieces(pieces, size)?,
            None => self.keys_of_json(size, pruned > 0)?,
        };
        if pruned > 0 {
            notes.push(format!("the model has no rows for {pruned} of the tokenizer's tokens: they are left out"));
        }
        keys.extend(templates::keys(&self.folder, &self.settings)?);
        keys.extend(self.suppressed()?);
        Ok((keys, notes))
    }

    fn keys_of_pieces(&self, pieces: &SentencePiece, size: usize) -> Result<(MetadataPairs, Vec<String>)> {
        let (vocabulary, scores) = HfVocabulary::of_pieces(&pieces.pieces, &self.tokenizer, size)?;
        let (mut keys, notes) = self.specials(&vocabulary)?;
        keys.extend(vocabulary.keys());
        keys.extend(pieces.keys(scores));
        self.tokenizer(&keys, &[])?;
        Ok((keys, notes))
    }

    fn keys_of_json(&mut self, size: usize, is_pruned: bool) -> Result<(MetadataPairs, Vec<String>)> {
        let json = if is_pruned { self.tokenizer.value.to_string() } else { self.tokenizer.text()? };
        let json = [(CARRIED.to_owned(), json.into())];
        let model = self.tokenizer.take("model")?.ok_or_else(|| self.tokenizer.missing("model"))?;
        let vocabulary = HfVocabulary::read(&self.tokenizer, &model, size)?;
        drop(model);
        let (mut keys, mut notes) = self.specials(&vocabulary)?;
        let published = self.tokenizer(&keys, &json)?;
        keys.extend(vocabulary.keys());
        if let Some(lists) = self.lists_that_do(&published, &vocabulary, &keys) {
            keys.extend(lists);
            return Ok((keys, notes));
        }
        notes.push("no lists of GGUF do what tokenizer.json does: the file carries it as it is".to_owned());
        keys.extend(vocabulary.nearest());
        keys.extend(json);
        self.tokenizer(&keys, &[])?;
        Ok((keys, notes))
    }

    /// The lists that do what the published tokenizer does. A pre-tokenizer of bytes cuts every
    /// text alike, not only those that this vocabulary has tokens for.
    fn lists_that_do(
        &self,
        published: &Tokenizer,
        vocabulary: &HfVocabulary,
        keys: &[(String, GgufValue)],
    ) -> Option<MetadataPairs> {
        let form = vocabulary::form(&self.tokenizer);
        let cuts = LazyCell::new(|| Cuts::of(&self.tokenizer));
        let ways = vocabulary.ways(form);
        let mut ways = ways.iter().filter(|way| way.bytes_pre().is_none_or(|pre| cuts.are_those_of(pre, form)));
        ways.find_map(|way| {
            let lists = vocabulary.lists(way);
            let same = self.tokenizer(keys, &lists).is_ok_and(|lists| behaviour::is_same(published, &lists));
            same.then_some(lists)
        })
    }

    /// The tokenizer of these keys.
    fn tokenizer(&self, keys: &[(String, GgufValue)], more: &[(String, GgufValue)]) -> Result<Tokenizer> {
        let mut metadata = Metadata::default();
        for (key, value) in keys.iter().chain(more) {
            metadata.insert(key.clone(), value.clone()).map_err(crate::ConvertError::Output)?;
        }
        let path = || self.tokenizer.path.clone();
        Ok(Tokenizer::from_metadata(&metadata).map_err(|source| ImportError::Tokenizer { path: path(), source })?)
    }

    /// The special tokens by their ids, and which of them begin a text.
    fn specials(&self, vocabulary: &HfVocabulary) -> Result<(MetadataPairs, Vec<String>)> {
        let mut keys = Vec::new();
        let mut notes = Vec::new();
        for (name, key) in [("bos", "bos_token"), ("eos", "eos_token")] {
            keys.extend(self.special(vocabulary, key)?.map(|id| (name, id)));
        }
        // Nothing that runs needs these.
        let others = [
            ("unknown", "unk_token"),
            ("padding", "pad_token"),
            // So it is spelled in GGUF.
            ("seperator", "sep_token"),
            ("cls", "cls_token"),
            ("mask", "mask_token"),
        ];
        for (name, key) in others {
            match self.special(vocabulary, key) {
                Ok(id) => keys.extend(id.map(|id| (name, id))),
                Err(error) => notes.push(format!("{error}: it is ignored")),
            }
        }
        let named = |keys: &[(&str, u32)], name: &str| keys.iter().find(|(known, _)| *known == name).map(|&(_, id)| id);
        // Word pieces have no names of their own for what begins and ends a text.
        for (name, other) in [("bos", "cls"), ("eos", "seperator")] {
            let id = named(&keys, other).filter(|_| named(&keys, name).is_none());
            keys.extend(id.map(|id| (name, id)));
        }
        let around = self.enclosure(vocabulary);
        let (first, last) = (around[0].first().copied(), around[1].last().copied());
        // Settings need not name what begins a text (BERT's do not).
        if let ([first], None) = (&around[0][..], named(&keys, "bos")) {
            keys.push(("bos", *first));
        }
        let mut ends = self.ends(vocabulary)?;
        // What ends a text need not be what ends a turn: then GGUF has the other name for that.
        if let Some(last) = last {
            ends.extend(named(&keys, "eos").filter(|&eos| eos != last && !ends.contains(&eos)));
            keys.retain(|(name, _)| *name != "eos");
            keys.push(("eos", last));
        }
        let eos = named(&keys, "eos");
        ends.retain(|&id| Some(id) != eos);
        let names = if eos.is_some() { &["eot", "eom"][..] } else { &["eos", "eot", "eom"] };
        notes.extend(ends.iter().skip(names.len()).map(|id| {
            let text = &vocabulary.texts[*id as usize];
            format!("token {id}, {text:?}, ends a text too, but GGUF has no key for it")
        }));
        keys.extend(names.iter().copied().zip(ends));
        let bos = named(&keys, "bos");
        let adds_bos = self.adds_bos(bos, first)?;
        let adds_eos = self.settings.opt_bool("add_eos_token")?.unwrap_or(last.is_some()) && eos.is_some();
        let written = [bos.filter(|_| adds_bos), eos.filter(|_| adds_eos)];
        notes.extend(self.left_out(vocabulary, &around, written));
        let ids = keys.into_iter().map(|(name, id)| (format!("tokenizer.ggml.{name}_token_id"), GgufValue::U32(id)));
        let adds = ("tokenizer.ggml.add_bos_token".to_owned(), GgufValue::Bool(adds_bos));
        let separates = match self.joint() {
            Some(Joint::End) => Some(false),
            Some(Joint::EndAndSeparator) => Some(true),
            Some(Joint::Nothing | Joint::Other) | None => None,
        };
        let separates = separates.map(|is| ("tokenizer.ggml.add_sep_token".to_owned(), GgufValue::Bool(is)));
        let adds_eos = adds_eos.then(|| ("tokenizer.ggml.add_eos_token".to_owned(), GgufValue::Bool(true)));
        Ok((ids.chain([adds]).chain(adds_eos).chain(separates).collect(), notes))
    }

    /// What the post-processor puts around a text in vain, as GGUF has keys for one token at each
    /// end: those that are `written`. Settings may say otherwise.
    fn left_out(&self, vocabulary: &HfVocabulary, around: &[Vec<u32>; 2], written: [Option<u32>; 2]) -> Vec<String> {
        let ends = [("before", "add_bos_token"), ("behind", "add_eos_token")];
        let ends = ends.into_iter().zip(around).zip(written);
        let lost = ends.filter(|(((_, key), around), written)| {
            self.settings.get(key).is_none() && !around.is_empty() && !around.iter().eq(written)
        });
        let note = |(((end, _), around), _): (((&str, _), &Vec<u32>), _)| {
            let texts: Vec<&str> = around.iter().map(|&id| vocabulary.texts[id as usize].as_str()).collect();
            format!("tokenizer.json puts {} {end} a text: GGUF has no keys for that", texts.join(" "))
        };
        lost.map(note).collect()
    }

    /// Whether GGUF has no key for what the post-processor puts between the texts of a pair.
    pub(super) fn joins_otherwise(&self) -> bool {
        self.joint() == Some(Joint::Other)
    }

    /// What the post-processor puts between the texts of a pair; none, if it says nothing of pairs.
    fn joint(&self) -> Option<Joint> {
        self.post_processors().find_map(|step| match step["type"].as_str() {
            Some("RobertaProcessing") => Some(Joint::EndAndSeparator),
            Some("BertProcessing") => Some(Joint::End),
            _ => {
                let parts = step["pair"].as_array()?;
                let place = |id: &str| parts.iter().position(|part| part["Sequence"]["id"] == id);
                let between = parts.get(place("A")? + 1..place("B")?)?;
                let end = step["single"].as_array().and_then(|single| single.last());
                let end = end.filter(|end| end["SpecialToken"].is_object()).map(|end| &end["SpecialToken"]["id"]);
                let between: Vec<&Value> = between.iter().map(|part| &part["SpecialToken"]["id"]).collect();
                Some(match (between.as_slice(), end) {
                    ([], None) => Joint::Nothing,
                    ([first], Some(end)) if *first == end => Joint::End,
                    ([first, second], Some(end)) if *first == end && self.is_separator(second, end) => {
                        Joint::EndAndSeparator
                    }
                    _ => Joint::Other,
                })
            }
        })
    }

    /// Whether this token is the separator: that of the settings, else what ends a text.
    fn is_separator(&self, token: &Value, end: &Value) -> bool {
        let separator = self.settings.get("sep_token");
        separator.map_or(token == end, |separator| separator == token || separator["content"] == *token)
    }

    /// The steps of the post-processor.
    fn post_processors(&self) -> impl Iterator<Item = &Value> {
        let post = self.tokenizer.get("post_processor");
        let steps = post.map(|post| post["processors"].as_array().map_or(std::slice::from_ref(post), Vec::as_slice));
        steps.into_iter().flatten()
    }

    /// A special token: by its text in the tokenizer's settings, else by its id in `config.json`.
    fn special(&self, vocabulary: &HfVocabulary, key: &str) -> Result<Option<u32>> {
        let text = self.settings.get(key).and_then(|value| value.as_str().or_else(|| value["content"].as_str()));
        if let Some(text) = text {
            let unknown = || ImportError::UnknownToken {
                path: self.settings.path.clone(),
                key: key.to_owned(),
                token: text.to_owned(),
            };
            return vocabulary.id(text).map(Some).ok_or_else(|| unknown().into());
        }
        let id = format!("{key}_id");
        let pieces = || self.pieces.as_ref().and_then(|pieces| pieces.special(key));
        let given = ids(&self.config, &id)?;
        if given.is_empty() {
            return Ok(pieces());
        }
        let known = given.into_iter().find_map(|id| vocabulary.known(id));
        known.map(Some).ok_or_else(|| self.config.bad(&id, IDS).into())
    }

    /// All tokens that end a text. Those past the vocabulary, which may have been cut, never come.
    fn ends(&self, vocabulary: &HfVocabulary) -> Result<Vec<u32>> {
        const KEY: &str = "eos_token_id";
        let from = if self.generation.get(KEY).is_some() { &self.generation } else { &self.config };
        Ok(ids(from, KEY)?.into_iter().filter_map(|id| vocabulary.known(id)).collect())
    }

    /// The tokens that are never picked.
    fn suppressed(&self) -> Result<Option<(String, GgufValue)>> {
        const KEY: &str = "suppress_tokens";
        let Some(value) = self.generation.get(KEY) else { return Ok(None) };
        let token = |value: &Value| value.as_i64().and_then(|token| i32::try_from(token).ok());
        let tokens = value.as_array().and_then(|list| list.iter().map(token).collect::<Option<Vec<i32>>>());
        let tokens = tokens.ok_or_else(|| self.generation.bad(KEY, "a list of whole numbers"))?;
        Ok((!tokens.is_empty()).then(|| ("tokenizer.ggml.suppress_tokens".to_owned(), tokens.into())))
    }

    /// Whether texts begin with BOS: as the settings say, else as the post-processor does it, which
    /// puts the token `first` there.
    fn adds_bos(&self, bos: Option<u32>, first: Option<u32>) -> Result<bool> {
        const KEY: &str = "add_bos_token";
        if bos.is_none() {
            return Ok(false);
        }
        if let Some(adds) = self.settings.opt_bool(KEY)? {
            return Ok(adds);
        }
        Ok(self.pieces.as_ref().map_or(first == bos, SentencePiece::is_bpe))
    }

    /// The tokens that the post-processor puts before and behind a text.
    fn enclosure(&self, vocabulary: &HfVocabulary) -> [Vec<u32>; 2] {
        let ids = |texts: Vec<&str>| texts.into_iter().filter_map(|text| vocabulary.id(text)).collect::<Vec<_>>();
        let around = self.post_processors().filter_map(|step| {
            let Some(parts) = step["single"].as_array() else {
                // Older kinds name the two.
                return Some([[step["cls"][0].as_str()?].to_vec(), [step["sep"][0].as_str()?].to_vec()]);
            };
            let text = parts.iter().position(|part| part["Sequence"].is_object())?;
            Some([&parts[..text], &parts[text..]].map(specials))
        });
        let mut around = around.map(|around| around.map(ids));
        around.find(|around| around.iter().any(|tokens| !tokens.is_empty())).unwrap_or_default()
    }
}

/// The special tokens among the parts of a template of a post-processor.
fn specials(parts: &[Value]) -> Vec<&str> {
    parts.iter().filter_map(|part| part["SpecialToken"]["id"].as_str()).collect()
}

/// The tokens of `added_tokens.json` and of the tokenizer's settings, in the form of a
/// `tokenizer.json`.
fn added_tokens(folder: &Path, settings: &Document) -> Result<Document> {
    let added = Document::read_if_there(&folder.join("added_tokens.json"))?;
    let named = |text: &str| settings.value.as_object().into_iter().flatten().any(|(_, value)| names(value, text));
    let listed = added.value.as_object().into_iter().flatten();
    let mut tokens: Vec<Value> =
        listed.map(|(text, id)| json!({"id": id, "content": text, "special": named(text)})).collect();
    let settings = settings.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten();
    for (id, token) in settings {
        tokens.retain(|other| other["content"] != token["content"]);
        let id: Value = id.parse::<u64>().map_or(Value::Null, Value::from);
        tokens.push(json!({"id": id, "content": token["content"], "special": token["special"]}));
    }
    Ok(Document { path: folder.join("tokenizer.model"), value: json!({ "added_tokens": tokens }) })
}

/// Whether a setting is this token, or a list that has it.
fn names(setting: &Value, token: &str) -> bool {
    let is = |value: &Value| value == token || value["content"] == token;
    is(setting) || setting.as_array().is_some_and(|list| list.iter().any(is))
}

/// What the ids of tokens are.
const IDS: &str = "tokens of the vocabulary";

/// The ids of a key that has one or a list of them.
fn ids(json: &Document, key: &str) -> Result<Vec<u64>> {
    let values = match json.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    values.iter().map(|value| value.as_u64().ok_or_else(|| json.bad(key, IDS).into())).collect()
}

#[cfg(test)]
mod tests;
