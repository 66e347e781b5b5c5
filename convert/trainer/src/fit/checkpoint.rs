//! The state of an unfinished stage: everything that the next step depends on.
//!
//! Random streams are named by seed and step ([`crate::data::rng`]), so the step is all of their
//! state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;

use crate::data::tensor_file::Tensors;
use crate::data::tensor_file::{self, FileMetadata};
use crate::error::{Error, Result};
use crate::fit::early_stopping::{EarlyStopping, HeldOutLoss};
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
    loss: HeldOutLoss,
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
        metadata.insert("best_loss".into(), watch.loss.loss.to_string());
        metadata.insert("best_then".into(), watch.loss.then.to_string());
        metadata.insert("best_step".into(), watch.step.to_string());
        metadata.insert("evaluations_since_best".into(), watch.evaluations.to_string());
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
        loss: HeldOutLoss { loss: field(path, metadata, "best_loss")?, then: field(path, metadata, "best_then")? },
        step: field(path, metadata, "best_step")?,
        evaluations: field(path, metadata, "evaluations_since_best")?,
    }))
}

fn check_identity(path: &Path, expected: &FileMetadata, found: &FileMetadata) -> Result<()> {
    for (key, expected) in expected {
        let found = found.get(key).map_or("nothing", String::as_str);
        if found != expected {
            let (what, expected, found) =
                differing_field(expected, found).unwrap_or_else(|| (key.clone(), expected.clone(), found.to_owned()));
            return Err(Error::Mismatch { path: path.to_owned(), what, expected, found });
        }
    }
    Ok(())
}

/// Of two JSON objects the first key whose values differ, and both values; none where the texts are
/// something else.
fn differing_field(expected: &str, found: &str) -> Option<(String, String, String)> {
    let object = |text: &str| serde_json::from_str::<BTreeMap<String, Value>>(text).ok();
    let (expected, found) = (object(expected)?, object(found)?);
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let key = expected.keys().chain(found.keys()).find(|key| expected.get(*key) != found.get(*key))?;
    Some((key.clone(), text(expected.get(key)), text(found.get(key))))
}

fn field<T: std::str::FromStr>(path: &Path, metadata: &FileMetadata, key: &str) -> Result<T> {
    let value = metadata.get(key).and_then(|value| value.parse().ok());
    value.ok_or_else(|| Error::bad_file(path, format!("a checkpoint without a usable {key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_run_is_told_by_the_key_that_differs() {
        let identity = |settings: &str| [("settings".to_owned(), settings.to_owned())].into();
        let told = |expected, found| {
            let (expected, found) = (identity(expected), identity(found));
            check_identity(Path::new("c"), &expected, &found).map_err(|error| error.to_string())
        };
        assert_eq!(told("{\"a\":1,\"lr\":0.1}", "{\"a\":1,\"lr\":0.1}"), Ok(()));
        let lr = told("{\"a\":1,\"lr\":0.1}", "{\"a\":1,\"lr\":0.2}");
        assert_eq!(lr, Err("c: made with lr 0.2, this run has 0.1".into()));
        let missing = told("{\"a\":1}", "{\"a\":1,\"rank\":2}");
        assert_eq!(missing, Err("c: made with rank 2, this run has nothing".into()));
        assert_eq!(told("x", "{}"), Err("c: made with settings {}, this run has x".into()));
    }
}
