//! The C ABI of the OLLM runtime.
