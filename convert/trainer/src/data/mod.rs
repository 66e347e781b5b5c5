//! Text and files: problems (read or generated), rows, tensors, and what names and shuffles them.

pub mod corpus;
pub mod format;
pub mod hash;
#[cfg(feature = "parquet")]
mod parquet;
pub mod problem;
pub mod problems;
pub mod records;
pub mod rng;
pub mod tensor_file;
