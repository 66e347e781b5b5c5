//! The plugin: its layers, their tensors, its file, and how the runtime runs it.

pub mod deploy;
pub mod file;
pub mod nets;
pub mod params;
