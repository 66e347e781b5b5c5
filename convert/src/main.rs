//! The `ollm-convert` command.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ollm_convert::quantize::{self, Keep, RECIPES, Recipe};
use ollm_convert::synth::{self, SHAPES};
use ollm_convert::{ConvertError, import, importance, inspect, merge, pack, plugin, tensor_type};
use ollm_runtime::gguf::TensorType;

/// Imports and quantizes models; makes, inspects, merges and packs OLLM plugin files (GGUF); makes files to time with.
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
    /// Write a model with its matrices in other types
    ///
    /// Vectors, norms and the tensors of a plugin stay as they are. Where the rows of a matrix are not whole blocks of 256,
    /// `Q4_K` becomes `Q5_0`, `Q5_K` `Q5_1` and `Q6_K` `Q8_0`.
    Quantize {
        /// A backbone (GGUF) of any type; best F16, BF16 or F32
        input: PathBuf,
        /// The file to write
        output: PathBuf,
        #[command(flatten)]
        types: Types,
    },
    /// Turn a Hugging Face folder into a model file
    ///
    /// Reads config.json, the safetensors files, tokenizer.json and what is beside them: Llama, Mistral, Qwen2, Qwen3, Gemma 2
    /// and Gemma 3 (text). The file is what llama.cpp's converter would write, quantized on the way.
    Import {
        /// The folder
        folder: PathBuf,
        /// The file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
        #[command(flatten)]
        types: Types,
    },
    /// Have a model read a text, and write which columns of its matrices matter
    Importance {
        /// A backbone (GGUF), best the one that is to be quantized
        model: PathBuf,
        /// The text: some ten thousand words like those that the model will read and write
        #[arg(short = 'f', long = "file", value_name = "TEXT")]
        text: PathBuf,
        /// The file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
        /// Replace the output, if it exists
        #[arg(long)]
        force: bool,
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

/// Which types matrices get.
#[derive(Args)]
struct Types {
    /// The types: `F32`, `F16`, `BF16`, `Q8_0`, `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q4_K_S`, `Q4_K_M`, `Q5_K_S`, `Q5_K_M` or
    /// `Q6_K`
    #[arg(long = "type", value_parser = recipe)]
    recipe: &'static Recipe,
    /// Which columns matter: a file of `importance`, or of llama.cpp's `imatrix`
    #[arg(long, value_name = "FILE")]
    importance: Option<PathBuf>,
    /// A type for tensors whose names match, such as `blk.0.*=Q8_0`; of several that match, the last one counts
    #[arg(long, value_name = "PATTERN=TYPE")]
    keep: Vec<Keep>,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl Types {
    fn options(&self) -> quantize::Options<'_> {
        let Self { recipe, importance, keep, force } = self;
        quantize::Options { recipe, importance: importance.as_deref(), keep, force: *force }
    }
}

/// The recipe of this name, in any case.
fn recipe(name: &str) -> Result<&'static Recipe, String> {
    let known = || RECIPES.iter().map(|recipe| recipe.name).collect::<Vec<_>>().join(", ");
    let found = RECIPES.iter().find(|recipe| recipe.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("known types: {}", known()))
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
        Command::Quantize { input, output, types } => {
            let bytes = progress("{bytes} of {total_bytes}");
            let summary = quantize::quantize(&input, &output, &types.options(), &bytes)?;
            format!("{summary}wrote {}\n", output.display())
        }
        Command::Import { folder, output, types } => {
            let bytes = progress("{bytes} of {total_bytes}");
            let summary = import::import(&folder, &output, &types.options(), &bytes)?;
            format!("{summary}wrote {}\n", output.display())
        }
        Command::Importance { model, text, output, force } => {
            let summary = importance::gather(&model, &text, &output, force, &progress("{pos} of {len} tokens"))?;
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

/// A bar on the terminal, if there is one.
fn progress(counts: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{wide_bar}} {counts}, {{eta}} left"));
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
