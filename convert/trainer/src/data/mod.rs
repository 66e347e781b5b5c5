//! Text and files: problems, rows, tensors, and what names and shuffles them.

pub mod corpus;
pub mod hash;
pub mod records;
pub mod rng;
pub mod tensor_file;
