//! `ollm-convert set-metadata`.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::edit::{self, Assignment};

use crate::output::{Outcome, wrote};

/// Set or remove metadata keys of a file
///
/// A value gets the type that the key has, here or in the specification of GGUF; another new key
/// that of its text: true or false, a whole number, a number, or else a string. KEY:TYPE=VALUE
/// names another one: u8 to u64, i8 to i64, f32, f64, bool, string.
#[derive(Args)]
pub(crate) struct SetMetadataArgs {
    /// Any GGUF file
    file: PathBuf,
    /// The keys, such as general.name=Mine or `tokenizer.ggml.add_bos_token=false`
    #[arg(value_name = "KEY=VALUE", required_unless_present = "remove")]
    set: Vec<Assignment>,
    /// A key that is removed
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// Replace the output, if it exists
    #[arg(long)]
    force: bool,
}

impl SetMetadataArgs {
    pub(crate) fn run(self) -> Outcome {
        let Self { file, set, remove, output, force } = &self;
        Ok(wrote(&edit::edit(file, output, set, remove, *force)?, output).into())
    }
}
