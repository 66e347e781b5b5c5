//! How a sampler is asked to choose: its numbers, their ranges, and the order of its filters.

use std::fmt;
use std::sync::Arc;

use super::error::SamplerError;
use super::filter::Filter;

/// How a token is chosen. The default is greedy.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Lets the temperature follow the entropy.
    pub dynamic_temperature: Option<DynamicTemperature>,
    /// Keeps this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most probable tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens at least this many times as probable as the best one; 0 keeps all.
    pub min_p: f32,
    /// Locally typical sampling (Meister et al. 2023): keeps the tokens whose surprise is nearest
    /// to the entropy and whose probabilities reach this sum; 1 keeps all.
    pub typical_p: f32,
    /// Keeps the tokens whose logits are at most this many standard deviations (of all logits)
    /// below the best one (Tang et al. 2024); 0 keeps all.
    pub top_n_sigma: f32,
    /// Leaves out the most probable tokens from time to time.
    pub xtc: Option<Xtc>,
    /// Makes the tokens of the recent history less likely (Keskar et al., CTRL, 2019): divides
    /// positive logits, multiplies negative ones; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Is taken from the logit of each token of the recent history; 0 changes nothing.
    pub presence_penalty: f32,
    /// Is taken from the logit of a token for each time that it is in the recent history; 0 changes
    /// nothing.
    pub frequency_penalty: f32,
    /// How many tokens of the history these three penalties look at.
    pub repeat_last_n: usize,
    /// Makes tokens less likely that would go on with a repetition.
    pub dry: Option<Dry>,
    /// Draws with a surprise that is steered, in place of a plain draw.
    pub mirostat: Option<Mirostat>,
    /// Is added to the logits of these tokens, before anything else; negative infinity bans one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Sees and changes the logits, after the bias and before the filters.
    pub edit: Option<LogitsEdit>,
    /// The filters, in the order in which they run.
    pub order: Vec<Filter>,
    /// How many of the most probable tokens [`Sampler::top`](super::Sampler::top) tells.
    pub logprobs: usize,
    /// The seed of all choices.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            dynamic_temperature: None,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc: None,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repeat_last_n: 64,
            dry: None,
            mirostat: None,
            logit_bias: Vec::new(),
            edit: None,
            order: Filter::ALL.to_vec(),
            logprobs: 0,
            seed: 0,
        }
    }
}

/// A temperature between `temperature - range` (at least 0) and `temperature + range`: the surer
/// the model is, the lower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DynamicTemperature {
    /// How far the temperature goes to either side.
    pub range: f32,
    /// The power of the entropy (as a share of the largest one that is possible) that it follows.
    pub exponent: f32,
}

/// Exclude top choices: where several tokens are at least `threshold` probable, all but the least
/// probable of them are left out, in a share `probability` of all steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xtc {
    /// How often: 0 to 1.
    pub probability: f32,
    /// How probable a token has to be: 0 to 1. Above 0.5 nothing happens.
    pub threshold: f32,
}

/// Don't repeat yourself: a token that would make a repetition `n` tokens long loses
/// `multiplier * base^(n - allowed_length)`, with n the tokens before it that repeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// The penalty of the shortest repetition that has one; above 0.
    pub multiplier: f32,
    /// How it grows with each token; at least 1.
    pub base: f32,
    /// Shorter repetitions have no penalty; at least 1.
    pub allowed_length: usize,
    /// How many tokens of the history are searched.
    pub last_n: usize,
    /// Tokens that no repetition reaches across, and that have no penalty; in ascending order. See
    /// [`Tokenizer::tokens_with`](crate::tokenizer::Tokenizer::tokens_with).
    pub breakers: Arc<[u32]>,
}

impl Dry {
    /// What usually breaks a sequence: the end of a line, and what begins a list, a quotation, or
    /// emphasis.
    pub const BREAKERS: [&'static str; 4] = ["\n", ":", "\"", "*"];
}

/// Mirostat 2 (Basu et al. 2021): leaves out tokens above a surprise that is steered so that the
/// mean is `tau`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirostat {
    /// The surprise that is aimed at, in bits.
    pub tau: f32,
    /// How fast it is steered: 0 to 1.
    pub eta: f32,
}

/// Changes logits, given the tokens so far.
#[derive(Clone)]
pub struct LogitsEdit(Arc<Edit>);

type Edit = dyn Fn(&mut [f32], &[u32]) + Send + Sync;

impl LogitsEdit {
    /// `edit` sees one logit for each token of the vocabulary, and the tokens so far. Negative
    /// infinity bans a token; what is no distribution afterwards makes the step fail.
    pub fn new(edit: impl Fn(&mut [f32], &[u32]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(edit))
    }

    pub(super) fn apply(&self, logits: &mut [f32], history: &[u32]) {
        (self.0)(logits, history);
    }
}

impl fmt::Debug for LogitsEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogitsEdit")
    }
}

/// Equal to itself and its clones.
impl PartialEq for LogitsEdit {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl SamplerOptions {
    /// Whether the three penalties change anything.
    pub(super) fn penalises(&self) -> bool {
        self.repeat_last_n > 0
            && (differs(self.repeat_penalty, 1.0)
                || differs(self.presence_penalty, 0.0)
                || differs(self.frequency_penalty, 0.0))
    }

    /// Whether a filter has anything to do.
    fn uses(&self, filter: Filter) -> bool {
        match filter {
            Filter::Penalties => self.penalises(),
            Filter::Dry => self.dry.is_some(),
            Filter::TopNSigma => self.top_n_sigma > 0.0,
            Filter::TopK => self.top_k > 0,
            Filter::Typical => self.typical_p < 1.0,
            Filter::TopP => self.top_p < 1.0,
            Filter::MinP => self.min_p > 0.0,
            Filter::Xtc => self.xtc.is_some(),
            Filter::Temperature => {
                self.temperature > 0.0 && (differs(self.temperature, 1.0) || self.dynamic_temperature.is_some())
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), SamplerError> {
        let number =
            |name, value, holds, range| if holds { Ok(()) } else { Err(SamplerError::Number { name, value, range }) };
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let share = |x: f32| x > 0.0 && x <= 1.0;
        let unit = |x: f32| (0.0..=1.0).contains(&x);
        let non_negative = |x: f32| x >= 0.0 && x.is_finite();
        number(
            "temperature",
            self.temperature,
            non_negative(self.temperature),
            "a number of at least 0 (0 is greedy)",
        )?;
        number("top-p", self.top_p, share(self.top_p), "above 0 and at most 1")?;
        number("min-p", self.min_p, unit(self.min_p), "at least 0 and at most 1")?;
        number("typical-p", self.typical_p, share(self.typical_p), "above 0 and at most 1")?;
        number("top-n-sigma", self.top_n_sigma, non_negative(self.top_n_sigma), "a number of at least 0 (0 is off)")?;
        number("repeat-penalty", self.repeat_penalty, positive(self.repeat_penalty), "a number above 0 (1 is none)")?;
        for (name, value) in
            [("presence-penalty", self.presence_penalty), ("frequency-penalty", self.frequency_penalty)]
        {
            number(name, value, value.is_finite(), "a finite number (0 is none)")?;
        }
        if let Some(DynamicTemperature { range, exponent }) = self.dynamic_temperature {
            number("dynamic temperature's range", range, non_negative(range), "a number of at least 0")?;
            number("dynamic temperature's exponent", exponent, positive(exponent), "a number above 0")?;
        }
        if let Some(Xtc { probability, threshold }) = self.xtc {
            number("xtc-probability", probability, unit(probability), "at least 0 and at most 1")?;
            number("xtc-threshold", threshold, unit(threshold), "at least 0 and at most 1")?;
        }
        if let Some(Dry { multiplier, base, allowed_length, .. }) = self.dry {
            number("dry-multiplier", multiplier, positive(multiplier), "a number above 0")?;
            number("dry-base", base, base >= 1.0 && base.is_finite(), "a number of at least 1")?;
            number("dry-allowed-length", allowed_length as f32, allowed_length > 0, "at least 1")?;
        }
        if let Some(Mirostat { tau, eta }) = self.mirostat {
            number("mirostat's tau", tau, positive(tau), "a number above 0")?;
            number("mirostat's eta", eta, unit(eta), "at least 0 and at most 1")?;
            number("temperature", self.temperature, self.temperature > 0.0, "above 0 with mirostat, which draws")?;
        }
        let bias = self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY);
        bias.map_or(Ok(()), |&(token, value)| Err(SamplerError::Bias { token, value }))?;
        self.check_order()
    }

    /// A filter that has something to do is in the order, and none is twice.
    fn check_order(&self) -> Result<(), SamplerError> {
        let count = |filter: Filter| self.order.iter().filter(|other| **other == filter).count();
        let missing = |filter: Filter| count(filter) == 0 && self.uses(filter);
        for filter in Filter::ALL {
            if count(filter) > 1 {
                return Err(SamplerError::Twice(filter));
            }
            if missing(filter) {
                return Err(SamplerError::Missing(filter));
            }
        }
        Ok(())
    }
}

fn differs(value: f32, from: f32) -> bool {
    value.to_bits() != from.to_bits()
}
