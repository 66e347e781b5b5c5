//! Who computes for a session, and when: the threads of each phase, and the pace.

use std::ops::Range;

use crate::cpu::{Isa, Pool, Workers};
use crate::error::{Error, Result};
use crate::memory;
use crate::model::{Model, Stage, State, forward, head};
use crate::ops::{Exec, Quantized};

use super::SessionOptions;
use super::pace::Pace;

/// The threads of a session, and its pace.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) exec: Exec,
    pub(super) threads: Threads,
    pub(super) pace: Pace,
    quantized: Quantized,
}

/// How many threads compute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threads {
    /// One token.
    pub(super) decode: usize,
    /// Many tokens at once.
    pub(super) prefill: usize,
}

impl Threads {
    pub(super) fn new(options: &SessionOptions) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let decode = if options.threads == 0 { cores() } else { options.threads };
        Self { decode, prefill: if options.prefill_threads == 0 { decode } else { options.prefill_threads } }
    }

    /// The threads that there have to be.
    pub(super) fn most(self) -> usize {
        self.decode.max(self.prefill)
    }
}

impl Machine {
    pub(super) fn new(options: &SessionOptions) -> Result<Self> {
        let isa = options.isa.map_or_else(Isa::select, Ok)?;
        let threads = Threads::new(options);
        let failed = if let Workers::Bound(_) = options.workers { Error::Affinity } else { Error::Threads };
        let pool = Pool::with_workers(threads.most(), &options.workers).map_err(failed)?;
        let (pace, quantized) = (Pace::default(), Quantized::default());
        Ok(Self { exec: Exec { isa, pool }, threads, pace, quantized })
    }

    /// The same threads, the same duty, a canceller of its own.
    pub(super) fn fork(&self) -> Self {
        let exec = Exec { isa: self.exec.isa, pool: self.exec.pool.clone() };
        Self { exec, threads: self.threads, pace: self.pace.fork(), quantized: Quantized::default() }
    }

    /// Lets go of buffers.
    pub(super) fn trim(&mut self) {
        self.quantized = Quantized::default();
    }

    /// Runs the tokens at `positions`, which are reserved, through the network.
    pub(super) fn forward(
        &mut self,
        model: &Model,
        state: &mut State,
        tokens: &[u32],
        positions: Range<usize>,
    ) -> Result<()> {
        let tokens = &tokens[positions.clone()];
        self.work(tokens.len(), |exec, _, pace| {
            let mut watch = |stage: Stage<'_>| if let Stage::Layer = stage { Ok(pace.check()?) } else { Ok(()) };
            forward(exec, model, state, tokens, positions.start, &mut watch)
        })
    }

    /// The logits of `hidden` (`[n][hidden]`) in `out`, which is then `[n][vocab]`.
    pub(super) fn head(&mut self, model: &Model, hidden: &[f32], out: &mut Vec<f32>) -> Result<()> {
        let config = model.config();
        let n = hidden.len() / config.hidden;
        self.work(n, |exec, quantized, _| {
            quantized.reserve(n, config.hidden)?;
            memory::reserve(out, n * config.vocab)?;
            head(exec, model, hidden, quantized, out);
            Ok(())
        })
    }

    /// Does a piece of work on `n` tokens as soon as the pace allows it.
    fn work<T>(&mut self, n: usize, work: impl FnOnce(&mut Exec, &mut Quantized, &mut Pace) -> Result<T>) -> Result<T> {
        let begin = self.pace.begin()?;
        self.exec.pool.set_threads(if n > 1 { self.threads.prefill } else { self.threads.decode });
        let outcome = work(&mut self.exec, &mut self.quantized, &mut self.pace);
        self.pace.end(begin);
        outcome
    }
}
