//! `--init-from`: the tensors of another run, with which the stages begin.

use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::Device;
use ollm_runtime::plugin::schema::PluginConfig;

use crate::data::tensor_file::{self, Tensors};
use crate::error::{Error, Result};
use crate::features::backbone::BackboneDescription;
use crate::limits::require;
use crate::plugin::deploy;
use crate::plugin::file::Loaded;
use crate::plugin::nets::option_slots;
use crate::sft::settings::SftSettings;

/// A control, or a whole plugin, of this run's sizes.
pub(super) struct InitialTensors {
    path: PathBuf,
    plugin: Loaded,
    has_options: bool,
    /// Names the tensors, for a checkpoint to agree with.
    pub(super) hash: String,
}

impl InitialTensors {
    /// Reads what a run wrote: its control, its options or its plugin.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a size is not that of `spec`, this run's plugin; [`Error::Setting`]
    /// if the control would be trained under options that are not.
    pub(super) fn read(
        path: &Path,
        spec: &PluginConfig,
        settings: &SftSettings,
        about: &BackboneDescription,
        device: &Device,
    ) -> Result<Self> {
        let control = Loaded::control(path, about, device)?;
        let has_options = option_slots(&control.spec).iter().any(|(name, _)| control.tensors.contains_key(*name));
        let plugin = if has_options { Loaded::plugin(path, about, device)? } else { control };
        let hash = tensor_file::hash(&plugin.tensors, plugin.tensors.keys())?;
        let initial = Self { path: path.to_owned(), plugin, has_options, hash };
        initial.check_sizes(spec)?;
        if has_options {
            let kept = deploy::control_latent(&initial.plugin)?.is_some();
            check(path, "keep-control", &settings.keep_control, &kept)?;
            let reason = "changes the control under the options of --init-from, which --epochs 0 leaves as they are: \
                          give both 0, or neither";
            require(settings.epochs > 0 || settings.control_epochs == 0, "--control-epochs", reason)?;
        }
        Ok(initial)
    }

    fn check_sizes(&self, spec: &PluginConfig) -> Result<()> {
        let (path, found) = (&self.path, &self.plugin.spec);
        check(path, "value width", &spec.value_width, &found.value_width)?;
        if !self.has_options {
            return check(path, "width", &spec.decoder.width(), &found.decoder.width());
        }
        check(path, "decoder", &spec.decoder, &found.decoder)?;
        check(path, "options", &spec.options, &found.options)?;
        check(path, "policy width", &spec.policy_width, &found.policy_width)?;
        check(path, "encoder width", &spec.encoder_width, &found.encoder_width)
    }

    /// The control's tensors, and others.
    pub(super) fn control(&self) -> &Tensors {
        &self.plugin.tensors
    }

    /// The options' tensors, if there are any, on this control.
    pub(super) fn options(&self, control: &Tensors) -> Option<Tensors> {
        let tensors = || self.plugin.tensors.clone().into_iter().chain(control.clone()).collect();
        self.has_options.then(tensors)
    }
}

/// That a file is of this run's sizes.
pub(super) fn check<T: PartialEq + fmt::Debug>(path: &Path, what: &str, expected: &T, found: &T) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    Err(Error::Mismatch { path: path.to_owned(), what: what.into(), expected, found })
}
