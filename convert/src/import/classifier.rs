//! Heads for classification: those of the classes `ForSequenceClassification`, and that of Qwen 3
//! Rerankers, which answer `yes` or `no`.

use std::path::Path;

use ollm_runtime::gguf::Value;
use ollm_runtime::model::{ClassifierRule, Family, Pooling};

use super::architecture::Architecture;
use super::document::{Document, read_file};
use super::error::ImportError;
use crate::Result;

/// The head for classification of a model.
pub(super) struct HfClassifier {
    labels: Vec<String>,
    /// Whether the dense layer and the output have biases.
    pub(super) biases: [bool; 2],
    pooling: Pooling,
    /// The tokens that the labels are, where the head is a part of that of the tokens.
    pub(super) answers: Option<[usize; 2]>,
}

/// The file that tells a Qwen 3 Reranker: nothing else of its folder does.
pub(super) const README: &str = "README.md";

/// What a line of it begins with.
const RERANKER_TITLE: &str = "# Qwen3-Reranker";

/// The key of the prompt of a reranker.
pub(super) const PROMPT_KEY: &str = "tokenizer.chat_template.rerank";

/// The prompt of Qwen 3 Rerankers. The places of the texts are marked as llama.cpp marks them.
pub(super) const QWEN3_PROMPT: &str = "<|im_start|>system\nJudge whether the Document meets the \
    requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \
    \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that \
    answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n\
    </think>\n\n";

/// Whether a folder has a Qwen 3 Reranker.
///
/// # Errors
/// If its README is none that can be read.
pub(super) fn is_qwen3_reranker(folder: &Path, family: &Family) -> Result<bool> {
    let readme = folder.join(README);
    if family.name != "qwen3" || !readme.exists() {
        return Ok(false);
    }
    let text = read_file(&readme)?;
    Ok(text.split(|&byte| byte == b'\n').any(|line| line.starts_with(RERANKER_TITLE.as_bytes())))
}

impl HfClassifier {
    pub(super) fn read(json: &Document, architecture: &Architecture) -> Result<Self> {
        let rule = architecture.family().classifier;
        let mut biases = [false; 2];
        for (bias, (key, missing)) in biases.iter_mut().zip(architecture.classifier_biases) {
            *bias = if key.is_empty() { missing } else { json.opt_bool(key)?.unwrap_or(missing) };
        }
        let pooling = if rule == ClassifierRule::Mean { pooling_of_mean(json)? } else { rule.pooling() };
        Ok(Self { labels: labels(json)?, biases, pooling, answers: None })
    }

    /// The head of a model of `size` tokens that answers `yes` or `no`: the rows of these two.
    pub(super) fn from_yes_no_head(tokenizer: &Document, size: usize) -> Result<Self> {
        let row = |token: &str| {
            let id = tokenizer.value["model"]["vocab"].get(token).and_then(serde_json::Value::as_u64);
            let id = id.ok_or_else(|| tokenizer.missing(token))?;
            let (path, key, value) = (tokenizer.path.clone(), token.to_owned(), id.to_string());
            let outside = ImportError::BadValue { path, key, value, rule: "less than vocab_size of config.json" };
            usize::try_from(id).ok().filter(|&id| id < size).ok_or(outside)
        };
        let answers = [row("yes")?, row("no")?];
        let labels = ["yes", "no"].map(str::to_owned).to_vec();
        Ok(Self { labels, biases: [false; 2], pooling: Pooling::Last, answers: Some(answers) })
    }

    /// Its keys, without the family. What is pooled as the family has it is a score for llama.cpp.
    pub(super) fn keys(&self, family: &Family) -> [(String, Value); 2] {
        const SCORE: u32 = 4;
        const FIRST_TOKEN: u32 = 2;
        let pooling = if self.pooling == family.classifier.pooling() { SCORE } else { FIRST_TOKEN };
        let labels = ("classifier.output_labels".to_owned(), self.labels.clone().into());
        [("pooling_type".to_owned(), pooling.into()), labels]
    }
}

/// How a head after the mean pools, which may be otherwise too; its activation is GELU.
fn pooling_of_mean(json: &Document) -> Result<Pooling> {
    const POOLING: &str = "classifier_pooling";
    const ACTIVATION: &str = "classifier_activation";
    if json.opt_str(ACTIVATION)?.is_some_and(|name| name != "gelu") {
        return Err(json.unsupported(ACTIVATION, "gelu").into());
    }
    match json.opt_str(POOLING)? {
        Some("mean") => Ok(Pooling::Mean),
        Some("cls") | None => Ok(Pooling::Cls),
        Some(_) => Err(json.unsupported(POOLING, "mean, cls").into()),
    }
}

/// The names of the labels: `id2label`, else numbers, as many as `num_labels` says, or two.
fn labels(json: &Document) -> Result<Vec<String>> {
    const NAMES: &str = "id2label";
    const RULE: &str = "a text for each number from 0 on";
    let Some(names) = json.part(NAMES)? else {
        let count = json.opt_size("num_labels")?.unwrap_or(2);
        return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
    };
    let names = names.value.as_object().cloned().unwrap_or_default();
    let name = |i: usize| names.get(&i.to_string()).and_then(|name| name.as_str()).map(str::to_owned);
    let labels: Option<Vec<String>> = (0..names.len()).map(name).collect();
    Ok(labels.filter(|labels| !labels.is_empty()).ok_or_else(|| json.bad(NAMES, RULE))?)
}
