//! The state of an unfinished stage: everything that the next step depends on.
//!
//! Random streams are named by seed and step ([`crate::data::rng`]), so the step is all of their
//! state.

use std::path::{Path, PathBuf};

use candle_core::Device;

use crate::data::tensor_file::Tensors;
use crate::data::tensor_file::{self, FileMetadata};
use crate::error::{Error, Result};
use crate::fit::early_stopping::EarlyStopping;
use crate::fit::optim::AdamW;
use crate::plugin::params::Params;

/// A loaded checkpoint.
pub struct RunCheckpoint {
    /// Name of the stage.
    pub stage: String,
    /// Steps taken.
    pub step: u64,
    /// Length of the log at that step.
    pub log_bytes: u64,
    /// The best evaluation so far, if early stopping has one.
    best: Option<BestSoFar>,
    path: PathBuf,
    metadata: FileMetadata,
    tensors: Tensors,
}

/// What early stopping knew of the best evaluation.
#[derive(Clone, Copy)]
struct BestSoFar {
    loss: f64,
    step: u64,
    /// Evaluations since then.
    evaluations: u64,
}

/// Where a stage stands.
pub struct Position<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Steps taken.
    pub step: u64,
    /// What the stage has to remember beside its tensors. A number's shortest decimal reads back as
    /// the same number.
    pub state: &'a FileMetadata,
    /// The best evaluation at held-out text so far.
    pub watch: &'a EarlyStopping,
    /// Which run this is: settings, backbone, data. Another run does not resume from it.
    pub identity: &'a FileMetadata,
}

/// Writes a checkpoint atomically. `log_bytes`: length of the log.
pub(crate) fn save(
    path: &Path,
    position: &Position<'_>,
    log_bytes: u64,
    params: &Params,
    optimizer: &AdamW,
) -> Result<()> {
    let trained = params.trained().map(|(name, var)| (name.clone(), var.as_detached_tensor()));
    let watch = position.watch;
    let tensors = trained.chain(optimizer.tensors()).chain(watch.tensors()).collect();
    let mut metadata = position.identity.clone();
    metadata.extend(position.state.clone());
    metadata.insert("stage".into(), position.stage.into());
    metadata.insert("step".into(), position.step.to_string());
    metadata.insert("log_bytes".into(), log_bytes.to_string());
    if watch.has_best() {
        metadata.insert("best_loss".into(), watch.loss.to_string());
        metadata.insert("best_step".into(), watch.step.to_string());
        metadata.insert("looks_since_best".into(), watch.evaluations.to_string());
    }
    tensor_file::save(path, &tensors, &metadata)
}

/// Loads a checkpoint of the same run.
pub fn load(path: &Path, identity: &FileMetadata, device: &Device) -> Result<RunCheckpoint> {
    let (tensors, metadata) = tensor_file::load(path, device)?;
    check_identity(path, identity, &metadata)?;
    Ok(RunCheckpoint {
        stage: field(path, &metadata, "stage")?,
        step: field(path, &metadata, "step")?,
        log_bytes: field(path, &metadata, "log_bytes")?,
        best: best(path, &metadata)?,
        path: path.to_owned(),
        metadata,
        tensors,
    })
}

impl RunCheckpoint {
    /// A part of the state that the stage had to remember.
    pub fn state<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        field(&self.path, &self.metadata, key)
    }

    /// Sets the trained tensors, the best evaluation, and the optimizer's state.
    pub fn restore(&self, params: &Params, optimizer: &mut AdamW, watch: &mut EarlyStopping) -> Result<()> {
        params.restore(&self.tensors)?;
        if let Some(BestSoFar { loss, step, evaluations }) = self.best {
            (watch.loss, watch.step, watch.evaluations) = (loss, step, evaluations);
            watch.restore(&self.tensors);
        }
        optimizer.restore(&self.tensors)
    }
}

fn best(path: &Path, metadata: &FileMetadata) -> Result<Option<BestSoFar>> {
    if !metadata.contains_key("best_loss") {
        return Ok(None);
    }
    Ok(Some(BestSoFar {
        loss: field(path, metadata, "best_loss")?,
        step: field(path, metadata, "best_step")?,
        evaluations: field(path, metadata, "looks_since_best")?,
    }))
}

fn check_identity(path: &Path, expected: &FileMetadata, found: &FileMetadata) -> Result<()> {
    for (key, expected) in expected {
        let found = found.get(key).map_or("nothing", String::as_str);
        if found != expected {
            let (what, expected, found) = (key.clone(), expected.clone(), found.to_owned());
            return Err(Error::Mismatch { path: path.to_owned(), what, expected, found });
        }
    }
    Ok(())
}

fn field<T: std::str::FromStr>(path: &Path, metadata: &FileMetadata, key: &str) -> Result<T> {
    let value = metadata.get(key).and_then(|value| value.parse().ok());
    value.ok_or_else(|| Error::bad_file(path, format!("a checkpoint without a usable {key}")))
}
