//! The references of `bench`: memory bandwidth, and peers (llama-bench, llama-batched-bench).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use ollm_runtime::ops::KvType;
use serde_json::Value;

use crate::args::{BenchArgs, MachineArgs};
use crate::failure::{Failure, Result};

/// Streams that each thread reads at once: fewer do not reach the memory bandwidth of a core.
const STREAMS: usize = 8;

/// A block of memory as large as what a step reads.
pub(crate) struct Memory(Vec<u64>);

impl Memory {
    /// `bytes` of memory, touched; `None` if there is not so much.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        let words = usize::try_from(bytes / 8).ok()?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(words).ok()?;
        memory.resize(words, 1);
        Some(Self(memory))
    }

    /// Reads everything once, on `threads` threads; gives bytes a second.
    pub(crate) fn read(&self, threads: usize) -> f64 {
        let share = self.0.len().div_ceil(threads).max(1);
        let start = Instant::now();
        let sum: u64 = std::thread::scope(|scope| {
            let parts: Vec<_> = self.0.chunks(share).map(|part| scope.spawn(|| sum(part))).collect();
            // A thread that only adds does not panic.
            parts.into_iter().map(|part| part.join().unwrap_or(0)).sum()
        });
        std::hint::black_box(sum);
        (self.0.len() * 8) as f64 / start.elapsed().as_secs_f64()
    }
}

/// The sum of all words, a cache line of each stream in turn.
fn sum(words: &[u64]) -> u64 {
    let length = words.len() / STREAMS / 8 * 8;
    let mut sums = [0_u64; 8];
    for line in (0..length).step_by(8) {
        for stream in 0..STREAMS {
            let words = &words[stream * length + line..][..8];
            sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// llama-bench, llama.cpp's benchmark, run in turns with ours.
pub(crate) struct Peer {
    program: PathBuf,
    arguments: Vec<String>,
}

/// llama-batched-bench: decode of several sequences behind a shared prompt.
pub(crate) struct BatchedPeer {
    program: PathBuf,
    arguments: Vec<String>,
}

/// The flags of the peers for the same file and the same type of the KV cache.
fn same_model(machine: &MachineArgs) -> Result<Vec<String>> {
    let (model, kv_type) = (machine.model()?.display().to_string(), machine.kv_type.name());
    Ok(["-m", &model, "-ctk", kv_type, "-ctv", kv_type].map(str::to_owned).into())
}

impl BatchedPeer {
    /// `count` sequences on the same file, with the same sizes, threads and type of the KV cache.
    pub(crate) fn new(
        program: &Path,
        machine: &MachineArgs,
        threads: usize,
        args: &BenchArgs,
        count: usize,
    ) -> Result<Self> {
        let number = |flag: &str, n: usize| [flag.to_owned(), n.to_string()];
        let depth = args.depth.max(1);
        let context = depth + count * (args.tokens + 1);
        let mut arguments = same_model(machine)?;
        let sizes = [("-t", threads), ("-c", context), ("-npp", depth), ("-ntg", args.tokens), ("-npl", count)];
        arguments.extend(sizes.into_iter().flat_map(|(flag, n)| number(flag, n)));
        // The sequences share the prompt, and one cache; its attention is the faster of the peer's.
        arguments.extend(["-pps", "-kvu", "-fa", "on", "--output-format", "jsonl"].map(str::to_owned));
        Ok(Self { program: program.to_owned(), arguments })
    }

    /// Tokens a second of one run's decode, of all sequences.
    pub(crate) fn run(&self) -> Result<f64> {
        let failed = |reason: String| Failure::Peer { program: self.program.clone(), reason };
        let output = Command::new(&self.program).args(&self.arguments).output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let rate = lines.find_map(|line| line["speed_tg"].as_f64());
        rate.ok_or_else(|| failed(format!("it ended with {}, and printed no JSON line with speed_tg", output.status)))
    }
}

impl Peer {
    /// The peer on the same file, with the same sizes, threads and type of the KV cache.
    pub(crate) fn new(program: &Path, machine: &MachineArgs, threads: usize, args: &BenchArgs) -> Result<Self> {
        let number = |flag: &str, n: usize| [flag.to_owned(), n.to_string()];
        let mut arguments = same_model(machine)?;
        arguments.extend([number("-t", threads), number("-p", args.prompt), number("-n", args.tokens)].concat());
        if args.depth > 0 {
            arguments.extend(number("-d", args.depth));
        }
        // Values of other types need it.
        if args.depth > 0 || machine.kv_type != KvType::F16 {
            arguments.extend(number("-fa", 1));
        }
        arguments.extend(["-r", "1", "-o", "json"].map(str::to_owned));
        Ok(Self { program: program.to_owned(), arguments })
    }

    /// Tokens a second of one run: prefill, decode.
    pub(crate) fn run(&self) -> Result<(f64, f64)> {
        let failed = |reason: String| Failure::Peer { program: self.program.clone(), reason };
        let output = Command::new(&self.program).args(&self.arguments).output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        let json: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
            failed(format!("it ended with {}, and what it printed is no JSON: {error}", output.status))
        })?;
        let rate = |kind: &str| {
            let runs = json.as_array()?.iter();
            runs.filter(|run| run[kind].as_u64() > Some(0)).find_map(|run| run["avg_ts"].as_f64())
        };
        let missing = || failed("its JSON has no avg_ts of a prefill and a decode run".to_owned());
        Ok((rate("n_prompt").ok_or_else(missing)?, rate("n_gen").ok_or_else(missing)?))
    }
}
