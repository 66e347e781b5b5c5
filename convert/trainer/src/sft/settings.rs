//! What decides the result of a training run, apart from backbone and data.

use clap::ValueEnum;
use ollm_runtime::plugin::schema::{DecoderKind, MAX_OPTIONS, PluginConfig};
use serde::{Deserialize, Serialize};

use crate::data::tensor_file::{FileMetadata, sorted_json};
use crate::error::Result;
use crate::features::backbone::BackboneDescription;
use crate::features::segments::{self, Hold};
use crate::limits::{MAX_COUNT, require, require_counts, require_positive};
use crate::plugin::file::{self, Provenance};
use crate::plugin::nets::{PARAMETER_SHARE, fit_width};
use crate::sft::objective::Objective;

/// How an option differs from the control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DecoderChoice {
    /// A low-rank delta for each latent on a shared, frozen control
    #[value(name = "lowrank")]
    LowRank,
    /// A latent's embedding added to the input of one SwiGLU that starts as the control
    Swiglu,
}

impl DecoderChoice {
    /// As in the plugin's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::LowRank => "lowrank",
            Self::Swiglu => "swiglu",
        }
    }
}

/// The settings of `sft`. Two runs with equal settings on the same device give the same plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SftSettings {
    /// Option count K.
    pub options: usize,
    /// Kind of decoder.
    pub decoder: DecoderChoice,
    /// Width u; none: so that the plugin has the paper's share of parameters.
    pub width: Option<usize>,
    /// Rank r of a delta.
    pub rank: usize,
    /// Whether one of the options, the first, stays the control.
    pub keep_control: bool,
    /// Width of the policy.
    pub policy_width: usize,
    /// Width of the encoder.
    pub encoder_width: usize,
    /// Objective of the options.
    pub objective: Objective,
    /// How long a latent is held.
    #[serde(serialize_with = "segments::serialize_hold")]
    pub hold: Hold,
    /// KL target, in nats.
    pub kl_target: f64,
    /// Passes over the data for the options.
    pub epochs: usize,
    /// Passes over the data for the control.
    pub control_epochs: usize,
    /// Passes over the data for the policy alone, on finished options.
    pub policy_epochs: usize,
    /// Factor on the options' deltas (decoder lowrank) before the policy's stage: more distinct
    /// options above 1.
    pub spread: f64,
    /// Tokens a step.
    pub batch: usize,
    /// Tokens of a micro-batch: a step's gradient is the sum of those of its micro-batches, in the
    /// order of [`crate::ranks::tree`].
    pub micro_batch: usize,
    /// Problems that are shuffled with one another, a buffer of them after the other; none: all of
    /// the text.
    pub shuffle_buffer: Option<usize>,
    /// Peak learning rate.
    pub lr: f64,
    /// Evaluations on held-out text without a lower loss after which a stage ends, at its best
    /// evaluation; none: it goes to its end.
    pub patience: Option<u64>,
    /// Seed of every random choice.
    pub seed: u64,
}

impl SftSettings {
    /// Refuses settings that cannot be trained.
    pub fn check(&self) -> Result<()> {
        require_counts(&[
            ("--options", self.options),
            ("--rank", self.rank),
            ("--policy-width", self.policy_width),
            ("--encoder-width", self.encoder_width),
            ("--width", self.width.unwrap_or(1)),
            ("--batch", self.batch),
            ("--micro-batch", self.micro_batch),
            ("--shuffle-buffer", self.shuffle_buffer.unwrap_or(1)),
        ])?;
        require(self.options <= MAX_OPTIONS as usize, "--options", "must be at most 1024, as a plugin file has them")?;
        let keeps = self.decoder == DecoderChoice::LowRank && self.options > 1;
        let reason = "needs decoder lowrank, whose control stays as it is, and two options at least";
        require(keeps || !self.keep_control, "--keep-control", reason)?;
        let epochs = [
            ("--epochs", self.epochs),
            ("--control-epochs", self.control_epochs),
            ("--policy-epochs", self.policy_epochs),
        ];
        for (name, count) in epochs {
            require(count <= MAX_COUNT, name, "must be at most 1048576")?;
        }
        let trains = epochs.iter().any(|&(_, count)| count > 0);
        require(
            trains,
            "--epochs",
            "nothing is trained: one of --control-epochs, --epochs, --policy-epochs must be above 0",
        )?;
        require(self.patience != Some(0), "--patience", "must be at least 1")?;
        require_positive("--spread", self.spread)?;
        require_positive("--lr", self.lr)?;
        require_positive("--kl-target", self.kl_target)?;
        // A uniform policy is no further from any posterior.
        let within = self.options == 1 || self.kl_target < (self.options as f64).ln();
        require(within, "--kl-target", "must be below the logarithm of --options")?;
        let exact = self.hold == Hold::Token || self.objective == Objective::Prior;
        require(exact, "--hold", "objective paper draws a latent for each token")
    }

    /// The plugin on that backbone.
    pub fn spec(&self, about: &BackboneDescription) -> PluginConfig {
        let spec = PluginConfig {
            options: self.options,
            norm_epsilon: about.norm_epsilon,
            decoder: self.decoder_kind(),
            encoder_width: self.encoder_width,
            policy_width: self.policy_width,
            value_width: None,
            hold: self.hold,
            backbone: about.backbone.clone(),
        };
        if self.width.is_some() { spec } else { fit_width(&spec, about.parameters as f64 * PARAMETER_SHARE) }
    }

    fn decoder_kind(&self) -> DecoderKind {
        let width = self.width.unwrap_or(0);
        match self.decoder {
            DecoderChoice::LowRank => DecoderKind::LowRank { width, rank: self.rank },
            DecoderChoice::Swiglu => DecoderKind::SwiGlu { width },
        }
    }

    /// The metadata of a plugin that these settings have trained.
    pub fn metadata(&self, spec: &PluginConfig, provenance: &Provenance) -> FileMetadata {
        // The held-out text decides the result where it ends stages.
        let patience = self.patience.map(|evaluations| ("patience", evaluations.to_string()));
        let valid = patience.is_some().then(|| provenance.valid_hash.clone()).flatten();
        let always = [
            ("objective", self.objective.name().to_owned()),
            ("keep_control", self.keep_control.to_string()),
            ("data", provenance.data.clone()),
            ("data_hash", provenance.data_hash.clone()),
            ("tokens", provenance.tokens.to_string()),
            ("kl_target", self.kl_target.to_string()),
            ("epochs", self.epochs.to_string()),
            ("control_epochs", self.control_epochs.to_string()),
            ("policy_epochs", self.policy_epochs.to_string()),
            ("spread", self.spread.to_string()),
            ("batch", self.batch.to_string()),
            ("micro_batch", self.micro_batch.to_string()),
            ("learning_rate", self.lr.to_string()),
            ("seed", self.seed.to_string()),
        ];
        file::described(spec, always.into_iter().chain(patience).chain(valid.map(|hash| ("valid_hash", hash))))
    }

    /// What a checkpoint must agree with.
    pub fn identity(&self, about: &BackboneDescription, data: &str) -> FileMetadata {
        let settings = sorted_json(self);
        [("settings", settings), ("backbone", about.identity()), ("data", data.to_owned())]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }
}
