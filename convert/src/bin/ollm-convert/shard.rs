//! `ollm-convert shard` and `join`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::names;
use ollm_convert::parts::{self, Cut};

use crate::output::{Outcome, wrote};
use crate::quantize::size;

/// Cut a model in parts, NAME-00001-of-00003.gguf, as llama.cpp's gguf-split does
///
/// Every tool of this project, and llama.cpp, reads all of them when the first one is named.
#[derive(Args)]
pub(crate) struct ShardArgs {
    /// A backbone, with a plugin or without
    file: PathBuf,
    /// What the names of the parts begin with, with their folder; or the folder
    #[arg(short, long, value_name = "NAME")]
    output: PathBuf,
    /// Bytes of tensors in a part at most, such as 2G or 500MiB
    #[arg(long, value_name = "BYTES", value_parser = size, default_value = "2G")]
    max_size: usize,
    /// Tensors in a part at most
    #[arg(long, value_name = "N", conflicts_with = "max_size", value_parser = clap::value_parser!(u16).range(1..))]
    max_tensors: Option<u16>,
    /// Replace the parts, if they exist
    #[arg(long)]
    force: bool,
}

/// Make the parts of a model one file
#[derive(Args)]
pub(crate) struct JoinArgs {
    /// The first part, NAME-00001-of-00003.gguf, with the others beside it
    first: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl ShardArgs {
    pub(crate) fn run(self) -> Outcome {
        let cut = self.max_tensors.map_or(Cut::Bytes(self.max_size), |most| Cut::Tensors(most.into()));
        let name = || names::of(&self.file, |gguf| names::encoding(gguf).to_owned());
        let stem = names::target(Some(&self.output), name)?;
        Ok(parts::shard(&self.file, &stem, cut, self.force)?.to_string().into())
    }
}

impl JoinArgs {
    pub(crate) fn run(self) -> Outcome {
        Ok(wrote(&parts::join(&self.first, &self.output, self.force)?, &self.output).into())
    }
}
