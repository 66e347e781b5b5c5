//! AMX: int8 GEMM tiles of 16 by 16 sums. In assembly, since the intrinsics are not stable; the
//! compiler uses no tile register itself.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use crate::cpu::isa::Amx;
use crate::cpu::simd::STRIDE;

/// Tokens of a tile (its columns).
pub(super) const TOKENS: usize = 16;

/// Bytes of a row of a tile, and between words of weights.
const LINE: usize = 64;

/// Whether the processor has tiles of byte dot products, and the system lets this process use them:
/// asked once.
pub(in crate::cpu) fn is_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| has_tiles() && request_tiles())
}

/// CPUID, leaf 7: AMX-TILE and AMX-INT8.
fn has_tiles() -> bool {
    let features = __cpuid_count(7, 0).edx;
    features >> 24 & 0b11 == 0b11
}

/// Asks Linux for the tiles' state, which it saves for a thread only if the process has asked for
/// it. From then on the frames of signals are larger: an alternate signal stack has to have 11 KiB
/// or more (`AT_MINSIGSTKSZ`), and where a thread has a smaller one, Linux refuses, so that there
/// are no tiles.
#[cfg(target_os = "linux")]
fn request_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let outcome: i64;
    // SAFETY: a system call that touches no memory of the process; `rcx` and `r11` are its scratch.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => outcome,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    outcome == 0
}

#[cfg(not(target_os = "linux"))]
fn request_tiles() -> bool {
    false
}

/// Shapes of the tile registers, as `ldtilecfg` reads them (Intel's manual, volume 1, section
/// 18.2).
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Registers 0: sums; 1 and 2: activations and weights of 32 elements; 3 and 4: of 16.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 32, 64, 16, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 8, 16, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// This thread's tile registers, in use.
#[derive(Debug)]
pub struct Tiles(());

impl Tiles {
    #[inline(always)]
    pub(super) fn new(_isa: Amx) -> Self {
        // SAFETY: the token exists only where the instruction does, and the system saves its state.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly, preserves_flags)) };
        Self(())
    }
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the value exists only where the instruction does.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// One GEMM tile: dot products of `4 * words` elements, 16 rows of signed `weights` by 16 tokens
/// that are [`STRIDE`] bytes apart: `[16][16]`.
///
/// # Safety
/// This thread has [`Tiles`]; `words` is 4 or 8; words of 64 bytes, and activations of `4 * words`
/// bytes, can be read; 16 lines can be written to `sums`.
#[inline(always)]
pub(super) unsafe fn gemm_tile(words: usize, weights: *const u8, x: *const i8, sums: *mut i32) {
    /// With the registers for the activations and the weights.
    macro_rules! multiply {
        ($x:literal, $weights:literal) => {
            asm!(
                "tilezero tmm0",
                concat!("tileloadd tmm", $x, ", [{x} + {stride}*1]"),
                concat!("tileloadd tmm", $weights, ", [{weights} + {line}*1]"),
                concat!("tdpbssd tmm0, tmm", $x, ", tmm", $weights),
                "tilestored [{sums} + {line}*1], tmm0",
                x = in(reg) x,
                stride = in(reg) STRIDE,
                weights = in(reg) weights,
                line = in(reg) LINE,
                sums = in(reg) sums,
                options(nostack, preserves_flags)
            )
        };
    }
    // SAFETY: passed on from the caller.
    unsafe {
        if words == 8 {
            multiply!("1", "2");
        } else {
            multiply!("3", "4");
        }
    }
}
