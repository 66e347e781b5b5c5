//! `bench`: tokens a second of prefill and decode, compared with memory bandwidth and with a peer
//! (llama-bench).
//!
//! Prefill is one text of P tokens, decode N single steps, both from an empty context or behind the
//! same D tokens. A step takes the option of the policy (or as the flags say) and its most probable
//! token; with a plugin, decode runs once more with the whole option set of each step, with
//! `--sequences` as batched decoding of so many sequences, and with `--branches` of so many
//! branches of one text. With a constraint, decode runs once more under it. With a drafter, a text
//! is answered without and with drafts. Memory bandwidth is measured by reading blocks as large as
//! the weights of a step. One round warms up; the medians of the other rounds, in which all
//! measurements take turns, count.

mod drafts;

use std::time::{Duration, Instant};

use ollm_console::progress::count_bar;
use ollm_runtime::Error;
use ollm_runtime::branches::{BranchOptions, Branches, Expansion};
use ollm_runtime::constraint::Constraint;
use ollm_runtime::plugin::{Hold, LatentMode, Selector};
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, SessionError, Turn};
use serde_json::{Value, json};

use crate::args::{BenchArgs, MachineArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::generate::{Timing, threads};
use crate::output::Output;
use crate::probe::{BatchedPeer, Memory, Peer};
use drafts::{Drafts, Work};

pub(crate) fn run(machine: &MachineArgs, args: &BenchArgs) -> Result<()> {
    if machine.draft.is_some() && args.text.is_none() {
        let reason = "what --draft gives is measured on a text: name it with --text FILE";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let mut engine = Engine::load(machine)?;
    check_context(&engine, args)?;
    let selector = engine.selector(&args.select, 0)?;
    let grammar = args.constrain.read()?;
    let constraint = grammar.map(|grammar| engine.compile(&grammar)).transpose()?;
    let peer = match &args.peer {
        Some(program) => Some(Peer::new(program, machine, engine.session.threads(), args)?),
        None => None,
    };
    let batched = match (&args.peer_batched, args.branches) {
        (Some(program), Some(count)) => {
            Some(BatchedPeer::new(program, machine, engine.session.threads(), args, count)?)
        }
        _ => None,
    };
    let drafts = args.text.as_ref().map(|text| Drafts::take(&mut engine, text, args.tokens));
    let mut drafts = drafts.transpose()?;
    let progress = count_bar("bench", args.repetitions as u64 + 1, "repetitions");
    engine.session.feed(&text(&engine, args.depth))?;
    let measured = Measured { args, selector: selector.as_ref(), constraint: constraint.as_ref() };
    Rounds::default().run(&mut engine, measured, None, drafts.as_mut(), Peers::default())?;
    // Before the probe's block is there, which is not what the model needs.
    let peak = peak_rss_bytes();
    let memory = Memory::new(engine.session.model().weights().step_bytes());
    let mut rounds = Rounds::default();
    for _ in 0..args.repetitions {
        progress.inc(1);
        let peers = Peers { single: peer.as_ref(), batched: batched.as_ref() };
        rounds.run(&mut engine, measured, memory.as_ref(), drafts.as_mut(), peers)?;
    }
    progress.finish_and_clear();
    let kv = engine.session.statistics().kv_bytes;
    let result = Benchmark { rates: rounds.medians(), peak, kv };
    let mut output = Output::new();
    if machine.json { output.json(&result.document(&engine, args)) } else { result.print(&mut output, &engine, args) }
}

/// What is measured.
#[derive(Clone, Copy)]
struct Measured<'a> {
    args: &'a BenchArgs,
    selector: Option<&'a Selector>,
    constraint: Option<&'a Constraint>,
}

/// The programs that take turns with this one.
#[derive(Clone, Copy, Default)]
struct Peers<'a> {
    single: Option<&'a Peer>,
    batched: Option<&'a BatchedPeer>,
}

/// The measurements of each round: tokens a second, bytes a second.
#[derive(Default)]
struct Rounds {
    prefill: Vec<f64>,
    decode: Vec<f64>,
    constrained: Vec<f64>,
    options: Vec<f64>,
    together: Vec<f64>,
    branches: Vec<f64>,
    branch_cost: Vec<f64>,
    peer_batched: Vec<f64>,
    memory: Vec<f64>,
    answer: Vec<f64>,
    drafted: Vec<f64>,
    work: Work,
    peer_prefill: Vec<f64>,
    peer_decode: Vec<f64>,
}

/// Their medians.
struct Rates {
    prefill: f64,
    decode: f64,
    /// Decode under the constraint, of the tokens that it did not force.
    constrained: Option<f64>,
    /// Decode with the whole option set of each step.
    options: Option<f64>,
    /// Decode of several sequences, all their tokens counted.
    together: Option<f64>,
    /// Decode of several branches, all their tokens counted; and the time of a step of them over
    /// that of a step of one.
    branches: Option<(f64, f64)>,
    /// As many sequences of the peer.
    peer_batched: Option<f64>,
    /// Bytes a second that the threads can read.
    memory: Option<f64>,
    /// The answer to the text, without and with drafts, and what was done for the latter in the
    /// last round.
    drafts: Option<(f64, f64, Work)>,
    /// Prefill and decode of the peer.
    peer: Option<(f64, f64)>,
}

impl Rounds {
    fn run(
        &mut self,
        engine: &mut Engine,
        measured: Measured<'_>,
        memory: Option<&Memory>,
        drafts: Option<&mut Drafts>,
        peers: Peers<'_>,
    ) -> Result<()> {
        let Measured { args, selector, constraint } = measured;
        self.prefill.push(time_prefill(engine, args)?.rate());
        self.decode.push(time_decode(engine, args, selector, false)?.rate());
        if let Some(constraint) = constraint {
            self.constrained.push(time_constrained(engine, args, selector, constraint)?.rate());
        }
        if selector.is_some() {
            self.options.push(time_decode(engine, args, selector, true)?.rate());
        }
        if args.sequences > 1 {
            self.together.push(time_together(engine, args, selector)?.rate());
        }
        if let Some(count) = args.branches {
            let one = time_branches(engine, args, 1)?;
            let all = time_branches(engine, args, count)?;
            self.branches.push(all.rate());
            self.branch_cost.push(one.rate() * count as f64 / all.rate());
        }
        self.peer_batched.extend(peers.batched.map(BatchedPeer::run).transpose()?);
        self.memory.extend(memory.map(|memory| memory.read(engine.session.threads())));
        if let Some(drafts) = drafts {
            let answers = drafts.run(&engine.tokenizer, selector)?;
            self.answer.push(answers.plain.rate());
            self.drafted.push(answers.drafted.rate());
            self.work = answers.work;
        }
        if let Some((prefill, decode)) = peers.single.map(Peer::run).transpose()? {
            self.peer_prefill.push(prefill);
            self.peer_decode.push(decode);
        }
        Ok(())
    }

    fn medians(self) -> Rates {
        // Every round measures prefill and decode.
        let always = |rates| median(rates).unwrap_or_default();
        Rates {
            prefill: always(self.prefill),
            decode: always(self.decode),
            constrained: median(self.constrained),
            options: median(self.options),
            together: median(self.together),
            branches: median(self.branches).zip(median(self.branch_cost)),
            peer_batched: median(self.peer_batched),
            memory: median(self.memory),
            drafts: median(self.answer).zip(median(self.drafted)).map(|(plain, drafted)| (plain, drafted, self.work)),
            peer: median(self.peer_prefill).zip(median(self.peer_decode)),
        }
    }
}

fn check_context(engine: &Engine, args: &BenchArgs) -> Result<()> {
    let most = args.prompt.max(args.tokens.saturating_add(1));
    let (tokens, context) = (args.depth.saturating_add(most), engine.session.context());
    if tokens > context {
        return Err(Failure::Runtime(Error::Session(SessionError::ContextFull { tokens, position: 0, context })));
    }
    Ok(())
}

/// Any tokens will do, but not all the same: a step through the vocabulary that no power of two
/// divides.
fn text(engine: &Engine, tokens: usize) -> Vec<u32> {
    let vocabulary = engine.session.model().config().vocab as u32;
    (0..tokens as u32).map(|i| i.wrapping_mul(7919) % vocabulary).collect()
}

fn time_prefill(engine: &mut Engine, args: &BenchArgs) -> Result<Timing> {
    engine.session.rewind(args.depth)?;
    let prompt = text(engine, args.prompt);
    let start = Instant::now();
    engine.session.feed(&prompt)?;
    Ok(Timing { tokens: prompt.len(), time: start.elapsed() })
}

fn time_decode(engine: &mut Engine, args: &BenchArgs, selector: Option<&Selector>, options: bool) -> Result<Timing> {
    engine.session.rewind(args.depth)?;
    let mut greedy = Sampler::new(SamplerOptions::default()).map_err(Error::from)?;
    let start = Instant::now();
    engine.session.feed(&[0])?;
    for _ in 0..args.tokens {
        if options {
            engine.session.option_set(1)?;
        }
        engine.session.step(selector, &mut greedy)?;
    }
    Ok(Timing { tokens: args.tokens, time: start.elapsed() })
}

/// Steps under the constraint, one answer after the other. Tokens that it forces do not count: they
/// go through the network with the next one.
fn time_constrained(
    engine: &mut Engine,
    args: &BenchArgs,
    selector: Option<&Selector>,
    constraint: &Constraint,
) -> Result<Timing> {
    engine.session.rewind(args.depth)?;
    let mut greedy = Sampler::new(SamplerOptions::default()).map_err(Error::from)?;
    engine.session.set_constraint(Some(constraint.clone()))?;
    let (start, mut tokens) = (Instant::now(), 0);
    engine.session.feed(&[0])?;
    while tokens < args.tokens {
        let step = engine.session.step(selector, &mut greedy)?;
        tokens += usize::from(!step.forced);
        if engine.tokenizer.is_end(step.token) {
            engine.session.begin_answer();
        }
    }
    let time = start.elapsed();
    engine.session.set_constraint(None)?;
    Ok(Timing { tokens, time })
}

/// Batched decoding: as many steps of several sequences, each in its own fork of the session.
fn time_together(engine: &mut Engine, args: &BenchArgs, selector: Option<&Selector>) -> Result<Timing> {
    engine.session.rewind(args.depth)?;
    engine.session.feed(&[0])?;
    let greedy = Sampler::new(SamplerOptions::default()).map_err(Error::from)?;
    let mut sequences = Vec::new();
    for _ in 0..args.sequences {
        sequences.push((engine.session.fork()?, greedy.clone()));
    }
    let mut batch = Batch::default();
    let start = Instant::now();
    for _ in 0..args.tokens {
        let turns = sequences.iter_mut();
        let turns = turns.map(|(session, sampler)| Turn { session, selector, sampler });
        let mut turns: Vec<Turn<'_>> = turns.collect();
        batch.step(&mut turns).into_iter().try_for_each(|step| step.map(drop))?;
    }
    Ok(Timing { tokens: args.tokens * args.sequences, time: start.elapsed() })
}

/// Decode of branches of one text, which begin with different tokens. Only steps of all of them
/// count: a branch may end.
fn time_branches(engine: &mut Engine, args: &BenchArgs, count: usize) -> Result<Timing> {
    engine.session.rewind(args.depth)?;
    engine.session.feed(&[0])?;
    let options = BranchOptions {
        latents: engine.session.plugin().map(|_| LatentMode::Policy),
        hold: Hold::Token.into(),
        sampling: SamplerOptions::default(),
        stops: Vec::new(),
        limit: usize::MAX,
    };
    let mut branches = Branches::new(&engine.session, options)?;
    branches.expand(0, Expansion::Tokens(count))?;
    // The first token needs no pass.
    branches.step(&engine.tokenizer, |_| true)?;
    let (start, mut steps, mut time) = (Instant::now(), 0, Duration::ZERO);
    while steps < args.tokens && branches.open().count() == count {
        branches.step(&engine.tokenizer, |_| true)?;
        (steps, time) = (steps + 1, start.elapsed());
    }
    if steps == 0 {
        let reason =
            format!("one of the {count} branches ends at once: measure another number of them, or another --depth");
        return Err(Failure::Usage(reason));
    }
    Ok(Timing { tokens: steps * count, time })
}

/// The median; `None` of nothing.
fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    if rates.is_empty() {
        return None;
    }
    Some(if rates.len() % 2 == 1 { rates[middle] } else { f64::midpoint(rates[middle - 1], rates[middle]) })
}

/// The largest resident size of this process so far; where the system does not say (other than
/// Linux), `None`.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// What comes out.
struct Benchmark {
    rates: Rates,
    /// Bytes resident at most, while the model ran.
    peak: Option<u64>,
    /// Bytes of the KV cache after prefill.
    kv: usize,
}

impl Benchmark {
    fn document(&self, engine: &Engine, args: &BenchArgs) -> Value {
        let rates = &self.rates;
        let bytes = engine.session.model().weights().step_bytes();
        let options = rates.options.map(|rate| json!({ "tokens": args.tokens, "tokens_per_second": rate }));
        let constrained = rates.constrained.map(
            |rate| json!({ "tokens": args.tokens, "tokens_per_second": rate, "step_over_free": rates.decode / rate }),
        );
        let together = rates.together.map(|rate| {
            json!({ "sequences": args.sequences, "tokens": args.tokens * args.sequences, "tokens_per_second": rate })
        });
        let branches = rates.branches.map(|(rate, cost)| {
            json!({
                "branches": args.branches,
                "tokens_per_second": rate,
                "step_over_one": cost,
                "peer_tokens_per_second": rates.peer_batched,
                "ratio": rates.peer_batched.map(|peer| rate / peer),
            })
        });
        let drafts = rates.drafts.map(|(plain, drafted, work)| {
            json!({
                "plain_tokens_per_second": plain,
                "tokens_per_second": drafted,
                "ratio": drafted / plain,
                "passes": work.passes,
                "drafted": work.drafted,
                "accepted": work.accepted,
            })
        });
        let memory = rates.memory.map(|memory| {
        json!({ "step_bytes": bytes, "bytes_per_second": memory, "decode_share": bytes as f64 * rates.decode / memory })
    });
        let peer = rates.peer.map(|(prefill, decode)| {
            json!({
                "prefill": { "tokens_per_second": prefill, "ratio": rates.prefill / prefill },
                "decode": { "tokens_per_second": decode, "ratio": rates.decode / decode },
            })
        });
        json!({
            "depth": args.depth,
            "prefill": { "tokens": args.prompt, "tokens_per_second": rates.prefill },
            "decode": { "tokens": args.tokens, "tokens_per_second": rates.decode },
            "decode_constrained": constrained,
            "decode_options": options,
            "decode_together": together,
            "decode_branches": branches,
            "drafts": drafts,
            "memory": memory,
            "peer": peer,
            "peak_rss_bytes": self.peak,
            "kv_type": engine.session.kv_type().name(),
            "kv_bytes": self.kv,
            "load_seconds": engine.load_time.as_secs_f64(),
            "isa": engine.session.isa(),
            "threads": engine.session.threads(),
            "prefill_threads": engine.session.prefill_threads(),
        })
    }

    fn print(&self, output: &mut Output, engine: &Engine, args: &BenchArgs) -> Result<()> {
        let rates = &self.rates;
        let paint = output.paint;
        let beside = |rate: f64, peer: Option<f64>| {
            peer.map_or(String::new(), |peer| format!("  {:.2}x the peer's {peer:.1}", rate / peer))
        };
        let rows = [
            ("prefill", args.prompt, Some(rates.prefill), rates.peer.map(|peer| peer.0)),
            ("decode", args.tokens, Some(rates.decode), rates.peer.map(|peer| peer.1)),
            ("constrained", args.tokens, rates.constrained, None),
            ("options", args.tokens, rates.options, None),
            ("together", args.tokens * args.sequences, rates.together, None),
            (
                "branches",
                args.tokens * args.branches.unwrap_or(0),
                rates.branches.map(|(rate, _)| rate),
                rates.peer_batched,
            ),
        ];
        for (name, tokens, rate, peer) in rows {
            let Some(rate) = rate else { continue };
            let beside = beside(rate, peer);
            output.line(&format!(
                "{name:<11} {tokens:>6} tokens {} tok/s{beside}",
                paint.bold(&format!("{rate:>9.1}"))
            ))?;
        }
        if let Some((plain, drafted, Work { passes, drafted: guessed, accepted })) = rates.drafts {
            let ratio = format!("{:.2}", drafted / plain);
            output.line(&format!(
                "with drafts the text is answered {} times as fast: {drafted:.1} tok/s for {plain:.1}; {passes} \
                 passes, {accepted} of {guessed} drafted tokens right",
                paint.bold(&ratio)
            ))?;
        }
        if let Some(rate) = rates.constrained {
            let cost = format!("{:.3}", rates.decode / rate);
            output.line(&format!("a step under the constraint takes {} free ones", paint.bold(&cost)))?;
        }
        if let Some(((_, cost), count)) = rates.branches.zip(args.branches) {
            output.line(&format!(
                "a step of {count} branches takes {} steps of one",
                paint.bold(&format!("{cost:.2}"))
            ))?;
        }
        let bytes = engine.session.model().weights().step_bytes() as f64;
        if let Some(memory) = rates.memory {
            let (used, all) = (bytes * rates.decode / 1e9, memory / 1e9);
            let share = 100.0 * used / all;
            output.line(&format!(
                "decode reads {used:.1} GB/s of weights, {share:.0} % of the {all:.1} GB/s that the memory gives"
            ))?;
        }
        let kv = format!("a KV cache of {:.1} MB ({})", self.kv as f64 / 1e6, engine.session.kv_type());
        let memory = self.peak.map_or(String::new(), |bytes| format!(", {:.0} MB at most", bytes as f64 / 1e6));
        let (isa, threads, load) = (engine.session.isa(), threads(engine), engine.load_time.as_secs_f64());
        output.line(&paint.dim(&format!("{isa}, {threads}, {kv}, loaded in {load:.3} s{memory}")))
    }
}
