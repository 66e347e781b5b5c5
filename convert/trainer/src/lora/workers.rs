//! Threads that each compute something of their own.
//!
//! candle shares a product among all threads, and does nearly everything else on one: for small
//! models, threads that each run whole sequences get more done. Every worker has a thread pool of
//! one thread, in which its products stay.

use ollm_runtime::cpu::MAX_THREADS;
use rayon::ThreadPool;

use crate::error::{Error, Result};

/// Some threads.
pub struct WorkerPools(Vec<ThreadPool>);

impl WorkerPools {
    /// `count` threads; one, if that is 0.
    pub fn new(count: usize) -> Result<Self> {
        if count > MAX_THREADS {
            return Err(Error::Setting { name: "--threads", reason: format!("must be at most {MAX_THREADS}") });
        }
        let pool = |_| rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pools: std::result::Result<_, _> = (0..count.max(1)).map(pool).collect();
        pools.map(Self).map_err(|error| Error::Setting { name: "--threads", reason: error.to_string() })
    }

    /// Hands `work`'s results to `take`, in the order of the items, however many threads there are.
    /// As many items as there are threads are worked on at the same time, so they should be of
    /// similar size.
    pub fn each<I: Sync, T: Send>(
        &self,
        items: &[I],
        work: impl Fn(&I) -> Result<T> + Sync,
        mut take: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        for round in items.chunks(self.0.len()) {
            for result in self.round(round, &work) {
                take(result?)?;
            }
        }
        Ok(())
    }

    fn round<I: Sync, T: Send>(&self, items: &[I], work: &(impl Fn(&I) -> Result<T> + Sync)) -> Vec<Result<T>> {
        std::thread::scope(|scope| {
            let started: Vec<_> = items
                .iter()
                .zip(&self.0)
                .map(|(item, pool)| scope.spawn(move || pool.install(|| work(item))))
                .collect();
            started
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_anybody_has_are_refused() {
        assert!(matches!(WorkerPools::new(1_000_000).err().unwrap(), Error::Setting { name: "--threads", .. }));
    }

    #[test]
    fn results_come_in_order_and_an_error_ends_it() {
        for count in [0, 1, 3] {
            let workers = WorkerPools::new(count).unwrap();
            let mut seen = Vec::new();
            let square = |&n: &usize| if n == 7 { Err(Error::NoData(Vec::new())) } else { Ok(n * n) };
            let mut keep = |n| {
                seen.push(n);
                Ok(())
            };
            workers.each(&[1, 2, 3, 4, 5], square, &mut keep).unwrap();
            assert_eq!(seen, [1, 4, 9, 16, 25]);
            assert!(workers.each(&[1, 7], square, |_| Ok(())).is_err());
        }
    }
}
