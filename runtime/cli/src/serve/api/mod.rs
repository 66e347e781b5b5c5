//! The requests of the API, read and answered.
//!
//! | file | what it holds |
//! |---|---|
//! | `generate` | chats and completions |
//! | `embeddings`, `models` | the other two of `OpenAI`'s |
//! | `options` | option sets, searches, suggestions, tokens |
//! | `fields` | reads fields, and names what is wrong |
//! | `prompt`, `tools` | what is asked, and with which tools |
//! | `sampling`, `latents` | how tokens and latents are chosen |
//! | `answer` | answers in `OpenAI`'s shapes, whole and in chunks |

pub(crate) mod answer;
pub(crate) mod embeddings;
mod fields;
pub(crate) mod generate;
mod latents;
pub(crate) mod models;
pub(crate) mod options;
mod prompt;
mod sampling;
mod tools;

use std::ops::ControlFlow;

use super::error::ApiError;

/// Does what takes longer than a moment beside the threads that answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let failed = |_| ApiError::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, "the request made the server fail");
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

fn flow(goes_on: bool) -> ControlFlow<()> {
    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
