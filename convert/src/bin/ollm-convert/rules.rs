//! Which type each matrix gets, as the command line says it.

use std::path::PathBuf;

use clap::Args;
use ollm_convert::quantize::{Options, Pattern, RECIPES, Recipe, TypeRule};
use ollm_convert::tensor_type;
use ollm_runtime::gguf::TensorType;

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
    /// A file of such rules, one in each line; those of --tensor-type count more
    #[arg(long, value_name = "FILE", value_parser = rules)]
    tensor_type_file: Option<RuleFile>,
    /// A type for the head; where the embeddings are the head too, for these
    #[arg(long, value_name = "TYPE", value_parser = tensor_type)]
    output_tensor_type: Option<TensorType>,
    /// A type for the token embeddings
    #[arg(long, value_name = "TYPE", value_parser = tensor_type)]
    token_embedding_type: Option<TensorType>,
    /// Replace the output, if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// The rules of a file.
#[derive(Clone)]
struct RuleFile(Vec<TypeRule>);

fn rules(path: &str) -> Result<RuleFile, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    TypeRule::all(&text).map(RuleFile)
}

impl Rules {
    /// Puts all rules into one list, of which the last that matches counts.
    pub(crate) fn gather(&mut self) {
        let file = self.tensor_type_file.take().map_or_else(Vec::new, |file| file.0);
        self.tensor_types.splice(0..0, file);
        let last =
            [(Pattern::Head, self.output_tensor_type.take()), (Pattern::Embedding, self.token_embedding_type.take())];
        let last = last.into_iter().filter_map(|(pattern, dtype)| Some(TypeRule { pattern, dtype: dtype? }));
        self.tensor_types.extend(last);
    }

    /// With a recipe, all that quantization needs.
    pub(crate) fn options(&self, recipe: &'static Recipe) -> Options<'_> {
        let Self { imatrix, tensor_types, force, .. } = self;
        Options { recipe, imatrix: imatrix.as_deref(), tensor_types, force: *force }
    }
}

/// The recipe of this name, in any case; `Q4_K` is `Q4_K_M`, as for llama-quantize.
pub(crate) fn recipe(name: &str) -> Result<&'static Recipe, String> {
    let known = || RECIPES.iter().map(|recipe| recipe.name).collect::<Vec<_>>().join(", ");
    let is = |found: &str| found.eq_ignore_ascii_case(name);
    let found = RECIPES.iter().find(|recipe| is(recipe.name) || recipe.name.strip_suffix("_M").is_some_and(is));
    found.ok_or_else(|| format!("known types: {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_have_the_names_of_llama_quantize() {
        for (name, recipe_name) in [("q4_k", "Q4_K_M"), ("Q3_K", "Q3_K_M"), ("Q2_K", "Q2_K"), ("Q5_K_S", "Q5_K_S")] {
            assert_eq!(recipe(name).unwrap().name, recipe_name);
        }
        assert!(recipe("Q4").unwrap_err().contains("Q4_K_M"));
    }
}
