//! Versions: of the library, and of the binary interface that this header describes.

use std::ffi::{CStr, c_char};

/// The version of the library, as C reads it.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("the package's version has no zero byte"),
};

/// The version that this header describes: its first number.
pub const OLLM_VERSION_MAJOR: u32 = 0;

/// Its second number.
pub const OLLM_VERSION_MINOR: u32 = 1;

/// Its third number.
pub const OLLM_VERSION_PATCH: u32 = 0;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_package() {
        let numbers = format!("{OLLM_VERSION_MAJOR}.{OLLM_VERSION_MINOR}.{OLLM_VERSION_PATCH}");
        assert_eq!(numbers, env!("CARGO_PKG_VERSION"));
    }
}
