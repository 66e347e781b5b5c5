//! `tokenizer.json` and what belongs to it, as GGUF says it: the lists `tokenizer.ggml.*`, and the
//! original beside them.

use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{Metadata, Value as GgufValue};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::Value;

use super::document::Document;
use super::error::ImportError;
use super::metadata::MetadataPairs;
use super::templates;
use super::vocabulary::HfVocabulary;
use crate::Result;

/// The files of a folder that say how text becomes tokens, and what ends a text.
pub(super) struct TokenizerFiles {
    folder: PathBuf,
    tokenizer: Document,
    settings: Document,
    /// `config.json` and `generation_config.json`, which name special tokens by their ids.
    config: Document,
    generation: Document,
}

impl TokenizerFiles {
    pub(super) fn open(folder: &Path, config: Document) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            tokenizer: Document::read(&folder.join("tokenizer.json"))?,
            settings: Document::read_if_there(&folder.join("tokenizer_config.json"))?,
            generation: Document::read_if_there(&folder.join("generation_config.json"))?,
            config,
        })
    }

    /// The keys of the tokenizer for a model of so many tokens, and what the user should know.
    pub(super) fn keys(&self, size: usize) -> Result<(MetadataPairs, Vec<String>)> {
        let vocabulary = HfVocabulary::read(&self.tokenizer, size)?;
        let mut keys = vocabulary.keys();
        let (specials, notes) = self.specials(&vocabulary)?;
        keys.extend(specials);
        keys.extend(templates::keys(&self.folder, &self.settings)?);
        keys.push(("tokenizer.huggingface.json".to_owned(), self.tokenizer.text()?.into()));
        self.check(&keys)?;
        Ok((keys, notes))
    }

    /// The special tokens by their ids, and which of them begin a text.
    fn specials(&self, vocabulary: &HfVocabulary) -> Result<(MetadataPairs, Vec<String>)> {
        let mut keys = Vec::new();
        for (name, key) in
            [("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")]
        {
            keys.extend(self.special(vocabulary, key)?.map(|id| (name, id)));
        }
        let eos = keys.iter().find(|(name, _)| *name == "eos").map(|&(_, id)| id);
        let mut ends = self.ends(vocabulary)?;
        ends.retain(|&id| Some(id) != eos);
        let names = if eos.is_some() { &["eot", "eom"][..] } else { &["eos", "eot", "eom"] };
        let notes = ends.iter().skip(names.len()).map(|id| {
            let text = &vocabulary.texts[*id as usize];
            format!("token {id}, {text:?}, ends a text too, but GGUF has no key for it")
        });
        let notes = notes.collect();
        keys.extend(names.iter().copied().zip(ends));
        let bos = keys.iter().find(|(name, _)| *name == "bos").map(|&(_, id)| id);
        let adds_bos = self.adds_bos(vocabulary, bos)?;
        let ids = keys.into_iter().map(|(name, id)| (format!("tokenizer.ggml.{name}_token_id"), GgufValue::U32(id)));
        let adds = ("tokenizer.ggml.add_bos_token".to_owned(), GgufValue::Bool(adds_bos));
        Ok((ids.chain([adds]).collect(), notes))
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
        let key = format!("{key}_id");
        Ok(ids(&self.config, &key, vocabulary)?.first().copied())
    }

    /// All tokens that end a text.
    fn ends(&self, vocabulary: &HfVocabulary) -> Result<Vec<u32>> {
        const KEY: &str = "eos_token_id";
        let from = if self.generation.get(KEY).is_some() { &self.generation } else { &self.config };
        ids(from, KEY, vocabulary)
    }

    /// Whether texts begin with BOS: as the settings say, else as the post-processor does it.
    fn adds_bos(&self, vocabulary: &HfVocabulary, bos: Option<u32>) -> Result<bool> {
        const KEY: &str = "add_bos_token";
        let Some(bos) = bos else { return Ok(false) };
        if let Some(adds) = self.settings.opt_bool(KEY)? {
            return Ok(adds);
        }
        let post = self.tokenizer.get("post_processor");
        let steps = post.map(|post| post["processors"].as_array().map_or(std::slice::from_ref(post), Vec::as_slice));
        let first =
            |step: &Value| step["single"][0]["SpecialToken"]["id"].as_str().and_then(|text| vocabulary.id(text));
        Ok(steps.into_iter().flatten().any(|step| first(step) == Some(bos)))
    }

    /// What is written must be what the runtime reads.
    fn check(&self, keys: &[(String, GgufValue)]) -> Result<()> {
        let mut metadata = Metadata::default();
        for (key, value) in keys {
            metadata.insert(key.clone(), value.clone()).map_err(crate::ConvertError::Output)?;
        }
        let path = || self.tokenizer.path.clone();
        Tokenizer::from_metadata(&metadata).map_err(|source| ImportError::Tokenizer { path: path(), source })?;
        Ok(())
    }
}

/// The ids of a key that has one or a list of them.
fn ids(json: &Document, key: &str, vocabulary: &HfVocabulary) -> Result<Vec<u32>> {
    let values = match json.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    let known = |id: &u64| *id < vocabulary.texts.len() as u64;
    let id = |value: &Value| value.as_u64().filter(known).map(|id| id as u32);
    values.iter().map(|value| id(value).ok_or_else(|| json.bad(key, "tokens of the vocabulary").into())).collect()
}
