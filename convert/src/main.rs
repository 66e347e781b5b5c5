//! The `ollm-convert` command.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ollm_convert::quantize::search::Goal;
use ollm_convert::quantize::{self, Keep, RECIPES, Recipe};
use ollm_convert::synth::{self, SHAPES};
use ollm_convert::{
    ConvertError, check_absent, check_output, diff, import, importance, inspect, merge, names, pack, plugin, split,
    tensor_type, verify,
};
use ollm_runtime::gguf::TensorType;

/// Imports, makes, checks, merges, quantizes and packs OLLM files (GGUF); makes files to time with.
///
/// Every input is checked before anything is written, and an output appears whole or not at all. Where an output has no name,
/// or that of a folder, it is called by the naming convention: BaseName-SizeLabel-FineTune-Version-Encoding-Type.gguf. The exit
/// status is 0, 1 if something is wrong with a file, or 2 if something is wrong with the command line.
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
        /// The plugin file to write, or the folder for it
        #[arg(short, long, value_name = "FILE.gguf")]
        output: Option<PathBuf>,
        /// How to store matrices; vectors stay F32
        #[arg(long = "type", value_enum, default_value = "f16")]
        matrices: Matrices,
        /// Replace the output, if it exists
        #[arg(long)]
        force: bool,
    },
    /// Show what a GGUF file holds: metadata, tensors, sizes and, if it has one, the plugin
    Inspect {
        /// A backbone, a plugin, or both in one
        file: PathBuf,
        /// Show the tensors alone
        #[arg(long)]
        tensors: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a GGUF file by every rule: format, keys, numbers, checksums, tokenizer, plugin, layouts
    ///
    /// Lists all that is wrong; the exit status is 1 if anything is.
    Verify {
        /// A backbone, a plugin, or both in one
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what two GGUF files differ in: keys, tensors, types, and how far the numbers are apart
    ///
    /// The exit status is 0 if nothing differs, 1 if something does, 2 if a file cannot be read. Checksums are not compared.
    Diff {
        /// A file
        a: PathBuf,
        /// Another one
        b: PathBuf,
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
        /// Replace the output, if it exists
        #[arg(long)]
        force: bool,
    },
    /// Take the plugin, and the backbone, out of a merged file
    Split {
        /// The merged file
        merged: PathBuf,
        /// The plugin file to write
        #[arg(short, long, value_name = "PLUGIN.gguf")]
        output: PathBuf,
        /// A file to write the backbone to
        #[arg(long, value_name = "FILE.gguf")]
        backbone: Option<PathBuf>,
        /// Replace the outputs, if they exist
        #[arg(long)]
        force: bool,
    },
    /// Pack a file's quantized matrices for the kernels, so that it is read in place
    ///
    /// A packed file starts at once and needs no second copy of its weights in memory; only this runtime reads it.
    Pack {
        /// A backbone, a plugin, or both in one
        file: PathBuf,
        /// The file to write, or the folder for it
        #[arg(short, long, value_name = "FILE.gguf")]
        output: Option<PathBuf>,
        /// Replace the output, if it exists
        #[arg(long)]
        force: bool,
    },
    /// Turn a packed file back into the plain one
    Unpack {
        /// The packed file
        file: PathBuf,
        /// The file to write, or the folder for it
        #[arg(short, long, value_name = "FILE.gguf")]
        output: Option<PathBuf>,
        /// Replace the output, if it exists
        #[arg(long)]
        force: bool,
    },
    /// Write a model with its matrices in other types
    ///
    /// Vectors, norms and the tensors of a plugin stay as they are. Where the rows of a matrix are not whole blocks of 256,
    /// `Q4_K` becomes `Q5_0`, `Q5_K` `Q5_1` and `Q6_K` `Q8_0`. With --target-size or --max-kl the types are chosen by what they do
    /// to the model's predictions on a text, group by group.
    #[command(group = ArgGroup::new("goal").required(true))]
    Quantize {
        /// A backbone (GGUF) of any type; best F16, BF16 or F32
        input: PathBuf,
        /// The file to write, or the folder for it
        output: Option<PathBuf>,
        /// The types: `F16`, `BF16`, `Q8_0`, `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q4_K_S`, `Q4_K_M`, `Q5_K_S`, `Q5_K_M` or `Q6_K`
        #[arg(long = "type", value_parser = recipe, group = "goal", conflicts_with = "text")]
        recipe: Option<&'static Recipe>,
        /// Choose the types that do the least damage in a file of at most so many bytes, such as 90000000, 90M or 85MiB
        #[arg(long, value_name = "BYTES", value_parser = size, group = "goal", requires = "text")]
        target_size: Option<usize>,
        /// Choose the types of the smallest file whose mean KL divergence from the input is at most X nats
        #[arg(long, value_name = "X", value_parser = divergence, group = "goal", requires = "text")]
        max_kl: Option<f64>,
        /// The text for that: some thousand words like those that the model will read and write
        #[arg(short = 'f', long = "file", value_name = "TEXT")]
        text: Option<PathBuf>,
        #[command(flatten)]
        rules: Rules,
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
        /// The types: `F32`, or one of those of `quantize`
        #[arg(long = "type", value_parser = recipe)]
        recipe: &'static Recipe,
        #[command(flatten)]
        rules: Rules,
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
        /// Replace the output, if it exists
        #[arg(long)]
        force: bool,
    },
}

/// What a recipe does not say.
#[derive(Args)]
struct Rules {
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

impl Rules {
    fn options(&self, recipe: &'static Recipe) -> quantize::Options<'_> {
        let Self { importance, keep, force } = self;
        quantize::Options { recipe, importance: importance.as_deref(), keep, force: *force }
    }
}

/// The recipe of this name, in any case.
fn recipe(name: &str) -> Result<&'static Recipe, String> {
    let known = || RECIPES.iter().map(|recipe| recipe.name).collect::<Vec<_>>().join(", ");
    let found = RECIPES.iter().find(|recipe| recipe.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("known types: {}", known()))
}

/// A number of bytes, with a unit or without.
fn size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, f64); 7] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("", 1.0),
    ];
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let size = unit.and_then(|(number, bytes)| Some(number.parse::<f64>().ok()? * bytes));
    let size = size.filter(|size| (1.0..1e18).contains(size)).map(|size| size as usize);
    size.ok_or_else(|| "a number of bytes is needed, such as 90000000, 90M or 85MiB".to_owned())
}

/// A positive number of nats.
fn divergence(text: &str) -> Result<f64, String> {
    let nats = text.parse().ok().filter(|nats| *nats > 0.0 && f64::is_finite(*nats));
    nats.ok_or_else(|| "a positive number is needed, such as 0.02".to_owned())
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

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let trouble = if matches!(command, Command::Diff { .. }) { ExitCode::from(2) } else { ExitCode::FAILURE };
    match run(command) {
        Ok((text, good)) => print(&text, good),
        Err(error) => {
            eprintln!("error: {error}");
            trouble
        }
    }
}

/// What to print, and whether all is well.
fn run(command: Command) -> Result<(String, bool), ConvertError> {
    let mut good = true;
    let text = match command {
        Command::Plugin { checkpoint, output, matrices, force } => {
            let output = names::target(output.as_deref(), || plugin::name(&checkpoint, matrices.into()))?;
            wrote(&plugin::convert(&checkpoint, &output, matrices.into(), force)?, &output)
        }
        Command::Inspect { file, tensors, json } => {
            let report = inspect::inspect(&file)?;
            match (tensors, json) {
                (false, false) => report.to_string(),
                (true, false) => report.tensors().to_string(),
                (false, true) => format!("{:#}\n", report.json()),
                (true, true) => format!("{:#}\n", report.json()["tensors"]),
            }
        }
        Command::Verify { file, json } => {
            let report = verify::verify(&file)?;
            good = report.is_good();
            if json { format!("{:#}\n", report.json()) } else { report.to_string() }
        }
        Command::Diff { a, b, json } => {
            let report = diff::diff(&a, &b)?;
            good = report.is_same();
            if json { format!("{:#}\n", report.json()) } else { report.to_string() }
        }
        Command::Merge { backbone, plugin, output, force } => {
            wrote(&merge::merge(&backbone, &plugin, &output, force)?, &output)
        }
        Command::Split { merged, output, backbone, force } => {
            let summary = split::split(&merged, &output, backbone.as_deref(), force)?;
            let backbone = backbone.map_or_else(String::new, |path| wrote(&"", &path));
            wrote(&summary, &output) + &backbone
        }
        Command::Pack { file, output, force } => {
            let packed = || names::of(&file, |gguf| format!("{}_packed", names::encoding(gguf)));
            let output = names::target(output.as_deref(), packed)?;
            wrote(&pack::pack(&file, &output, force)?, &output)
        }
        Command::Unpack { file, output, force } => {
            let plain = || names::of(&file, |gguf| names::encoding(gguf).to_owned());
            let output = names::target(output.as_deref(), plain)?;
            wrote(&pack::unpack(&file, &output, force)?, &output)
        }
        Command::Quantize { input, output, recipe, target_size, max_kl, text, mut rules } => {
            let goal = target_size.map(Goal::Size).or(max_kl.map(Goal::Divergence));
            let mut choice = None;
            if let (Some(goal), Some(text)) = (goal, text) {
                // A search takes time: what cannot be written is told before it.
                let named = output.as_deref().filter(|output| !output.is_dir());
                if let Some(output) = named {
                    let inputs = [Some(&input), Some(&text), rules.importance.as_ref()];
                    let inputs: Vec<&Path> = inputs.into_iter().flatten().map(PathBuf::as_path).collect();
                    check_output(output, &inputs)?;
                    check_absent(output, rules.force)?;
                }
                let progress = progress("{pos} of {len} groups");
                let found =
                    quantize::search::choose(&input, &text, goal, rules.importance.as_deref(), &rules.keep, &progress)?;
                rules.keep.splice(0..0, found.keep.iter().cloned());
                choice = Some(found);
            }
            // clap has let nothing through that has neither.
            let recipe = recipe.or(choice.as_ref().map(|choice| choice.recipe)).unwrap_or(&RECIPES[0]);
            let mixed = if choice.is_some() { "_MIX" } else { "" };
            let name = || names::of(&input, |_| format!("{}{mixed}", recipe.name));
            let output = names::target(output.as_deref(), name)?;
            let summary =
                quantize::quantize(&input, &output, &rules.options(recipe), &progress("{bytes} of {total_bytes}"))?;
            choice.map_or_else(String::new, |choice| choice.to_string()) + &wrote(&summary, &output)
        }
        Command::Import { folder, output, recipe, rules } => {
            let bytes = progress("{bytes} of {total_bytes}");
            wrote(&import::import(&folder, &output, &rules.options(recipe), &bytes)?, &output)
        }
        Command::Importance { model, text, output, force } => {
            let summary = importance::gather(&model, &text, &output, force, &progress("{pos} of {len} tokens"))?;
            format!("{summary}wrote {}\n", output.display())
        }
        Command::Synth { shape, dtype, output, force } => {
            // clap has let no other name through.
            for shape in SHAPES.iter().filter(|known| known.name == shape) {
                synth::synth(shape, dtype, &output, force)?;
            }
            wrote(&"", &output)
        }
    };
    Ok((text, good))
}

/// What was written, where, and whether the name fits.
fn wrote(summary: &impl Display, output: &Path) -> String {
    let note = names::note(output).map_or_else(String::new, |note| format!("note: {note}\n"));
    format!("{summary}{note}wrote {}\n", output.display())
}

/// A bar on the terminal, if there is one.
fn progress(counts: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{wide_bar}} {counts}, {{eta}} left"));
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Prints all of `text`. A reader that has seen enough (`| head`) is no error.
fn print(text: &str, good: bool) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot print: {error}");
            ExitCode::FAILURE
        }
        _ if good => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
