//! Primitives of the instruction sets as a module for WebAssembly, for
//! `ffi/web/test/primitives.test.mjs`: that checks them against exact arithmetic, and the best set
//! against the portable one.
//!
//! `.ci/wasm` builds it; an application has no use for it.

use ollm_runtime::cpu::{Isa, Kernel, Scalar, Simd};

/// Numbers that one call takes.
const COUNT: usize = 1024;

/// `fma` of the first three arrays into the last.
struct Fma<'a>([&'a [f32]; 3], &'a mut [f32]);

impl Kernel for Fma<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        let Self([a, b, c], out) = self;
        for at in (0..out.len()).step_by(S::LANES) {
            isa.store(isa.fma(isa.load(&a[at..]), isa.load(&b[at..]), isa.load(&c[at..])), &mut out[at..]);
        }
    }
}

struct LoadF16<'a>(&'a [u16], &'a mut [f32]);

impl Kernel for LoadF16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        for at in (0..self.1.len()).step_by(S::LANES) {
            isa.store(isa.load_f16(&self.0[at..]), &mut self.1[at..]);
        }
    }
}

struct StoreF16<'a>(&'a [f32], &'a mut [u16]);

impl Kernel for StoreF16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        for at in (0..self.0.len()).step_by(S::LANES) {
            isa.store_f16(isa.load(&self.0[at..]), &mut self.1[at..]);
        }
    }
}

struct StoreI8<'a>(&'a [f32], &'a mut [i8]);

impl Kernel for StoreI8<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, isa: S) {
        for at in (0..self.0.len()).step_by(S::LANES) {
            isa.store_i8(isa.load(&self.0[at..]), &mut self.1[at..]);
        }
    }
}

/// What the host writes and reads.
#[repr(C)]
struct Arrays {
    a: [f32; COUNT],
    b: [f32; COUNT],
    c: [f32; COUNT],
    out: [f32; COUNT],
    halves: [u16; COUNT],
    bytes: [i8; COUNT],
}

/// New arrays, which are never freed.
#[unsafe(no_mangle)]
extern "C" fn arrays() -> *mut std::ffi::c_void {
    let zero = [0.0; COUNT];
    let arrays = Arrays { a: zero, b: zero, c: zero, out: zero, halves: [0; COUNT], bytes: [0; COUNT] };
    Box::into_raw(Box::new(arrays)).cast()
}

/// Runs primitive `which` of the best instruction set, or of the portable one.
///
/// # Safety
/// `arrays` came from [`arrays`].
#[unsafe(no_mangle)]
unsafe extern "C" fn run(which: u32, is_portable: bool, arrays: *mut std::ffi::c_void) {
    // SAFETY: the caller says so, and nobody else uses them.
    let Arrays { a, b, c, out, halves, bytes } = unsafe { &mut *arrays.cast::<Arrays>() };
    match which {
        0 => compute(Fma([a, b, c], out), is_portable),
        1 => compute(LoadF16(halves, out), is_portable),
        2 => compute(StoreF16(a, halves), is_portable),
        _ => compute(StoreI8(a, bytes), is_portable),
    }
}

/// The instruction sets of a module with vectors do not have the portable one among them.
fn compute<K: Kernel<Output = ()>>(kernel: K, is_portable: bool) {
    if is_portable { kernel.run(Scalar) } else { Isa::widest().dispatch(kernel) }
}
