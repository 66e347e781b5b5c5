//! Which type each matrix gets, as the command line says it.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::quantize::{Options, RECIPES, Recipe, TypeRule};

/// What a recipe does not say.
#[derive(Args)]
pub(crate) struct Rules {
    /// An importance matrix: a file of `ollm-convert imatrix`, or of llama.cpp's `llama-imatrix`
    #[arg(long, value_name = "FILE")]
    pub(crate) imatrix: Option<PathBuf>,
    /// A type for tensors in whose names a regular expression is found, such as `attn_v=Q8_0`; of
    /// several that match, the last one counts
    #[arg(long = "tensor-type", value_name = "PATTERN=TYPE")]
    pub(crate) tensor_types: Vec<TypeRule>,
    /// Replace the output, if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl Rules {
    /// With a recipe, all that quantization needs.
    pub(crate) fn options(&self, recipe: &'static Recipe) -> Options<'_> {
        let Self { imatrix, tensor_types, force } = self;
        Options { recipe, imatrix: imatrix.as_deref(), tensor_types, force: *force }
    }
}

/// The recipe of this name, in any case.
pub(crate) fn recipe(name: &str) -> Result<&'static Recipe, String> {
    let known = || RECIPES.iter().map(|recipe| recipe.name).collect::<Vec<_>>().join(", ");
    let found = RECIPES.iter().find(|recipe| recipe.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("known types: {}", known()))
}
