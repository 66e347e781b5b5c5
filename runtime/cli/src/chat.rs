//! `chat`: a conversation, turn by turn. On a terminal with a line editor; from a pipe, a line is a
//! turn.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Instant;

use ollm_runtime::Error;
use ollm_runtime::branches::Strategy;
use ollm_runtime::chat::{ChatParser, Message};
use ollm_runtime::conversation::{Conversation, ConversationError, Dropped};
use ollm_runtime::generate::Reason;
use ollm_runtime::plugin::{UnknownHold, UnknownLatentMode};
use ollm_runtime::session::SessionError;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::Value;

use crate::args::{ChatArgs, MachineArgs, SelectArgs};
use crate::conversation;
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::generate::{Timing, report, sink};
use crate::generation::Generation;
use crate::interrupt::Interrupt;
use crate::output::{self, Output, aside, count};
use crate::search::{self, SearchFlags};

const HELP: &str = "  /help            this list
  /reset           forget the conversation
  /undo            forget the last turn
  /system TEXT     what the system says first (forgets the conversation)
  /latent HOW      policy, sample, uniform, fixed:Z, script:Z,Z,.. or mixture
  /hold HOW LONG   token, tokens:N, line or all
  /options [M]     show the option sets, M tokens each; /options off hides them
  /tool RESULT     what a tool that was called gives back; after the last one the model goes on
  /save FILE       save the conversation
  /load FILE       go on with a saved one
  /quit            end (so do Ctrl-D, and Ctrl-C twice)
  Ctrl-C ends an answer. Any other text is for the model; //TEXT is /TEXT for it.";

/// A conversation at a terminal or a pipe.
struct Talk<'a> {
    machine: &'a MachineArgs,
    engine: Engine,
    conversation: Conversation,
    generation: Generation,
    args: ChatArgs,
    turns: u64,
    interrupt: Interrupt,
    output: Output,
}

/// Whether the conversation goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    End,
}

pub(crate) fn run(machine: &MachineArgs, args: ChatArgs) -> Result<()> {
    args.sample.check()?;
    if let Some(flag) = args.branch.flag().filter(|_| args.strategy.is_none()) {
        return Err(Failure::Usage(format!("{flag} is for a search: add --strategy vote, best or beam")));
    }
    let grammar = args.constrain.read()?;
    let mut engine = Engine::load(machine)?;
    engine.constrain(grammar.as_ref())?;
    let mut conversation = conversation::open(&engine, &args.conversation, args.reasoning.reasoning_budget)?;
    if args.constrain_calls {
        conversation.constrain_calls(&engine.compiler()?)?;
    }
    let mut talk = Talk {
        machine,
        conversation,
        generation: Generation::new(&engine, &args.select, &args.show, &args.sample, &args.stop)?,
        engine,
        args,
        turns: 0,
        interrupt: Interrupt::default(),
        output: Output::new(),
    };
    talk.reset()?;
    if io::stdin().is_terminal() { talk.interactive() } else { talk.piped() }
}

impl Talk<'_> {
    /// Errors end a turn, not the conversation.
    fn interactive(&mut self) -> Result<()> {
        let mut editor = DefaultEditor::new().map_err(editor_failure)?;
        self.interrupt = Interrupt::install().map_err(|error| Failure::Editor(format!("no Ctrl-C: {error}")))?;
        self.output.line(&self.output.paint.dim("Type a message, or /help; Ctrl-D ends."))?;
        let mut interrupted = false;
        loop {
            let line = match editor.readline("> ") {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) if !interrupted => {
                    self.output.line(&self.output.paint.dim("Ctrl-C once more ends."))?;
                    interrupted = true;
                    continue;
                }
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
                // What a terminal of another encoding sends.
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    output::complain(&Failure::Editor("what was typed is not UTF-8: it is forgotten".to_owned()));
                    continue;
                }
                Err(error) => return Err(editor_failure(error)),
            };
            interrupted = false;
            // A line that the history does not take is no harm.
            let _ = editor.add_history_entry(&line);
            match self.line(&line) {
                Ok(Flow::On) => {}
                Ok(Flow::End) => return Ok(()),
                Err(Failure::Closed) => return Err(Failure::Closed),
                Err(failure) => output::complain(&failure),
            }
        }
    }

    fn piped(&mut self) -> Result<()> {
        for line in io::stdin().lines() {
            let line = line.map_err(|source| Failure::Text { name: "standard input".to_owned(), source })?;
            if self.line(&line)? == Flow::End {
                break;
            }
        }
        Ok(())
    }

    /// Takes one line: a command, or a message.
    fn line(&mut self, line: &str) -> Result<Flow> {
        let (command, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let argument = argument.trim();
        match command {
            "" => {}
            "/quit" | "/exit" => return Ok(Flow::End),
            "/help" => self.say(HELP)?,
            "/reset" => self.reset()?,
            "/undo" => drop(self.conversation.take_back()),
            "/system" => {
                self.args.system = (!argument.is_empty()).then(|| argument.to_owned());
                self.reset()?;
            }
            "/tool" => self.tool_result(argument)?,
            "/latent" => self.set_latent(argument)?,
            "/hold" => self.set_hold(argument)?,
            "/options" => self.set_options(argument)?,
            "/save" => self.save(argument)?,
            "/load" => self.load(argument)?,
            _ if command.starts_with("//") => self.turn(Message::new("user", line.replacen("//", "/", 1)))?,
            _ => self.turn(Message::new("user", line))?,
        }
        Ok(Flow::On)
    }

    /// Words of ours, which JSON output has no place for.
    fn say(&mut self, text: &str) -> Result<()> {
        if self.machine.json { Ok(()) } else { self.output.line(text) }
    }

    /// Goes back to the messages that the flags give.
    fn reset(&mut self) -> Result<()> {
        let messages = self.args.conversation.messages(self.args.system.as_ref())?;
        self.conversation.truncate(0)?;
        for message in messages {
            self.conversation.add(message);
        }
        Ok(())
    }

    fn save(&self, path: &str) -> Result<()> {
        let path = Path::new(path);
        self.conversation.save_file(&self.engine.session, path).map_err(in_file(path))
    }

    fn load(&mut self, path: &str) -> Result<()> {
        let path = Path::new(path);
        self.conversation.restore_file(&mut self.engine.session, path).map_err(in_file(path))
    }

    fn set_latent(&mut self, how: &str) -> Result<()> {
        let mode = how.parse().map_err(|error: UnknownLatentMode| Failure::Usage(format!("/latent: {error}")))?;
        // A temperature is part of the mode here.
        let select = SelectArgs { latent: Some(mode), latent_temperature: None, ..self.args.select };
        self.engine.selector(&select, 0)?;
        self.args.select = select;
        Ok(())
    }

    fn set_hold(&mut self, how_long: &str) -> Result<()> {
        let hold = how_long.parse().map_err(|error: UnknownHold| Failure::Usage(format!("/hold: {error}")))?;
        self.engine.options().ok_or(Failure::NoPlugin { flag: "/hold" })?;
        self.args.select.hold = Some(hold);
        Ok(())
    }

    fn set_options(&mut self, depth: &str) -> Result<()> {
        let wrong = || Failure::Usage(format!("/options {depth:?}: it is off, or a number of tokens from 1 to 100"));
        self.generation.set_show(match depth {
            "off" => None,
            _ if self.engine.options().is_none() => return Err(Failure::NoPlugin { flag: "/options" }),
            "" => Some(3),
            depth => Some(depth.parse().ok().filter(|m| (1..=100).contains(m)).ok_or_else(wrong)?),
        });
        Ok(())
    }

    /// The result of the first call without one; after the last one the model goes on.
    fn tool_result(&mut self, result: &str) -> Result<()> {
        let messages = self.conversation.messages();
        let results = messages.iter().rev().take_while(|message| message.role() == "tool").count();
        let caller = messages.len().checked_sub(results + 1).map(|at| &messages[at]);
        let calls = caller.and_then(|message| message.get("tool_calls")).and_then(Value::as_array);
        let calls = calls.map(Vec::as_slice).unwrap_or_default();
        let Some(call) = calls.get(results) else {
            return Err(Failure::Usage("/tool: no call of a tool waits for a result".to_owned()));
        };
        let message = Message::new("tool", result).with("tool_call_id", call["id"].clone());
        let message = message.with("name", call["function"]["name"].clone());
        if results + 1 == calls.len() {
            return self.turn(message);
        }
        self.conversation.add(message);
        Ok(())
    }

    /// One message and its answer. If there is none, the message is forgotten.
    fn turn(&mut self, message: Message) -> Result<()> {
        let before = self.conversation.messages().len();
        self.conversation.add(message);
        let (interrupt, canceller) = (self.interrupt.clone(), self.engine.session.canceller());
        let outcome = interrupt.around(&canceller, || self.answer());
        if self.conversation.messages().len() == before + 1 {
            self.conversation.truncate(before)?;
        }
        outcome
    }

    fn answer(&mut self) -> Result<()> {
        let (start, prompt) = (Instant::now(), self.conversation.prompt()?);
        let recalled = self.engine.recall(&prompt.tokens(&self.engine.tokenizer)?)?;
        let prompted = self.conversation.feed(&mut self.engine.session)?;
        tell(prompted.dropped);
        let prefill = Timing { tokens: recalled + prompted.tokens - prompted.reused, time: start.elapsed() };
        let decode = match self.args.strategy {
            Some(strategy) => self.search(strategy, prompted.parser)?,
            None => self.generate()?,
        };
        if self.machine.verbose {
            report(&self.engine, prefill, decode);
        }
        Ok(())
    }

    fn generate(&mut self) -> Result<Timing> {
        // Each answer draws anew.
        let seed = self.generation.sampler().seed.wrapping_add(self.turns);
        self.generation.selector = self.engine.selector(&self.args.select, seed)?;
        self.turns += 1;
        let (engine, talk, show) = (&mut self.engine, &mut self.conversation, self.generation.show());
        let mut sink = sink(show, true, self.machine.json, &mut self.output);
        let (answer, time) = self.generation.answer(engine, talk, sink.as_mut())?;
        tell(answer.prompted.dropped);
        if answer.generated.reason == Reason::ContextFull {
            let positions = count(self.engine.session.context(), "position");
            aside(&format!("note: this turn fills the context of {positions}: --context makes it larger"));
        }
        Ok(Timing { tokens: answer.generated.tokens.len(), time })
    }

    /// The answer that a search finds; the session is then as if it had given it.
    fn search(&mut self, strategy: Strategy, parser: ChatParser) -> Result<Timing> {
        let start = Instant::now();
        let ChatArgs { branch, select, sample, stop, .. } = &self.args;
        let options = SearchFlags { branch, select, sample, stop }.options(&self.engine, strategy)?;
        let (branches, found, decode) = match search::watched(&self.engine, &options) {
            Err(Failure::Runtime(Error::Session(SessionError::Cancelled))) => {
                aside("note: the search was ended: there is no answer, and the turn is taken back");
                return Ok(Timing { tokens: 0, time: start.elapsed() });
            }
            outcome => outcome?,
        };
        self.engine.session = branches.session(found.branch)?;
        search::show(&mut self.output, &branches, &found, &options, self.machine.json)?;
        self.say("")?;
        self.conversation.accept(parser, &branches.all()[found.branch].text);
        Ok(decode)
    }
}

/// What the model forgot, if it did.
fn tell(Dropped { turns, messages }: Dropped) {
    if messages > 0 {
        let (turns, messages) = (count(turns, "turn"), count(messages, "message"));
        aside(&format!("note: the context is full: the model has forgotten the oldest {turns} ({messages})"));
    }
}

/// What is wrong with a saved conversation, or with its place.
fn in_file(path: &Path) -> impl FnOnce(ConversationError) -> Failure + '_ {
    |error| match error {
        ConversationError::Read(source) | ConversationError::Write(source) => {
            Failure::Runtime(Error::Io { path: path.to_owned(), source })
        }
        error => Failure::in_file(path)(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn editor_failure(error: ReadlineError) -> Failure {
    Failure::Editor(format!("the line editor failed: {error}"))
}
