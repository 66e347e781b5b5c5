//! Floating-point modes of a thread: how results are rounded, and whether denormal numbers count.
//!
//! A host may have changed them (`fesetround`, a library built with `-ffast-math`, an audio thread
//! that flushes denormals), and then the same weights would give other tokens. So whoever enters
//! the library from another language sets the standard modes, as do workers.

/// The standard modes for as long as this value lives on a thread: round to nearest, nothing
/// flushed, no traps. Dropping it brings the thread's modes before it back, with the flags that
/// were raised.
///
/// Rust code always runs in the standard modes: this is for functions that other languages call.
#[derive(Debug)]
pub struct StandardFloatMode {
    before: sys::Mode,
    /// The modes are those of a thread.
    here: std::marker::PhantomData<*const ()>,
}

impl StandardFloatMode {
    /// Sets the standard modes.
    #[must_use]
    pub fn enter() -> Self {
        let before = sys::get();
        if before != sys::STANDARD {
            sys::set(sys::STANDARD);
        }
        Self { before, here: std::marker::PhantomData }
    }
}

impl Drop for StandardFloatMode {
    fn drop(&mut self) {
        // Our own flags go too: to the host it is as if nothing had been computed.
        sys::set(self.before);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod sys {
    use std::arch::asm;

    /// MXCSR (Intel's manual, volume 1, 10.2.3).
    pub(super) type Mode = u32;
    /// All exceptions masked, round to nearest.
    pub(super) const STANDARD: Mode = 0x1f80;

    pub(super) fn get() -> Mode {
        let mut mode = 0;
        // SAFETY: writes four bytes, to `mode`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
        mode
    }

    pub(super) fn set(mode: Mode) {
        // SAFETY: the modes are the standard ones, or those that the thread had before.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags, readonly)) };
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod sys {
    use std::arch::asm;

    /// FPCR (Arm's manual, C5.2.8).
    pub(super) type Mode = u64;
    /// Round to nearest, nothing flushed, no traps.
    pub(super) const STANDARD: Mode = 0;

    pub(super) fn get() -> Mode {
        let mode;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
        mode
    }

    pub(super) fn set(mode: Mode) {
        // SAFETY: the modes are the standard ones, or those that the thread had before.
        unsafe { asm!("msr fpcr, {}", in(reg) mode, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod sys {
    /// Of other processors the modes are not known here.
    pub(super) type Mode = ();
    pub(super) const STANDARD: Mode = ();

    pub(super) fn get() -> Mode {}

    pub(super) fn set((): Mode) {}
}
