//! The requests of the API, read and answered.
//!
//! | file | what it holds |
//! |---|---|
//! | `generate` | chats and completions |
//! | `embeddings`, `models` | the other two of OpenAI's |
//! | `rerank` | documents by their relevance, in Jina's and Cohere's shape |
//! | `options` | option sets, searches, suggestions, tokens |
//! | `fields` | reads fields, and names what is wrong |
//! | `prompt`, `tools` | what is asked, and with which tools |
//! | `grammar` | what an answer keeps to: read with the prompt, compiled after it |
//! | `sampling`, `latents` | how tokens and latents are chosen |
//! | `answer` | answers in OpenAI's shapes, whole and in chunks |

pub(crate) mod answer;
mod answer_schema;
pub(crate) mod embeddings;
mod fields;
mod first_choice;
pub(crate) mod generate;
mod grammar;
mod latents;
pub(crate) mod models;
pub(crate) mod options;
mod prompt;
pub(crate) mod rerank;
mod sampling;
mod tools;

use std::ops::ControlFlow;

use ollm_runtime::branches::{SearchOptions, Strategy};

use super::service::Service;

fn flow(goes_on: bool) -> ControlFlow<()> {
    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Tokens of a branch of a search, those of the prompt included, and branches, at most.
fn branches_of(service: &Service, prompt: &[u32], options: &SearchOptions) -> (usize, usize) {
    let latents = service.plugin.as_ref().map_or(0, |plugin| plugin.option_count());
    let expanded = options.expansion.count(latents).max(1);
    let count = match options.strategy {
        // It expands each branch that it keeps.
        Strategy::Beam => options.width.saturating_mul(expanded),
        Strategy::Vote | Strategy::Best => expanded.min(options.width),
    };
    (prompt.len().saturating_add(options.branches.limit), count)
}
