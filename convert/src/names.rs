//! The GGUF naming convention: `BaseName-SizeLabel-FineTune-Version-Encoding-Type.gguf`.
//!
//! The parts come from the metadata; those that it lacks from the name of the input, if that
//! follows the convention (the crate `ggml-rs` reads it). The type of a plugin is `OLLM`, beside
//! the `LoRA` and `vocab` of the specification; the encoding of a packed file ends in `_packed`.

use std::path::{Path, PathBuf};

use ggml_rs::{GGUFComponents, parse_gguf_filename};
use ollm_runtime::gguf::{Gguf, Metadata, TensorInfo, TensorType, Value};
use ollm_runtime::model::PLUGIN_PREFIX;
use ollm_runtime::storage::is_pipe;

use crate::quantize::RECIPES;
use crate::{ConvertError, Opened, Result};

/// The type of a plugin file.
pub const PLUGIN_TYPE: &str = "OLLM";

/// Where to write: `output`, or a file called `name` in it if it is a folder, or here if there is
/// none.
pub fn target(output: Option<&Path>, name: impl FnOnce() -> Result<String>) -> Result<PathBuf> {
    Ok(match output {
        Some(folder) if folder.is_dir() => folder.join(name()?),
        Some(file) => file.to_owned(),
        None => PathBuf::from(name()?),
    })
}

/// The name of what is made of the file `input`, its types called as `encoding` says of that.
///
/// # Errors
/// If the file cannot be read, or is a pipe.
pub fn of(input: &Path, encoding: impl FnOnce(&Gguf) -> String) -> Result<String> {
    // It can be read once, and its tensors are to come.
    if is_pipe(input) {
        return Err(ConvertError::Nameless { path: input.to_owned() });
    }
    let Opened { gguf, .. } = Opened::open(input)?;
    Ok(name(gguf.metadata(), input, parameters(&gguf), &encoding(&gguf)))
}

/// What is wrong with the name of a file: that it says other types than it has.
pub fn note(path: &Path) -> Option<String> {
    let Opened { gguf, .. } = Opened::open(path).ok()?;
    contradiction(path, encoding(&gguf))
}

/// The name of a file with this metadata, made from the file `input`, with so many parameters.
pub fn name(metadata: &Metadata, input: &Path, parameters: usize, encoding: &str) -> String {
    let text = |key: &str| metadata.get(key).and_then(|value| value.as_str()).filter(|text| !text.trim().is_empty());
    let given = components(input);
    let given = |part: fn(&GGUFComponents) -> Option<&String>| given.as_ref().and_then(part).cloned();
    let stem = || input.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let base = text("general.basename").map(str::to_owned).or_else(|| given(|name| name.base_name.as_ref()));
    let whole = base.is_none();
    let base = base.or_else(|| text("general.name").map(str::to_owned)).unwrap_or_else(stem);
    let size = text("general.size_label").map(str::to_owned).or_else(|| given(|name| name.size_label.as_ref()));
    // A name that stands for all parts has its fine-tuning in it.
    let tuning = text("general.finetune").filter(|_| !whole).map(str::to_owned);
    let tuning = tuning.or_else(|| given(|name| name.fine_tune.as_ref()));
    let version = text("general.version").map(str::to_owned).or_else(|| given(|name| Some(&name.version)));
    let version = version.map_or("v1.0".to_owned(), |version| format!("v{}", version.trim().trim_start_matches('v')));
    let kind = (text("adapter.type") == Some("ollm")).then(|| PLUGIN_TYPE.to_owned());
    let size = size.unwrap_or_else(|| size_label(parameters));
    let parts = [Some(base), Some(size), tuning, Some(version), Some(encoding.to_owned()), kind];
    let parts: Vec<String> =
        parts.into_iter().flatten().map(|part| clean(&part)).filter(|part| !part.is_empty()).collect();
    format!("{}.gguf", parts.join("-"))
}

/// What the name of a file says, if it follows the convention.
fn components(path: &Path) -> Option<GGUFComponents> {
    parse_gguf_filename(path.file_name()?.to_str()?)
}

/// A part as a name can hold it: whatever the file says, no folder, no control character, nothing
/// too long.
fn clean(part: &str) -> String {
    const LONGEST: usize = 80;
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let parts: String = part.trim().chars().take(LONGEST).map(letter).collect();
    let words: Vec<&str> = parts.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-").trim_matches('.').to_owned()
}

/// A number of parameters as names have it: two digits or more, and a unit.
fn size_label(parameters: usize) -> String {
    let (unit, letter) = match parameters {
        0..1_000_000 => (1e3, 'K'),
        1_000_000..1_000_000_000 => (1e6, 'M'),
        1_000_000_000..1_000_000_000_000 => (1e9, 'B'),
        _ => (1e12, 'T'),
    };
    let size = parameters as f64 / unit;
    if size < 9.95 { format!("{size:.1}{letter}") } else { format!("{size:.0}{letter}") }
}

/// The number of weights: of a backbone without those of its plugin, of a plugin all.
pub fn parameters(gguf: &Gguf) -> usize {
    let plugins = |name: &str| name.starts_with(PLUGIN_PREFIX);
    let alone = gguf.tensors().iter().all(|tensor| plugins(&tensor.name));
    let counted = gguf.tensors().iter().filter(|tensor| alone || !plugins(&tensor.name));
    counted.map(TensorInfo::elements).sum()
}

/// What a file's types are called: the recipe that it says it was made by, or the type of most
/// matrices.
pub fn encoding(gguf: &Gguf) -> &'static str {
    let file_type = gguf.metadata().get("general.file_type").and_then(Value::as_u32);
    let common = most_common(gguf);
    // Two recipes share the number of MXFP4.
    let named = || RECIPES.iter().filter(|recipe| Some(recipe.file_type) == file_type);
    let recipe = named().find(|recipe| recipe.is_mostly(common)).or_else(|| named().next());
    recipe.map_or(common.name(), |recipe| recipe.name)
}

fn most_common(gguf: &Gguf) -> TensorType {
    let matrices = |dtype: TensorType| gguf.tensors().iter().filter(|t| t.dims.len() > 1 && t.dtype == dtype).count();
    TensorType::ALL.iter().copied().max_by_key(|&dtype| matrices(dtype)).unwrap_or(TensorType::F32)
}

/// What is wrong with the name of a file whose types are called `encoding`: it says another one.
pub fn contradiction(path: &Path, encoding: &str) -> Option<String> {
    let stem = path.file_stem()?.to_string_lossy();
    let words = stem.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let says =
        |word: &str| RECIPES.iter().find(|recipe| recipe.name.eq_ignore_ascii_case(word)).map(|recipe| recipe.name);
    // The last word counts: a name may tell what the model was before.
    let said = words.filter_map(says).next_back()?;
    (said != encoding).then(|| format!("the name says {said}, the file is {encoding}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, text) in pairs {
            metadata.insert((*key).to_owned(), (*text).into()).unwrap();
        }
        metadata
    }

    fn named(pairs: &[(&str, &str)], input: &str) -> String {
        name(&metadata(pairs), Path::new(input), 134_515_008, "Q4_0")
    }

    #[test]
    fn names_follow_the_convention() {
        let full = [
            ("general.name", "anything"),
            ("general.basename", "SmolLM2"),
            ("general.size_label", "135M"),
            ("general.finetune", "Instruct 8k"),
            ("general.version", "1.2"),
        ];
        assert_eq!(named(&full, "x.gguf"), "SmolLM2-135M-Instruct-8k-v1.2-Q4_0.gguf");
        let read = parse_gguf_filename(&named(&full, "x.gguf")).unwrap();
        assert_eq!((read.base_name.as_deref(), read.size_label.as_deref()), (Some("SmolLM2"), Some("135M")));
        assert_eq!((read.version.as_str(), read.encoding.as_deref()), ("v1.2", Some("Q4_0")));
        assert_eq!(named(&[("general.name", "My Model")], "x.gguf"), "My-Model-135M-v1.0-Q4_0.gguf");
        assert_eq!(named(&[], "folder/thing.gguf"), "thing-135M-v1.0-Q4_0.gguf");
        let input = "Hermes-2-Pro-Llama-3-8B-v1.0-F16.gguf";
        assert_eq!(named(&[], input), "Hermes-2-Pro-Llama-3-8B-v1.0-Q4_0.gguf");
        let plugin = [("general.name", "mine"), ("adapter.type", "ollm")];
        assert_eq!(named(&plugin, "x"), "mine-135M-v1.0-Q4_0-OLLM.gguf");
    }

    #[test]
    fn no_metadata_leads_out_of_the_folder() {
        for bad in ["../../etc/passwd", "/etc/passwd", "..", "a\0b\n\u{1b}[2J", "é", &"x".repeat(5000)] {
            let name = named(&[("general.basename", bad), ("general.version", bad)], "in.gguf");
            assert!(name.len() < 250 && !name.starts_with('.'), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{name}");
        }
    }

    #[test]
    fn sizes_have_two_digits() {
        let labels = [0, 999, 1_500_000, 134_515_008, 1_720_574_976, 12_345_678_901];
        assert_eq!(labels.map(size_label), ["0.0K", "1.0K", "1.5M", "135M", "1.7B", "12B"]);
    }

    #[test]
    fn a_name_that_says_another_type_is_noticed() {
        let noticed = |name: &str| contradiction(Path::new(name), "Q8_0");
        assert_eq!(noticed("a/x-Q4_0.gguf").unwrap(), "the name says Q4_0, the file is Q8_0");
        assert!(noticed("model.q4_k_m.gguf").is_some());
        assert_eq!([noticed("x.gguf"), noticed("x-q8_0.gguf"), noticed("from-F16-to-Q8_0.gguf")], [None, None, None]);
    }
}
