//! `ollm-convert adapter`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::adapter::{self, Adapter};
use ollm_convert::{ConvertError, check_output, import, tensor_type};
use ollm_runtime::gguf::TensorType;

use crate::output::{Outcome, wrote};

/// Turn low-rank adapters of a trainer or of PEFT into an adapter file
///
/// The file has the layout of llama.cpp's. `ollm-run --lora` runs it beside its backbone,
/// `ollm-convert merge` puts it into the backbone.
#[derive(Args)]
pub(crate) struct AdapterArgs {
    /// A folder with `lora.safetensors`, or that file; a folder of PEFT (with --backbone); or an
    /// adapter file, to give it another type
    checkpoint: PathBuf,
    /// The backbone that adapters of PEFT belong to: a GGUF file
    #[arg(long, value_name = "FILE.gguf")]
    backbone: Option<PathBuf>,
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
        let files: Vec<PathBuf> = [adapter::file(&self.checkpoint)]
            .into_iter()
            .chain(import::peft_files(&self.checkpoint))
            .chain(self.backbone.clone())
            .collect();
        check_output(&self.output, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
        let mut notes = String::new();
        let adapter = match &self.backbone {
            Some(backbone) => {
                let read = import::peft(&self.checkpoint, backbone)?;
                notes.extend(read.notes.iter().map(|note| format!("note: {note}\n")));
                read.adapter
            }
            None if import::is_peft(&self.checkpoint) => {
                let reason = "adapters of PEFT need their backbone: --backbone MODEL.gguf".into();
                return Err(ConvertError::BadAdapter { path: self.checkpoint, reason });
            }
            None => Adapter::read(&self.checkpoint)?.of(self.architecture),
        };
        let summary = adapter.write(self.dtype, &self.output, self.force)?;
        Ok::<_, ConvertError>(format!("{notes}{}", wrote(&summary, &self.output)).into())
    }
}
