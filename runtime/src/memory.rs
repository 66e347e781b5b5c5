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

/// Runs `work` on a thread of its own, with this much stack; the inner error is its panic.
///
/// # Errors
/// What the system says if it has no such thread.
#[cfg(any(feature = "chat-template", feature = "constraints"))]
pub(crate) fn with_stack<T: Send>(
    bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> std::io::Result<std::thread::Result<T>> {
    std::thread::scope(|scope| Ok(std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, work)?.join()))
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
    }
}
