//! KL divergence of a quantized model from its original: the mean over the tokens of a text of
//! KL(p, q), in nats, where p and q are the next-token distributions of original and quantized
//! model.

use std::path::Path;

use ollm_runtime::logits::log_sum_exp;
use ollm_runtime::memory::OutOfMemory;
use ollm_runtime::model::{Model, Part, Scratch, State, forward, head};
use ollm_runtime::ops::{Exec, Quantized};
use ollm_runtime::session::SessionError;
use rayon::prelude::*;

use crate::text::{Chunks, exec};
use crate::{ConvertError, Result, open_model};

/// Tokens of the text that are read at most, and tokens of a chunk.
const TOKENS: usize = 1024;
const CHUNK: usize = 256;

/// Places whose logits are held at a time.
const BATCH: usize = 64;

/// The reference model of the divergence, with its hidden states.
pub(crate) struct Reference {
    model: Model,
    exec: Exec,
    chunks: Vec<Vec<u32>>,
    /// After each token of each chunk: `[tokens][hidden]`.
    hidden: Vec<f32>,
}

impl Reference {
    /// Has the model read the text; of a long one, chunks from all over it.
    pub(crate) fn new(model: &Path, text: &Path) -> Result<Self> {
        let (path, model) = (model, open_model(model)?);
        if !model.config().causal {
            return Err(ConvertError::Runtime(SessionError::Bidirectional.into()));
        }
        let all = Chunks::read(&model, path, text, CHUNK)?.each;
        let wanted = (TOKENS / CHUNK).min(all.len());
        let chunks: Vec<_> = (0..wanted).map(|i| all[i * all.len() / wanted].clone()).collect();
        let mut reference = Self { exec: exec()?, chunks, hidden: Vec::new(), model };
        reference.hidden = hidden(&mut reference.exec, &reference.model, &reference.chunks)?;
        Ok(reference)
    }

    /// Tokens that are read.
    pub(crate) fn tokens(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// The mean divergence of `model`, which reads the same tokens.
    ///
    /// # Errors
    /// If its logits are no distribution.
    pub(crate) fn divergence(&mut self, model: &Model) -> Result<f64> {
        let other = hidden(&mut self.exec, model, &self.chunks)?;
        let (width, vocab) = (self.model.config().hidden, self.model.config().vocab);
        let (mut p, mut q, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for (ours, theirs) in self.hidden.chunks(BATCH * width).zip(other.chunks(BATCH * width)) {
            logits(&mut self.exec, &self.model, ours, &mut p)?;
            logits(&mut self.exec, model, theirs, &mut q)?;
            let rows = p.par_chunks_exact(vocab).zip(q.par_chunks_exact(vocab));
            let each: Vec<f64> = rows.map(|(p, q)| kl(p, q)).collect::<Result<_>>()?;
            sum += each.iter().sum::<f64>();
        }
        Ok(sum / self.tokens() as f64)
    }
}

/// The hidden states after each token.
fn hidden(exec: &mut Exec, model: &Model, chunks: &[Vec<u32>]) -> Result<Vec<f32>> {
    let (config, mut scratch, mut all) = (model.config(), Scratch::default(), Vec::new());
    for tokens in chunks {
        let mut state = State::new(config, tokens.len());
        state.reserve(0..tokens.len()).map_err(ollm_runtime::Error::from)?;
        let part = Part { state: &mut state, tokens, first: 0, second: usize::MAX, drafted: 0, adapters: &[] };
        forward(exec, model, &mut [part], &mut scratch, &mut |_| Ok::<_, OutOfMemory>(()))?;
        all.extend_from_slice(scratch.hidden());
    }
    Ok(all)
}

fn logits(exec: &mut Exec, model: &Model, hidden: &[f32], out: &mut Vec<f32>) -> Result<()> {
    let (width, mut scratch) = (model.config().hidden, Quantized::default());
    scratch.reserve(hidden.len() / width, width).map_err(ollm_runtime::Error::from)?;
    head(exec, model, hidden, &mut scratch, out);
    Ok(())
}

/// KL(p, q) of two rows of logits.
fn kl(p: &[f32], q: &[f32]) -> Result<f64> {
    let total = |logits| log_sum_exp(logits).map_err(|error| ConvertError::Runtime(error.into()));
    let (of_p, of_q) = (total(p)?, total(q)?);
    let term = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p) - of_p, f64::from(q) - of_q);
        // A token that is impossible has no part in it.
        if p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) }
    };
    Ok(p.iter().zip(q).map(term).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_divergence_is_that_of_the_distributions() {
        // p = (1/4, 3/4), q = (1/2, 1/2).
        let (p, q) = ([0.0, 3_f32.ln()], [5.0, 5.0]);
        let expected = 0.25 * 0.5_f64.ln() + 0.75 * 1.5_f64.ln();
        assert!((kl(&p, &q).unwrap() - expected).abs() < 1e-6);
        assert!(kl(&p, &p).unwrap().abs() < 1e-12);
        assert!(kl(&[f32::NEG_INFINITY, 0.0], &[0.0, 0.0]).unwrap() > 0.6);
        assert!(kl(&p, &[f32::NAN, 0.0]).is_err());
    }
}
