//! The time that passes. Bare WebAssembly has no clock: there it is the one of the host, which the
//! module imports.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub(crate) use host::Instant;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub(crate) use std::time::Instant;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod host {
    use std::ops::Add;
    use std::time::Duration;

    #[link(wasm_import_module = "ollm")]
    unsafe extern "C" {
        /// Milliseconds since some moment, never fewer than before: `performance.now()`.
        safe fn now() -> f64;
    }

    /// A moment, as [`std::time::Instant`] is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Instant(Duration);

    impl Instant {
        /// Now.
        pub(crate) fn now() -> Self {
            Self(Duration::try_from_secs_f64(now() / 1000.0).unwrap_or_default())
        }

        /// How much later this is than `earlier`, if it is.
        pub(crate) fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
            self.0.checked_sub(earlier.0)
        }

        /// The time from `earlier` to this.
        pub(crate) fn duration_since(&self, earlier: Self) -> Duration {
            self.checked_duration_since(earlier).unwrap_or_default()
        }

        /// The time since.
        pub(crate) fn elapsed(&self) -> Duration {
            Self::now().duration_since(*self)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, time: Duration) -> Self {
            Self(self.0.saturating_add(time))
        }
    }
}
