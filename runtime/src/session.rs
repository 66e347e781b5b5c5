//! A session: one sequence of tokens on a backbone, with or without a plugin. The one place where the parts meet.

use std::fmt;
use std::sync::Arc;

use crate::cpu::{Isa, Pool};
use crate::error::{Error, Result};
use crate::logits;
use crate::model::{BATCH, Model, State, forward, head};
use crate::ops::{Exec, Quantized, softmax};
use crate::options::{Plugin, Selector};
use crate::sampler::Sampler;

/// How a session runs.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Threads that compute; 0 takes as many as the system has cores for.
    pub threads: usize,
    /// Positions there is room for; 0 takes what the model was trained for.
    pub context: usize,
    /// The instruction set; `None` takes what [`Isa::select`] finds.
    pub isa: Option<Isa>,
}

/// What a session cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The context has no room for these tokens.
    ContextFull {
        /// Tokens that were to be added.
        tokens: usize,
        /// Positions already taken.
        position: usize,
        /// Positions there are.
        context: usize,
    },
    /// A token is not in the vocabulary.
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocab: usize,
    },
    /// There is nothing to continue: no token was fed.
    Empty,
    /// Latents were asked for, but there is no plugin.
    NoPlugin,
    /// A position to go back to that was not reached yet.
    PositionOutOfRange {
        /// The position.
        position: usize,
        /// Positions there are.
        reached: usize,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContextFull { tokens, position: 0, context } => {
                write!(
                    f,
                    "{tokens} tokens do not fit a context of {context}: shorten the text or ask for a larger context"
                )
            }
            Self::ContextFull { tokens, position, context } => {
                write!(f, "{tokens} more tokens do not fit a context of {context}, of which {position} are taken")
            }
            Self::TokenOutOfRange { token, vocab } => {
                write!(f, "token {token} is not in the vocabulary of {vocab} tokens")
            }
            Self::Empty => write!(f, "there is nothing to continue: the prompt has no tokens"),
            Self::NoPlugin => write!(f, "latents need a plugin: name a plugin file"),
            Self::PositionOutOfRange { position, reached } => {
                write!(f, "cannot go back to position {position}: the session is at {reached}")
            }
        }
    }
}

impl std::error::Error for SessionError {}

/// One generated token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The token.
    pub token: u32,
    /// The latent whose option it comes from; `None` without a plugin, and for the mixture.
    pub latent: Option<usize>,
    /// Natural logarithm of its probability, before the sampler's filters.
    pub logprob: f32,
}

/// One option of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionView {
    /// The latent.
    pub latent: usize,
    /// The probability that the policy gives it.
    pub policy: f32,
    /// Its most probable tokens and their probabilities.
    pub top: Vec<(u32, f32)>,
}

/// What a model says of a token that follows in a given text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The token that the model finds most probable there.
    pub top1: u32,
}

/// One sequence on a model.
#[derive(Debug)]
pub struct Session {
    model: Arc<Model>,
    plugin: Option<Arc<Plugin>>,
    exec: Exec,
    state: State,
    /// All tokens so far; the last one may not have gone through the network yet.
    tokens: Vec<u32>,
    /// Tokens that have gone through the network.
    position: usize,
    /// The hidden state of the last of them: `[hidden]`.
    hidden: Vec<f32>,
    step: StepCache,
    quantized: Quantized,
}

/// What was computed of the current step.
#[derive(Debug, Default)]
struct StepCache {
    /// The policy's probabilities: `[options]`, or empty.
    policy: Vec<f32>,
    /// Logits of every option: `[options][vocab]`, or empty.
    options: Vec<f32>,
    /// Logits of the chosen distribution: `[vocab]`.
    chosen: Vec<f32>,
}

impl StepCache {
    fn clear(&mut self) {
        self.policy.clear();
        self.options.clear();
    }
}

impl Session {
    /// A session on `model`, whose steps go through `plugin` if there is one.
    ///
    /// # Errors
    /// [`Error::Isa`], [`Error::Threads`] or [`Error::Model`] if what `options` ask for cannot be had.
    pub fn new(model: Arc<Model>, plugin: Option<Arc<Plugin>>, options: &SessionOptions) -> Result<Self> {
        let isa = options.isa.map_or_else(Isa::select, Ok)?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores() } else { options.threads };
        let context = if options.context == 0 { model.config().context_length } else { options.context };
        let state = State::new(model.config(), context)?;
        let exec = Exec { isa, pool: Pool::new(threads).map_err(Error::Threads)? };
        Ok(Self {
            model,
            plugin,
            exec,
            state,
            tokens: Vec::new(),
            position: 0,
            hidden: Vec::new(),
            step: StepCache::default(),
            quantized: Quantized::default(),
        })
    }

    /// The backbone.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The plugin, if there is one.
    pub fn plugin(&self) -> Option<&Arc<Plugin>> {
        self.plugin.as_ref()
    }

    /// Tokens so far, fed and generated.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// Positions there is room for.
    pub fn context(&self) -> usize {
        self.state.capacity()
    }

    /// The name of the instruction set in use.
    pub fn isa(&self) -> &'static str {
        self.exec.isa.name()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.exec.pool.threads()
    }

    /// Forgets every token.
    pub fn reset(&mut self) {
        self.tokens.clear();
        self.position = 0;
        self.step.clear();
    }

    /// Forgets the tokens from `position` on, and goes on from there.
    ///
    /// # Errors
    /// [`SessionError::PositionOutOfRange`] if there are not so many.
    pub fn rewind(&mut self, position: usize) -> Result<()> {
        let reached = self.tokens.len();
        if position > reached {
            return Err(SessionError::PositionOutOfRange { position, reached }.into());
        }
        if position < reached {
            self.tokens.truncate(position);
            // The hidden state of the last token left is gone: it goes through the network once more.
            self.position = self.position.min(position.saturating_sub(1));
            self.step.clear();
        }
        Ok(())
    }

    /// Adds `tokens` to the sequence.
    ///
    /// # Errors
    /// [`SessionError::ContextFull`] or [`SessionError::TokenOutOfRange`]; then nothing has changed.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.check(tokens)?;
        self.tokens.extend_from_slice(tokens);
        self.catch_up(&mut |_| ());
        Ok(())
    }

    /// Adds `tokens` to the sequence and appends their hidden states, after the final norm, to `out`: `[n][hidden]`.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn hidden_states(&mut self, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        self.check(tokens)?;
        // What is pending belongs to earlier calls.
        self.catch_up(&mut |_| ());
        self.tokens.extend_from_slice(tokens);
        self.catch_up(&mut |hidden| out.extend_from_slice(hidden));
        Ok(())
    }

    fn check(&self, tokens: &[u32]) -> Result<()> {
        let (position, context, vocab) = (self.tokens.len(), self.context(), self.model.config().vocab);
        if tokens.len() > context - position {
            return Err(SessionError::ContextFull { tokens: tokens.len(), position, context }.into());
        }
        match tokens.iter().find(|&&token| token as usize >= vocab) {
            Some(&token) => Err(SessionError::TokenOutOfRange { token, vocab }.into()),
            None => Ok(()),
        }
    }

    /// Runs what is pending through the network, batch by batch, and hands each batch's hidden states to `sink`.
    fn catch_up(&mut self, sink: &mut dyn FnMut(&[f32])) {
        while self.position < self.tokens.len() {
            let end = self.tokens.len().min(self.position + BATCH);
            forward(&mut self.exec, &self.model, &mut self.state, &self.tokens[self.position..end], self.position);
            self.position = end;
            let hidden = self.state.hidden();
            sink(hidden);
            self.hidden.clear();
            self.hidden.extend_from_slice(&hidden[hidden.len() - self.model.config().hidden..]);
            self.step.clear();
        }
    }

    /// Makes the hidden state of the last token current.
    fn prepare(&mut self) -> Result<()> {
        if self.tokens.is_empty() {
            return Err(SessionError::Empty.into());
        }
        self.catch_up(&mut |_| ());
        Ok(())
    }

    /// Makes the hidden state of the last token, and what the policy says of it, current; gives the plugin.
    fn prepare_policy(&mut self) -> Result<Arc<Plugin>> {
        let plugin = self.plugin.clone().ok_or(SessionError::NoPlugin)?;
        self.prepare()?;
        if self.step.policy.is_empty() {
            self.step.policy = plugin.policy(&mut self.exec, &self.hidden)?;
        }
        Ok(plugin)
    }

    /// The option set of the current step: for each latent, the policy's probability and the `top` most probable tokens.
    ///
    /// # Errors
    /// [`SessionError::NoPlugin`] or [`SessionError::Empty`]; [`Error::Logits`] if the model gives no distribution.
    pub fn option_set(&mut self, top: usize) -> Result<Vec<OptionView>> {
        let plugin = self.prepare_policy()?;
        self.expand_options(&plugin);
        let rows = self.step.options.chunks_exact(self.model.config().vocab);
        let view = |(latent, logits): (usize, &[f32])| {
            let top = logits::top_m(logits, top)?;
            Ok(OptionView { latent, policy: self.step.policy[latent], top })
        };
        rows.enumerate().map(view).collect()
    }

    /// Computes the logits of all options: one product over the head's weights.
    fn expand_options(&mut self, plugin: &Plugin) {
        if self.step.options.is_empty() {
            let hidden = plugin.decode_all(&mut self.exec, &self.hidden);
            head(&mut self.exec, &self.model, &hidden, &mut self.quantized, &mut self.step.options);
        }
    }

    /// Chooses the next token and adds it to the sequence. Without a selector, or without a plugin, it is the backbone's.
    ///
    /// # Errors
    /// [`SessionError::ContextFull`] at the end of the context, [`SessionError::Empty`] if nothing was fed,
    /// [`Error::Logits`] or [`Error::Sampler`] if there is no distribution to choose from. The session stays as it was.
    pub fn step(&mut self, selector: Option<&mut Selector>, sampler: &mut Sampler) -> Result<Step> {
        self.check(&[0])?;
        let Some(selector) = selector else {
            self.prepare()?;
            head(&mut self.exec, &self.model, &self.hidden, &mut self.quantized, &mut self.step.chosen);
            return self.take(None, sampler);
        };
        let plugin = self.prepare_policy()?;
        let latent = selector.select(&self.step.policy);
        self.choose_logits(&plugin, latent);
        let step = self.take(latent, sampler)?;
        selector.observe(step.token);
        Ok(step)
    }

    /// Samples from the chosen logits and appends the token.
    fn take(&mut self, latent: Option<usize>, sampler: &mut Sampler) -> Result<Step> {
        let sampled = sampler.sample(&self.step.chosen, &self.tokens)?;
        self.tokens.push(sampled.token);
        Ok(Step { token: sampled.token, latent, logprob: sampled.logprob })
    }

    /// Makes the logits of one option, or of the mixture, the chosen ones.
    fn choose_logits(&mut self, plugin: &Plugin, latent: Option<usize>) {
        let vocab = self.model.config().vocab;
        match latent {
            None => {
                self.expand_options(plugin);
                mixture(self.exec.isa, &self.step.policy, &self.step.options, &mut self.step.chosen);
            }
            Some(latent) if !self.step.options.is_empty() => {
                self.step.chosen.clear();
                self.step.chosen.extend_from_slice(&self.step.options[latent * vocab..][..vocab]);
            }
            Some(latent) => {
                let hidden = plugin.decode(&mut self.exec, &self.hidden, latent);
                head(&mut self.exec, &self.model, &hidden, &mut self.quantized, &mut self.step.chosen);
            }
        }
    }

    /// Scores a given text on a fresh sequence: for each token but the first, what the model says of it.
    ///
    /// With a selector, each token is scored under the option that the selector takes at that place.
    ///
    /// # Errors
    /// As [`Session::feed`]; [`SessionError::NoPlugin`]; [`Error::Logits`] if the model gives no distribution.
    pub fn score(
        &mut self,
        tokens: &[u32],
        mut selector: Option<&mut Selector>,
        sink: &mut dyn FnMut(Scored),
    ) -> Result<()> {
        if selector.is_some() && self.plugin.is_none() {
            return Err(SessionError::NoPlugin.into());
        }
        self.reset();
        let width = self.model.config().hidden;
        let mut next = tokens.iter().skip(1).copied();
        for batch in tokens[..tokens.len().saturating_sub(1)].chunks(SCORE_BATCH) {
            let mut hidden = Vec::with_capacity(batch.len() * width);
            self.hidden_states(batch, &mut hidden)?;
            let targets: Vec<u32> = next.by_ref().take(batch.len()).collect();
            self.score_batch(&hidden, &targets, selector.as_deref_mut(), sink)?;
        }
        Ok(())
    }

    fn score_batch(
        &mut self,
        hidden: &[f32],
        targets: &[u32],
        selector: Option<&mut Selector>,
        sink: &mut dyn FnMut(Scored),
    ) -> Result<()> {
        let vocab = self.model.config().vocab;
        let mut rows = Vec::new();
        match selector {
            None => head(&mut self.exec, &self.model, hidden, &mut self.quantized, &mut rows),
            Some(selector) => self.selected_logits(hidden, targets, selector, &mut rows)?,
        }
        for (logits, &token) in rows.chunks_exact(vocab).zip(targets) {
            sink(Scored { logprob: logits::log_softmax_at(logits, token)?, top1: logits::argmax(logits)?.0 });
        }
        Ok(())
    }

    /// The logits that the selector takes for each of `hidden`: `[n][vocab]`.
    fn selected_logits(
        &mut self,
        hidden: &[f32],
        targets: &[u32],
        selector: &mut Selector,
        rows: &mut Vec<f32>,
    ) -> Result<()> {
        let plugin = self.plugin.clone().ok_or(SessionError::NoPlugin)?;
        let mut decoded = Vec::with_capacity(hidden.len());
        for (h, &target) in hidden.chunks_exact(self.model.config().hidden).zip(targets) {
            let policy = plugin.policy(&mut self.exec, h)?;
            if let Some(latent) = selector.select(&policy) {
                decoded.extend(plugin.decode(&mut self.exec, h, latent));
            } else {
                let all = plugin.decode_all(&mut self.exec, h);
                let (mut options, mut mixed) = (Vec::new(), Vec::new());
                head(&mut self.exec, &self.model, &all, &mut self.quantized, &mut options);
                mixture(self.exec.isa, &policy, &options, &mut mixed);
                rows.append(&mut mixed);
            }
            selector.observe(target);
        }
        if !decoded.is_empty() {
            head(&mut self.exec, &self.model, &decoded, &mut self.quantized, rows);
        }
        Ok(())
    }
}

/// Positions whose logits are held at once while scoring.
const SCORE_BATCH: usize = 64;

/// `ln sum_z policy[z] softmax(options[z])`: `[vocab]`.
fn mixture(isa: Isa, policy: &[f32], options: &[f32], out: &mut Vec<f32>) {
    let vocab = options.len() / policy.len();
    out.clear();
    out.resize(vocab, 0.0);
    let mut row = vec![0.0; vocab];
    for (&weight, logits) in policy.iter().zip(options.chunks_exact(vocab)) {
        row.copy_from_slice(logits);
        softmax(isa, &mut row);
        for (out, p) in out.iter_mut().zip(&row) {
            *out += weight * p;
        }
    }
    for p in out {
        *p = p.ln();
    }
}
