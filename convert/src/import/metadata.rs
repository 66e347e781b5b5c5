//! Metadata in the making.

use ollm_runtime::gguf::Value;

/// Keys and values, in the order in which they are written.
pub(super) type MetadataPairs = Vec<(String, Value)>;
