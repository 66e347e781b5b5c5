//! What computes: block formats, instruction sets and the operations of a transformer, without any
//! knowledge of files, models or texts.
//!
//! It is a crate of its own, so that a change above it does not compile it again, which takes long;
//! `ollm-runtime` passes its modules on.
//!
//! The modules are floors: each may import from the ones listed below it, never from its own floor
//! or one above. A test (`tests/tests/architecture.rs`) reads this table and the imports.
//!
//! | floor | what it holds |
//! |---|---|
//! | [`logits`] | softmax, top tokens |
//! | [`ops`] | quantized matmul, norms, rotary embedding, attention: shapes in, shapes out |
//! | [`cpu`] | instruction-set tokens, SIMD primitives, kernels, the thread pool |
//! | [`quant`] | the block formats of ggml: scalar encode and decode |
//! | [`token_set`] | token masks: the tokens that a step may choose from |
//! | [`memory`], [`random`] | memory that may be refused; the same random numbers everywhere |

#[cfg(target_endian = "big")]
compile_error!("weights are read in place, which little-endian processors can");

pub mod cpu;
pub mod logits;
pub mod memory;
pub mod ops;
pub mod quant;
pub mod random;
pub mod token_set;
