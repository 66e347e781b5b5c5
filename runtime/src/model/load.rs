//! Packing of the weights at load time: every quantized matrix becomes packed weights (panels of 16
//! interleaved rows), which the kernels read. The weights of a packed file are used in place.
//!
//! The panels have as many bytes as the rows in the file. Pages of a mapped file are handed back as
//! soon as they are packed, so the peak is one copy of the weights, and of each tensor that is
//! being packed two.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ollm_kernels::cpu;

use crate::storage::Storage;

use super::error::ModelError;
use super::tensor::Tensor;
use super::weights::{Layer, Weights};

/// How a model is loaded.
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// Threads that pack, at most [`MAX_THREADS`](cpu::MAX_THREADS); 0 takes as many as the system
    /// has cores for.
    pub threads: usize,
    /// Bytes that the weights may take: packed ones, and a copy of the file where the storage is
    /// one; `None` for no limit. Pages of a mapped file are the system's and not counted.
    pub memory_limit: Option<u64>,
    /// Called on the loading thread now and then; [`ControlFlow::Break`] gives up with
    /// [`ModelError::Cancelled`].
    pub progress: Option<&'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>>,
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions").field("memory_limit", &self.memory_limit).finish_non_exhaustive()
    }
}

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of weights that are packed.
    pub done: u64,
    /// Bytes of weights to pack, all in all.
    pub total: u64,
}

impl Weights {
    /// Bytes of the matrices that each step reads: all but the tables of embeddings, and of experts
    /// those that one token passes through.
    pub fn step_bytes(&self) -> u64 {
        let outer = self.outer_tensors().map(|tensor| tensor.size() as u64).sum::<u64>();
        let head = self.head.as_ref().map_or(0, |head| head.size() as u64);
        self.layers.iter().map(Layer::step_bytes).sum::<u64>() + outer + head
    }

    /// Bytes that packing the weights allocates.
    pub fn packed_size(&self) -> u64 {
        self.matmul_tensors().map(|tensor| tensor.packed_size() as u64).sum()
    }

    /// The matrices that matmul reads.
    fn matmul_tensors(&self) -> impl Iterator<Item = &Tensor> {
        let stacks = self.layers.iter().flat_map(Layer::stacks).map(|stack| &stack.weight);
        let layers = self.layers.iter().flat_map(Layer::matrices).map(|matrix| &matrix.weight).chain(stacks);
        let classifier = self.classifier.iter().flat_map(|it| it.dense.iter().chain([&it.output]));
        let dense = self.dense.iter().chain(classifier).map(|dense| &dense.weight);
        layers.chain(self.outer_tensors()).chain(dense).chain(&self.head)
    }

    /// Those outside the layers that each step reads, but for the head.
    fn outer_tensors(&self) -> impl Iterator<Item = &Tensor> {
        let altup = self.altup.iter().flat_map(|it| [&it.projections, &it.unembeddings]);
        self.per_layer.iter().map(|it| &it.projection).chain(altup)
    }

    /// Packs every matrix that matmul reads.
    pub(super) fn pack(&mut self, storage: &Storage, options: LoadOptions<'_>) -> Result<(), ModelError> {
        let total = self.packed_size();
        let needed = total.saturating_add(storage.owned_bytes() as u64);
        if let Some(limit) = options.memory_limit.filter(|&limit| needed > limit) {
            return Err(ModelError::MemoryLimit { needed, limit });
        }
        let threads = if options.threads == 0 { cpu::cores() } else { cpu::check_threads(options.threads)? };
        let projection = self.per_layer.iter_mut().map(|it| &mut it.projection);
        let altup = self.altup.iter_mut().flat_map(|it| [&mut it.projections, &mut it.unembeddings]);
        let classifier = self.classifier.iter_mut().flat_map(|it| it.dense.iter_mut().chain([&mut it.output]));
        let dense = self.dense.iter_mut().chain(classifier).map(|dense| &mut dense.weight);
        let tensors = self.layers.iter_mut().flat_map(Layer::tensors_mut).chain(projection).chain(altup);
        let mut tensors =
            tensors.chain(dense).chain(&mut self.head).filter(|tensor| tensor.packed_size() > 0).peekable();
        let helpers = if tensors.peek().is_some() { 1..threads } else { 0..0 };
        let queue = Queue { tensors: Mutex::new(tensors), storage, done: AtomicU64::new(0) };
        let mut ignore = |_| ControlFlow::Continue(());
        let progress = options.progress.unwrap_or(&mut ignore);
        std::thread::scope(|scope| {
            let help = || queue.work(&mut |_| ControlFlow::Continue(()));
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, help).ok();
            // If a thread cannot be started, the other threads do its share.
            let helpers: Vec<_> = cpu::blocked(|| helpers.map_while(spawn).collect());
            let mut outcome = queue.work(&mut |done| progress(LoadProgress { done, total }));
            for helper in helpers {
                let helped = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcome = outcome.and(helped);
            }
            outcome
        })?;
        match progress(LoadProgress { done: total, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ModelError::Cancelled),
        }
    }
}

/// The matrices that are still to be packed, shared by the threads that do it.
struct Queue<'a, I> {
    tensors: Mutex<I>,
    storage: &'a Storage,
    done: AtomicU64,
}

impl<'t, I: Iterator<Item = &'t mut Tensor>> Queue<'_, I> {
    /// Packs until nothing is left or something fails; what fails empties the queue.
    fn work(&self, report: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<(), ModelError> {
        while let Some(tensor) = self.next() {
            let packed = tensor.pack(self.storage);
            let done =
                self.done.fetch_add(tensor.packed_size() as u64, Ordering::Relaxed) + tensor.packed_size() as u64;
            let outcome = packed.and(match report(done) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(ModelError::Cancelled),
            });
            if outcome.is_err() {
                while self.next().is_some() {}
                return outcome;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<&'t mut Tensor> {
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}
