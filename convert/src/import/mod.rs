//! A Hugging Face folder becomes a model file, its matrices in the types of a recipe.
//!
//! | file of the folder | what is taken from it |
//! |---|---|
//! | `config.json` | the shape: `config`, `text_config`, `window`, `rope`, `experts` |
//! | `model.safetensors`, or `model.safetensors.index.json` and the files that it names | the weights: `checkpoint`, `tensors` |
//! | `tokenizer.json` | the vocabulary, and itself where lists do not do what it does: `tokenizer`, `vocabulary`, `behaviour` |
//! | `tokenizer.model`, `added_tokens.json` | the vocabulary where there is no `tokenizer.json`: `sentencepiece` |
//! | `modules.json`, `1_Pooling`, `2_Dense`, `3_Dense` | pooling and dense layers: `dense` |
//! | `README.md` | whether this is a Qwen 3 Reranker: `classifier` |
//! | `tokenizer_config.json`, `generation_config.json`, `chat_template.*` | special tokens, chat templates |
//!
//! Names, keys and the order of rotated rows are those that llama.cpp's `convert_hf_to_gguf.py`
//! writes. The weights go through memory a slab at a time, as in [`crate::quantize`].

mod architecture;
mod architectures;
mod behaviour;
mod checkpoint;
mod classifier;
mod compressed;
mod config;
mod dense;
mod document;
mod encoder_architectures;
mod error;
mod expert_keys;
mod experts;
mod layer_shapes;
mod lora_config;
mod metadata;
mod multipliers;
mod normal;
mod part;
mod peft;
mod recurrent;
mod rope;
mod sentencepiece;
mod templates;
mod tensors;
mod text_config;
mod tokenizer;
mod vocabulary;
mod window;
mod wire;

use std::io;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use ollm_runtime::gguf::{TensorType, Writer};
use ollm_runtime::model::TensorName;

use crate::quantize::{self, Options, QuantizeSummary};
use crate::{ConvertError, Result};
use checkpoint::HfCheckpoint;
use classifier::HfClassifier;
use compressed::Quantization;
use config::HfConfig;
use dense::Modules;
use document::Document;
use tokenizer::TokenizerFiles;

pub use error::ImportError;
pub use peft::{PeftAdapter, is_peft, peft, peft_files};

/// Writes the model in `folder` as a GGUF file. `progress` counts bytes of the weights.
///
/// # Errors
/// [`ConvertError::Import`] if the folder is not what it should be; [`ConvertError::Row`] if a
/// weight is not finite; and those of [`quantize::quantize`]. Then nothing is written.
pub fn import(folder: &Path, output: &Path, options: &Options<'_>, progress: &ProgressBar) -> Result<QuantizeSummary> {
    check_folder(folder)?;
    let json = Document::read(&folder.join("config.json"))?;
    let mut config = HfConfig::read(&json)?;
    let quantization = Quantization::read(&json)?;
    let modules = Modules::read(folder)?;
    config.dense = modules.dense;
    let mut checkpoint = HfCheckpoint::open(folder)?;
    for dense in &config.dense {
        checkpoint.add_part(&dense.folder, &dense.prefix())?;
    }
    let names = checkpoint.names(config.architecture);
    let head = tensors::head(config.architecture, &names);
    config.tied.get_or_insert(!checkpoint.has_matrix(&head));
    let mut notes = Vec::new();
    let is_tied = config.tied == Some(true) && config.causal && config.classifier.is_none();
    if is_tied && checkpoint.has_both(&head, &tensors::embedding(config.architecture, &names)) {
        config.tied = Some(false);
        notes.push(format!("config.json ties {head} to the embedding, which has other values: it stays apart"));
    }
    let files = [
        "config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer.model",
        "added_tokens.json",
        "tokenizer_config.json",
        "generation_config.json",
        classifier::README,
    ];
    let files: Vec<PathBuf> = files.into_iter().chain(templates::FILES).map(|name| folder.join(name)).collect();
    let inputs: Vec<&Path> = checkpoint.paths().chain(files.iter().map(PathBuf::as_path)).collect();
    quantize::check_files(&inputs, output, options)?;

    let tokenizer = TokenizerFiles::open(folder, config.json.clone())?;
    let family = config.architecture.family();
    let is_qwen3_reranker = config.causal && classifier::is_qwen3_reranker(folder, family)?;
    if is_qwen3_reranker && config.classifier.is_none() {
        config.classifier = Some(HfClassifier::from_yes_no_head(tokenizer.json(), config.vocab)?);
    }
    let is_joined_otherwise = config.classifier.is_some() && tokenizer.joins_otherwise();
    let wanted = tensors::wanted(&config, &names, |name| checkpoint.has_matrix(name))?;
    let sources = checkpoint.sources(wanted, &quantization, |name| tensors::is_ignored(&config, &names, name))?;
    let (mut tokenizer, told) = tokenizer.keys(config.vocab)?;
    notes.extend(told);
    let has_prompt = tokenizer.iter().any(|(key, _)| key == classifier::PROMPT_KEY);
    if is_qwen3_reranker {
        notes.push("README.md says that this is a Qwen 3 Reranker: read as a reranker".to_owned());
        if !has_prompt {
            tokenizer.push((classifier::PROMPT_KEY.to_owned(), classifier::QWEN3_PROMPT.into()));
        }
    } else if is_joined_otherwise && !has_prompt {
        notes.push("GGUF has no key for what tokenizer.json puts between the texts of a pair: ranks differ".to_owned());
    }
    let mut writer = Writer::new();
    let general = [("architecture", family.name), ("type", "model"), ("name", &name(folder))]
        .map(|(key, text)| (format!("general.{key}"), text.into()));
    let storage = quantize::storage_keys(options.recipe).map(|(key, value)| (key.to_owned(), value.into()));
    let pooling = dense::pooling(&folder.join(&modules.pooling))?.filter(|_| config.classifier.is_none());
    let pooling = pooling.map(|kind| (format!("{}.pooling_type", family.name), kind.into()));
    for (key, value) in general.into_iter().chain(config.keys()).chain(pooling).chain(tokenizer).chain(storage) {
        writer.set(&key, value).map_err(ConvertError::Output)?;
    }
    for (role, factors) in config.ropes.factors() {
        let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        let dims = [factors.len() as u64];
        writer
            .tensor(&TensorName::new(role).to_string(), &dims, TensorType::F32, bytes)
            .map_err(ConvertError::Output)?;
    }
    let mut summary = quantize::write(sources, writer, output, options, progress)?;
    notes.extend(config.note);
    summary.notes.extend(notes);
    Ok(summary)
}

/// Refuses what is no folder of a model, for what it is.
fn check_folder(folder: &Path) -> Result<()> {
    if is_peft(folder) {
        let reason = "these are PEFT's adapters: `ollm-convert adapter FOLDER --backbone MODEL.gguf` reads them".into();
        return Err(ConvertError::BadAdapter { path: folder.to_owned(), reason });
    }
    if folder.is_dir() {
        return Ok(());
    }
    let path = folder.to_owned();
    if folder.exists() {
        return Err(ImportError::NotAFolder { path }.into());
    }
    match hub_id(folder) {
        Some(id) => Err(ImportError::HubId { path, id }.into()),
        None => Err(ollm_runtime::Error::Io { path, source: io::ErrorKind::NotFound.into() }.into()),
    }
}

/// The model of the Hugging Face hub that such an argument names: `OWNER/NAME`, alone or at the end
/// of an address.
fn hub_id(argument: &Path) -> Option<String> {
    let text = argument.to_str()?;
    let starts = ["https://huggingface.co/", "https://hf.co/", "https:/huggingface.co/", "hf://", "hf:"];
    let id = starts.iter().find_map(|start| text.strip_prefix(start)).unwrap_or(text);
    let parts: Vec<&str> = id.trim_end_matches('/').split('/').take(2).collect();
    let is_part = |part: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
    };
    let is_whole = id.len() != text.len() || id.split('/').count() == 2;
    (is_whole && parts.len() == 2 && parts.iter().all(is_part)).then(|| parts.join("/"))
}

/// The folder's own name.
fn name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}
