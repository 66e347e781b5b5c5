//! Snapshots: a session, with its tokens and its KV cache, saved to a file or a buffer and restored
//! in another process. The format is versioned and checksummed; a snapshot of another model is
//! refused. Sampling, selection and plugin are not part of it.

use std::ffi::{c_char, c_void};
use std::io::BufReader;

use ollm_runtime::Error;
use ollm_runtime::session::PromptCache;
use ollm_runtime::session::SnapshotError;
use ollm_runtime::storage;

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray};
use crate::session::OllmSession;
use crate::status::OllmStatus;
use crate::turn::with;

/// Saves the session to a file, whose path ends in zero. The file is replaced only when all of it
/// is written and on the disk, by a new one of the same permissions; of a symbolic link, the file
/// that it names. Any number of threads and processes may save to one path and restore from it.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_save_file(session: *mut OllmSession, path: *const c_char) -> OllmStatus {
    guard(|| {
        // SAFETY: the path is what the header asks for.
        let path = unsafe { cast::path(path) }?;
        with(session, |live| match live.session.save_file(&path) {
            Err(SnapshotError::Write(source)) => Err(Error::Io { path, source }.into()),
            outcome => Ok(outcome?),
        })
    })
}

/// Restores the session from a file: under the same sampling and selection, the next tokens are
/// those that the saved session would have generated, samples included. The held latent and the
/// place in a script are saved with a session; its sampling, selection and plugin are not. Half a
/// character at the end of the text is cut off, as by a rewind. "Another model" is one of other
/// weights, as far as samples of each tensor tell: a change of a few weights is not seen.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_BAD_FILE` if it is damaged, `OLLM_UNSUPPORTED` for another version, `OLLM_MISMATCH` for
/// another model, other adapters, another type of KV cache, or a held latent that this session's
/// plugin does not have; `OLLM_CONTEXT_FULL` if it is longer than the context,
/// `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays as it was. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_restore_file(session: *mut OllmSession, path: *const c_char) -> OllmStatus {
    guard(|| {
        // SAFETY: the path is what the header asks for.
        let path = unsafe { cast::path(path) }?;
        with(session, |live| {
            let file = storage::open_file(&path).map_err(|source| Error::Io { path, source })?;
            live.moving(|live| Ok(live.session.restore(&mut BufReader::new(file))?))
        })
    })
}

/// Feeds tokens to an empty session, as `ollm_session_feed` does, by way of a folder of saved
/// sessions: the one that has the most tokens in common with the beginning of the prompt is
/// restored, the rest is computed, and the prompt is put into the folder. The session is then as
/// `ollm_session_feed` would have left it. The folder is made if it is not there; it holds at most
/// `limit` bytes, and what was not used for the longest time goes first. Several processes may use
/// one folder. How many tokens came from it is in `*found`, which may be NULL. A session that is
/// not empty is fed without the folder.
///
/// Statuses: as `ollm_session_feed`; `OLLM_IO` if the folder cannot be made, and then the session
/// stays as it was, or if the prompt cannot be put into it: then the tokens are in the session
/// (`ollm_session_position` tells). Damaged files, and those of other models, are not used. Since
/// 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_feed_cached(
    session: *mut OllmSession,
    tokens: *const u32,
    count: usize,
    folder: *const c_char,
    limit: u64,
    found: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: array, path and output are what the header asks for.
        let (tokens, folder, out) =
            unsafe { (cast::slice("the tokens", tokens, count)?, cast::path(folder)?, Out::optional("found", found)?) };
        with(session, |live| {
            let cache = PromptCache::open(&folder, limit);
            let cache = cache.map_err(|source| Error::Io { path: folder.clone(), source })?;
            let found = live.moving(|live| Ok(cache.feed(&mut live.session, tokens)?))?;
            if let Some(out) = out {
                out.set(found);
            }
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
        with(session, |live| live.moving(|live| Ok(live.session.restore(&mut data)?)))
    })
}
