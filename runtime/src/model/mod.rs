//! (being written)

pub mod fingerprint;
