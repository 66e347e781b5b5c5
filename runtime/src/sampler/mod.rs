//! Chooses the next token from logits.
//!
//! Logit bias and callback come first. Then the [filters](Filter) run, in llama.cpp's order unless
//! another one is given: penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC,
//! temperature. So top-p and min-p judge the distribution before the temperature flattens or
//! sharpens it; a filter behind the temperature judges it afterwards. Of what is left a token is
//! drawn, plainly or by mirostat. A temperature of 0 is greedy: the most probable token after bias,
//! callback, penalties and DRY, whatever the other filters are.
//!
//! A random number belongs to a place in a text: it follows from the seed and the number of tokens
//! before it, not from what was drawn earlier. So a rewound, forked or restored text continues as
//! it would have, and the same seed makes the same choices from the same logits on every platform
//! ([`Random`](ollm_kernels::random::Random); the exponential and the logarithm of [`logits`]).
//! Mirostat alone remembers how surprising its tokens were, and follows a rewind and a fork, but
//! begins anew in a restored session.
//!
//! | file | what it holds |
//! |---|---|
//! | `options`, `filter`, `error` | the numbers, their ranges, the order of filters |
//! | `penalties` | what makes tokens of the history less likely |
//! | `pool` | the tokens that are still in the running, and what filters them |
//! | `mirostat` | the steered draw |

mod error;
mod filter;
mod mirostat;
mod options;
mod penalties;
mod pool;

pub use error::SamplerError;
pub use filter::Filter;
pub use options::{Dry, DynamicTemperature, LogitsEdit, Mirostat, SamplerOptions, Xtc};

use ollm_kernels::logits::{self, LogitsError};
use ollm_kernels::memory;
use ollm_kernels::token_set::TokenSet;

use mirostat::Surprise;
use pool::Pool;

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// Its natural log-probability under the softmax of the logits as they were given, before bias
    /// and filters.
    pub logprob: f32,
}

/// Chooses tokens.
#[derive(Debug)]
pub struct Sampler {
    options: SamplerOptions,
    surprise: Surprise,
    top: Vec<(u32, f32)>,
    /// Kept between calls for its memory only, as is `edited`.
    pool: Pool,
    edited: Vec<f32>,
}

impl Clone for Sampler {
    /// The buffers are not copied: they hold nothing between calls.
    fn clone(&self) -> Self {
        let (pool, edited) = (Pool::default(), Vec::new());
        Self { options: self.options.clone(), surprise: self.surprise.clone(), top: self.top.clone(), pool, edited }
    }
}

impl Sampler {
    /// A sampler with checked `options`.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn new(options: SamplerOptions) -> Result<Self, SamplerError> {
        options.check()?;
        let (surprise, pool) = (Surprise::default(), Pool::default());
        Ok(Self { options, surprise, top: Vec::new(), pool, edited: Vec::new() })
    }

    /// The options that this sampler was made with.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// The most probable tokens of the logits that were sampled last, as many as
    /// [`SamplerOptions::logprobs`] asks for, with their natural log-probabilities before bias and
    /// filters. None behind a token that was not sampled: a forced one.
    pub fn top(&self) -> &[(u32, f32)] {
        &self.top
    }

    /// The next token is none of this sampler's.
    pub(crate) fn sample_none(&mut self) {
        self.top.clear();
    }

    /// Whether both choose the same tokens from now on.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let greedy = self.options.temperature == 0.0;
        let seed = if greedy { self.options.seed } else { other.options.seed };
        self.options == SamplerOptions { seed, ..other.options.clone() } && self.surprise == other.surprise
    }

    /// Chooses one token of `logits` (one for each token of the vocabulary), given the tokens so
    /// far. `place` is the number of tokens before it, those that a context shift has dropped
    /// included. Where tokens are `allowed`, it is one of these: the filters see no other. Its
    /// log-probability is among all tokens nevertheless.
    ///
    /// # Errors
    /// [`SamplerError::Logits`], [`SamplerError::AllBanned`], [`SamplerError::Edited`].
    pub fn sample(
        &mut self,
        logits: &[f32],
        history: &[u32],
        place: u64,
        allowed: Option<&TokenSet>,
    ) -> Result<Sampled, SamplerError> {
        let sum = logits::log_sum_exp(logits)?;
        self.top = logits::top_logits(logits, self.options.logprobs)?;
        for (_, logit) in &mut self.top {
            *logit = (f64::from(*logit) - sum) as f32;
        }
        let mut edited = std::mem::take(&mut self.edited);
        let token = match self.edit(logits, history, &mut edited) {
            Ok(true) => self.choose(&edited, history, place, allowed).map_err(banned),
            Ok(false) => self.choose(logits, history, place, allowed),
            Err(error) => Err(error),
        };
        self.edited = edited;
        let token = token?;
        Ok(Sampled { token, logprob: (f64::from(logits[token as usize]) - sum) as f32 })
    }

    /// Applies bias and callback to a copy of the logits; false if there are none.
    fn edit(&self, logits: &[f32], history: &[u32], edited: &mut Vec<f32>) -> Result<bool, SamplerError> {
        let SamplerOptions { logit_bias, edit, .. } = &self.options;
        if logit_bias.is_empty() && edit.is_none() {
            return Ok(false);
        }
        edited.clear();
        memory::reserve(edited, logits.len())?;
        edited.extend_from_slice(logits);
        for &(token, bias) in logit_bias {
            let outside = LogitsError::TokenOutOfRange { token, vocabulary: logits.len() };
            let logit = edited.get_mut(token as usize).ok_or(outside)?;
            *logit = (*logit + bias).min(f32::MAX);
        }
        if let Some(edit) = edit {
            edit.apply(edited, history);
        }
        match logits::argmax(edited) {
            // The logits that were given are numbers.
            Err(LogitsError::NotFinite { token }) => Err(SamplerError::Edited { token }),
            Err(error) => Err(banned(error.into())),
            Ok(_) => Ok(true),
        }
    }

    fn choose(
        &mut self,
        logits: &[f32],
        history: &[u32],
        place: u64,
        allowed: Option<&TokenSet>,
    ) -> Result<u32, SamplerError> {
        let Self { options, pool, surprise, .. } = self;
        let greedy = options.temperature == 0.0;
        if greedy && options.dry.is_none() && !options.penalises() {
            return Ok(logits::argmax_in(logits, allowed)?.0);
        }
        pool.fill(logits)?;
        if let Some(allowed) = allowed {
            pool.allow(allowed)?;
        }
        for filter in &options.order {
            match filter {
                Filter::Penalties if options.penalises() => penalties::penalise(pool, options, history)?,
                Filter::Dry => options.dry.as_ref().map_or(Ok(()), |dry| penalties::dry(pool, dry, history))?,
                _ if greedy => {}
                Filter::Penalties => {}
                Filter::TopNSigma => pool.keep_top_n_sigma(options.top_n_sigma),
                Filter::TopK => pool.keep_top_k(options.top_k),
                Filter::Typical => pool.keep_typical(options.typical_p)?,
                Filter::TopP => pool.keep_top_p(options.top_p)?,
                Filter::MinP => pool.keep_min_p(options.min_p)?,
                Filter::Xtc => options.xtc.map_or(Ok(()), |xtc| pool.exclude_top(xtc, options.seed, place))?,
                Filter::Temperature => pool.set_temperature(options.temperature, options.dynamic_temperature)?,
            }
        }
        match options.mirostat {
            _ if greedy => Ok(pool.best()),
            Some(mirostat) => Ok(surprise.draw(pool, mirostat, options.seed, place)?),
            None => Ok(pool.draw(options.seed, place)?),
        }
    }
}

/// Why there is no token among logits that were changed.
fn banned(error: SamplerError) -> SamplerError {
    if error == SamplerError::Logits(LogitsError::Impossible) { SamplerError::AllBanned } else { error }
}

#[cfg(test)]
mod tests;
