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
    /// Another number of layers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    layers: Option<u32>,
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
            let shape = self.layers.map_or(*shape, |layers| shape.with_layers(layers));
            synth::synth(&shape, self.dtype, &self.output, self.force)?;
        }
        Ok(wrote(&"", &self.output).into())
    }
}
