//! What decides the result of a training run, apart from backbone and data.

use clap::ValueEnum;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use serde::{Deserialize, Serialize};

use crate::data::tensor_file::Metadata;
use crate::error::{Error, Result};
use crate::features::backbone::Description;
use crate::features::segments::Hold;
use crate::plugin::nets::fit_width;
use crate::sft::objective::Objective;

/// The share of the backbone's parameters that a plugin has in the paper (1.56 % of a 1.7 B backbone).
pub const PARAMETER_SHARE: f64 = 0.0156;

/// How an option differs from the control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// A low-rank delta for each latent on a shared, frozen control
    #[value(name = "lowrank")]
    LowRank,
    /// A latent's embedding added to the input of one `SwiGLU` that starts as the control
    Swiglu,
}

impl Decoder {
    /// As in the plugin's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::LowRank => "lowrank",
            Self::Swiglu => "swiglu",
        }
    }
}

/// The settings of `sft`. Two runs with equal settings on the same device give the same plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Option count K.
    pub options: usize,
    /// Kind of decoder.
    pub decoder: Decoder,
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
    /// How long a latent is held.
    pub hold: Hold,
    /// KL target, in nats.
    pub kl_target: f64,
    /// Passes over the data for the options.
    pub epochs: usize,
    /// Passes over the data for the control.
    pub control_epochs: usize,
    /// Passes over the data for the policy alone, on finished options.
    pub policy_epochs: usize,
    /// Factor on the options' deltas (decoder lowrank) before the policy's stage: more distinct options above 1.
    pub spread: f64,
    /// Tokens a step.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Looks at held-out text without a lower loss after which a stage ends, at its best look; none: it goes to its end.
    pub patience: Option<u64>,
    /// Seed of every random choice.
    pub seed: u64,
}

/// Nobody means more; products of three stay far from overflow.
pub(crate) const MAX_COUNT: usize = 1 << 20;

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
            require((1..=MAX_COUNT).contains(&count), name, "must be 1 to 1048576")?;
        }
        let epochs = [
            ("--epochs", self.epochs),
            ("--control-epochs", self.control_epochs),
            ("--policy-epochs", self.policy_epochs),
        ];
        for (name, count) in epochs {
            require(count <= MAX_COUNT, name, "must be at most 1048576")?;
        }
        require(self.patience != Some(0), "--patience", "must be at least 1")?;
        let token = self.hold == Hold::Token;
        require(
            token || self.objective == Objective::Prior,
            "--hold",
            "objective paper draws a latent for each token",
        )?;
        require(self.spread > 0.0 && self.spread.is_finite(), "--spread", "must be above 0")?;
        require(self.lr > 0.0 && self.lr.is_finite(), "--lr", "must be above 0")?;
        require(self.kl_target > 0.0 && self.kl_target.is_finite(), "--kl-target", "must be above 0")?;
        // An even policy is no further from any posterior.
        let reach = (self.options as f64).ln();
        let held = self.hold != Hold::Token && self.options > 1;
        require(!held || self.kl_target < reach, "--kl-target", "must be below the logarithm of --options")
    }

    /// The plugin on that backbone.
    pub fn spec(&self, about: &Description) -> PluginConfig {
        let spec = PluginConfig {
            options: self.options,
            norm_epsilon: about.norm_epsilon,
            decoder: self.decoder_kind(),
            encoder_width: self.encoder_width,
            policy_width: self.policy_width,
            hold: self.hold.kind(),
            backbone: about.backbone.clone(),
        };
        if self.width.is_some() { spec } else { fit_width(&spec, about.parameters as f64 * PARAMETER_SHARE) }
    }

    fn decoder_kind(&self) -> DecoderKind {
        let width = self.width.unwrap_or(0);
        match self.decoder {
            Decoder::LowRank => DecoderKind::LowRank { width, rank: self.rank },
            Decoder::Swiglu => DecoderKind::SwiGlu { width },
        }
    }

    /// What a checkpoint must agree with.
    pub fn identity(&self, about: &Description, data: &str) -> Metadata {
        let settings = serde_json::json!(self).to_string();
        [("settings", settings), ("backbone", about.identity()), ("data", data.to_owned())]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }
}

fn require(holds: bool, name: &'static str, reason: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Setting { name, reason: reason.into() }) }
}
