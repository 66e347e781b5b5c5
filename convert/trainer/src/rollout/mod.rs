//! Answers of the deployed model: many at once, and kept on disk.

pub mod answer_data;
pub mod engine;
pub mod library;
pub mod samples;
