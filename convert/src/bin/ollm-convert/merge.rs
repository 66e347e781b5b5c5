//! `ollm-convert merge`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::{ConvertError, adapter, merge, tensor_type};
use ollm_runtime::gguf::TensorType;

use crate::output::{Outcome, wrote};

/// Put a backbone and its plugin, or its low-rank adapters, into one file
///
/// Refuses a plugin that was trained on another backbone, and adapters of other matrices.
#[derive(Args)]
pub(crate) struct MergeArgs {
    /// The backbone (GGUF)
    backbone: PathBuf,
    /// The plugin file; or adapters: an adapter file (GGUF, as of llama.cpp), or `lora.safetensors`
    /// of a trainer's run
    addition: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// Type of the matrices that have adapters (8 bits, or F16 where rows are not whole blocks,
    /// unless another is named)
    #[arg(long = "type", value_name = "TYPE", value_parser = tensor_type)]
    dtype: Option<TensorType>,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl MergeArgs {
    pub(crate) fn run(self) -> Outcome {
        let Self { backbone, addition, output, dtype, force } = &self;
        if adapter::is_adapter(addition)? {
            let dtype = dtype.unwrap_or(TensorType::Q8_0);
            return Ok(wrote(&adapter::merge(backbone, addition, output, dtype, *force)?, output).into());
        }
        if dtype.is_some() {
            return Err(ConvertError::NotAdapters { path: addition.clone() });
        }
        Ok(wrote(&merge::merge(backbone, addition, output, *force)?, output).into())
    }
}
