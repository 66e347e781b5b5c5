//! A small thread pool: workers spin for a short while after each job, then park.
//!
//! A generation step runs some hundred short parallel regions back to back, so waking a parked thread for each would
//! cost more than the work. The thread that calls [`Pool::run`] works too. Tasks are claimed one by one, so that a slow
//! core does not hold up the others; a task's result must therefore not depend on who runs it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// How often a waiting thread looks before it gives up its core: about 100 microseconds.
const SPINS: usize = 2_000;

/// A pool of threads that run the tasks of one job at a time.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// A job: a borrowed closure whose lifetime was erased. `Pool::run` does not return before all workers are done with it.
#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

// SAFETY: the closure is `Sync`, and `Pool::run` keeps it alive while any worker may hold the pointer.
unsafe impl Send for Job {}

/// What the lock guards.
#[derive(Default)]
struct Slot {
    job: Option<Job>,
    /// Workers that are parked, or about to.
    parked: usize,
}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    wake: Condvar,
    /// Counts jobs; a change tells the spinning workers that there is one.
    epoch: AtomicUsize,
    /// The next task of the current job.
    next: AtomicUsize,
    /// Workers that are not yet done with the current job.
    busy: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool in which `threads` threads work (at least one: the caller of [`Pool::run`]).
    ///
    /// # Errors
    /// What the system says when it cannot start a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let mut pool = Self { shared: Arc::default(), workers: Vec::new() };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new().name(format!("ollm-{index}"));
            pool.workers.push(worker.spawn(move || shared.serve())?);
        }
        Ok(pool)
    }

    /// The number of threads that work on a job, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)` to `task(tasks - 1)`, each once, on any of the threads, and returns when all are done.
    ///
    /// # Panics
    /// Passes on the panic of a task, after all threads have left the job.
    pub fn run<F: Fn(usize) + Sync>(&mut self, tasks: usize, task: F) {
        if tasks <= 1 || self.workers.is_empty() {
            (0..tasks).for_each(task);
            return;
        }
        self.run_shared(tasks, &task);
    }

    fn run_shared(&mut self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. `wait` below returns after the last worker has let go of the pointer, also
        // when a task panics.
        let task: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
        let job = Job { task, tasks };
        self.shared.publish(job, self.workers.len());
        self.shared.work(job);
        self.shared.wait();
        if let Some(panic) = lock(&self.shared.panic).take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.announce();
        for worker in self.workers.drain(..) {
            // A worker never panics: each task runs under `catch_unwind`.
            let _ = worker.join();
        }
    }
}

/// Locks; a poisoned mutex is fine, since nothing is left half-written under these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    fn publish(&self, job: Job, workers: usize) {
        lock(&self.slot).job = Some(job);
        self.next.store(0, Ordering::Relaxed);
        self.busy.store(workers, Ordering::Relaxed);
        self.announce();
    }

    /// Starts a new epoch. The lock orders it against a worker that is about to park.
    fn announce(&self) {
        let slot = lock(&self.slot);
        self.epoch.fetch_add(1, Ordering::Release);
        if slot.parked > 0 {
            self.wake.notify_all();
        }
    }

    /// Claims and runs tasks until none is left. A panic is kept for the caller of the job.
    fn work(&self, job: Job) {
        // SAFETY: `Pool::run` keeps the closure alive until every worker has counted itself out in `serve`.
        let task = unsafe { &*job.task };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= job.tasks {
                    return;
                }
                task(index);
            }
        }));
        if let Err(panic) = outcome {
            lock(&self.panic).get_or_insert(panic);
        }
    }

    /// The life of a worker.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            seen = self.next_epoch(seen);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let job = lock(&self.slot).job;
            if let Some(job) = job {
                self.work(job);
                self.busy.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// Waits for an epoch other than `seen`: spins, then parks.
    fn next_epoch(&self, seen: usize) -> usize {
        for _ in 0..SPINS {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        let mut slot = lock(&self.slot);
        slot.parked += 1;
        while self.epoch.load(Ordering::Acquire) == seen {
            slot = self.wake.wait(slot).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        slot.parked -= 1;
        self.epoch.load(Ordering::Acquire)
    }

    /// Waits until every worker is done with the job: spins, then yields its core to them.
    fn wait(&self) {
        let mut spins = 0;
        while self.busy.load(Ordering::Acquire) > 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_runs_once_whatever_the_thread_count() {
        for threads in [1, 2, 3, 8] {
            let mut pool = Pool::new(threads).unwrap();
            for tasks in [0, 1, 2, 7, 100] {
                let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} threads");
            }
        }
    }

    #[test]
    fn a_parked_pool_wakes_up() {
        let mut pool = Pool::new(3).unwrap();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.run(50, |i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 49 * 50 / 2);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new(2).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(8, |i| assert_ne!(i, 5))));
        assert!(outcome.is_err());
        pool.run(8, |_| ());
    }
}
