//! `ollm-convert adapter`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::adapter::{self, Adapter};
use ollm_convert::{ConvertError, check_output, tensor_type};
use ollm_runtime::gguf::TensorType;

use crate::output::{Outcome, wrote};

/// Turn a trainer's low-rank adapters into an adapter file
///
/// The file has the layout of llama.cpp's. `ollm-convert merge` puts it into its backbone.
#[derive(Args)]
pub(crate) struct AdapterArgs {
    /// A folder with `lora.safetensors`, or that file; or an adapter file, to give it another type
    checkpoint: PathBuf,
    /// The adapter file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// The backbone's architecture, as its file says (general.architecture), where the checkpoint
    /// does not
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,
    /// How to store the factors; F16 where rows are not whole blocks
    #[arg(long = "type", value_name = "TYPE", default_value = "f16", value_parser = tensor_type)]
    dtype: TensorType,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl AdapterArgs {
    pub(crate) fn run(self) -> Outcome {
        check_output(&self.output, &[&adapter::file(&self.checkpoint)])?;
        let adapter = Adapter::read(&self.checkpoint)?.of(self.architecture);
        let summary = adapter.write(self.dtype, &self.output, self.force)?;
        Ok::<_, ConvertError>(wrote(&summary, &self.output).into())
    }
}
