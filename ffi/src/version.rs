//! Versions: of the library, and of the binary interface that this header describes.

use std::ffi::{CStr, c_char};

/// The version of the library, as C reads it.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("the package's version has no zero byte"),
};

/// The ABI version that this header describes; compare it with `ollm_abi_version`.
pub const OLLM_ABI_VERSION: u32 = 1;

/// The version of the library, "MAJOR.MINOR.PATCH". The text is static: never free it. Any thread.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The version of the ABI; it grows by one with each change that breaks callers. What is added,
/// such as functions, numbers of an enum, or fields at the end of a struct with `struct_size`,
/// breaks nobody. Any thread. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_abi_version() -> u32 {
    OLLM_ABI_VERSION
}
