//! `ollm-convert plugin`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ollm_convert::{names, plugin};
use ollm_runtime::gguf::TensorType;

use crate::output::{Outcome, wrote};

/// Turn a trainer's checkpoint into a plugin file
///
/// The plugin file works with every GGUF of the backbone that the plugin was trained on, in any
/// quantization.
#[derive(Args)]
pub(crate) struct PluginArgs {
    /// A folder with `plugin.safetensors`, or that file
    checkpoint: PathBuf,
    /// The plugin file to write, or the folder for it
    #[arg(short, long, value_name = "FILE.gguf")]
    output: Option<PathBuf>,
    /// How to store matrices; vectors stay F32
    #[arg(long = "type", value_enum, default_value = "f16")]
    matrices: Matrices,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Matrices {
    /// 16-bit floats
    F16,
    /// 8 bits, a scale for each 32
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits, a scale for each 32: convert/QUALITY.md says what it costs
    #[value(name = "q4_0")]
    Q4_0,
    /// 32-bit floats
    F32,
}

impl From<Matrices> for TensorType {
    fn from(matrices: Matrices) -> Self {
        match matrices {
            Matrices::F16 => Self::F16,
            Matrices::Q8_0 => Self::Q8_0,
            Matrices::Q4_0 => Self::Q4_0,
            Matrices::F32 => Self::F32,
        }
    }
}

impl PluginArgs {
    pub(crate) fn run(self) -> Outcome {
        let matrices = self.matrices.into();
        let output = names::target(self.output.as_deref(), || plugin::name(&self.checkpoint, matrices))?;
        Ok(wrote(&plugin::convert(&self.checkpoint, &output, matrices, self.force)?, &output).into())
    }
}
