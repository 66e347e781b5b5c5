//! How generated tokens look where there is no table: as text, or as JSON.

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
    fn token(&mut self, _: &Tokenizer, token: &Token<'_>) -> Result<()> {
        self.0.text(token.text)
    }

    fn done(&mut self, done: &Generated) -> Result<()> {
        let end = if done.text.ends_with('\n') { "" } else { "\n" };
        self.0.text(&(done.rest.clone() + end))
    }
}

/// One object a line.
pub(crate) struct JsonLines<'o>(pub(crate) &'o mut Output);

impl TokenSink for JsonLines<'_> {
    fn token(&mut self, tokenizer: &Tokenizer, token: &Token<'_>) -> Result<()> {
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
        self.0.json(&line)
    }

    fn done(&mut self, done: &Generated) -> Result<()> {
        self.0.json(&done_json(done))
    }
}

fn logprob_json(tokenizer: &Tokenizer, (token, logprob): (u32, f32)) -> Value {
    json!({ "token": token, "text": tokenizer.decode(&[token]), "logprob": number(logprob) })
}

fn option_json(tokenizer: &Tokenizer, option: &OptionView) -> Value {
    let token =
        |&(token, p): &(u32, f32)| json!({ "token": token, "text": tokenizer.decode(&[token]), "p": number(p) });
    let top: Vec<Value> = option.top.iter().map(token).collect();
    json!({ "latent": option.latent, "policy": number(option.policy), "top": top })
}
