//! What names content in cache files and random streams.

pub use ollm_convert::hash::fnv1a;
