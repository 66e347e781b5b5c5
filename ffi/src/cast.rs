//! Conversion of C arguments to Rust, all in one place: text, arrays, outputs and structs. Every
//! invalid argument that can be detected returns a status (NULL, lengths that no object has,
//! alignment, UTF-8). The rest is the safety contract of each constructor, which is the header's:
//! pointers point to as much as their lengths say, until the call returns.

use std::ffi::{CStr, c_char, c_void};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use crate::status::{CallFailure, OllmStatus, Result};

/// The user's pointer of a callback. It is only ever handed back to the user's own function.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: the library never looks through the pointer. That the callback may be called on other
// threads is its contract.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// `length` values at `data`; `data` may be NULL if there are none.
///
/// # Safety
/// If the checks hold, `data` points to `length` initialized values, which stay as they are for
/// `'a`.
pub(crate) unsafe fn slice<'a, T>(what: &str, data: *const T, length: usize) -> Result<&'a [T]> {
    check_array(what, data, length)?;
    // SAFETY: checked not to be NULL, misaligned or larger than any object; the rest is this
    // function's contract.
    Ok(if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, length) } })
}

/// UTF-8 text of `length` bytes; `text` may be NULL if there are none.
///
/// # Safety
/// As [`slice`].
pub(crate) unsafe fn text<'a>(what: &str, text: *const c_char, length: usize) -> Result<&'a str> {
    // SAFETY: the same contract.
    let bytes = unsafe { slice(what, text.cast::<u8>(), length) }?;
    let not_utf8 = |error: std::str::Utf8Error| {
        let message = format!("{what} is not UTF-8: see its byte {}", error.valid_up_to());
        CallFailure::new(OllmStatus::InvalidUtf8, message)
    };
    std::str::from_utf8(bytes).map_err(not_utf8)
}

/// A path: as the system writes it on Unix, UTF-8 elsewhere.
///
/// # Safety
/// If `path` is not NULL, it points to text that ends in zero.
pub(crate) unsafe fn path(path: *const c_char) -> Result<PathBuf> {
    if path.is_null() {
        return Err(CallFailure::argument("the path is NULL"));
    }
    // SAFETY: not NULL, and ends in zero by this function's contract.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    #[cfg(unix)]
    return Ok(PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes)));
    #[cfg(not(unix))]
    return match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PathBuf::from(text)),
        Err(_) => Err(CallFailure::new(OllmStatus::InvalidUtf8, "the path is not UTF-8")),
    };
}

/// Where a result goes.
pub(crate) struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// # Safety
    /// If `out` is neither NULL nor misaligned, a `T` can be written there while the result is in
    /// use.
    pub(crate) unsafe fn new(what: &str, out: *mut T) -> Result<Self> {
        check_array(what, out, 1)?;
        Ok(Self(out))
    }

    /// An output that may be NULL.
    ///
    /// # Safety
    /// As [`Out::new`].
    pub(crate) unsafe fn optional(what: &str, out: *mut T) -> Result<Option<Self>> {
        // SAFETY: the same contract.
        if out.is_null() { Ok(None) } else { unsafe { Self::new(what, out) }.map(Some) }
    }

    pub(crate) fn set(&self, value: T) {
        // SAFETY: the contract of `new`.
        unsafe { self.0.write(value) }
    }

    /// What is there, if it was initialized: for outputs that are inputs too.
    ///
    /// # Safety
    /// There is a value.
    pub(crate) unsafe fn get(&self) -> T {
        // SAFETY: the same contract, and that of `new`.
        unsafe { self.0.read() }
    }
}

/// An array of the caller that takes a result whose length is not known before.
///
/// The convention of the header: the number of elements goes to `length`; with a NULL array that is
/// all; an array that is too small stays as it is.
pub(crate) struct OutArray<T> {
    data: *mut T,
    capacity: usize,
    length: Out<usize>,
}

impl<T: Copy> OutArray<T> {
    /// # Safety
    /// `data` has room for `capacity` elements, and `length` is as in [`Out::new`].
    pub(crate) unsafe fn new(what: &str, data: *mut T, capacity: usize, length: *mut usize) -> Result<Self> {
        check_array(what, data, if data.is_null() { 0 } else { capacity })?;
        // SAFETY: the same contract.
        let length = unsafe { Out::new("the place for the length", length) }?;
        Ok(Self { data, capacity, length })
    }

    pub(crate) fn write(&self, values: &[T]) -> Result<()> {
        self.write_each(values.iter().copied())
    }

    pub(crate) fn write_each(&self, values: impl ExactSizeIterator<Item = T>) -> Result<()> {
        let count = values.len();
        let Some(data) = self.room(count, count)? else { return Ok(()) };
        for (i, value) in values.take(count).enumerate() {
            // SAFETY: `data` has room for `count` elements, by the contract of `new` and as `room`
            // checked.
            unsafe { data.add(i).write(value) };
        }
        Ok(())
    }

    /// Whether a result of `length` elements is to be made: there is room for it. Without an array
    /// its length is told, and that is all.
    pub(crate) fn fits(&self, length: usize) -> Result<bool> {
        Ok(self.room(length, length)?.is_some())
    }

    /// Makes room for `length` elements: a pointer to where they go, or none if the caller asks for
    /// the length alone.
    fn room(&self, length: usize, needed: usize) -> Result<Option<*mut T>> {
        self.length.set(length);
        if self.data.is_null() {
            return Ok(None);
        }
        if self.capacity < needed {
            let message = format!("a buffer of {} is too small: {needed} are needed", self.capacity);
            return Err(CallFailure::new(OllmStatus::BufferTooSmall, message));
        }
        Ok(Some(self.data))
    }
}

impl OutArray<u8> {
    /// A buffer of bytes for text.
    ///
    /// # Safety
    /// As [`OutArray::new`].
    pub(crate) unsafe fn text(data: *mut c_char, capacity: usize, length: *mut usize) -> Result<Self> {
        // SAFETY: the same contract.
        unsafe { Self::new("the buffer", data.cast::<u8>(), capacity, length) }
    }

    /// A writer of `length` bytes; none if the caller asks for the length alone.
    pub(crate) fn writer(&self, length: usize) -> Result<Option<OutWriter<'_>>> {
        Ok(self.room(length, length)?.map(|data| OutWriter { data, left: length, array: PhantomData }))
    }

    /// Writes text and a zero after it, which is not counted.
    pub(crate) fn write_text(&self, text: &[u8]) -> Result<()> {
        let Some(data) = self.room(text.len(), text.len() + 1)? else { return Ok(()) };
        // SAFETY: `data` has room for the text and one byte more, by the contract of `new` and as
        // `room` checked.
        unsafe {
            std::ptr::copy(text.as_ptr(), data, text.len());
            data.add(text.len()).write(0);
        }
        Ok(())
    }
}

/// Writes to a buffer of the caller, from its beginning.
pub(crate) struct OutWriter<'a> {
    data: *mut u8,
    left: usize,
    array: PhantomData<&'a OutArray<u8>>,
}

impl Write for OutWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.left);
        // SAFETY: there is room for `left` bytes at `data`, as `OutArray::room` checked, and
        // `length` is not more.
        unsafe {
            std::ptr::copy(bytes.as_ptr(), self.data, length);
            self.data = self.data.add(length);
        }
        self.left -= length;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The handle at `place`; NULL if the place is NULL.
///
/// # Safety
/// `place` is NULL or points to a handle.
pub(crate) unsafe fn handle_at<T>(place: *mut *mut T) -> Result<*mut T> {
    // SAFETY: the same contract.
    match unsafe { Out::optional("the place of the handle", place) }? {
        // SAFETY: there is a handle by this function's contract.
        Some(place) => Ok(unsafe { place.get() }),
        None => Ok(std::ptr::null_mut()),
    }
}

/// A struct of the header that begins with its own size, so that it can grow: a caller that was
/// compiled with an older header passes a smaller one, whose missing fields are zero; one that was
/// compiled with a newer header passes a larger one, which is taken if what is not known here is
/// zero.
///
/// # Safety
/// The struct is `repr(C)`, begins with `struct_size: usize`, has no padding, and every bit pattern
/// is a value of it.
pub(crate) unsafe trait Versioned: Copy {
    /// The name in messages.
    const NAME: &'static str;
    /// Where its fields begin, and where the last one ends: the sizes that an older version may
    /// have had.
    const SIZES: &'static [usize];
    /// A struct of nothing but zeros, which is every default.
    fn zeroed() -> Self;
}

/// Makes structs [`Versioned`]. It fails to compile where a struct has padding: a caller might
/// leave garbage in it, which a later version would take for a field. (With pointers of 32 bits
/// there may be some; the initializers zero it.)
macro_rules! versioned {
    ($($type:ident { $($field:ident: $field_type:ty),+ $(,)? })+) => {$(
        #[cfg(target_pointer_width = "64")]
        const _: () = assert!(size_of::<$type>() == 0 $(+ size_of::<$field_type>())+, "padding");
        // SAFETY: `struct_size` comes first and there is no padding, as asserted; every field is a
        // number, a pointer or an optional function pointer, for which zero is a value; numbers
        // that C chooses are never Rust enums.
        unsafe impl $crate::cast::Versioned for $type {
            const NAME: &'static str = stringify!($type);
            const SIZES: &'static [usize] = &[$(std::mem::offset_of!($type, $field) + size_of::<$field_type>()),+];
            fn zeroed() -> Self {
                // SAFETY: as above.
                unsafe { std::mem::zeroed() }
            }
        }
    )+};
}
pub(crate) use versioned;

/// The number in a field for an enum of the header, which C may set to any.
pub(crate) fn number<E: Copy>(field: MaybeUninit<E>) -> i32 {
    const { assert!(size_of::<E>() == size_of::<i32>()) };
    // SAFETY: the sizes are equal, and the field was copied from a struct of C, whose bytes are all
    // there.
    unsafe { std::mem::transmute_copy(&field) }
}

/// More than any struct of the header will ever have: a larger size is a mistake, not a later
/// version.
const MAX_STRUCT: usize = 4096;

/// The options at `options`; NULL stands for the defaults.
///
/// # Safety
/// If `options` is not NULL, it points to a struct of as many bytes as its first field says.
pub(crate) unsafe fn options<T: Versioned>(options: *const T) -> Result<T> {
    // SAFETY: the same contract.
    if options.is_null() { Ok(T::zeroed()) } else { unsafe { required(options) } }
}

/// The struct at `options`, which must be there.
///
/// # Safety
/// As [`options`].
pub(crate) unsafe fn required<T: Versioned>(options: *const T) -> Result<T> {
    let mut value = T::zeroed();
    // SAFETY: the same contract.
    let size = unsafe { struct_size(options) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: the struct has `size` bytes, of which the first `known` fit a `T`; any bytes are a
    // `T`.
    let rest = unsafe {
        std::ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut value).cast(), known);
        std::slice::from_raw_parts(options.cast::<u8>().add(known), size - known)
    };
    if rest.iter().any(|&byte| byte != 0) {
        let message = format!("{} sets a field that this version of the library does not know", T::NAME);
        return Err(CallFailure::argument(message));
    }
    Ok(value)
}

/// A struct of the caller that takes a result: as much of it as the caller's version has.
pub(crate) struct OutStruct<T> {
    data: *mut T,
    size: usize,
}

impl<T: Versioned> OutStruct<T> {
    /// # Safety
    /// If `data` is not NULL, it points to a struct of as many bytes as its first field says.
    pub(crate) unsafe fn new(data: *mut T) -> Result<Self> {
        check_array(T::NAME, data, 1)?;
        // SAFETY: the same contract.
        let size = unsafe { struct_size(data) }?;
        Ok(Self { data, size })
    }

    /// Writes the value, but leaves `struct_size` as the caller wrote it.
    pub(crate) fn set(&self, value: &T) {
        let (skip, end) = (size_of::<usize>(), self.size.min(size_of::<T>()));
        // SAFETY: both structs have `end` bytes, and `struct_size` is at least `skip`.
        unsafe {
            let from = std::ptr::from_ref(value).cast::<u8>().add(skip);
            std::ptr::copy_nonoverlapping(from, self.data.cast::<u8>().add(skip), end - skip);
        }
    }
}

/// The checked first field of a struct.
///
/// # Safety
/// `data` points to a struct that begins with its size.
unsafe fn struct_size<T: Versioned>(data: *const T) -> Result<usize> {
    check_array(T::NAME, data, 1)?;
    // SAFETY: not NULL and aligned, and there is a size by this function's contract.
    let size = unsafe { data.cast::<usize>().read() };
    if T::SIZES.contains(&size) || (size_of::<T>()..=MAX_STRUCT).contains(&size) {
        return Ok(size);
    }
    let message = format!("struct_size of {} is {size}: initialize the struct as the header shows", T::NAME);
    Err(CallFailure::argument(message))
}

/// The array, which is not NULL.
pub(crate) fn present<T>(what: &str, data: *mut T) -> Result<*mut T> {
    if data.is_null() { Err(CallFailure::argument(format!("{what} is NULL"))) } else { Ok(data) }
}

fn check_array<T>(what: &str, data: *const T, length: usize) -> Result<()> {
    let bytes = length.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
    let Some(bytes) = bytes else { return Err(CallFailure::argument(format!("{what} cannot have {length} elements"))) };
    if length == 0 {
        return Ok(());
    }
    if data.is_null() {
        return Err(CallFailure::argument(format!("{what} is NULL")));
    }
    if !data.is_aligned() || data.addr().checked_add(bytes).is_none() {
        return Err(CallFailure::argument(format!("{what} is not at an address that it can be at")));
    }
    Ok(())
}
