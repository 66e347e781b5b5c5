//! The stages of `sft`: the K = 1 control, the options on top of it, and the policy on finished
//! options.

use candle_core::Tensor;
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::schema::PluginConfig;

use crate::data::rng::Rng;
use crate::error::Result;
use crate::features::backbone::Frozen;
use crate::features::head::OutputHead;
use crate::features::segments::Segments;
use crate::features::states::FeatureBatch;
use crate::plugin::nets::{Control, DecoderNet, PluginNet, PolicyNet};
use crate::plugin::params::Params;
use crate::sft::objective::{self, Measured, Objective, Terms};
use crate::sft::settings::SftSettings;

/// Where beta starts (our decision).
const FIRST_BETA: f64 = 0.9;

/// Where the rows of a micro-batch are.
#[derive(Clone, Copy, Debug)]
pub struct StepPlace {
    /// The step, which names its random stream.
    pub step: u64,
    /// Rows of the step before those of the micro-batch.
    pub first_row: usize,
}

/// Something that is trained. A step has two parts: what the networks give, row by row, and the
/// objective, a function of that over all rows of the step. So the rows can be computed apart, and
/// by several ranks.
pub trait SftStage {
    /// Its name in logs and checkpoints.
    fn name(&self) -> &'static str;

    /// What the objective is a function of, for a micro-batch: a row for each of its rows, or for
    /// each of its segments. `[B or S, n]` each.
    fn outputs(&self, batch: &FeatureBatch, place: StepPlace) -> Result<Vec<Tensor>>;

    /// The loss of a step, from the outputs of all its rows, which form `segments`.
    fn terms(&self, outputs: &[Tensor], segments: &Segments) -> Result<Terms>;

    /// What is reported on held-out rows, without randomness and over the whole vocabulary.
    fn evaluate(&self, batch: &FeatureBatch) -> Result<Terms>;

    /// What early stopping compares of an evaluation: the mixture's cross-entropy, which does not
    /// depend on beta, unless the stage is for something else.
    fn held_out_loss(&self, measured: &Measured) -> f64 {
        measured.cross_entropy
    }

    /// Called with the batch's KL after each step.
    fn adapt(&mut self, _kl: f64) {}

    /// beta, the only state beside the tensors.
    fn beta(&self) -> f64 {
        1.0
    }

    /// Takes up the beta of a checkpoint.
    fn set_beta(&mut self, _beta: f64) {}
}

/// Stage 1: the control, by cross-entropy.
pub struct ControlStage<'a> {
    control: Control,
    head: &'a OutputHead,
}

impl<'a> ControlStage<'a> {
    /// A stage on the tensors of `params`.
    pub fn new(spec: &PluginConfig, params: &Params, head: &'a OutputHead) -> Result<Self> {
        Ok(Self { control: Control::bind(spec, &|name| params.tensor(name))?, head })
    }
}

impl SftStage for ControlStage<'_> {
    fn name(&self) -> &'static str {
        "control"
    }

    fn outputs(&self, batch: &FeatureBatch, _place: StepPlace) -> Result<Vec<Tensor>> {
        let options = self.control.forward(&batch.hidden)?.unsqueeze(1)?;
        Ok(vec![self.head.log_prob(&options, batch)?])
    }

    fn terms(&self, outputs: &[Tensor], _segments: &Segments) -> Result<Terms> {
        objective::cross_entropy(&outputs[0])
    }

    fn evaluate(&self, batch: &FeatureBatch) -> Result<Terms> {
        let options = self.control.forward(&batch.hidden)?.unsqueeze(1)?;
        objective::cross_entropy(&self.head.full_log_prob(&options, &batch.next)?)
    }
}

/// Stage 2: the options, the policy and the encoder.
pub struct OptionStage<'a> {
    plugin: PluginNet,
    head: &'a OutputHead,
    frozen: &'a Frozen,
    objective: Objective,
    target: f64,
    hold: Hold,
    seed: u64,
    beta: f64,
}

impl<'a> OptionStage<'a> {
    /// A stage on the tensors of `params`, with the objective, KL target and seed of `settings`.
    pub fn new(
        spec: &PluginConfig,
        params: &Params,
        head: &'a OutputHead,
        frozen: &'a Frozen,
        settings: &SftSettings,
    ) -> Result<Self> {
        let &SftSettings { objective, kl_target: target, seed, keep_control, .. } = settings;
        let plugin = PluginNet::bind(spec, &|name| params.tensor(name))?;
        let plugin = PluginNet { decoder: plugin.decoder.keeping_control(keep_control), ..plugin };
        Ok(Self { plugin, head, frozen, objective, target, hold: spec.hold, seed, beta: FIRST_BETA })
    }

    /// Logits of the policy at segment starts and of the encoder, and the option set. The encoder
    /// alone sees the gold token.
    fn forward(&self, batch: &FeatureBatch) -> Result<(Tensor, Tensor, Tensor)> {
        let policy = self.plugin.policy.logits(&batch.segments.first(&batch.hidden)?)?;
        let encoder = self.plugin.encoder.logits(&batch.hidden, &self.frozen.embed(&batch.next)?)?;
        Ok((policy, encoder, self.plugin.decoder.options(&batch.hidden)?))
    }

    /// The learned-prior objective, for latents of tokens or of segments.
    fn prior(
        &self,
        log_prob: &Tensor,
        policy: &Tensor,
        encoder: &Tensor,
        segments: &Segments,
        training: bool,
    ) -> Result<Terms> {
        match self.hold {
            Hold::Token => objective::prior(log_prob, policy, encoder, self.beta),
            _ => objective::held(log_prob, policy, encoder, segments, self.beta, training),
        }
    }

    /// Those of its rows, of the noise of the whole step.
    fn gumbel(&self, like: &Tensor, place: StepPlace) -> Result<Tensor> {
        let mut rng = Rng::stream(self.seed, "gumbel", place.step);
        let before = place.first_row * like.dim(1)?;
        let noise = (0..before + like.elem_count()).map(|_| rng.gumbel());
        let noise: Vec<f32> = noise.skip(before).collect();
        Ok(Tensor::from_vec(noise, like.shape(), like.device())?)
    }

    /// The option that the encoder draws, alone. `[B, 1, d]`.
    ///
    /// The one-hot weights mix the options' states, not the embeddings that make them: the value is
    /// the same, and it serves both kinds of decoder (our decision).
    fn drawn(&self, options: &Tensor, encoder: &Tensor, place: StepPlace) -> Result<Tensor> {
        let weights = objective::straight_through(encoder, &self.gumbel(encoder, place)?)?;
        Ok(options.broadcast_mul(&weights.unsqueeze(2)?)?.sum_keepdim(1)?)
    }
}

impl SftStage for OptionStage<'_> {
    fn name(&self) -> &'static str {
        "options"
    }

    fn outputs(&self, batch: &FeatureBatch, place: StepPlace) -> Result<Vec<Tensor>> {
        let (policy, encoder, options) = self.forward(batch)?;
        let options = match self.objective {
            Objective::Prior => options,
            Objective::Paper => self.drawn(&options, &encoder, place)?,
        };
        Ok(vec![self.head.log_prob(&options, batch)?, policy, encoder])
    }

    fn terms(&self, outputs: &[Tensor], segments: &Segments) -> Result<Terms> {
        let [log_prob, policy, encoder] = [0, 1, 2].map(|output| &outputs[output]);
        match self.objective {
            Objective::Prior => self.prior(log_prob, policy, encoder, segments, true),
            Objective::Paper => objective::paper(log_prob, policy, encoder, self.target),
        }
    }

    fn evaluate(&self, batch: &FeatureBatch) -> Result<Terms> {
        let (policy, encoder, options) = self.forward(batch)?;
        let log_prob = self.head.full_log_prob(&options, &batch.next)?;
        match self.objective {
            Objective::Prior => self.prior(&log_prob, &policy, &encoder, &batch.segments, false),
            Objective::Paper => objective::paper_evaluation(&log_prob, &policy, &encoder),
        }
    }

    fn adapt(&mut self, kl: f64) {
        if self.objective == Objective::Prior {
            self.beta = objective::adapt(self.beta, kl, self.target);
        }
    }

    fn beta(&self) -> f64 {
        self.beta
    }

    fn set_beta(&mut self, beta: f64) {
        self.beta = beta;
    }
}

/// Stage 3: the policy alone, for its accuracy.
pub struct PolicyStage<'a> {
    decoder: DecoderNet,
    policy: PolicyNet,
    head: &'a OutputHead,
}

impl<'a> PolicyStage<'a> {
    /// A stage on the tensors of `params`.
    pub fn new(spec: &PluginConfig, params: &Params, head: &'a OutputHead) -> Result<Self> {
        let lookup = |name: &str| params.tensor(name);
        Ok(Self { decoder: DecoderNet::bind(spec, &lookup)?, policy: PolicyNet::bind(spec, &lookup)?, head })
    }
}

impl SftStage for PolicyStage<'_> {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn outputs(&self, batch: &FeatureBatch, _place: StepPlace) -> Result<Vec<Tensor>> {
        let options = self.decoder.options(&batch.hidden)?;
        let (is_first, log_prob) = (self.head.is_first(&options, batch)?, self.head.log_prob(&options, batch)?);
        Ok(vec![is_first, log_prob, self.policy.logits(&batch.segments.first(&batch.hidden)?)?])
    }

    fn terms(&self, outputs: &[Tensor], segments: &Segments) -> Result<Terms> {
        objective::accuracy(&outputs[0], &outputs[1], &outputs[2], segments)
    }

    fn evaluate(&self, batch: &FeatureBatch) -> Result<Terms> {
        let options = self.decoder.options(&batch.hidden)?;
        let is_first = self.head.full_is_first(&options, &batch.next)?;
        let log_prob = self.head.full_log_prob(&options, &batch.next)?;
        let policy = self.policy.logits(&batch.segments.first(&batch.hidden)?)?;
        objective::accuracy(&is_first, &log_prob, &policy, &batch.segments)
    }

    /// Its own objective, in which nothing is adapted.
    fn held_out_loss(&self, measured: &Measured) -> f64 {
        measured.objective
    }
}
