//! GGUF v3, the file format of the ggml ecosystem: parse and write.
//!
//! Source: the GGUF specification (`docs/gguf.md` of the ggml project). Everything is little endian.
