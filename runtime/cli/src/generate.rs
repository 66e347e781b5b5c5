//! The command without a name: continue a text.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use crate::args::{GenerateArgs, MachineArgs};
use crate::engine::Engine;
use crate::failure::Result;
use crate::generation::{Generation, TokenSink};
use crate::output::{Output, Paint, count};
use crate::show;
use crate::table::OptionTable;
use ollm_runtime::generate::Generated;

pub(crate) fn run(machine: &MachineArgs, args: &GenerateArgs) -> Result<()> {
    // What is wrong with the command line should show before a large file is read.
    machine.model()?;
    args.sample.sampler()?;
    let text = args.prompt.text.read_nonempty()?;
    let grammar = args.constrain.read()?;
    let mut engine = Engine::load(machine)?;
    engine.constrain(grammar.as_ref())?;
    let mut generation = Generation::new(&engine, &args.select, &args.show, &args.sample, &args.stop)?;
    let tokens = args.prompt.tokens(&engine, text)?;

    let start = Instant::now();
    engine.session.feed(&tokens)?;
    let prefill = Timing { tokens: tokens.len(), time: start.elapsed() };
    let mut output = Output::new();
    let (_, decode) = generate(&mut engine, &mut generation, machine.json, &mut output)?;
    if is_reported(machine) {
        report(&engine, prefill, decode);
    }
    Ok(())
}

/// Generates, and shows it as the flags say; tells how long that took.
pub(crate) fn generate(
    engine: &mut Engine,
    generation: &mut Generation,
    json: bool,
    output: &mut Output,
) -> Result<(Generated, Timing)> {
    let mut sink: Box<dyn TokenSink + '_> = match generation.show() {
        _ if json => Box::new(show::JsonLines(output)),
        Some(_) => Box::new(OptionTable::new(output)),
        None => Box::new(show::Plain(output)),
    };
    let (done, time) = generation.run(engine, sink.as_mut())?;
    let decode = Timing { tokens: done.tokens.len(), time };
    Ok((done, decode))
}

/// Whether the speed is told.
pub(crate) fn is_reported(machine: &MachineArgs) -> bool {
    machine.verbose || (io::stderr().is_terminal() && io::stdout().is_terminal() && !machine.json)
}

/// How long some tokens took.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) tokens: usize,
    pub(crate) time: Duration,
}

impl Timing {
    pub(crate) fn rate(self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// `2 threads`, or `4 and 2 threads` where prefill and decode differ.
pub(crate) fn threads(engine: &Engine) -> String {
    let (prefill, decode) = (engine.session.prefill_threads(), engine.session.threads());
    let both = if prefill == decode { String::new() } else { format!("{prefill} and ") };
    both + &count(decode, "thread")
}

/// `prefill 44 tokens, 512.0 tok/s · decode 128 tokens, 61.2 tok/s · avx2, 2 threads`
pub(crate) fn report(engine: &Engine, prefill: Timing, decode: Timing) {
    let part = |name, timing: Timing| format!("{name} {}, {:.1} tok/s", count(timing.tokens, "token"), timing.rate());
    let machine = format!("{}, {}", engine.session.isa(), threads(engine));
    let line = [part("prefill", prefill), part("decode", decode), machine].join(" · ");
    // Nobody can be told that standard error is closed.
    let _ = io::Write::write_all(
        &mut io::stderr(),
        format!("{}\n", Paint::for_terminal(io::stderr().is_terminal()).dim(&line)).as_bytes(),
    );
}
