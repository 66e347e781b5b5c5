//! Constrained output: the grammar that the flags name.

use std::path::{Path, PathBuf};

use clap::Args;
use ollm_runtime::Error;
use ollm_runtime::constraint::GrammarKind;

use crate::failure::{Failure, Result};

/// What generated text keeps to.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Constrained output")]
pub(crate) struct ConstrainArgs {
    /// Generate JSON of this schema: a file, or the schema itself; '{}' is any JSON
    #[arg(long, value_name = "FILE|JSON", group = "constraint")]
    json_schema: Option<String>,
    /// Generate text that matches all of this regular expression
    #[arg(long, value_name = "RE", group = "constraint")]
    regex: Option<String>,
    /// Generate text of the grammar in this file: GBNF, whose rules have ::=, or else Lark
    #[arg(long, value_name = "FILE", group = "constraint")]
    grammar: Option<PathBuf>,
    #[arg(long, value_name = "TEXT", requires = "constraint")]
    #[arg(help = "Leave the text free until it has TEXT, such as </think>; the grammar begins behind it")]
    trigger: Option<String>,
}

/// A grammar that was read, and not compiled yet.
pub(crate) struct GrammarText<'a> {
    pub(crate) kind: GrammarKind,
    pub(crate) text: String,
    pub(crate) trigger: &'a str,
}

impl ConstrainArgs {
    /// The grammar, if a flag names one.
    pub(crate) fn read(&self) -> Result<Option<GrammarText<'_>>> {
        let (kind, text) = match (&self.json_schema, &self.regex, &self.grammar) {
            (Some(schema), ..) if schema.trim_start().starts_with('{') => (GrammarKind::JsonSchema, schema.clone()),
            (Some(path), ..) => (GrammarKind::JsonSchema, read(Path::new(path))?),
            (_, Some(regex), _) => (GrammarKind::Regex, regex.clone()),
            (.., Some(path)) => {
                let text = read(path)?;
                (GrammarKind::of_rules(&text), text)
            }
            _ => return Ok(None),
        };
        Ok(Some(GrammarText { kind, text, trigger: self.trigger.as_deref().unwrap_or_default() }))
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Failure::Runtime(Error::Io { path: path.to_owned(), source }))
}
