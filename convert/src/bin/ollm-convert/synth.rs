//! `ollm-convert synth`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::synth::{self, SHAPES};
use ollm_convert::tensor_type;
use ollm_runtime::gguf::TensorType;

use crate::output::{Outcome, wrote};

/// Write a backbone of random weights in a real shape, for timing
#[derive(Args)]
pub(crate) struct SynthArgs {
    /// The shape
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
    shape: String,
    /// The type of its matrices, such as `Q4_0`, `Q8_0` or `Q4_K`
    #[arg(long = "type", value_parser = tensor_type)]
    dtype: TensorType,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl SynthArgs {
    pub(crate) fn run(self) -> Outcome {
        // clap has let no other name through.
        for shape in SHAPES.iter().filter(|known| known.name == self.shape) {
            synth::synth(shape, self.dtype, &self.output, self.force)?;
        }
        Ok(wrote(&"", &self.output).into())
    }
}
