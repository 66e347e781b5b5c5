//! Snapshots: a session, with its tokens and its KV cache, saved to a file or a buffer and restored
//! in another process. The format is versioned and checksummed; a snapshot of another model is
//! refused. Sampling, selection and plugin are not part of it.

use std::ffi::{c_char, c_void};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;

use ollm_runtime::Error;
use ollm_runtime::session::SnapshotError;

use crate::boundary::guard;
use crate::cast::{self, OutArray};
use crate::session::{Live, OllmSession};
use crate::status::OllmStatus;
use crate::turn::with;

/// Saves the session to a file, whose path ends in zero. The file is replaced only when all of it
/// is written.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_save_file(session: *mut OllmSession, path: *const c_char) -> OllmStatus {
    guard(|| {
        // SAFETY: the path is what the header asks for.
        let path = unsafe { cast::path(path) }?;
        with(session, |live| Ok(live.save_file(&path)?))
    })
}

/// Restores the session from a file: under the same sampling and selection, the next tokens are
/// those that the saved session would have generated. The held latent and the place in a script are
/// saved with a session; its sampling, selection and plugin are not.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_BAD_FILE` if it is damaged, `OLLM_UNSUPPORTED` for another version, `OLLM_MISMATCH` for
/// another model or another type of KV cache, `OLLM_CONTEXT_FULL` if it is longer than the context,
/// `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays as it was. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_restore_file(session: *mut OllmSession, path: *const c_char) -> OllmStatus {
    guard(|| {
        // SAFETY: the path is what the header asks for.
        let path = unsafe { cast::path(path) }?;
        with(session, |live| {
            let file = File::open(&path).map_err(|source| Error::Io { path, source })?;
            live.session.restore(&mut BufReader::new(file))?;
            live.cut_text();
            Ok(())
        })
    })
}

/// Saves the session to a buffer.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_save(
    session: *mut OllmSession,
    data: *mut c_void,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the buffer is as long as the caller says.
        let out = unsafe { OutArray::new("data", data.cast::<u8>(), capacity, length) }?;
        with(session, |live| {
            let bytes = usize::try_from(live.session.saved_bytes()).unwrap_or(usize::MAX);
            match out.writer(bytes)? {
                Some(mut writer) => Ok(live.session.save(&mut writer)?),
                None => Ok(()),
            }
        })
    })
}

/// Restores the session from a buffer.
///
/// Statuses: as `ollm_session_restore_file`, but for `OLLM_IO`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_restore(
    session: *mut OllmSession,
    data: *const c_void,
    length: usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the memory is as long as the caller says.
        let mut data = unsafe { cast::slice("the data", data.cast::<u8>(), length) }?;
        with(session, |live| {
            live.session.restore(&mut data)?;
            live.cut_text();
            Ok(())
        })
    })
}

impl Live {
    /// Writes beside the file and renames, so that a crash leaves the old one.
    fn save_file(&self, path: &Path) -> std::result::Result<(), Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = Path::new(&name);
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mut file = BufWriter::new(File::create(part).map_err(io)?);
        let written = self.session.save(&mut file).and_then(|()| file.flush().map_err(SnapshotError::Write));
        let placed = written.map_err(Error::from).and_then(|()| fs::rename(part, path).map_err(io));
        if placed.is_err() {
            // The first failure is the one to tell of.
            let _ = fs::remove_file(part);
        }
        placed
    }
}
