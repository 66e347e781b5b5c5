//! `ollm-convert pack` and `unpack`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::{names, pack};

use crate::output::{Outcome, wrote};

/// Pack a file's quantized weights (16 rows interleaved), so that the kernels read them in place
///
/// A packed file starts at once and needs no second copy of its weights in memory; only this
/// runtime reads it.
#[derive(Args)]
pub(crate) struct PackArgs {
    /// A backbone, a plugin, or both in one
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Turn a packed file back into the plain one
#[derive(Args)]
pub(crate) struct UnpackArgs {
    /// The packed file
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
struct OutputArgs {
    /// The file to write, or the folder for it
    #[arg(short, long, value_name = "FILE.gguf")]
    output: Option<PathBuf>,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl PackArgs {
    pub(crate) fn run(self) -> Outcome {
        let name = || names::of(&self.file, |gguf| format!("{}_packed", names::encoding(gguf)));
        let output = names::target(self.output.output.as_deref(), name)?;
        Ok(wrote(&pack::pack(&self.file, &output, self.output.force)?, &output).into())
    }
}

impl UnpackArgs {
    pub(crate) fn run(self) -> Outcome {
        let name = || names::of(&self.file, |gguf| names::encoding(gguf).to_owned());
        let output = names::target(self.output.output.as_deref(), name)?;
        Ok(wrote(&pack::unpack(&self.file, &output, self.output.force)?, &output).into())
    }
}
