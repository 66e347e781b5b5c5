//! `ollm-convert quantize`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use ollm_console::progress::{bytes_bar, count_bar};
use ollm_convert::quantize::search::{self, Goal, TypeChoice};
use ollm_convert::quantize::{self, Recipe};
use ollm_convert::{ConvertError, check_absent, check_output, names};

use crate::output::{Outcome, Printed, wrote};
use crate::rules::{Rules, recipe};

/// Write a model with its matrices in other types
///
/// Vectors, norms and the tensors of a plugin stay as they are. Where the rows of a matrix are not
/// whole blocks, `Q4_K` becomes `Q5_0`, `Q5_K` `Q5_1`, `Q6_K` `Q8_0`, `IQ4_XS` `IQ4_NL`, and
/// `Q2_K`, `Q3_K` and `Q2_0` `Q4_0`. With --target-size or --max-kl the types are chosen group by
/// group, by the KL divergence of the model's predictions on a text. Such a search keeps what it
/// has measured in INPUT.gguf.NUMBER.search beside the output, and goes on from there if it is
/// broken off; the number is that of the input, the text and the importance.
#[derive(Args)]
#[command(group = ArgGroup::new("goal").required(true))]
pub(crate) struct QuantizeArgs {
    /// A backbone (GGUF) of any type; best F16, BF16 or F32
    input: PathBuf,
    /// The file to write, or the folder for it
    output: Option<PathBuf>,
    /// The same
    #[arg(short = 'o', long = "output", value_name = "FILE.gguf", conflicts_with = "output")]
    named_output: Option<PathBuf>,
    /// The types: `F32`, `F16`, `BF16`, `Q8_0`, `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q2_K`, `Q3_K_S`,
    /// `Q3_K_M`, `Q3_K_L`, `Q4_K_S`, `Q4_K_M`, `Q5_K_S`, `Q5_K_M`, `Q6_K`, `IQ4_NL`, `IQ4_XS`,
    /// `MXFP4`, `MXFP4_MOE` (experts alone, all else `Q8_0`) or `Q2_0` (for models that were
    /// trained to have such weights); several, with commas between them, make several files in a
    /// folder
    #[arg(long = "type", value_parser = recipe, group = "goal", conflicts_with = "text", value_delimiter = ',')]
    recipes: Vec<&'static Recipe>,
    /// Choose the types of the smallest KL divergence in a file of at most so many bytes, such as
    /// 90000000, 90M or 85MiB
    #[arg(long, value_name = "BYTES", value_parser = size, group = "goal", requires = "text")]
    target_size: Option<usize>,
    /// Choose the types of the smallest file whose mean KL divergence from the input is at most X
    /// nats
    #[arg(long, value_name = "X", value_parser = divergence, group = "goal", requires = "text")]
    max_kl: Option<f64>,
    /// The text for that: some thousand words like those that the model will read and write
    #[arg(short = 'f', long = "file", value_name = "TEXT")]
    text: Option<PathBuf>,
    /// Print the type and the size of each tensor, and write nothing
    #[arg(long, conflicts_with = "text")]
    dry_run: bool,
    #[command(flatten)]
    rules: Rules,
}

impl QuantizeArgs {
    pub(crate) fn run(mut self) -> Outcome {
        self.output = self.output.take().or(self.named_output.take());
        self.rules.gather();
        if self.dry_run {
            return self
                .recipes
                .iter()
                .map(|recipe| self.sizes(recipe))
                .collect::<Result<String, _>>()
                .map(Printed::from);
        }
        if let Some(path) = self.output.as_ref().filter(|path| self.recipes.len() > 1 && !path.is_dir()) {
            return Err(ConvertError::SeveralOutputs { path: path.clone() });
        }
        let Some(choice) = self.search()? else {
            let outputs = self.outputs()?;
            return self
                .recipes
                .iter()
                .zip(&outputs)
                .map(|(recipe, output)| self.write(recipe, output))
                .collect::<Result<String, _>>()
                .map(Printed::from);
        };
        // Rules of the command line come last, and count.
        self.rules.tensor_types.splice(0..0, choice.tensor_types.iter().cloned());
        let written = self.write(choice.recipe, &self.output_of(choice.recipe, "_MIX")?)?;
        // It has served.
        if let Some(path) = &choice.measurements {
            let _ = fs::remove_file(path);
        }
        Ok((choice.to_string() + &written).into())
    }

    /// The outputs of the recipes, all of which can be written: the first is not made for nothing.
    fn outputs(&self) -> Result<Vec<PathBuf>, ConvertError> {
        let mut outputs: Vec<PathBuf> = Vec::new();
        for recipe in &self.recipes {
            let output = self.output_of(recipe, "")?;
            if outputs.contains(&output) {
                return Err(ConvertError::SameOutput { path: output });
            }
            self.check(&output)?;
            outputs.push(output);
        }
        Ok(outputs)
    }

    fn output_of(&self, recipe: &Recipe, mixed: &str) -> Result<PathBuf, ConvertError> {
        let name = || names::of(&self.input, |_| format!("{}{mixed}", recipe.name));
        names::target(self.output.as_deref(), name)
    }

    /// Refuses an output that is there, or is an input.
    fn check(&self, output: &Path) -> Result<(), ConvertError> {
        let inputs = [Some(&self.input), self.text.as_ref(), self.rules.imatrix.as_ref()];
        let inputs: Vec<&Path> = inputs.into_iter().flatten().map(PathBuf::as_path).collect();
        check_output(output, &inputs)?;
        check_absent(output, self.rules.force)
    }

    /// Writes the model in the types of a recipe.
    fn write(&self, recipe: &'static Recipe, output: &Path) -> Result<String, ConvertError> {
        let summary = quantize::quantize(&self.input, output, &self.rules.options(recipe), &bytes_bar("quantize"))?;
        Ok(wrote(&summary, output))
    }

    /// What a recipe would make of the model.
    fn sizes(&self, recipe: &'static Recipe) -> Result<String, ConvertError> {
        let summary = quantize::dry_run(&self.input, &self.rules.options(recipe))?;
        Ok(format!("{}\n{summary}{}: {} bytes\n", summary.table(), recipe.name, summary.bytes))
    }

    /// What the file that keeps what a search has measured begins with, beside the output.
    fn resume(&self) -> PathBuf {
        let folder = match self.output.as_deref() {
            Some(folder) if folder.is_dir() => folder,
            Some(file) => file.parent().unwrap_or(Path::new("")),
            None => Path::new(""),
        };
        folder.join(self.input.file_name().unwrap_or_default())
    }

    /// The types that are chosen by their KL divergence, where a goal asks for it.
    fn search(&self) -> Result<Option<TypeChoice>, ConvertError> {
        let goal = self.target_size.map(Goal::Size).or(self.max_kl.map(Goal::Divergence));
        let (Some(goal), Some(text)) = (goal, &self.text) else { return Ok(None) };
        let Rules { imatrix, tensor_types, .. } = &self.rules;
        // A search takes time: an output that cannot be written is refused before it.
        if let Some(output) = self.output.as_deref().filter(|output| !output.is_dir()) {
            self.check(output)?;
        }
        let progress = count_bar("quantize: search", 0, "groups");
        let resume = self.resume();
        search::choose(&self.input, text, goal, imatrix.as_deref(), tensor_types, Some(&resume), &progress).map(Some)
    }
}

/// A number of bytes, with a unit or without.
pub(crate) fn size(text: &str) -> Result<usize, String> {
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
