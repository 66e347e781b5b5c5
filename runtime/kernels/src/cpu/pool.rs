//! A small thread pool: workers spin for a short while after each region, then park.
//!
//! A decode step runs some hundred short parallel regions back to back, so waking a parked thread
//! for each would cost more than the work. The thread that calls [`Pool::run`] works too. Tasks are
//! claimed one by one, and the caller waits only for workers that have entered its region: a slow
//! or busy core does not delay the other threads. A task's result must therefore not depend on the
//! thread that runs it.
//!
//! ```text
//! caller:  publish the region, open n slots -> work -> close what slots are left -> wait for those who entered
//! worker:  spin, then yield, then park  -> take a slot -> work -> leave
//! ```
//!
//! None of these steps takes a lock unless a worker is parked.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::thread::{self, JoinHandle, Thread};

use super::{CpuSet, StandardFloatMode, signals};

/// How often a waiting thread polls before it yields its core: about 10 microseconds.
const SPINS: usize = 400;

/// How often a worker polls before it parks: about 50 microseconds on an idle machine. From
/// [`SPINS`] on it yields its core each time.
const LOOKS: usize = SPINS + 100;

/// Threads that a pool, a session or a load has at most: more are a mistake.
pub const MAX_THREADS: usize = 1024;

/// More threads than [`MAX_THREADS`] were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyThreads {
    /// Threads that were asked for.
    pub threads: usize,
}

impl fmt::Display for TooManyThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} threads were asked for, but {MAX_THREADS} are the most there can be", self.threads)
    }
}

impl std::error::Error for TooManyThreads {}

/// Gives a number of threads if there can be so many.
///
/// # Errors
/// [`TooManyThreads`].
pub fn check_threads(threads: usize) -> Result<usize, TooManyThreads> {
    if threads <= MAX_THREADS { Ok(threads) } else { Err(TooManyThreads { threads }) }
}

/// As many threads as the system has cores for: what 0 threads stand for.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// The workers of a pool: whose threads they are. The calling thread works as well.
#[derive(Clone, Default)]
pub enum Workers {
    /// On threads of its own.
    #[default]
    Own,
    /// On threads of its own, which run on these processors only (Linux and Android). The thread
    /// that calls is the application's: [`CpuSet::bind_current_thread`] binds it, where that is
    /// wanted.
    Bound(CpuSet),
    /// On threads of the application.
    Host(Arc<dyn WorkerHost>),
    /// On the threads of this pool, which others use too. Whoever finds them at work computes
    /// alone.
    Shared(Pool),
}

/// An application that lends its threads.
pub trait WorkerHost: Send + Sync {
    /// Has one of the application's threads call [`Worker::run`], now or later, and does not wait
    /// for it. The pool works with the workers that have started; a worker may be dropped.
    ///
    /// # Errors
    /// Why there is no thread; the constructor of the pool then fails with this error.
    fn start(&self, worker: Worker) -> io::Result<()>;
}

/// A pool of threads that work on one parallel region at a time. Clones share the threads.
#[derive(Clone, Debug)]
pub struct Pool {
    pool_workers: Arc<PoolWorkers>,
    /// Threads that work on a region, the caller included.
    threads: usize,
}

/// The workers of a pool; dropping it joins them.
#[derive(Debug)]
struct PoolWorkers {
    shared: Arc<PoolState>,
    workers: usize,
    own: Vec<JoinHandle<()>>,
    /// The process that has them: a child of `fork(2)` has none of its parent's threads.
    process: u32,
}

/// A worker: the loop that one thread of the application runs.
#[derive(Debug)]
pub struct Worker(Arc<PoolState>);

/// A borrowed closure whose lifetime was erased, and how often to call it.
#[derive(Clone, Copy)]
struct Region {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

/// A value on cache lines of its own (two: processors fetch them in pairs).
#[derive(Default)]
#[repr(align(128))]
struct CacheAligned<T>(T);

#[derive(Default)]
struct PoolState {
    /// Held by the caller whose region it is, with the first panic of one of its tasks.
    turn: Mutex<()>,
    /// The job of the region. Written while no slot is free and no worker inside; read by those
    /// inside.
    job: UnsafeCell<Option<Region>>,
    /// The slots of the region that are still free. Taking one is entering.
    slots: CacheAligned<AtomicUsize>,
    /// Workers that have left the region.
    left: CacheAligned<AtomicUsize>,
    /// The next task of the region.
    next: CacheAligned<AtomicUsize>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// The workers that are parked, or about to.
    parked: Mutex<Vec<Thread>>,
    /// Their number.
    sleepers: AtomicUsize,
    stop: AtomicBool,
}

// SAFETY: the pointer in `job` is to a `Sync` closure, which `Pool::run` keeps alive while anyone
// is inside; the protocol of `slots` and `left` keeps its writer and its readers apart (see
// `PoolState::run`).
unsafe impl Send for PoolState {}
// SAFETY: as above.
unsafe impl Sync for PoolState {}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => write!(f, "Own"),
            Self::Bound(cpus) => f.debug_tuple("Bound").field(cpus).finish(),
            Self::Host(_) => write!(f, "Host"),
            Self::Shared(pool) => f.debug_tuple("Shared").field(pool).finish(),
        }
    }
}

impl fmt::Debug for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolState").field("sleepers", &self.sleepers).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool in which `threads` threads work (at least one: the caller of [`Pool::run`]).
    ///
    /// # Errors
    /// The system's error if it cannot start a thread; [`io::ErrorKind::InvalidInput`] for more
    /// than [`MAX_THREADS`].
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::with_workers(threads, &Workers::Own)
    }

    /// A pool of `threads` threads, which are those of `workers`.
    ///
    /// # Errors
    /// As [`Pool::new`]; also if a thread cannot be bound to its processors, the application gives
    /// none, or a shared pool has not so many.
    pub fn with_workers(threads: usize, workers: &Workers) -> io::Result<Self> {
        let refused = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let (threads, process) = (check_threads(threads).map_err(refused)?.max(1), process());
        let mut pool_workers = PoolWorkers { shared: Arc::default(), workers: threads - 1, own: Vec::new(), process };
        for index in 1..threads {
            let worker = Worker(Arc::clone(&pool_workers.shared));
            match workers {
                Workers::Own => pool_workers.own.push(spawn(index, move || worker.run())?),
                Workers::Bound(cpus) => pool_workers.own.push(spawn_bound(index, worker, *cpus)?),
                Workers::Host(host) => host.start(worker)?,
                Workers::Shared(pool) => return pool.share(threads),
            }
        }
        Ok(Self { pool_workers: Arc::new(pool_workers), threads })
    }

    /// Another handle, whose regions use `threads` threads.
    fn share(&self, threads: usize) -> io::Result<Self> {
        let there = self.pool_workers.workers + 1;
        if threads > there {
            let text = format!("{threads} threads were asked for, but the shared pool has {there}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut pool = self.clone();
        pool.set_threads(threads);
        Ok(pool)
    }

    /// The number of threads that work on a region, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Has this handle's regions use `threads` threads, as far as there are so many. In a child of
    /// `fork(2)` there is only the caller.
    pub fn set_threads(&mut self, threads: usize) {
        let workers = if self.pool_workers.are_here() { self.pool_workers.workers } else { 0 };
        self.threads = threads.clamp(1, workers + 1);
    }

    /// Runs `task(0)` to `task(tasks - 1)`, each once, on any of the threads, and returns when all
    /// are done. If another clone of this pool has the workers just now, the caller does it all.
    ///
    /// # Panics
    /// Passes on the panic of a task, after all threads have left the region.
    pub fn run<F: Fn(usize) + Sync>(&self, tasks: usize, task: F) {
        let slots = tasks.min(self.threads).saturating_sub(1);
        let turn = if slots == 0 { None } else { try_lock(&self.pool_workers.shared.turn) };
        match turn {
            Some(turn) => self.pool_workers.shared.run(&turn, tasks, slots, &task),
            None => (0..tasks).for_each(task),
        }
    }

    /// Does `task` for each of the items, on any of the threads.
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn for_each<T: Send>(&self, items: &mut [T], task: impl Fn(&mut T) + Sync) {
        let items: Vec<Mutex<&mut T>> = items.iter_mut().map(Mutex::new).collect();
        self.run(items.len(), |i| task(&mut **lock(&items[i])));
    }
}

fn spawn(index: usize, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    signals::blocked(|| thread::Builder::new().name(format!("ollm-{index}")).spawn(run))
}

/// A thread that is bound before it works; if it cannot be, that is the error.
fn spawn_bound(index: usize, worker: Worker, cpus: CpuSet) -> io::Result<JoinHandle<()>> {
    let (report, bound) = mpsc::channel();
    let thread = spawn(index, move || {
        let outcome = cpus.bind_current_thread();
        let fine = outcome.is_ok();
        // The receiver below waits for exactly this.
        let _ = report.send(outcome);
        if fine {
            worker.run();
        }
    })?;
    bound.recv().map_err(io::Error::other)??;
    Ok(thread)
}

impl PoolWorkers {
    /// Whether this is the process that has them.
    fn are_here(&self) -> bool {
        self.process == process()
    }
}

/// The number of this process, where a process may fork.
fn process() -> u32 {
    if cfg!(unix) { std::process::id() } else { 0 }
}

impl Drop for PoolWorkers {
    fn drop(&mut self) {
        if !self.are_here() {
            // There are no such threads here, and their locks may never be free.
            return std::mem::forget(std::mem::take(&mut self.own));
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake(usize::MAX);
        for worker in self.own.drain(..) {
            // A worker never panics: each task runs under `catch_unwind`.
            let _ = worker.join();
        }
    }
}

impl Worker {
    /// Works until the pool is gone, and every session with it that shares it. No panic comes out
    /// of it.
    pub fn run(self) {
        self.0.serve();
    }
}

/// Locks; a poisoned mutex is fine, since nothing is left half-written under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl PoolState {
    /// One parallel region of the caller, whose turn it is, and at most `slots` workers.
    fn run(&self, _turn: &MutexGuard<'_, ()>, tasks: usize, slots: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. `wait` below returns after the last worker that
        // entered has left, also when a task panics, and once `slots` is 0 no other one enters:
        // nobody has the pointer when this function returns.
        let task: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
        let job = Region { task, tasks };
        // SAFETY: the caller has the turn, so no one else writes; and since the region before was
        // closed and waited for, no worker reads.
        unsafe { *self.job.get() = Some(job) };
        self.next.0.store(0, Ordering::Relaxed);
        self.left.0.store(0, Ordering::Relaxed);
        self.open(slots);
        self.work(job);
        let entered = slots - self.slots.0.swap(0, Ordering::AcqRel);
        self.wait(entered);
        if let Some(panic) = lock(&self.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Opens the region. Either this sees that a worker is about to park, or that one sees the
    /// slots.
    fn open(&self, slots: usize) {
        self.slots.0.store(slots, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake(slots);
        }
    }

    fn wake(&self, count: usize) {
        let mut parked = lock(&self.parked);
        let rest = parked.len().saturating_sub(count);
        parked.drain(rest..).for_each(|thread| thread.unpark());
        self.sleepers.store(parked.len(), Ordering::SeqCst);
    }

    /// Claims and runs tasks until none is left. A panic is kept for the caller of the region.
    fn work(&self, job: Region) {
        // SAFETY: the caller of the region keeps the closure alive until every worker that entered
        // has left.
        let task = unsafe { &*job.task };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next.0.fetch_add(1, Ordering::Relaxed);
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

    /// Joins the region: waits until `entered` workers have left it; spins, then yields its core.
    fn wait(&self, entered: usize) {
        let mut looks = 0;
        while self.left.0.load(Ordering::Acquire) < entered {
            looks += 1;
            if looks < SPINS {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    /// The loop of a worker, in the standard floating-point modes whoever started the thread.
    fn serve(&self) {
        let _modes = StandardFloatMode::enter();
        let mut looks = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if self.enter() {
                looks = 0;
                continue;
            }
            looks += 1;
            match looks {
                ..SPINS => std::hint::spin_loop(),
                SPINS..LOOKS => thread::yield_now(),
                _ => {
                    self.park();
                    looks = 0;
                }
            }
        }
    }

    /// Takes a slot in the region, if there is one, and works in it.
    fn enter(&self) -> bool {
        let free = self.slots.0.load(Ordering::Relaxed);
        let take = |free| self.slots.0.compare_exchange(free, free - 1, Ordering::AcqRel, Ordering::Relaxed);
        if free == 0 || take(free).is_err() {
            return false;
        }
        // SAFETY: the job was written before the slots opened, and is not written again before this
        // worker has left.
        if let Some(job) = unsafe { *self.job.get() } {
            self.work(job);
        }
        self.left.0.fetch_add(1, Ordering::Release);
        true
    }

    /// Sleeps until there may be a slot, or an end.
    fn park(&self) {
        let me = thread::current();
        self.list(|parked| parked.push(me.clone()));
        if self.slots.0.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
            thread::park();
        }
        // The waker has removed this thread from the list; a spurious wake-up has not.
        self.list(|parked| parked.retain(|thread| thread.id() != me.id()));
    }

    fn list(&self, change: impl FnOnce(&mut Vec<Thread>)) {
        let mut parked = lock(&self.parked);
        change(&mut parked);
        self.sleepers.store(parked.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(pool: &Pool, tasks: usize) -> usize {
        let sum = AtomicUsize::new(0);
        pool.run(tasks, |i| {
            sum.fetch_add(i + 1, Ordering::Relaxed);
        });
        sum.into_inner()
    }

    #[test]
    fn each_task_runs_once_whatever_the_thread_count() {
        for threads in [0, 1, 2, 3, 8] {
            let pool = Pool::new(threads).unwrap();
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
    fn regions_follow_each_other_without_a_pause() {
        let pool = Pool::new(4).unwrap();
        assert!((0..20_000).all(|i| sum(&pool, i % 9) == (i % 9) * (i % 9 + 1) / 2));
    }

    #[test]
    fn a_parked_pool_wakes_up() {
        let pool = Pool::new(3).unwrap();
        for _ in 0..3 {
            while pool.pool_workers.shared.sleepers.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            // Three tasks that wait for each other need three threads.
            let met = AtomicUsize::new(0);
            pool.run(3, |_| {
                met.fetch_add(1, Ordering::SeqCst);
                while met.load(Ordering::SeqCst) < 3 {
                    thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_region_uses_no_more_threads_than_it_may() {
        let mut pool = Pool::new(4).unwrap();
        pool.set_threads(2);
        assert_eq!(pool.threads(), 2);
        for _ in 0..50 {
            let seen = Mutex::new(Vec::new());
            pool.run(64, |_| {
                let mut seen = lock(&seen);
                let me = thread::current().id();
                if !seen.contains(&me) {
                    seen.push(me);
                }
            });
            assert!(lock(&seen).len() <= 2);
        }
        pool.set_threads(9);
        assert_eq!(pool.threads(), 4);
    }

    #[test]
    fn clones_share_the_threads_and_never_wait_for_each_other() {
        let pool = Pool::new(3).unwrap();
        let inner = pool.clone();
        pool.run(4, |_| assert_eq!(sum(&inner, 10), 55));
        thread::scope(|scope| {
            for _ in 0..3 {
                let pool = pool.clone();
                scope.spawn(move || assert!((0..2_000).all(|_| sum(&pool, 8) == 36)));
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(2).unwrap();
        for _ in 0..20 {
            let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(8, |i| assert_ne!(i, 5))));
            assert!(outcome.is_err());
            assert_eq!(sum(&pool, 8), 36);
        }
    }

    /// An application that starts threads, or does not, and counts the workers that have returned.
    struct Host {
        lends: bool,
        threads: Mutex<Vec<JoinHandle<()>>>,
    }

    impl WorkerHost for Host {
        fn start(&self, worker: Worker) -> io::Result<()> {
            if self.lends {
                lock(&self.threads).push(spawn(0, || worker.run())?);
            }
            Ok(())
        }
    }

    #[test]
    fn the_application_may_lend_its_threads() {
        for lends in [true, false] {
            let host = Arc::new(Host { lends, threads: Mutex::default() });
            let pool = Pool::with_workers(3, &Workers::Host(Arc::<Host>::clone(&host))).unwrap();
            assert!((0..100).all(|_| sum(&pool, 100) == 5050));
            drop(pool);
            let threads: Vec<_> = lock(&host.threads).drain(..).collect();
            assert_eq!(threads.len(), if lends { 2 } else { 0 });
            for thread in threads {
                thread.join().unwrap();
            }
        }
    }

    #[test]
    fn a_host_that_refuses_is_an_error() {
        struct Refuses;
        impl WorkerHost for Refuses {
            fn start(&self, _: Worker) -> io::Result<()> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let error = Pool::with_workers(2, &Workers::Host(Arc::new(Refuses))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_shared_pool_starts_no_threads_and_has_those_that_it_has() {
        let pool = Pool::new(3).unwrap();
        let shared = Workers::Shared(pool.clone());
        for threads in [1, 2, 3] {
            let other = Pool::with_workers(threads, &shared).unwrap();
            assert_eq!((other.threads(), sum(&other, 100)), (threads, 5050));
            assert!(threads == 1 || Arc::ptr_eq(&other.pool_workers, &pool.pool_workers));
        }
        let error = Pool::with_workers(4, &shared).unwrap_err();
        assert_eq!(error.to_string(), "4 threads were asked for, but the shared pool has 3");
    }

    #[test]
    fn processors_that_are_not_there_are_an_error() {
        let none = Workers::Bound(CpuSet::default());
        assert!(Pool::with_workers(3, &none).is_err());
        assert!(Pool::with_workers(1, &none).is_ok());
    }
}
