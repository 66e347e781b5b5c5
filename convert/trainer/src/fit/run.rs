//! A run's folder: `config.toml`, `lock`, `log.jsonl`, `log.svg`, `checkpoint.safetensors`; and
//! what it was for: `control.safetensors`, `options.safetensors`, `plugin.safetensors`,
//! `lora.safetensors`, `merged.gguf`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::data::tensor_file::{self, FileMetadata, Tensors, write_atomically};
use crate::error::{Error, Result};
use crate::fit::checkpoint::{self, Position};
use crate::fit::optim::AdamW;
use crate::plugin::params::Params;
use crate::ranks::Ranks;
use crate::report::history;

/// The folder of a run, its log, and the ranks that work there, of which the root writes. Nothing
/// is made before something is written.
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    ranks: Ranks,
    log: Option<File>,
    settings: String,
    resume: bool,
    /// Held by the process that trains here.
    lock: Option<File>,
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const LOG: &str = "log.jsonl";
const CONFIG: &str = "config.toml";
const LOCK: &str = "lock";

/// What recorded settings begin with: a `config.toml` that somebody wrote does not, and no new run
/// replaces it.
pub const RECORDED: &str = "# The settings of this run";

impl RunFolder {
    /// A folder for a new run, or with `resume` that of a run. Without it, a folder that already
    /// holds a run is refused; with it, one that holds none.
    pub fn open(folder: &Path, resume: bool) -> Result<Self> {
        Self::open_on(&Ranks::alone(), folder, resume)
    }

    /// The same for several ranks: the root looks into the folder, and the others follow it.
    pub fn open_on(ranks: &Ranks, folder: &Path, resume: bool) -> Result<Self> {
        let lock = if ranks.is_root() { Self::check(folder, resume)? } else { None };
        Ok(Self { folder: folder.to_owned(), ranks: ranks.clone(), log: None, settings: String::new(), resume, lock })
    }

    /// That a run can begin, or go on, in the folder, and its lock if it is there.
    fn check(folder: &Path, resume: bool) -> Result<Option<File>> {
        if std::fs::metadata(folder).is_ok_and(|found| !found.is_dir()) {
            return Err(Error::bad_file(folder, "is a file: name a folder for the run"));
        }
        // A run that failed before its first step has left an empty log.
        let logged = std::fs::metadata(folder.join(LOG)).is_ok_and(|found| found.len() > 0);
        let stepped = logged || folder.join(CHECKPOINT).exists();
        if stepped && !resume {
            return Err(Error::RunExists(folder.to_owned()));
        }
        let config = folder.join(CONFIG);
        let recorded = std::fs::read(&config).ok().map(|found| found.starts_with(RECORDED.as_bytes()));
        if resume && !stepped && recorded != Some(true) {
            return Err(Error::NoRun(folder.to_owned()));
        }
        if recorded == Some(false) && !resume {
            let reason = "was not written by a run, and would be replaced: move it, or name another folder";
            return Err(Error::bad_file(&config, reason));
        }
        folder.exists().then(|| lock(folder)).transpose()
    }

    /// The ranks that work in the folder.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Writes tensors into a file of the run.
    pub fn write(&self, path: &Path, tensors: &Tensors, metadata: &FileMetadata) -> Result<()> {
        if self.ranks.is_root() { tensor_file::save(path, tensors, metadata) } else { Ok(()) }
    }

    /// Makes the folder, which is locked from then on.
    fn make(&mut self) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        if self.lock.is_none() {
            self.lock = Some(lock(&self.folder)?);
            // Two runs that began at once: the other was faster, and is over.
            if self.folder.join(CHECKPOINT).exists() {
                return Err(Error::RunExists(self.folder.clone()));
            }
        }
        Ok(())
    }

    /// The text that [`Self::record`] writes.
    #[must_use]
    pub fn with_settings(self, settings: String) -> Self {
        Self { settings, ..self }
    }

    /// Writes the run's settings into `config.toml`: once it is clear that they are those of the
    /// run in the folder.
    pub fn record(&mut self) -> Result<()> {
        if !self.ranks.is_root() {
            return Ok(());
        }
        self.make()?;
        write_atomically(&self.folder.join(CONFIG), self.settings.as_bytes())
    }

    /// Writes a checkpoint, and a picture of what was logged so far. A picture that cannot be drawn
    /// is said, and ends no run.
    pub fn save(&mut self, position: &Position<'_>, params: &Params, optimizer: &AdamW) -> Result<()> {
        if !self.ranks.is_root() {
            return Ok(());
        }
        let log_bytes = self.log_length()?;
        checkpoint::save(&self.checkpoint(), position, log_bytes, params, optimizer)?;
        if let Err(error) = history::draw(&self.folder.join(LOG), &self.folder.join("log.svg")) {
            let _ = writeln!(std::io::stderr(), "the log is not drawn: {error}");
        }
        Ok(())
    }

    /// The state of an unfinished run.
    pub fn checkpoint(&self) -> PathBuf {
        checkpoint_path(&self.folder)
    }

    /// Whether it was opened to go on with a run.
    pub fn is_resumed(&self) -> bool {
        self.resume
    }

    /// The finished control.
    pub fn control(&self) -> PathBuf {
        control_path(&self.folder)
    }

    /// The finished options, before the policy's own stage.
    pub fn options(&self) -> PathBuf {
        self.folder.join("options.safetensors")
    }

    /// The finished plugin.
    pub fn plugin(&self) -> PathBuf {
        plugin_path(&self.folder)
    }

    /// The finished adapters of `lora`.
    pub fn lora(&self) -> PathBuf {
        self.folder.join("lora.safetensors")
    }

    /// A file that is there while the run works: a backbone that answers, say.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The backbone with the adapters in its matrices.
    pub fn merged(&self) -> PathBuf {
        self.folder.join("merged.gguf")
    }

    /// Appends one JSON object and a line break to the log.
    pub fn log(&mut self, entry: &impl Serialize) -> Result<()> {
        if !self.ranks.is_root() {
            return Ok(());
        }
        let mut line = serde_json::to_vec(entry).map_err(|error| Error::io(&self.folder)(error.into()))?;
        line.push(b'\n');
        self.open_log()?.write_all(&line).map_err(Error::io(&self.folder))
    }

    /// All objects of the log.
    pub fn logged(&self) -> Result<Vec<Map<String, Value>>> {
        history::read(&self.folder.join(LOG))
    }

    /// The log, which is made where it is not there.
    fn open_log(&mut self) -> Result<&mut File> {
        let log = if let Some(log) = self.log.take() {
            log
        } else {
            self.make()?;
            let path = self.folder.join(LOG);
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?
        };
        Ok(self.log.insert(log))
    }

    /// Bytes of the log so far: a checkpoint remembers them.
    fn log_length(&mut self) -> Result<u64> {
        self.open_log()?.seek(SeekFrom::End(0)).map_err(Error::io(&self.folder))
    }

    /// Drops what was logged after a checkpoint: those steps will be taken again.
    pub fn rewind_log(&mut self, length: u64) -> Result<()> {
        if !self.ranks.is_root() {
            return Ok(());
        }
        let length = length.min(self.log_length()?);
        self.open_log()?.set_len(length).map_err(Error::io(&self.folder))
    }
}

/// Locks a run's folder, until the file is closed.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::bad_file(folder, "another run is at work there: wait for it, or name another folder"))
        }
        Err(TryLockError::Error(source)) => Err(Error::io(&path)(source)),
    }
}

/// Where a run's folder holds the state of an unfinished run.
pub fn checkpoint_path(folder: &Path) -> PathBuf {
    folder.join(CHECKPOINT)
}

/// Where a run's folder holds its control.
pub fn control_path(folder: &Path) -> PathBuf {
    folder.join("control.safetensors")
}

/// Where a run's folder holds its plugin.
pub fn plugin_path(folder: &Path) -> PathBuf {
    folder.join("plugin.safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_folder_with_a_checkpoint_holds_a_run_even_if_its_log_is_gone() {
        let folder = testing::folder("run-checkpoint");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(CHECKPOINT), "").unwrap();
        assert!(matches!(RunFolder::open(&folder, false), Err(Error::RunExists(_))));
        assert!(RunFolder::open(&folder, true).is_ok());
    }

    #[test]
    fn nothing_is_made_before_something_is_written_and_no_run_is_none_to_resume() {
        let folder = testing::folder("run-none");
        assert!(matches!(RunFolder::open(&folder, true), Err(Error::NoRun(_))));
        let mut run = RunFolder::open(&folder, false).unwrap().with_settings(format!("{RECORDED}: old"));
        assert!(!folder.exists());
        run.record().unwrap();
        let refused = RunFolder::open(&folder, true).unwrap_err();
        assert!(refused.to_string().contains("another run"), "{refused}");
        drop(run);
        assert!(RunFolder::open(&folder, true).is_ok());
        std::fs::write(folder.join("file"), "").unwrap();
        assert!(matches!(RunFolder::open(&folder.join("file"), false), Err(Error::BadFile { .. })));
    }

    #[test]
    fn a_log_that_is_shorter_than_the_checkpoint_says_is_not_filled_up() {
        let folder = testing::folder("run-short");
        let mut run = RunFolder::open(&folder, false).unwrap();
        run.log(&1).unwrap();
        run.log(&2).unwrap();
        run.rewind_log(1000).unwrap();
        assert_eq!(std::fs::read(folder.join("log.jsonl")).unwrap(), b"1\n2\n");
        run.rewind_log(2).unwrap();
        run.log(&3).unwrap();
        assert_eq!(std::fs::read(folder.join("log.jsonl")).unwrap(), b"1\n3\n");
    }

    #[test]
    fn a_log_that_cannot_be_drawn_ends_no_run() {
        let folder = testing::folder("run-torn");
        let mut run = RunFolder::open(&folder, false).unwrap();
        run.record().unwrap();
        std::fs::write(folder.join(LOG), "{\"stage\":\"rl\",").unwrap();
        let params = Params::all(&crate::data::tensor_file::Tensors::new()).unwrap();
        let (state, identity) = (&[].into(), &[].into());
        let watch = &crate::fit::early_stopping::EarlyStopping::new(None);
        let position = Position { stage: "rl", step: 1, state, watch, identity };
        run.save(&position, &params, &AdamW::new(&params).unwrap()).unwrap();
        assert!(run.checkpoint().exists() && !folder.join("log.svg").exists());
    }

    #[test]
    fn settings_that_somebody_wrote_are_not_replaced() {
        let folder = testing::folder("run-config");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(CONFIG), "lr = 1e-3 # mine").unwrap();
        let refused = RunFolder::open(&folder, false).unwrap_err();
        assert!(refused.to_string().contains("move it"), "{refused}");
        // What a run recorded before it failed is replaced.
        std::fs::write(folder.join(CONFIG), format!("{RECORDED}: old")).unwrap();
        let mut run = RunFolder::open(&folder, false).unwrap().with_settings("new".into());
        run.record().unwrap();
        assert_eq!(std::fs::read(folder.join(CONFIG)).unwrap(), b"new");
    }
}
