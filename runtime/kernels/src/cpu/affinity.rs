//! CPU affinity: the processors that a thread may run on.

use std::io;

/// Words of a set: 1024 processors, as in the C library's `cpu_set_t`.
const WORDS: usize = 1024 / usize::BITS as usize;

/// A set of processors, numbered from 0 as the system numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSet([usize; WORDS]);

impl CpuSet {
    /// The set with one more processor. There are none from number 1024 on: those change nothing.
    #[must_use]
    pub fn with(mut self, cpu: usize) -> Self {
        let bits = usize::BITS as usize;
        if let Some(word) = self.0.get_mut(cpu / bits) {
            *word |= 1 << (cpu % bits);
        }
        self
    }

    /// Binds the calling thread to these processors (Linux and Android).
    ///
    /// # Errors
    /// The system's error, for example if none of them exists; [`io::ErrorKind::Unsupported`] on
    /// other systems.
    pub fn bind_current_thread(&self) -> io::Result<()> {
        sys::bind(&self.0)
    }
}

impl From<u64> for CpuSet {
    /// The processors whose bits are set: bit 0 is processor 0.
    fn from(mask: u64) -> Self {
        (0..64).filter(|cpu| mask >> cpu & 1 == 1).collect()
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        cpus.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod sys {
    use std::ffi::c_int;
    use std::io;

    unsafe extern "C" {
        /// `man 2 sched_setaffinity`; the mask is an array of `unsigned long`, which has the size
        /// of `usize` here.
        fn sched_setaffinity(pid: c_int, size: usize, mask: *const usize) -> c_int;
    }

    pub(super) fn bind(mask: &[usize]) -> io::Result<()> {
        // SAFETY: the mask has as many bytes as it says; 0 is the calling thread.
        let status = unsafe { sched_setaffinity(0, size_of_val(mask), mask.as_ptr()) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod sys {
    use std::io;

    pub(super) fn bind(_mask: &[usize]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_its_processors() {
        assert_eq!(CpuSet::from(0b1010_u64), [1, 3].into_iter().collect());
        assert_eq!(CpuSet::default().with(5000), CpuSet::default());
        assert_ne!(CpuSet::default().with(1023), CpuSet::default());
    }

    /// In a thread of its own, whose binding dies with it.
    fn bind(set: CpuSet) -> io::Result<String> {
        let bound = std::thread::spawn(move || {
            set.bind_current_thread()?;
            std::fs::read_to_string("/proc/thread-self/status")
        });
        bound.join().unwrap()
    }

    #[test]
    fn a_thread_is_bound_to_its_set_and_to_nothing_there_is_not() {
        let status = bind(CpuSet::from(1)).unwrap();
        assert!(status.lines().any(|line| line.replace('\t', " ") == "Cpus_allowed_list: 0"), "{status}");
        assert!(bind(CpuSet::default()).is_err());
        assert!(bind(CpuSet::default().with(1023)).is_err());
    }
}
