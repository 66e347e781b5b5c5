//! The processor: instruction sets chosen at run time, the SIMD primitives of each, and the thread
//! pool.

mod affinity;
mod float_mode;
mod isa;
pub mod pool;
mod scalar;
mod signals;
pub mod simd;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::sync::OnceLock;

pub use affinity::CpuSet;
pub use float_mode::StandardFloatMode;
pub use isa::*;
pub use pool::{MAX_THREADS, Pool, TooManyThreads, Worker, WorkerHost, Workers, check_threads, cores};
pub use signals::{blocked, with_stack};
pub use simd::{Kernel, Needs, PartialSums, Simd};

/// The environment variable that forces an instruction set by its [`Isa::name`]. An empty one is as
/// if there were none.
pub const ISA_VARIABLE: &str = "OLLM_ISA";

/// The instruction sets this build knows: token, name, and dispatch, from one table.
macro_rules! isas {
    ($($(#[$meta:meta])* $variant:ident($token:ty) = $name:literal, $new:expr;)+) => {
        /// An instruction set that this processor has.
        #[derive(Clone, Copy, Debug)]
        pub enum Isa {
            $($(#[$meta])* #[doc = concat!("`", $name, "`")] $variant($token),)+
        }

        impl Isa {
            /// Every instruction set that this processor has, best first; the scalar one is
            /// last, and only a module for WebAssembly with vectors lacks it.
            pub fn available() -> Vec<Self> {
                let found = [$($(#[$meta])* $new.map(Self::$variant),)+];
                found.into_iter().flatten().collect()
            }

            /// The name, as `OLLM_ISA` takes it and `bench` reports it.
            pub fn name(self) -> &'static str {
                match self { $($(#[$meta])* Self::$variant(_) => $name,)+ }
            }

            /// Runs `kernel` compiled for this instruction set.
            #[inline]
            pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
                match self { $($(#[$meta])* Self::$variant(token) => token.enter(kernel),)+ }
            }

            /// The `f32` lanes of a vector.
            pub fn lanes(self) -> usize {
                match self { $($(#[$meta])* Self::$variant(_) => <$token as Simd>::LANES,)+ }
            }

            /// [`Simd::GEMV_ROWS`]
            fn gemv_rows(self) -> usize {
                match self { $($(#[$meta])* Self::$variant(_) => <$token as Simd>::GEMV_ROWS,)+ }
            }

            /// [`Simd::GEMV_TILES`]
            fn gemv_tiles(self) -> &'static [usize] {
                match self { $($(#[$meta])* Self::$variant(_) => <$token as Simd>::GEMV_TILES,)+ }
            }

            /// [`Simd::GEMV_TOKENS`]
            fn gemv_tokens(self) -> usize {
                match self { $($(#[$meta])* Self::$variant(_) => <$token as Simd>::GEMV_TOKENS,)+ }
            }

            /// [`Simd::GEMM_TILE`]
            fn gemm_tile(self) -> usize {
                match self { $($(#[$meta])* Self::$variant(_) => <$token as Simd>::GEMM_TILE,)+ }
            }

            /// [`Simd::QUERY_TILE`]
            pub(crate) fn query_tile(self) -> usize {
                match self { $($(#[$meta])* Self::$variant(_) => <$token as Simd>::QUERY_TILE,)+ }
            }
        }

        const KNOWN: &[&str] = &[$($(#[$meta])* $name,)+];
    };
}

isas! {
    #[cfg(target_arch = "x86_64")] Amx(Amx) = "amx-int8", Amx::new();
    #[cfg(target_arch = "x86_64")] Avx512Vnni(Avx512Vnni) = "avx512-vnni", Avx512Vnni::new();
    #[cfg(target_arch = "x86_64")] Avx2(Avx2) = "avx2", Avx2::new();
    #[cfg(target_arch = "aarch64")] NeonI8mm(NeonI8mm) = "neon-i8mm", NeonI8mm::new();
    #[cfg(target_arch = "aarch64")] NeonDot(NeonDot) = "neon-dotprod", NeonDot::new();
    #[cfg(target_arch = "aarch64")] Neon(Neon) = "neon", Neon::new();
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))] Simd128(Simd128) = "wasm-simd128", Simd128::new();
    // Every engine that loads a module with vectors has them: kernels without would only make it
    // large.
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))] Scalar(Scalar) = "scalar", Some(Scalar);
}

/// How a matmul is computed: in tiles of `width` tokens, by packed weights as they are (GEMV) or by
/// unpacked ones (GEMM).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiling {
    pub(crate) width: usize,
    pub(crate) is_gemv: bool,
}

impl Isa {
    /// How a matmul of `count` tokens is computed. Weights that take long to unpack (not
    /// `are_streams`) are read by a GEMV of one tile alone, so that they are unpacked once.
    pub(crate) fn tiling(self, count: usize, are_streams: bool) -> Tiling {
        let tiles = self.gemv_tiles();
        let largest = tiles.last().copied().unwrap_or(1);
        let most = if are_streams { self.gemv_tokens() } else { largest };
        match count {
            1 if self.gemv_rows() > 0 => Tiling { width: 1, is_gemv: true },
            2.. if count <= most => {
                let at_once = count.div_ceil(largest);
                let width = tiles.iter().copied().find(|width| count <= at_once * width).unwrap_or(largest);
                Tiling { width, is_gemv: true }
            }
            _ => Tiling { width: self.gemm_tile(), is_gemv: false },
        }
    }

    /// The instruction set to use: the one that `OLLM_ISA` names, else the best that this processor
    /// has.
    ///
    /// # Errors
    /// [`IsaError`] if `OLLM_ISA` names a set that does not exist or that this processor lacks.
    pub fn select() -> Result<Self, IsaError> {
        match std::env::var_os(ISA_VARIABLE).filter(|name| !name.is_empty()) {
            Some(name) => Self::by_name(&name.to_string_lossy()),
            None => Ok(Self::available()[0]),
        }
    }

    /// The widest instruction set of this processor, whatever `OLLM_ISA` says: for plain code whose
    /// output is bit-identical on every instruction set, and which is compiled for it only for
    /// speed.
    pub fn widest() -> Self {
        static WIDEST: OnceLock<Isa> = OnceLock::new();
        *WIDEST.get_or_init(|| Self::available()[0])
    }

    /// The instruction set of that name.
    ///
    /// # Errors
    /// [`IsaError`] if there is none of that name, or this processor lacks it.
    pub fn by_name(name: &str) -> Result<Self, IsaError> {
        let found = Self::available().into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| IsaError { name: name.to_owned(), exists: KNOWN.contains(&name) })
    }
}

/// A forced instruction set that is not available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsaError {
    /// The name that was asked for.
    pub name: String,
    /// Whether this build knows it (then the processor lacks it).
    pub exists: bool,
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let have: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
        let why = if self.exists { "is not supported by this processor" } else { "is not a known instruction set" };
        write!(f, "{ISA_VARIABLE}={} {why}; available here: {}", self.name, have.join(", "))
    }
}

impl std::error::Error for IsaError {}
