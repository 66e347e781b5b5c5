//! What the host of the module for WebAssembly needs beside the functions of the header: memory of
//! the module, where it puts arguments and the bytes of files.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;

use crate::source::OllmReleaseFn;

/// Enough for every type that is read in place.
const ALIGNMENT: usize = 64;

/// `length` bytes for the host to write, at a multiple of 64; NULL if there are none to be had.
/// Free them with [`ollm_web_free`], or lend them to a source whose `release` is
/// [`ollm_web_release`].
#[unsafe(no_mangle)]
pub extern "C" fn ollm_web_alloc(length: usize) -> *mut c_void {
    // SAFETY: a layout of at least a byte.
    layout(length).map_or(std::ptr::null_mut(), |layout| unsafe { alloc(layout) }.cast())
}

/// Frees what [`ollm_web_alloc`] gave for `length` bytes; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_web_free(_user: *mut c_void, data: *const c_void, length: usize) {
    if let (false, Some(layout)) = (data.is_null(), layout(length)) {
        // SAFETY: the host says that they came from there, with this length.
        unsafe { dealloc(data.cast_mut().cast(), layout) }
    }
}

/// [`ollm_web_free`] as the address of a function, for `ollm_source.release`: the host writes the
/// bytes of a file once, and the model frees them.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_web_release() -> OllmReleaseFn {
    Some(ollm_web_free)
}

fn layout(length: usize) -> Option<Layout> {
    Layout::from_size_align(length.max(1), ALIGNMENT).ok()
}
