//! The memory of KV caches: how much there may be of it, and who has reserved how much.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ollm_runtime::model::{Config, Model};
use ollm_runtime::ops::KvType;
use ollm_runtime::session::Session;

/// The limit where the system does not tell how much memory it has.
const UNKNOWN: usize = 4 << 30;

/// Bytes of KV cache that all requests share. Clones share what is reserved.
#[derive(Clone)]
pub(crate) struct KvMemory {
    model: Arc<Model>,
    kv_type: KvType,
    limit: usize,
    reserved: Arc<AtomicUsize>,
}

/// Bytes that are reserved until this is dropped.
pub(crate) struct Reservation {
    bytes: usize,
    reserved: Arc<AtomicUsize>,
}

impl KvMemory {
    pub(crate) fn new(model: Arc<Model>, kv_type: KvType, limit: usize) -> Self {
        Self { model, kv_type, limit, reserved: Arc::default() }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of `count` texts of at most `tokens` tokens that begin with the same `shared` ones.
    pub(crate) fn needed(&self, shared: usize, tokens: usize, count: usize) -> usize {
        Session::kv_needed(self.model.config(), self.kv_type, shared, tokens, count)
    }

    /// Reserves bytes, if they are free. The engine alone reserves.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Arc<Reservation>> {
        if bytes > self.free() {
            return None;
        }
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Some(Arc::new(Reservation { bytes, reserved: Arc::clone(&self.reserved) }))
    }

    /// Bytes that nobody has reserved.
    pub(crate) fn free(&self) -> usize {
        self.limit.saturating_sub(self.reserved.load(Ordering::Relaxed))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The most positions up to `context` whose KV cache has at most `limit` bytes.
pub(crate) fn fitting_context(config: &Config, kv_type: KvType, context: usize, limit: usize) -> usize {
    let fits = |tokens: usize| Session::kv_needed(config, kv_type, tokens, tokens, 1) <= limit;
    let (mut fitting, mut too_long) = (0, context.saturating_add(1));
    while too_long - fitting > 1 {
        let middle = fitting + (too_long - fitting) / 2;
        if fits(middle) { fitting = middle } else { too_long = middle }
    }
    fitting
}

/// Half of the memory that the machine, or the process's control group, has left.
pub(crate) fn default_limit() -> usize {
    let group = || {
        let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
        let number = |name: &str| read(name)?.trim().parse::<usize>().ok();
        Some(number("max")?.saturating_sub(number("current")?))
    };
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let left: Option<usize> = machine.into_iter().chain(group()).min();
    left.map_or(UNKNOWN, |bytes| bytes / 2)
}

/// The bytes that `/proc/meminfo` says are available.
fn available(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   123 kB\n"), Some(123 * 1024));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert_eq!(available("MemAvailable: many\n"), None);
    }
}
