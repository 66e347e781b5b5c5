//! An allocator that refuses a large allocation when a test wants it to, and counts what is alive.
//! A test that uses it is one of its own process: `#[global_allocator] static ALLOCATOR: Refusing =
//! Refusing;`

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicIsize, Ordering};

/// What counts as large: bytes.
pub const LARGE: usize = 4 << 10;

thread_local! {
    /// How many large allocations of this thread succeed before one is refused; `usize::MAX` when
    /// none is to be.
    pub static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Bytes of large allocations that are alive.
pub static ALIVE: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, unless it is time to refuse.
#[derive(Debug)]
pub struct Refusing;

fn refuses(size: usize) -> bool {
    let left = LEFT.get();
    if size >= LARGE && left != usize::MAX {
        LEFT.set(left.wrapping_sub(1));
        return left == 0;
    }
    false
}

fn count(sign: isize, size: usize) {
    if size >= LARGE {
        ALIVE.fetch_add(sign * size as isize, Ordering::SeqCst);
    }
}

// SAFETY: it gives what the system's allocator gives, or null.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refuses(layout.size()) {
            return null_mut();
        }
        count(1, layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is the system's too; so
        // below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if refuses(size) {
            return null_mut();
        }
        count(-1, layout.size());
        count(1, size);
        // SAFETY: as above.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-1, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}
