//! Files without a name, which the system drops with their last descriptor (`open(2)`,
//! `O_TMPFILE`): of a writer that is killed nothing is left.

pub(crate) use sys::{create, name};

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sys {
    use std::ffi::{CString, c_char, c_int};
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    const O_DIRECTORY: c_int = if cfg!(target_arch = "x86_64") { 0o200_000 } else { 0o40_000 };
    const O_TMPFILE: c_int = 0o20_000_000 | O_DIRECTORY;
    const AT_FDCWD: c_int = -100;
    const AT_SYMLINK_FOLLOW: c_int = 0x400;
    /// Where the descriptors of the process are.
    const DESCRIPTORS: &str = "/proc/self/fd";

    unsafe extern "C" {
        fn linkat(from: c_int, path: *const c_char, to: c_int, name: *const c_char, flags: c_int) -> c_int;
    }

    /// A file in this folder; none if its file system or this machine has no such files.
    pub(crate) fn create(folder: &Path) -> Option<File> {
        let supported = Path::new(DESCRIPTORS).is_dir();
        supported.then(|| OpenOptions::new().write(true).custom_flags(O_TMPFILE).open(folder).ok()).flatten()
    }

    /// Gives it a name that nothing has.
    pub(crate) fn name(file: &File, path: &Path) -> io::Result<()> {
        let from = CString::new(format!("{DESCRIPTORS}/{}", file.as_raw_fd()))?;
        let to = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: both are texts with an end, which live through the call.
        match unsafe { linkat(AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr(), AT_SYMLINK_FOLLOW) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod sys {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(crate) fn create(_folder: &Path) -> Option<File> {
        None
    }

    pub(crate) fn name(_file: &File, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
