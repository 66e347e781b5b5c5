//! Models that are cut in several files, as llama.cpp's `gguf-split` cuts them: the keys are in the
//! first part, and each part has some of the tensors.

use super::{GgufError, Metadata, Result};

/// The keys of a part: its number from 0 on, how many parts there are, and how many tensors in all
/// of them.
pub const PART_KEYS: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];

/// Which part of a model a file is.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// From 0 on.
    pub(super) number: u32,
    pub(super) count: u32,
}

/// The name of part `number`, from 1 on, of `count`: `STEM-00001-of-00003.gguf`.
pub fn part_name(stem: &str, number: usize, count: usize) -> String {
    format!("{stem}-{number:05}-of-{count:05}.gguf")
}

/// Checks that the file with this metadata is this part of a model; `None`: a whole one.
pub(super) fn check(metadata: &Metadata, part: Option<Part>) -> Result<()> {
    let [number, count, _] = PART_KEYS.map(|key| metadata.opt_u32(key));
    let (number, count) = (number?.unwrap_or(0), count?.unwrap_or(1));
    match part {
        None if count > 1 => Err(GgufError::Part { number: number.saturating_add(1), count }),
        Some(part) if part.count != count => {
            Err(GgufError::OtherPart { number: part.number + 1, reason: "has another number of parts in its keys" })
        }
        Some(part) if part.number != number => {
            Err(GgufError::OtherPart { number: part.number + 1, reason: "is another one by its keys" })
        }
        _ => Ok(()),
    }
}

/// Checks that the parts have as many tensors as the first one says.
pub(super) fn check_count(metadata: &Metadata, tensors: usize) -> Result<()> {
    match metadata.opt_u64(PART_KEYS[2])? {
        Some(count) if count != tensors as u64 => {
            Err(GgufError::OtherPart { number: 1, reason: "says that there are more or fewer tensors than there are" })
        }
        _ => Ok(()),
    }
}

/// Whether there are keys of a part.
pub(super) fn has_keys(metadata: &Metadata) -> bool {
    PART_KEYS.iter().any(|key| metadata.get(key).is_some())
}

/// The keys of the whole model.
pub(super) fn without_keys(metadata: &Metadata) -> Result<Metadata> {
    let mut whole = Metadata::default();
    for (key, value) in metadata.iter().filter(|(key, _)| !PART_KEYS.contains(key)) {
        whole.insert(key.to_owned(), value.clone())?;
    }
    Ok(whole)
}
