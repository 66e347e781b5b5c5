//! `bench`: tokens a second.
//!
//! Prefill is one text of P tokens from an empty context. Decode is N single steps from an empty context, the option of the
//! policy (or as the flags say) and its most probable token each time. One round warms up; of the others the median counts.

use std::time::Instant;

use ollm_runtime::Error;
use ollm_runtime::options::Selector;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::SessionError;
use serde_json::{Value, json};

use crate::args::{BenchArgs, MachineArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::generate::Timing;
use crate::output::Output;
use crate::score::progress_bar;

pub(crate) fn run(machine: &MachineArgs, args: &BenchArgs) -> Result<()> {
    let mut engine = Engine::load(machine)?;
    check_context(&engine, args)?;
    let selector = engine.selector(&args.select, 0)?;
    let progress = progress_bar(args.repetitions as u64 + 1);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..=args.repetitions {
        prefill.push(time_prefill(&mut engine, args.prompt)?.rate());
        decode.push(time_decode(&mut engine, args.tokens, selector.clone())?.rate());
        progress.inc(1);
    }
    progress.finish_and_clear();
    let rates = Rates { prefill: median(prefill.split_off(1)), decode: median(decode.split_off(1)) };
    let mut output = Output::new();
    if machine.json { output.json(&document(&engine, args, &rates)) } else { print(&mut output, &engine, args, &rates) }
}

/// Tokens a second.
struct Rates {
    prefill: f64,
    decode: f64,
}

fn check_context(engine: &Engine, args: &BenchArgs) -> Result<()> {
    let (tokens, context) = (args.prompt.max(args.tokens.saturating_add(1)), engine.session.context());
    if tokens > context {
        return Err(Failure::Runtime(Error::Session(SessionError::ContextFull { tokens, position: 0, context })));
    }
    Ok(())
}

fn time_prefill(engine: &mut Engine, tokens: usize) -> Result<Timing> {
    engine.session.reset();
    let vocabulary = engine.session.model().config().vocab as u32;
    // Any tokens will do, but not all the same: a step through the vocabulary that no power of two divides.
    let prompt: Vec<u32> = (0..tokens as u32).map(|i| i.wrapping_mul(7919) % vocabulary).collect();
    let start = Instant::now();
    engine.session.feed(&prompt)?;
    Ok(Timing { tokens, time: start.elapsed() })
}

fn time_decode(engine: &mut Engine, tokens: usize, mut selector: Option<Selector>) -> Result<Timing> {
    engine.session.reset();
    let mut greedy = Sampler::new(SamplerOptions::default()).map_err(Error::from)?;
    let start = Instant::now();
    engine.session.feed(&[0])?;
    for _ in 0..tokens {
        engine.session.step(selector.as_mut(), &mut greedy)?;
    }
    Ok(Timing { tokens, time: start.elapsed() })
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    if rates.len() % 2 == 1 { rates[middle] } else { f64::midpoint(rates[middle - 1], rates[middle]) }
}

/// The largest resident size of this process so far; where the system does not say (other than Linux), `None`.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn document(engine: &Engine, args: &BenchArgs, rates: &Rates) -> Value {
    json!({
        "prefill": { "tokens": args.prompt, "tokens_per_second": rates.prefill },
        "decode": { "tokens": args.tokens, "tokens_per_second": rates.decode },
        "peak_rss_bytes": peak_rss_bytes(),
        "load_seconds": engine.load_time.as_secs_f64(),
        "isa": engine.session.isa(),
        "threads": engine.session.threads(),
    })
}

fn print(output: &mut Output, engine: &Engine, args: &BenchArgs, rates: &Rates) -> Result<()> {
    let paint = output.paint;
    for (name, tokens, rate) in [("prefill", args.prompt, rates.prefill), ("decode", args.tokens, rates.decode)] {
        output.line(&format!("{name:<8} {tokens:>6} tokens {} tok/s", paint.bold(&format!("{rate:>9.1}"))))?;
    }
    let memory = peak_rss_bytes().map_or(String::new(), |bytes| format!(", {:.0} MB at most", bytes as f64 / 1e6));
    let (isa, threads, load) = (engine.session.isa(), engine.session.threads(), engine.load_time.as_secs_f64());
    output.line(&paint.dim(&format!("{isa}, {threads} threads, loaded in {load:.3} s{memory}")))
}
