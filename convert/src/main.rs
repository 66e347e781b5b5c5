//! The `ollm-convert` command.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use ollm_convert::synth::{self, SHAPES};
use ollm_convert::{ConvertError, inspect, merge, pack, plugin};
use ollm_runtime::gguf::TensorType;

/// Makes, inspects, merges and packs OLLM plugin files (GGUF); makes files to time with.
///
/// Every input is checked before anything is written, and an output appears whole or not at all. The exit status is 0, 1 if
/// something is wrong with a file, or 2 if something is wrong with the command line.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turn a trainer's checkpoint into a plugin file
    ///
    /// The plugin file works with every GGUF of the backbone that the plugin was trained on, in any quantization.
    Plugin {
        /// A folder with `plugin.safetensors`, or that file
        checkpoint: PathBuf,
        /// The plugin file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
        /// How to store matrices; vectors stay F32
        #[arg(long = "type", value_enum, default_value = "f16")]
        matrices: Matrices,
    },
    /// Show what a GGUF file holds: metadata, tensors, sizes and, if it has one, the plugin
    Inspect {
        /// A backbone, a plugin, or both in one
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a backbone and its plugin into one file
    ///
    /// Refuses a plugin that was trained on another backbone.
    Merge {
        /// The backbone (GGUF)
        backbone: PathBuf,
        /// The plugin file
        plugin: PathBuf,
        /// The file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
    },
    /// Pack a file's quantized matrices for the kernels, so that it is read in place
    ///
    /// A packed file starts at once and needs no second copy of its weights in memory; only this runtime reads it.
    Pack {
        /// A backbone, a plugin, or both in one
        file: PathBuf,
        /// The file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
    },
    /// Turn a packed file back into the plain one
    Unpack {
        /// The packed file
        file: PathBuf,
        /// The file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
    },
    /// Write a backbone of random weights in a real shape, for timing
    Synth {
        /// The shape
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(SHAPES.map(|shape| shape.name)))]
        shape: String,
        /// The type of its matrices, such as `Q4_0`, `Q8_0` or `Q4_K`
        #[arg(long = "type", value_parser = tensor_type)]
        dtype: TensorType,
        /// The file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
    },
}

fn tensor_type(name: &str) -> Result<TensorType, String> {
    let found = TensorType::ALL.iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    let known = || TensorType::ALL.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ");
    found.copied().ok_or_else(|| format!("known types: {}", known()))
}

#[derive(Clone, Copy, ValueEnum)]
enum Matrices {
    /// 16-bit floats
    F16,
    /// 8 bits, a scale for each 32
    #[value(name = "q8_0")]
    Q8_0,
    /// 32-bit floats
    F32,
}

impl From<Matrices> for TensorType {
    fn from(matrices: Matrices) -> Self {
        match matrices {
            Matrices::F16 => Self::F16,
            Matrices::Q8_0 => Self::Q8_0,
            Matrices::F32 => Self::F32,
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String, ConvertError> {
    Ok(match command {
        Command::Plugin { checkpoint, output, matrices } => {
            let summary = plugin::convert(&checkpoint, &output, matrices.into())?;
            format!("{summary}wrote {}\n", output.display())
        }
        Command::Inspect { file, json: true } => format!("{:#}\n", inspect::inspect(&file)?.json()),
        Command::Inspect { file, json: false } => inspect::inspect(&file)?.to_string(),
        Command::Merge { backbone, plugin, output } => {
            let summary = merge::merge(&backbone, &plugin, &output)?;
            format!("{summary}wrote {}\n", output.display())
        }
        Command::Pack { file, output } => {
            let summary = pack::pack(&file, &output)?;
            format!("{summary}wrote {}\n", output.display())
        }
        Command::Unpack { file, output } => {
            let summary = pack::unpack(&file, &output)?;
            format!("{summary}wrote {}\n", output.display())
        }
        Command::Synth { shape, dtype, output } => {
            // clap has let no other name through.
            for shape in SHAPES.iter().filter(|known| known.name == shape) {
                synth::synth(shape, dtype, &output)?;
            }
            format!("wrote {}\n", output.display())
        }
    })
}

/// Prints all of `text`. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot print: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
