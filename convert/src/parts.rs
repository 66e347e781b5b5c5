//! A model is cut in parts, or its parts become one file: `NAME-00001-of-00003.gguf`, as
//! llama.cpp's `gguf-split` names and writes them.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use ollm_runtime::gguf::{ALIGNMENT_KEY, Layout, PART_KEYS, TensorInfo, Value, Writer, part_name};

use crate::kind::MODELS;
use crate::table::TensorTotal;
use crate::{ConvertError, Opened, Result, check_absent, check_output, merge};

/// Where a model is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the bytes of a part's tensors are more than these.
    Bytes(usize),
    /// After so many tensors.
    Tensors(usize),
}

/// The parts that were written.
#[derive(Debug)]
pub struct ShardSummary {
    /// Each with its tensors.
    pub parts: Vec<(PathBuf, TensorTotal)>,
}

/// What was joined.
#[derive(Debug)]
pub struct JoinSummary {
    /// Parts that were read.
    pub parts: usize,
    /// The tensors of all.
    pub tensors: TensorTotal,
}

/// The parts that a model is written to, as `stem` (with its folder) names them. Each tensor goes
/// to one part; the keys are in the first.
///
/// # Errors
/// If the file is no model, a part is there and may not be replaced, or one cannot be written. Then
/// nothing is changed.
pub fn shard(input: &Path, stem: &Path, cut: Cut, force: bool) -> Result<ShardSummary> {
    let model = Opened::open_plain(input, MODELS)?;
    let groups = groups(model.gguf.tensors(), cut);
    let name = stem.file_name().filter(|_| !is_folder(stem));
    let name = name.ok_or_else(|| ConvertError::NoPlace { path: stem.to_owned() })?.to_string_lossy();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    let path = |number: usize| stem.with_file_name(part_name(name, number + 1, groups.len()));
    let paths: Vec<PathBuf> = (0..groups.len()).map(path).collect();
    for path in &paths {
        check_output(path, &[input])?;
        check_absent(path, force)?;
    }
    let part = |(number, group): (usize, &Vec<_>)| part(&model, number, groups.len(), group);
    let writers = groups.iter().enumerate().map(part).collect::<Result<Vec<_>>>()?;
    let files: Vec<_> = writers.into_iter().zip(paths.iter().map(PathBuf::as_path)).collect();
    // A model that lacks parts is none.
    crate::write_all(&files)?;
    drop(files);
    let totals = groups.iter().map(|group| TensorTotal::of(group.iter().map(|tensor| tensor.size)));
    Ok(ShardSummary { parts: paths.into_iter().zip(totals).collect() })
}

/// Whether a path ends as that of a folder does.
fn is_folder(path: &Path) -> bool {
    path.to_string_lossy().ends_with(std::path::is_separator)
}

/// What writes a part of the model.
fn part<'a>(model: &'a Opened, number: usize, count: usize, tensors: &[&'a TensorInfo]) -> Result<Writer<'a>> {
    let mut writer = Writer::new();
    let all = model.gguf.tensors().len();
    // The types of llama.cpp.
    let [no, of, total] = PART_KEYS;
    let own = [(no, Value::U16(number as u16)), (of, Value::U16(count as u16)), (total, Value::I32(all as i32))];
    let keys = model.gguf.metadata().iter().filter(|(key, _)| number == 0 || *key == ALIGNMENT_KEY);
    let keys = keys.map(|(key, value)| (key, value.clone()));
    for (key, value) in keys.chain(own) {
        writer.set(key, value).map_err(ConvertError::Output)?;
    }
    for &tensor in tensors {
        let emit = move |out: &mut dyn Write| model.release(tensor, |bytes| out.write_all(bytes));
        let added = writer.streamed(&tensor.name, &tensor.dims, tensor.dtype, Layout::Rows, emit);
        added.map_err(ConvertError::Output)?;
    }
    Ok(writer)
}

/// The tensors of each part, at least one in each, in their order.
fn groups(tensors: &[TensorInfo], cut: Cut) -> Vec<Vec<&TensorInfo>> {
    let mut groups: Vec<Vec<&TensorInfo>> = vec![Vec::new()];
    let mut bytes = 0_usize;
    for tensor in tensors {
        let last = groups.last().map_or(0, Vec::len);
        let is_full = match cut {
            Cut::Bytes(most) => bytes.saturating_add(tensor.size) > most,
            Cut::Tensors(most) => last >= most,
        };
        if is_full && last > 0 {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes = bytes.saturating_add(tensor.size);
        if let Some(group) = groups.last_mut() {
            group.push(tensor);
        }
    }
    groups
}

/// Writes the model whose first part is `first` as one file.
///
/// # Errors
/// If a part is missing or is another model's, or the output is there and may not be replaced.
pub fn join(first: &Path, output: &Path, force: bool) -> Result<JoinSummary> {
    check_output(output, &[first])?;
    check_absent(output, force)?;
    let model = Opened::open_plain(first, MODELS)?;
    let only = part_name("", 1, 1);
    let is_only = first.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&only));
    if model.bytes.starts().len() < 2 && !is_only {
        return Err(ConvertError::NotAPart { path: first.to_owned() });
    }
    let mut writer = Writer::new();
    merge::copy(&model, &mut writer, |key| Some(key.to_owned()), |_| true).map_err(ConvertError::Output)?;
    crate::write(writer, output)?;
    Ok(JoinSummary { parts: model.bytes.starts().len(), tensors: merge::total(&model.gguf, |_| true) })
}

impl fmt::Display for JoinSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tensors.line(f, format!("{} parts", self.parts))
    }
}

impl fmt::Display for ShardSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|(path, total)| total.line(f, path.display().to_string()))
    }
}
