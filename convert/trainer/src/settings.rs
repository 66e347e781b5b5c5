//! What decides the result of a training run, apart from backbone and data.

use serde::{Deserialize, Serialize};

use crate::backbone::Description;
use crate::error::{Error, Result};
use crate::nets::{DecoderKind, Shape};
use crate::objective::Objective;
use crate::tensor_file::Metadata;

/// The share of the backbone's parameters that a plugin has in the paper (1.56 % of a 1.7 B backbone).
pub const PARAMETER_SHARE: f64 = 0.0156;

/// The settings of `sft`. Two runs with equal settings on the same device give the same plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Option count K.
    pub options: usize,
    /// Kind of decoder.
    pub decoder: DecoderKind,
    /// Width u; none: so that the plugin has the paper's share of parameters.
    pub width: Option<usize>,
    /// Rank r of a delta.
    pub rank: usize,
    /// Width of the policy.
    pub policy_width: usize,
    /// Width of the encoder.
    pub encoder_width: usize,
    /// Objective of the options.
    pub objective: Objective,
    /// KL target, in nats.
    pub kl_target: f64,
    /// Passes over the data for the options.
    pub epochs: usize,
    /// Passes over the data for the control.
    pub control_epochs: usize,
    /// Tokens a step.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Settings {
    /// Refuses settings that cannot be trained.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("--options", self.options),
            ("--rank", self.rank),
            ("--policy-width", self.policy_width),
            ("--encoder-width", self.encoder_width),
            ("--width", self.width.unwrap_or(1)),
            ("--batch", self.batch),
        ];
        for (name, count) in counts {
            require(count > 0, name, "must be at least 1")?;
        }
        require(self.lr > 0.0 && self.lr.is_finite(), "--lr", "must be above 0")?;
        require(self.kl_target > 0.0 && self.kl_target.is_finite(), "--kl-target", "must be above 0")
    }

    /// The plugin's sizes on that backbone.
    pub fn shape(&self, backbone: &Description) -> Shape {
        let shape = Shape {
            hidden: backbone.hidden,
            options: self.options,
            decoder: self.decoder,
            width: self.width.unwrap_or(0),
            rank: self.rank,
            policy_width: self.policy_width,
            encoder_width: self.encoder_width,
            norm_epsilon: backbone.norm_epsilon,
        };
        if self.width.is_some() { shape } else { shape.fit_width(backbone.parameters as f64 * PARAMETER_SHARE) }
    }

    /// What a checkpoint must agree with.
    pub fn identity(&self, backbone: &Description, data: &str) -> Metadata {
        let settings = serde_json::to_string(self).expect("settings are numbers and names");
        [("settings", settings), ("backbone", backbone.fingerprint.clone()), ("data", data.to_owned())]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }
}

fn require(holds: bool, name: &'static str, reason: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Setting { name, reason: reason.into() }) }
}
