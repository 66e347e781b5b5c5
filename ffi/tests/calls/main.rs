//! Random sequences of calls of the C API: none crashes, none is a bug's status, and all that was made can be freed.
//! A failure names its case: `OLLM_CASE=n cargo test -p ollm-ffi --test calls` runs that one alone.

mod driver;

use std::ffi::CString;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::ptr::{null, null_mut};

use ollm::*;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::options::schema::DecoderKind;
use ollm_runtime::random::Random;
use ollm_tests::{golden, plugins};

const CASES: u64 = 1500;
const BYTES: usize = 400;

fn source(path: &CString) -> OllmSource {
    // SAFETY: zero is a value of every field.
    let mut source: OllmSource = unsafe { std::mem::zeroed() };
    source.struct_size = size_of::<OllmSource>();
    source.path = path.as_ptr();
    source
}

fn load() -> (*mut OllmModel, *mut OllmPlugin) {
    let backbone = golden("tiny/llama.gguf");
    let spec = plugins::spec(&Model::open(&backbone).unwrap(), DecoderKind::LowRank { width: 32, rank: 32 }, 10);
    let plugin_path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calls-plugin.gguf");
    fs::write(&plugin_path, plugins::plugin_file(&spec, TensorType::F16, 0.25).to_bytes()).unwrap();
    let paths = [backbone, plugin_path].map(|path| CString::new(path.to_str().unwrap()).unwrap());
    let (mut model, mut plugin) = (null_mut(), null_mut());
    let sources = [source(&paths[0]), source(&paths[1])];
    // SAFETY: sources and outputs are variables, and the paths end in zero.
    let statuses = unsafe {
        [
            ollm_model_load(&raw const sources[0], null(), &raw mut model),
            ollm_plugin_load(model, &raw const sources[1], &raw mut plugin),
        ]
    };
    assert_eq!(statuses, [OllmStatus::Ok; 2]);
    (model, plugin)
}

#[test]
fn any_calls_in_any_order() {
    let (mut model, mut plugin) = load();
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
