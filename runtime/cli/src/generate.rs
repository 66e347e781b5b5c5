//! The command without a name: continue a text.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::args::{GenerateArgs, MachineArgs};
use crate::engine::Engine;
use crate::failure::Result;
use crate::generation::{Generation, TokenSink};
use crate::output::{Output, aside, count};
use crate::show;
use crate::table::OptionTable;
use crate::trace::{self, Traced};
use ollm_runtime::chat::ChatParser;
use ollm_runtime::generate::Reason;

pub(crate) fn run(machine: &MachineArgs, args: &GenerateArgs) -> Result<()> {
    // What is wrong with the command line should show before a large file is read.
    machine.model()?;
    args.sample.check()?;
    let text = args.prompt.read()?;
    let grammar = args.constrain.read()?;
    let mut engine = Engine::load(machine)?;
    engine.constrain(grammar.as_ref())?;
    let mut generation = Generation::new(&engine, &args.select, &args.show, &args.sample, &args.stop)?;
    let fed = args.prompt.fed(&engine, text, args.reasoning.reasoning_budget)?;
    generation.set_reasoning(fed.reasoning);

    let start = Instant::now();
    let prefill = Timing { tokens: engine.feed(&fed.tokens)?, time: start.elapsed() };
    let mut output = Output::new();
    let trace = match &args.trace {
        Some(path) => Some((path.as_path(), machine.model()?.as_path(), engine.tokenizer.decode(&fed.tokens))),
        None => None,
    };
    let decode = generate(&mut engine, &mut generation, fed.parser, machine.json, trace.as_ref(), &mut output)?;
    if is_reported(machine) {
        report(&engine, prefill, decode);
    }
    Ok(())
}

/// Where a trace goes, of which model, and behind which prompt.
type Trace<'a> = (&'a Path, &'a Path, String);

/// Generates, and shows it as the flags say; tells how long that took.
fn generate(
    engine: &mut Engine,
    generation: &mut Generation,
    parser: Option<ChatParser>,
    json: bool,
    trace: Option<&Trace<'_>>,
    output: &mut Output,
) -> Result<Timing> {
    let show = generation.show();
    let mut sink = sink(show, parser.is_some(), json, output);
    let (done, time) = match trace {
        None => generation.run(engine, parser, sink.as_mut())?,
        Some((path, model, prompt)) => {
            if engine.options().is_some() {
                generation.set_show(show.or(Some(trace::DEPTH)));
            }
            let mut traced = Traced::new(sink, show.is_some());
            let outcome = generation.run(engine, parser, &mut traced)?;
            traced.write(path, model, prompt)?;
            outcome
        }
    };
    if done.reason == Reason::ContextFull {
        aside(&format!(
            "note: the context of {} is full: --context makes it larger, --context-shift forgets the older half",
            count(engine.session.context(), "position")
        ));
    }
    Ok(Timing { tokens: done.tokens.len(), time })
}

/// Who shows what is generated, as the flags say. The parts of an answer are shown apart on a
/// terminal, and in JSON.
pub(crate) fn sink(show: Option<usize>, is_answer: bool, json: bool, output: &mut Output) -> Box<dyn TokenSink + '_> {
    match show {
        _ if json => Box::new(show::JsonLines(output)),
        Some(_) => Box::new(OptionTable::new(output)),
        None if is_answer && output.paint.is_on() => Box::new(show::Parts::new(output)),
        None => Box::new(show::Plain(output)),
    }
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
    aside(&line);
}
