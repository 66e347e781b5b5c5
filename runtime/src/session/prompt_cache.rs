//! A folder of saved sessions: a prompt that begins like an earlier one is not computed again.
//!
//! A saved session is found by its tokens: the one that has the most tokens in common with the
//! beginning of the prompt is restored, and rewound to there. The folder has a limit; what was not
//! used for the longest time goes first. Several processes may use one folder.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ollm_kernels::memory;

use crate::model::fingerprint;

use super::error::SessionError;
use super::snapshot::{SnapshotError, identity, tokens_of};
use super::state::Session;

/// Fewer tokens are computed faster than they are found.
const WORTH: usize = 32;

/// What the names of its files end with. Other files of the folder are left alone.
const EXTENSION: &str = "ollm-prompt";

/// A folder of saved sessions.
#[derive(Clone, Debug)]
pub struct PromptCache {
    folder: PathBuf,
    limit: u64,
}

/// A file of the folder.
struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl PromptCache {
    /// The cache in `folder`, which is made if it is not there, of at most `limit` bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        if folder.as_os_str().is_empty() || folder.exists() && !folder.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder: name one"));
        }
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), limit })
    }

    /// Feeds `tokens` to an empty session, from the cache as far as that has them, and puts them
    /// into it. Gives how many came from there. The session is then as [`Session::feed`] would have
    /// left it, to the last bit.
    ///
    /// # Errors
    /// [`SnapshotError::Session`] as [`Session::feed`]; [`SnapshotError::Write`] if the cache
    /// cannot be written: the tokens are in the session then. A file that is damaged, or of another
    /// model, is no error: it is not used.
    pub fn feed(&self, session: &mut Session, tokens: &[u32]) -> Result<usize, SnapshotError> {
        let found = if session.tokens().is_empty() { self.restore(session, tokens)? } else { 0 };
        session.feed(&tokens[found..])?;
        if tokens.len() >= WORTH && found < tokens.len() - 1 && session.tokens() == tokens {
            self.save(session)?;
        }
        Ok(found)
    }

    /// Restores what the cache has of the beginning of `tokens`; the last token is to be computed
    /// in any case.
    fn restore(&self, session: &mut Session, tokens: &[u32]) -> Result<usize, SnapshotError> {
        let wanted = &tokens[..tokens.len().saturating_sub(1)];
        let mut best: Option<(usize, PathBuf)> = None;
        for Entry { path, .. } in self.entries() {
            let Ok(file) = File::open(&path) else { continue };
            let Some(saved) = tokens_of(session, &mut BufReader::new(file)) else { continue };
            let common = saved.iter().zip(wanted).take_while(|(a, b)| a == b).count();
            if common >= WORTH && best.as_ref().is_none_or(|(most, _)| common > *most) {
                best = Some((common, path));
            }
        }
        let Some((common, path)) = best else { return Ok(0) };
        // Another process may have replaced or removed it, and it may be damaged further on.
        let Ok(file) = File::open(&path) else { return Ok(0) };
        match session.restore(&mut BufReader::new(&file)) {
            Ok(()) if session.tokens().get(..common) == Some(&wanted[..common]) => {}
            Ok(()) => session.reset(),
            Err(SnapshotError::Session(error @ SessionError::MemoryLimit { .. })) => return Err(error.into()),
            Err(_) => {}
        }
        if session.tokens().is_empty() {
            return Ok(0);
        }
        session.rewind(common)?;
        // It counts as used now. If that cannot be noted, it goes earlier.
        let _ = file.set_modified(SystemTime::now());
        Ok(common)
    }

    fn save(&self, session: &Session) -> Result<(), SnapshotError> {
        let needed = session.saved_bytes();
        if needed > self.limit {
            return Ok(());
        }
        self.shrink(self.limit - needed);
        let mut tokens = Vec::new();
        memory::reserve(&mut tokens, size_of_val(session.tokens()))?;
        tokens.extend(session.tokens().iter().flat_map(|token| token.to_le_bytes()));
        // Each model, and each type of the cache, has files of its own.
        let name = fingerprint::hash(identity(&session.sequence), session.kv_type().name().as_bytes());
        let name = fingerprint::hash(name, &tokens);
        session.save_file(&self.folder.join(format!("{name:016x}.{EXTENSION}")))
    }

    /// Removes what was not used for the longest time, until at most `limit` bytes are left.
    fn shrink(&self, limit: u64) {
        let mut entries = self.entries();
        entries.sort_by_key(|entry| entry.used);
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in &entries {
            if bytes <= limit {
                break;
            }
            // Another process may have removed it already.
            let _ = fs::remove_file(&entry.path);
            bytes -= entry.bytes;
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let entry = |file: fs::DirEntry| {
            let (path, metadata) = (file.path(), file.metadata().ok()?);
            let is_ours = metadata.is_file() && path.extension().is_some_and(|extension| extension == EXTENSION);
            Some(Entry { path, bytes: metadata.len(), used: metadata.modified().ok()? }).filter(|_| is_ours)
        };
        files.filter_map(entry).collect()
    }
}
