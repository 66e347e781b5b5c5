//! What the C API costs: the same tokens through `ollm_session_run` and through the Rust library,
//! in turns, on the real model.
//!
//! `cargo bench -p ollm-ffi --bench overhead` prints the ratios of the medians. A callback sees
//! each token on both sides.

use std::ffi::{CString, c_void};
use std::ops::ControlFlow;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[allow(clippy::wildcard_imports, reason = "all of the C API, as a C program includes it")]
use ollm::*;
use ollm_runtime::generate::{GenerateOptions, Token, generate};
use ollm_runtime::model::Model;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

const ROUNDS: usize = 31;
const TOKENS: usize = 48;
const CONTEXT: usize = 256;
const PROMPT: &str = "Once upon a time there was a small house at the edge of the forest, where";

/// The Rust side.
struct Rust {
    tokenizer: Tokenizer,
    session: Session,
    prompt: Vec<u32>,
}

impl Rust {
    fn new(model: Arc<Model>) -> Self {
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).expect("the model has a tokenizer");
        let options = SessionOptions { context: CONTEXT, ..SessionOptions::default() };
        let session = Session::new(model, None, &options).expect("a session");
        let prompt = tokenizer.encode(PROMPT, false).expect("text");
        Self { tokenizer, session, prompt }
    }

    fn generate(&mut self) -> (usize, Duration) {
        self.session.rewind(0).expect("a position");
        self.session.feed(&self.prompt).expect("room");
        let options = GenerateOptions { limit: TOKENS, stops: Vec::new(), show: None, reasoning: None };
        let mut sampler = Sampler::new(SamplerOptions::default()).expect("defaults");
        let (start, mut seen) = (Instant::now(), 0);
        let mut each = |_: &Token<'_>| {
            seen += 1;
            ControlFlow::Continue(())
        };
        generate(&mut self.session, &self.tokenizer, None, &mut sampler, &options, &mut each).expect("tokens");
        (seen, start.elapsed())
    }
}

/// The C side.
struct C {
    session: *mut OllmSession,
}

unsafe extern "C" fn count(user: *mut c_void, _: *const OllmToken) -> i32 {
    // SAFETY: `generate` below passes its counter.
    unsafe { *user.cast::<usize>() += 1 };
    0
}

/// A zeroed struct of the header with its size set.
macro_rules! zeroed {
    ($type:ty) => {{
        // SAFETY: zero is a value of every field of the header's structs.
        let mut value: $type = unsafe { std::mem::zeroed() };
        value.struct_size = size_of::<$type>();
        value
    }};
}

fn ok(status: OllmStatus) {
    assert_eq!(status, OllmStatus::Ok);
}

impl Drop for C {
    fn drop(&mut self) {
        // SAFETY: the handle is a variable.
        unsafe { ok(ollm_session_free(&raw mut self.session)) };
    }
}

impl C {
    fn new(path: &CString) -> Self {
        let (mut source, mut options) = (zeroed!(OllmSource), zeroed!(OllmSessionOptions));
        (source.path, options.context) = (path.as_ptr(), CONTEXT);
        let (mut model, mut session) = (null_mut(), null_mut());
        // SAFETY: structs and outputs are variables, and the path ends in zero.
        unsafe {
            ok(ollm_model_load(&raw const source, null(), &raw mut model));
            ok(ollm_session_new(model, null(), &raw const options, &raw mut session));
            ok(ollm_model_release(&raw mut model));
        }
        Self { session }
    }

    fn generate(&mut self) -> (usize, Duration) {
        ok(ollm_session_rewind(self.session, 0));
        let mut seen = 0_usize;
        let each: OllmTokenFn = Some(count);
        let mut options = zeroed!(OllmRunOptions);
        (options.limit, options.each, options.user) = (TOKENS, each, (&raw mut seen).cast());
        // SAFETY: the text is as long as it says.
        unsafe { ok(ollm_session_feed_text(self.session, PROMPT.as_ptr().cast(), PROMPT.len(), 0)) };
        let start = Instant::now();
        // SAFETY: options, callback and counter are variables that outlive the call.
        unsafe { ok(ollm_session_run(self.session, &raw const options, null_mut())) };
        (seen, start.elapsed())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The medians of both sides. Where a model's weights lie in memory makes a difference of some
/// percent, and the model that is loaded second lies differently: so both orders are measured.
fn measure(path: &Path, rust_first: bool) -> [f64; 2] {
    let c_path = CString::new(path.to_str().expect("UTF-8")).expect("no zero");
    let model = || Rust::new(Arc::new(Model::open(path).expect("a model")));
    let early = rust_first.then(model);
    let mut c = C::new(&c_path);
    let mut rust = early.unwrap_or_else(model);
    let (mut in_rust, mut in_c) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = (rust.generate(), c.generate());
        assert_eq!(one.0, other.0, "both sides see the same tokens");
        in_rust.push(one.1);
        in_c.push(other.1);
    }
    [median(in_rust), median(in_c)].map(|time| time.as_secs_f64())
}

fn main() {
    let path = ollm_tests::smollm2();
    let mut product = 1.0;
    for (order, rust_first) in [("Rust loaded first", true), ("C loaded first", false)] {
        let [rust, c] = measure(&path, rust_first);
        println!("{order}: {TOKENS} tokens, Rust {:.1} ms, C {:.1} ms, ratio {:.4}", rust * 1e3, c * 1e3, c / rust);
        product *= c / rust;
    }
    println!("C beside Rust: {:.4}", product.sqrt());
}
