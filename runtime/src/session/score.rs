//! A given text: what the model says of its tokens, and which latents the encoder gives them.

use std::slice;

use crate::error::Result;
use crate::logits;
use crate::memory;
use crate::model::BATCH;
use crate::plugin::{self, Plugin, Selector};

use super::step::mixture;
use super::{Session, SessionError};

/// What a model says of a token that follows in a given text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The token that the model finds most probable there.
    pub top1: u32,
}

/// Positions whose logits are held at once while scoring.
const SCORE_BATCH: usize = 64;

impl Session {
    /// Scores a given text on a fresh sequence: for each token but the first, what the model says of it.
    ///
    /// With a selector, each token is scored under the option that the selector takes at that place. The logits of 64 tokens
    /// are held at a time, beside what [`Session::memory_needed`] tells.
    ///
    /// # Errors
    /// As [`Session::step`]; [`SessionError::NoPlugin`]. What was scored by then is part of the session.
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
        let mut next = tokens.iter().skip(1).copied();
        let mut hidden = Vec::new();
        for batch in tokens[..tokens.len().saturating_sub(1)].chunks(SCORE_BATCH) {
            hidden.clear();
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
        self.allow(self.memory_used().saturating_add(targets.len() * vocab * size_of::<f32>()))?;
        let mut rows = Vec::new();
        match selector {
            None => self.machine.head(&self.model, hidden, &mut self.batch.quantized, &mut rows)?,
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
        let mut decoded = Vec::new();
        memory::reserve(&mut decoded, hidden.len())?;
        for (h, &target) in hidden.chunks_exact(self.model.config().hidden).zip(targets) {
            let policy = plugin.policy(&mut self.machine.exec, h)?;
            plugin::check_policy(&policy)?;
            if let Some(latent) = selector.select(h, &policy)? {
                decoded.extend(plugin.decode(&mut self.machine.exec, h, slice::from_ref(&(latent..latent + 1)))?);
            } else {
                let all = plugin.decode(&mut self.machine.exec, h, slice::from_ref(&(0..policy.len())))?;
                let (mut options, mut mixed) = (Vec::new(), Vec::new());
                self.machine.head(&self.model, &all, &mut self.batch.quantized, &mut options)?;
                mixture(self.machine.exec.isa, &policy, &options, &mut mixed)?;
                memory::reserve(rows, rows.len() + mixed.len())?;
                rows.append(&mut mixed);
            }
            selector.observe(target);
        }
        if !decoded.is_empty() {
            self.machine.head(&self.model, &decoded, &mut self.batch.quantized, rows)?;
        }
        Ok(())
    }

    /// Adds `tokens` to the sequence and tells which latent the plugin's encoder assigns to each: the most probable one of
    /// `q(z | h, x)`, where x is the token and h the hidden state of the token before. The first token of a sequence has
    /// none. No [`Window`](super::Window) slides here.
    ///
    /// # Errors
    /// As [`Session::feed`]; [`SessionError::NoPlugin`];
    /// [`PluginError::EncoderNotFinite`](crate::plugin::PluginError::EncoderNotFinite). No token is added then.
    pub fn encode_latents(&mut self, tokens: &[u32]) -> Result<Vec<Option<usize>>> {
        let plugin = self.plugin.clone().ok_or(SessionError::NoPlugin)?;
        self.check(tokens)?;
        let start = self.tokens.len();
        let encoded = self.encode(&plugin, tokens);
        if encoded.is_err() {
            self.rewind(start.min(self.tokens.len()))?;
        }
        encoded
    }

    fn encode(&mut self, plugin: &Plugin, tokens: &[u32]) -> Result<Vec<Option<usize>>> {
        let mut latents = Vec::new();
        memory::reserve(&mut latents, tokens.len())?;
        let (width, mut hidden) = (self.model.config().hidden, Vec::new());
        if let Some((&first, _)) = tokens.split_first().filter(|_| self.tokens.is_empty()) {
            self.hidden_states(&[first], &mut hidden)?;
            latents.push(None);
        } else {
            hidden.extend_from_slice(self.hidden()?);
        }
        for batch in tokens[latents.len()..].chunks(BATCH) {
            self.hidden_states(batch, &mut hidden)?;
            let (before, last) = hidden.split_at(hidden.len() - width);
            let encoded = plugin.encode(&mut self.machine.exec, &self.model, before, batch)?;
            latents.extend(encoded.into_iter().map(Some));
            let last = last.to_vec();
            hidden.clear();
            hidden.extend(last);
        }
        Ok(latents)
    }
}
