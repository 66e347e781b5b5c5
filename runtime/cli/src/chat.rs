//! `chat`: a conversation, turn by turn. On a terminal with a line editor; from a pipe, a line is a
//! turn.

use std::io::{self, IsTerminal as _};
use std::time::Instant;

use ollm_runtime::branches::Strategy;
use ollm_runtime::chat::{ChatParser, Message};
use ollm_runtime::plugin::{UnknownHold, UnknownLatentMode};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::Value;

use crate::args::{ChatArgs, MachineArgs};
use crate::conversation::Conversation;
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::generate::{Timing, generate, report};
use crate::generation::Generation;
use crate::output::{self, Output};
use crate::search::{self, SearchFlags};

const HELP: &str = "  /help            this list
  /reset           forget the conversation
  /undo            forget the last turn
  /system TEXT     what the system says first (forgets the conversation)
  /latent HOW      policy, sample, uniform, fixed:Z, script:Z,Z,.. or mixture
  /hold HOW LONG   token, tokens:N, line or all
  /options [M]     show the option sets, M tokens each; /options off hides them
  /tool RESULT     what a tool that was called gives back; after the last one the model goes on
  /quit            end (so does Ctrl-D)";

/// A talk with a model.
struct Talk<'a> {
    machine: &'a MachineArgs,
    engine: Engine,
    conversation: Conversation,
    generation: Generation,
    args: ChatArgs,
    messages: Vec<Message>,
    turns: u64,
    output: Output,
}

pub(crate) fn run(machine: &MachineArgs, args: ChatArgs) -> Result<()> {
    args.sample.check()?;
    if let Some(flag) = args.branch.flag().filter(|_| args.strategy.is_none()) {
        return Err(Failure::Usage(format!("{flag} is for a search: add --strategy vote, best or beam")));
    }
    let grammar = args.constrain.read()?;
    let mut engine = Engine::load(machine)?;
    engine.constrain(grammar.as_ref())?;
    let mut talk = Talk {
        machine,
        conversation: Conversation::new(&engine, &args.conversation)?,
        generation: Generation::new(&engine, &args.select, &args.show, &args.sample, &args.stop)?,
        engine,
        messages: args.conversation.messages(args.system.as_ref())?,
        args,
        turns: 0,
        output: Output::new(),
    };
    if io::stdin().is_terminal() { talk.interactive() } else { talk.piped() }
}

impl Talk<'_> {
    /// Errors end a turn, not the conversation.
    fn interactive(&mut self) -> Result<()> {
        let mut editor = DefaultEditor::new().map_err(editor_failure)?;
        self.output.line(&self.output.paint.dim("Type a message, or /help; Ctrl-D ends."))?;
        loop {
            let line = match editor.readline("> ") {
                Ok(line) => line,
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
                Err(error) => return Err(editor_failure(error)),
            };
            // A line that the history does not take is no harm.
            let _ = editor.add_history_entry(&line);
            match self.line(&line) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Failure::Closed) => return Err(Failure::Closed),
                Err(failure) => output::complain(&failure),
            }
        }
    }

    fn piped(&mut self) -> Result<()> {
        for line in io::stdin().lines() {
            let line = line.map_err(|source| Failure::Prompt { name: "standard input".to_owned(), source })?;
            if !self.line(&line)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes one line; false ends the conversation.
    fn line(&mut self, line: &str) -> Result<bool> {
        let (command, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let argument = argument.trim();
        match command {
            "" => {}
            "/quit" | "/exit" => return Ok(false),
            "/help" => self.say(HELP)?,
            "/reset" => self.reset()?,
            "/undo" => self.undo(),
            "/system" => {
                self.args.system = (!argument.is_empty()).then(|| argument.to_owned());
                self.reset()?;
            }
            "/tool" => self.tool_result(argument)?,
            "/latent" => self.set_latent(argument)?,
            "/hold" => self.set_hold(argument)?,
            "/options" => self.set_options(argument)?,
            _ if command.starts_with('/') => {
                return Err(Failure::Usage(format!("{command} is no command: /help lists them")));
            }
            _ => self.turn(Message::new("user", line))?,
        }
        Ok(true)
    }

    /// Words of ours, which JSON output has no place for.
    fn say(&mut self, text: &str) -> Result<()> {
        if self.machine.json { Ok(()) } else { self.output.line(text) }
    }

    fn reset(&mut self) -> Result<()> {
        self.messages = self.args.conversation.messages(self.args.system.as_ref())?;
        Ok(())
    }

    /// Forgets the last question and its answer.
    fn undo(&mut self) {
        let last = self.messages.iter().rposition(|message| message.role() == "user");
        self.messages.truncate(last.unwrap_or(self.messages.len()));
    }

    fn set_latent(&mut self, how: &str) -> Result<()> {
        let mode = how.parse().map_err(|error: UnknownLatentMode| Failure::Usage(format!("/latent: {error}")))?;
        let before = self.args.select.latent.replace(mode);
        let possible = self.engine.selector(&self.args.select, 0);
        if possible.is_err() {
            self.args.select.latent = before;
        }
        possible.map(drop)
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
        let results = self.messages.iter().rev().take_while(|message| message.role() == "tool").count();
        let caller = self.messages.len().checked_sub(results + 1).map(|at| &self.messages[at]);
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
        self.messages.push(message);
        Ok(())
    }

    /// One message and its answer. If the answer fails, the message is forgotten.
    fn turn(&mut self, message: Message) -> Result<()> {
        let messages = self.messages.len();
        self.messages.push(message);
        let answer = self.answer().map(|answer| self.messages.push(answer));
        if answer.is_err() {
            self.messages.truncate(messages);
        }
        answer
    }

    fn answer(&mut self) -> Result<Message> {
        let prompt = self.conversation.prompt(&self.engine, &self.messages)?;
        let budget = self.args.reasoning.reasoning_budget;
        self.generation.set_reasoning(self.conversation.budget(&self.engine, budget, &prompt)?);
        let mut parser = self.conversation.parser(&prompt);
        let text = self.answer_text(&prompt.tokens(&self.engine.tokenizer)?, &parser)?;
        let mut events = parser.push(&text);
        events.extend(parser.finish());
        Ok(Message::from_answer(&events))
    }

    fn answer_text(&mut self, prompt: &[u32], parser: &ChatParser) -> Result<String> {
        let start = Instant::now();
        let fed = self.feed(prompt)?;
        let prefill = Timing { tokens: fed, time: start.elapsed() };
        if let Some(strategy) = self.args.strategy {
            return self.search(strategy, prefill);
        }
        // Each answer draws anew.
        let seed = self.generation.sampler().seed.wrapping_add(self.turns);
        self.generation.selector = self.engine.selector(&self.args.select, seed)?;
        self.turns += 1;
        let (engine, generation, json) = (&mut self.engine, &mut self.generation, self.machine.json);
        let (done, decode) = generate(engine, generation, Some(parser), json, &mut self.output)?;
        if self.machine.verbose {
            report(&self.engine, prefill, decode);
        }
        Ok(done.text)
    }

    /// The answer that a search finds; the session is then as if it had given it.
    fn search(&mut self, strategy: Strategy, prefill: Timing) -> Result<String> {
        let ChatArgs { branch, select, sample, stop, .. } = &self.args;
        let options = SearchFlags { branch, select, sample, stop }.options(&self.engine, strategy)?;
        let (branches, found, decode) = search::watched(&self.engine, &options)?;
        self.engine.session = branches.session(found.branch)?;
        search::show(&mut self.output, &branches, &found, &options, self.machine.json)?;
        self.say("")?;
        if self.machine.verbose {
            report(&self.engine, prefill, decode);
        }
        Ok(branches.all()[found.branch].text.clone())
    }

    /// Feeds what the session has not seen; tells how many tokens that is.
    fn feed(&mut self, tokens: &[u32]) -> Result<usize> {
        let session = &mut self.engine.session;
        let shared = session.tokens().iter().zip(tokens).take_while(|(a, b)| a == b).count();
        session.rewind(shared)?;
        session.feed(&tokens[shared..])?;
        Ok(tokens.len() - shared)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn editor_failure(error: ReadlineError) -> Failure {
    Failure::Editor(format!("the line editor failed: {error}"))
}
