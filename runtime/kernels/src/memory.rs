//! Memory that may be refused: large buffers come from here, so that a phone without memory gives
//! an error, not an abort.

use std::fmt;

/// The system has no memory left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes that were asked for.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not enough memory: {} bytes were asked for; close something, or ask for a shorter context",
            self.bytes
        )
    }
}

impl std::error::Error for OutOfMemory {}

/// Makes room for `len` elements in all, so that `buffer` grows to that size without allocating.
///
/// # Errors
/// [`OutOfMemory`]; then the buffer is as it was.
pub fn reserve<T>(buffer: &mut Vec<T>, len: usize) -> Result<(), OutOfMemory> {
    let missing = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(missing).map_err(|_| OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) })
}

/// Makes room for `more` elements, and perhaps for others that will follow: growing bit by bit
/// costs one copy of each element in the long run.
///
/// # Errors
/// [`OutOfMemory`]; then the buffer is as it was.
pub fn grow<T>(buffer: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    let bytes = buffer.len().saturating_add(more).saturating_mul(size_of::<T>());
    buffer.try_reserve(more).map_err(|_| OutOfMemory { bytes })
}

/// A buffer of `len` copies of `value`.
///
/// # Errors
/// [`OutOfMemory`] if it cannot be had.
pub fn filled<T: Clone>(value: T, len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut buffer = Vec::new();
    reserve(&mut buffer, len)?;
    buffer.resize(len, value);
    Ok(buffer)
}

/// A copy of `elements`.
///
/// # Errors
/// [`OutOfMemory`] if it cannot be had.
pub fn copied<T: Copy>(elements: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let mut buffer = Vec::new();
    reserve(&mut buffer, elements.len())?;
    buffer.extend_from_slice(elements);
    Ok(buffer)
}

/// Appends `elements`, however many come.
///
/// # Errors
/// [`OutOfMemory`]; those before are appended then.
pub fn extend<T>(buffer: &mut Vec<T>, elements: impl Iterator<Item = T>) -> Result<(), OutOfMemory> {
    for element in elements {
        if buffer.len() == buffer.capacity() {
            grow(buffer, 1)?;
        }
        buffer.push(element);
    }
    Ok(())
}

/// A copy of `text`.
///
/// # Errors
/// [`OutOfMemory`] if it cannot be had.
pub fn text(text: &str) -> Result<String, OutOfMemory> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| OutOfMemory { bytes: text.len() })?;
    copy.push_str(text);
    Ok(copy)
}

/// That `bytes` can be had at once, for work of another library that cannot be refused memory: they
/// are asked for, and given back.
///
/// # Errors
/// [`OutOfMemory`] if they cannot.
pub fn probe(bytes: usize) -> Result<(), OutOfMemory> {
    let mut buffer = Vec::<u8>::new();
    reserve(&mut buffer, bytes)?;
    // Without a use the compiler may leave the allocation out.
    std::hint::black_box(buffer.as_ptr());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error_and_changes_nothing() {
        let mut buffer = vec![1_u64, 2];
        assert_eq!(reserve(&mut buffer, usize::MAX / 8), Err(OutOfMemory { bytes: usize::MAX / 8 * 8 }));
        assert_eq!(reserve(&mut buffer, usize::MAX), Err(OutOfMemory { bytes: usize::MAX }));
        assert_eq!(buffer, [1, 2]);
        reserve(&mut buffer, 100).unwrap();
        assert!(buffer.capacity() >= 100);
        assert_eq!(filled(7_u8, 3), Ok(vec![7, 7, 7]));
        extend(&mut buffer, 3..1000).unwrap();
        assert_eq!((buffer.len(), buffer[998]), (999, 999));
        assert_eq!(text("é").as_deref(), Ok("é"));
        assert_eq!(probe(1 << 20), Ok(()));
        assert_eq!(probe(usize::MAX / 2), Err(OutOfMemory { bytes: usize::MAX / 2 }));
    }
}
