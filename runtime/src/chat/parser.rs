//! An answer as it comes, taken apart: what the model thinks, what it says, which tools it calls.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};

use super::calls::{Progress, ToolCall, numbered_id, unfinished};
use super::format::ChatFormat;
use super::forms::CallForm;
use super::message::{Message, Variables};
use super::tools::Tool;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatEvent {
    /// More of what the model thinks.
    Reasoning(String),
    /// More of what it says.
    Text(String),
    /// A tool is called.
    Call(ToolCall),
    /// The text before this was to be a call, but cannot be read as one: why.
    Malformed(String),
}

/// Takes the text of an answer, in pieces of any size, and gives its parts.
///
/// Text comes out as soon as it cannot be a part of a mark (`</think>`, `<tool_call>`) any more, a
/// call when it is whole. White space around a thought and around a call belongs to it. However the
/// text is cut into pieces, the parts are the same, but for the pieces that text comes in.
///
/// # Examples
/// ```
/// use ollm_runtime::chat::{ChatEvent, ChatFormat, ChatParser, ToolFormat};
///
/// let format = ChatFormat { tools: Some(ToolFormat::Hermes), ..ChatFormat::default() };
/// let mut parser = ChatParser::new(format, false);
/// assert_eq!(parser.push("Let me look. <tool"), [ChatEvent::Text("Let me look.".to_owned())]);
/// let events = parser.push("_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>");
/// let [ChatEvent::Call(call)] = &events[..] else { panic!() };
/// assert_eq!((call.name.as_str(), &call.arguments["x"]), ("f", &1.into()));
/// assert_eq!(parser.finish(), []);
/// ```
#[derive(Debug, Clone)]
pub struct ChatParser {
    format: ChatFormat,
    state: State,
    /// What is not decided.
    held: String,
    /// Bytes of the answer that are decided.
    decided: usize,
    /// Where what the model says is in the answer, as far as nobody has asked yet.
    said: Vec<Range<usize>>,
    /// The tools that were offered.
    tools: Arc<[Tool]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was said: a thought or a bare call may come.
    Start,
    /// A thought has ended, or a call: a bare call may come.
    Between,
    /// In a thought, of which nothing was given yet.
    Opened,
    /// In a thought.
    Reasoning,
    /// In what is said.
    Text,
}

/// What a text in an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// A thought begins.
    Thought,
    /// Nothing.
    Dropped,
    /// Calls follow.
    Calls(&'static CallForm),
}

/// What a step does: bytes that are decided, their parts, and what comes then.
struct Step {
    taken: usize,
    events: Vec<ChatEvent>,
    next: State,
}

impl ChatParser {
    /// A parser for an answer of this form. `in_reasoning` tells that the prompt ends inside a
    /// thought: see [`Reasoning::is_open_in`](super::Reasoning::is_open_in).
    pub fn new(format: ChatFormat, in_reasoning: bool) -> Self {
        let state = if in_reasoning && format.reasoning.is_some() { State::Opened } else { State::Start };
        Self { format, state, held: String::new(), decided: 0, said: Vec::new(), tools: Arc::new([]) }
    }

    /// The same parser for calls of the tools in these variables: where a form writes arguments
    /// without quotes, their schemas tell a text from a number.
    #[must_use]
    pub fn with_tools(mut self, variables: &Variables) -> Self {
        self.tools = Tool::list(variables).filter_map(Result::ok).collect();
        self
    }

    /// The parts that are decided with this piece of text.
    pub fn push(&mut self, piece: &str) -> Vec<ChatEvent> {
        self.held.push_str(piece);
        self.advance(false)
    }

    /// The parts that are left where the answer ends. The parser is then at its end: make another
    /// for the next answer.
    pub fn finish(&mut self) -> Vec<ChatEvent> {
        self.advance(true)
    }

    /// As [`ChatParser::finish`], where the answer was cut off: a call that begins and does not
    /// end, or what may be the beginning of its mark, is left out, and no text. One that was left
    /// out is told as [`ChatEvent::Malformed`].
    pub fn finish_cut(&mut self) -> Vec<ChatEvent> {
        let (mut events, begins, said) = (Vec::new(), self.begins_bare(), self.said.clone());
        let begun = if self.is_reasoning() { 0 } else { self.begun_mark() };
        if begun > 0 {
            // White space around a call belongs to it.
            self.held.truncate(self.held[..self.held.len() - begun].trim_end().len());
        }
        while let Some(mut step) = self.step(true) {
            let is_rest = step.taken == self.held.len();
            if is_rest && matches!(step.events.last(), Some(ChatEvent::Malformed(_))) {
                step.events.drain(..step.events.len() - 1);
            }
            events.extend(self.take(step));
        }
        if begins && !events.iter().any(|event| matches!(event, ChatEvent::Call(_))) {
            self.said = said;
            return vec![ChatEvent::Malformed(unfinished())];
        }
        join(events)
    }

    /// Whether all that is not decided may be the beginning of a call without a mark.
    fn begins_bare(&self) -> bool {
        let Some(bare) = self.format.tools.and_then(|tools| tools.family().bare) else { return false };
        let call = self.held.trim_start_matches(|c: char| c == ';' || c.is_whitespace());
        matches!(self.state, State::Start | State::Between)
            && !call.is_empty()
            && bare.read(call, false, &self.tools) == Progress::More
    }

    /// How many bytes at the end may be the beginning of a mark of calls.
    fn begun_mark(&self) -> usize {
        let forms = self.format.tools.map_or(&[][..], |tools| tools.family().forms);
        let begins = |at: &usize| {
            let rest = &self.held[*at..];
            forms.iter().any(|form| form.open.len() > rest.len() && form.open.starts_with(rest))
        };
        let at = self.held.char_indices().map(|(at, _)| at).find(begins);
        at.map_or(0, |at| self.held.len() - at)
    }

    /// How many bytes of the answer are decided: what they are has come out.
    pub fn decided(&self) -> usize {
        self.decided
    }

    /// How many bytes of the answer have come, until it ends.
    pub fn position(&self) -> usize {
        self.decided + self.held.len()
    }

    /// Where in the answer, in bytes, the texts lie that came out since this was asked last: as
    /// ranges in ascending order. The rest is thoughts, calls, marks and white space around them.
    pub fn take_said(&mut self) -> Vec<Range<usize>> {
        mem::take(&mut self.said)
    }

    /// Whether the model is thinking, as far as the text so far shows.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Opened | State::Reasoning)
    }

    fn advance(&mut self, last: bool) -> Vec<ChatEvent> {
        let mut events = Vec::new();
        while let Some(step) = self.step(last) {
            events.extend(self.take(step));
        }
        join(events)
    }

    /// Goes on behind a step. A text is the end of what the step takes.
    fn take(&mut self, step: Step) -> Vec<ChatEvent> {
        self.held.drain(..step.taken);
        self.state = step.next;
        self.decided += step.taken;
        for event in &step.events {
            let ChatEvent::Text(text) = event else { continue };
            let said = self.decided - text.len()..self.decided;
            match self.said.last_mut() {
                Some(last) if last.end == said.start => last.end = said.end,
                _ => self.said.push(said),
            }
        }
        step.events
    }

    /// The next step, if one is sure.
    fn step(&self, last: bool) -> Option<Step> {
        match self.state {
            State::Start | State::Between => self.begin(last),
            State::Opened => {
                let lead = self.held.len() - self.held.trim_start().len();
                let sure = lead < self.held.len();
                sure.then(|| Step { taken: lead, events: Vec::new(), next: State::Reasoning })
            }
            State::Reasoning => self.reasoning(last),
            State::Text => self.text(last),
        }
    }

    fn begin(&self, last: bool) -> Option<Step> {
        let body = self.held.trim_start();
        let lead = self.held.len() - body.len();
        if body.is_empty() && !(last && lead > 0 && self.state == State::Start) {
            return None;
        }
        match self.mark_at(body, last) {
            Err(Pending) => return None,
            Ok(Some((mark, Mark::Thought))) => {
                return Some(Step { taken: lead + mark.len(), events: Vec::new(), next: State::Opened });
            }
            Ok(Some((mark, Mark::Dropped))) => {
                return Some(Step { taken: lead + mark.len(), events: Vec::new(), next: State::Between });
            }
            Ok(Some((_, Mark::Calls(_))) | None) => {}
        }
        match self.unmarked(body, lead, last) {
            Err(Pending) => return None,
            Ok(Some(step)) => return Some(step),
            Ok(None) => {}
        }
        // Llama 3 puts semicolons between calls.
        let call = if self.state == State::Between {
            body.trim_start_matches(|c: char| c == ';' || c.is_whitespace())
        } else {
            body
        };
        let before = self.held.len() - call.len();
        // White space behind a thought or a call is not the answer's.
        let dropped = if self.state == State::Between { lead } else { 0 };
        if let Some(bare) = self.format.tools.and_then(|tools| tools.family().bare) {
            if call.is_empty() && !last {
                return None;
            }
            match bare.read(call, last, &self.tools) {
                Progress::More => return None,
                Progress::Text => {}
                progress => return Some(self.called(before, dropped, progress)),
            }
        }
        Some(Step { taken: dropped, events: Vec::new(), next: State::Text })
    }

    /// The end of a thought that nothing opened, if there is one.
    fn unmarked(&self, body: &str, lead: usize, last: bool) -> Result<Option<Step>, Pending> {
        let marks = self.format.reasoning.filter(|marks| marks.unmarked && self.state == State::Start);
        let Some(marks) = marks else { return Ok(None) };
        let Some(at) = body.find(marks.close) else { return if last { Ok(None) } else { Err(Pending) } };
        let events = vec![ChatEvent::Reasoning(body[..at].trim_end().to_owned())];
        Ok(Some(Step { taken: lead + at + marks.close.len(), events, next: State::Between }))
    }

    fn reasoning(&self, last: bool) -> Option<Step> {
        let close = self.format.reasoning?.close;
        if let Some(at) = self.held.find(close) {
            let events = vec![ChatEvent::Reasoning(self.held[..at].trim_end().to_owned())];
            return Some(Step { taken: at + close.len(), events, next: State::Between });
        }
        let sure = if last { self.held.len() } else { self.held.len() - undecided(&self.held, &[close]) };
        let events = vec![ChatEvent::Reasoning(self.held[..sure].to_owned())];
        (sure > 0).then_some(Step { taken: sure, events, next: State::Reasoning })
    }

    fn text(&self, last: bool) -> Option<Step> {
        let marks = || self.marks().map(|(text, _)| text);
        let sure = match marks().filter_map(|mark| self.held.find(mark)).min() {
            Some(at) => {
                let before = self.held[..at].trim_end().len();
                if before == 0 {
                    return self.marked(at, last);
                }
                before
            }
            None if last => self.held.len(),
            None => self.held.len() - undecided(&self.held, &marks().collect::<Vec<_>>()),
        };
        let events = vec![ChatEvent::Text(self.held[..sure].to_owned())];
        (sure > 0).then_some(Step { taken: sure, events, next: State::Text })
    }

    /// What a mark at this place means, once it is sure which one it is.
    fn marked(&self, at: usize, last: bool) -> Option<Step> {
        let (mark, meaning) = self.mark_at(&self.held[at..], last).ok()??;
        let start = at + mark.len();
        let passed = |next| Some(Step { taken: start, events: Vec::new(), next });
        match meaning {
            Mark::Thought => passed(State::Opened),
            Mark::Dropped => passed(State::Between),
            Mark::Calls(form) => match form.read(&self.held[start..], last, &self.tools) {
                Progress::More | Progress::Text => None,
                progress => Some(self.called(start, 0, progress)),
            },
        }
    }

    /// The marks that count here.
    fn marks(&self) -> impl Iterator<Item = (&'static str, Mark)> {
        let begins = self.state == State::Start;
        let thought = self.format.reasoning.filter(|marks| marks.anywhere || begins);
        let thought = thought.map(|marks| (marks.open, Mark::Thought));
        let dropped = self.format.dropped.iter().map(|&mark| (mark, Mark::Dropped));
        let forms = self.format.tools.map_or(&[][..], |tools| tools.family().forms);
        thought.into_iter().chain(dropped).chain(forms.iter().map(|form| (form.open, Mark::Calls(form))))
    }

    /// The longest mark that a text begins with, unless a longer one may still come.
    fn mark_at(&self, text: &str, last: bool) -> Result<Option<(&'static str, Mark)>, Pending> {
        let may_come = |mark: &str| mark.len() > text.len() && mark.starts_with(text);
        if !last && !text.is_empty() && self.marks().any(|(mark, _)| may_come(mark)) {
            return Err(Pending);
        }
        Ok(self.marks().filter(|(mark, _)| text.starts_with(mark)).max_by_key(|(mark, _)| mark.len()))
    }

    /// Calls, or the text from `from` on that should have been some.
    fn called(&self, start: usize, from: usize, progress: Progress) -> Step {
        match progress {
            Progress::Malformed(length, reason) => {
                let taken = start + length;
                let text = self.held[from..taken].to_owned();
                let events = vec![ChatEvent::Text(text), ChatEvent::Malformed(reason)];
                Step { taken, events, next: State::Text }
            }
            Progress::Calls(length, calls) => {
                let events = calls.into_iter().map(ChatEvent::Call).collect();
                Step { taken: start + length, events, next: State::Between }
            }
            Progress::More | Progress::Text => Step { taken: 0, events: Vec::new(), next: self.state },
        }
    }
}

impl Message {
    /// The assistant's message that an answer with these parts is. A call without an id gets one,
    /// which a tool's result can name: `call00000`, `call00001` and so on.
    pub fn from_answer(events: &[ChatEvent]) -> Self {
        let (mut content, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
        for event in events {
            match event {
                ChatEvent::Text(text) => content.push_str(text),
                ChatEvent::Reasoning(text) => reasoning.push_str(text),
                ChatEvent::Call(ToolCall { name, arguments, id }) => {
                    let id = id.clone().unwrap_or_else(|| numbered_id(calls.len()));
                    let function = json!({ "name": name, "arguments": arguments });
                    calls.push(json!({ "type": "function", "id": id, "function": function }));
                }
                ChatEvent::Malformed(_) => {}
            }
        }
        let mut message = Self::new("assistant", content);
        if !reasoning.is_empty() {
            message = message.with("reasoning_content", reasoning.into());
        }
        if calls.is_empty() { message } else { message.with("tool_calls", Value::Array(calls)) }
    }
}

/// More text has to tell what it is.
struct Pending;

/// How many bytes at the end may belong to a mark that is to come: its beginning, and white space
/// before it.
fn undecided(text: &str, marks: &[&str]) -> usize {
    let Some(longest) = marks.iter().map(|mark| mark.len()).max() else { return 0 };
    let begins = |at: &usize| marks.iter().any(|mark| mark.starts_with(&text[*at..]));
    let starts = text.char_indices().map(|(at, _)| at).rev().take(longest);
    let start = starts.filter(begins).last().unwrap_or(text.len());
    text.len() - text[..start].trim_end().len()
}

/// Texts that follow each other become one; empty ones go.
fn join(events: Vec<ChatEvent>) -> Vec<ChatEvent> {
    let mut joined = Vec::<ChatEvent>::new();
    for event in events {
        match (joined.last_mut(), event) {
            (_, ChatEvent::Text(text) | ChatEvent::Reasoning(text)) if text.is_empty() => {}
            (Some(ChatEvent::Text(all)), ChatEvent::Text(text))
            | (Some(ChatEvent::Reasoning(all)), ChatEvent::Reasoning(text)) => all.push_str(&text),
            (_, event) => joined.push(event),
        }
    }
    joined
}
