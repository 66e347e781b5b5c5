//! Random sequences of calls of the C API: none crashes, none is a bug's status, and all that was
//! made can be freed. A failure names its case: `OLLM_CASE=n cargo test -p ollm-ffi --test calls`
//! runs that one alone.

mod driver;

use std::panic::AssertUnwindSafe;

use ollm::*;
use ollm_runtime::random::Random;

const CASES: u64 = 1500;
const BYTES: usize = 400;

#[test]
fn any_calls_in_any_order() {
    let (mut model, mut plugin) = driver::load();
    let only: Option<u64> = std::env::var("OLLM_CASE").ok().and_then(|case| case.parse().ok());
    let mut seen = [0; 20];
    for case in (0..CASES).filter(|case| only.is_none_or(|only| only == *case)) {
        let mut random = Random::new(case);
        let bytes: Vec<u8> = (0..BYTES).map(|_| random.next_u64() as u8).collect();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| driver::drive(&bytes, model, plugin)));
        let counts = outcome.unwrap_or_else(|_| panic!("case {case} fails"));
        seen.iter_mut().zip(counts).for_each(|(seen, count)| *seen += count);
    }
    println!("calls of each status: {seen:?}");
    // Cases reach far: most kinds of failure come up, and much works.
    assert!(only.is_some() || (seen[0] > 10_000 && seen.iter().filter(|&&count| count > 0).count() >= 11), "{seen:?}");
    // SAFETY: handles of our own.
    let statuses = unsafe { [ollm_plugin_release(&raw mut plugin), ollm_model_release(&raw mut model)] };
    assert_eq!(statuses, [OllmStatus::Ok; 2]);
}
