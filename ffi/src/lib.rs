//! The C ABI of the OLLM runtime, as `include/ollm.h` describes it. The header is made from this
//! crate's modules, in their order below and with their words (`tests/header.rs`); C and C++
//! programs include that file alone.
//!
//! One file for each C type. `handle` says what handles are, `cast` is the one place where pointers
//! of C become Rust, `boundary` the one that stops panics, `status` the errors.

#![allow(clippy::missing_safety_doc, reason = "one contract for all functions, stated at the head of the header")]

mod boundary;
mod cast;
mod handle;
mod info;
mod turn;

mod adapter;
mod batch;
mod branches;
mod chat;
mod choose;
mod constraint;
mod conversation;
mod draft;
mod generate;
mod log;
mod logits;
mod memory;
mod model;
mod option_set;
mod plugin;
mod sampling;
mod save;
mod search;
mod selection;
mod session;
mod source;
mod statistics;
mod status;
mod suggest;
mod text;
mod thread_pool;
mod version;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod web;
mod workers;

pub use adapter::*;
pub use batch::*;
pub use branches::*;
pub use chat::*;
pub use choose::*;
pub use constraint::*;
pub use conversation::*;
pub use draft::*;
pub use generate::*;
pub use log::*;
pub use logits::*;
pub use memory::*;
pub use model::*;
pub use option_set::*;
pub use plugin::*;
pub use sampling::*;
pub use save::*;
pub use search::*;
pub use session::*;
pub use source::*;
pub use statistics::*;
pub use status::*;
pub use suggest::*;
pub use text::*;
pub use thread_pool::*;
pub use version::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use web::*;
pub use workers::*;
