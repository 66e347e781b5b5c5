//! How generated tokens look where there is no table: as text, or as JSON.

use ollm_runtime::chat::{ChatEvent, Message};
use ollm_runtime::generate::{Generated, Token};
use ollm_runtime::session::OptionView;
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::failure::Result;
use crate::generation::{TokenSink, done_json};
use crate::output::{Output, number};

/// The text as it comes.
pub(crate) struct Plain<'o>(pub(crate) &'o mut Output);

impl TokenSink for Plain<'_> {
    fn token(&mut self, _: &Tokenizer, token: &Token<'_>, _: &[ChatEvent]) -> Result<()> {
        self.0.text(token.text)
    }

    fn done(&mut self, done: &Generated, _: &[ChatEvent], _: Option<&Message>) -> Result<()> {
        let end = if done.text.ends_with('\n') { "" } else { "\n" };
        self.0.text(&(done.rest.clone() + end))
    }
}

/// The parts of an answer: what the model thinks is dim, a call of a tool is a line.
pub(crate) struct Parts<'o> {
    output: &'o mut Output,
    /// Whether something of the line was written, and whether that was a thought.
    begun: bool,
    thinking: bool,
}

impl<'o> Parts<'o> {
    pub(crate) fn new(output: &'o mut Output) -> Self {
        Self { output, begun: false, thinking: false }
    }

    fn show(&mut self, events: &[ChatEvent]) -> Result<()> {
        let paint = self.output.paint;
        for event in events {
            let thinking = matches!(event, ChatEvent::Reasoning(_));
            if self.begun && self.thinking && !thinking {
                self.output.text("\n\n")?;
                self.begun = false;
            }
            self.thinking = thinking;
            let (text, is_line) = match event {
                ChatEvent::Reasoning(text) => (paint.dim(text), false),
                ChatEvent::Text(text) => (text.clone(), false),
                ChatEvent::Call(call) => {
                    let arguments = Value::Object(call.arguments.clone());
                    (paint.dim(&format!("call of {} {arguments}", paint.bold(&call.name))), true)
                }
                ChatEvent::Malformed(reason) => (paint.dim(&format!("(no call of a tool: {reason})")), true),
            };
            let before = if is_line && self.begun { "\n" } else { "" };
            let after = if is_line { "\n" } else { "" };
            self.begun = !is_line && (self.begun || !text.is_empty()) && !text.ends_with('\n');
            self.output.text(&format!("{before}{text}{after}"))?;
        }
        Ok(())
    }
}

impl TokenSink for Parts<'_> {
    fn token(&mut self, _: &Tokenizer, _: &Token<'_>, events: &[ChatEvent]) -> Result<()> {
        self.show(events)
    }

    fn done(&mut self, done: &Generated, rest: &[ChatEvent], _: Option<&Message>) -> Result<()> {
        self.show(rest)?;
        if self.begun || done.tokens.is_empty() { self.output.text("\n") } else { Ok(()) }
    }
}

/// One object a line; the last one has the message that the answer is, if it is one.
pub(crate) struct JsonLines<'o>(pub(crate) &'o mut Output);

impl TokenSink for JsonLines<'_> {
    fn token(&mut self, tokenizer: &Tokenizer, token: &Token<'_>, _: &[ChatEvent]) -> Result<()> {
        self.0.json(&step_json(tokenizer, token))
    }

    fn done(&mut self, done: &Generated, _: &[ChatEvent], message: Option<&Message>) -> Result<()> {
        let mut line = done_json(done);
        if let Some(message) = message {
            line["message"] = Value::Object(message.as_json().clone());
        }
        self.0.json(&line)
    }
}

/// A token, with its alternatives and its option set where there are any.
pub(crate) fn step_json(tokenizer: &Tokenizer, token: &Token<'_>) -> Value {
    let mut line = json!({
        "token": token.step.token,
        "text": token.text,
        "latent": token.step.latent,
        "logprob": number(token.step.logprob),
    });
    if !token.top.is_empty() {
        line["top"] = token.top.iter().map(|top| logprob_json(tokenizer, *top)).collect();
    }
    if !token.options.is_empty() {
        line["options"] = token.options.iter().map(|option| option_json(tokenizer, option)).collect();
    }
    line
}

fn logprob_json(tokenizer: &Tokenizer, (token, logprob): (u32, f32)) -> Value {
    json!({ "token": token, "text": tokenizer.decode(&[token]), "logprob": number(logprob) })
}

/// An option of a step. A token that ends the text is marked.
pub(crate) fn option_json(tokenizer: &Tokenizer, option: &OptionView) -> Value {
    let token = |&(token, p): &(u32, f32)| {
        let mut json = json!({ "token": token, "text": tokenizer.decode(&[token]), "p": number(p) });
        if tokenizer.is_end(token) {
            json["end"] = true.into();
        }
        json
    };
    let top: Vec<Value> = option.top.iter().map(token).collect();
    json!({ "latent": option.latent, "policy": number(option.policy), "top": top })
}
