//! `ollm-convert import`.

use std::path::PathBuf;

use clap::Args;
use ollm_console::{hub, progress::bytes_bar};
use ollm_convert::import;
use ollm_convert::quantize::Recipe;

use crate::output::{Outcome, wrote};
use crate::rules::{Rules, recipe};

/// Turn a Hugging Face folder into a model file
///
/// Reads config.json, the safetensors files, tokenizer.json (or tokenizer.model) and the other
/// tokenizer files: Llama, Mistral, Mixtral, Ministral 3, Qwen 2 and 3 (also VL and MoE), Qwen
/// 3.5, Gemma 1 to 4 (also 3n), SmolLM3, Granite (also MoE and hybrid), Phi 3 and 4 mini, OLMo 2
/// and 3, OLMoE, EXAONE 4, GLM 4, Seed-OSS, Hunyuan, ERNIE 4.5, InternLM 2, MiniCPM, StableLM,
/// StarCoder 2, Cohere 2, Nemotron, Falcon H1, LFM 2 (also MoE) and gpt-oss, and the embedding
/// models EmbeddingGemma, BERT, RoBERTa, XLM-RoBERTa, ModernBERT and Nomic BERT, and rerankers
/// (`ForSequenceClassification`); of a multimodal model whose text model is one of these,
/// that. Weights in fp8 or of compressed-tensors are decoded; those in MXFP4 stay as they are. The
/// file is as llama.cpp's converter would write it, and quantized.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The folder; or hf:OWNER/NAME, which is downloaded from the Hugging Face Hub (`HF_ENDPOINT`),
    /// once, to `HF_HOME`
    folder: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// The types: those of `quantize`
    #[arg(long = "type", value_parser = recipe)]
    recipe: &'static Recipe,
    #[command(flatten)]
    rules: Rules,
}

impl ImportArgs {
    pub(crate) fn run(mut self) -> Outcome {
        self.rules.gather();
        let options = self.rules.options(self.recipe);
        let folder = hub::fetch_folder(&self.folder)?;
        let summary = import::import(&folder, &self.output, &options, &bytes_bar("import"))?;
        Ok(wrote(&summary, &self.output).into())
    }
}
