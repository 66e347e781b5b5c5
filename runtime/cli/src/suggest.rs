//! `suggest`: short continuations of a text.

use std::time::Instant;

use ollm_runtime::branches::{SuggestOptions, Suggestion, suggest};
use serde_json::{Value, json};

use crate::args::{MachineArgs, SuggestArgs};
use crate::engine::Engine;
use crate::failure::Result;
use crate::generate::{Timing, is_reported, report};
use crate::output::{Output, number};

pub(crate) fn run(machine: &MachineArgs, args: &SuggestArgs) -> Result<()> {
    machine.model()?;
    let text = args.text.read()?;
    let grammar = args.constrain.read()?;
    let mut engine = Engine::load(machine)?;
    engine.constrain(grammar.as_ref())?;
    let tokens = args.text.prompt(&engine.tokenizer, &text)?;
    let start = Instant::now();
    engine.feed(&tokens)?;
    let prefill = Timing { tokens: tokens.len(), time: start.elapsed() };
    let options = SuggestOptions { count: args.count, tokens: args.tokens, until: args.until };
    let start = Instant::now();
    let suggestions = suggest(&engine.session, &engine.tokenizer, &options)?;
    let generated = suggestions.iter().map(|suggestion| suggestion.tokens.len()).sum();
    let decode = Timing { tokens: generated, time: start.elapsed() };
    let mut output = Output::new();
    if machine.json {
        output.json(&suggestions_json(&suggestions))?;
    } else {
        print(&mut output, &suggestions)?;
    }
    if is_reported(machine) {
        report(&engine, prefill, decode);
    }
    Ok(())
}

/// The suggestions as a document.
pub(crate) fn suggestions_json(suggestions: &[Suggestion]) -> Value {
    let one = |suggestion: &Suggestion| {
        json!({
            "text": suggestion.text,
            "tokens": suggestion.tokens,
            "probability": number(suggestion.probability as f32),
            "latent": suggestion.latent,
        })
    };
    json!({ "suggestions": suggestions.iter().map(one).collect::<Vec<_>>() })
}

/// ` 12.3 %  z4  the text`, the most probable first.
fn print(output: &mut Output, suggestions: &[Suggestion]) -> Result<()> {
    for Suggestion { text, probability, latent, .. } in suggestions {
        let percent = 100.0 * probability;
        let percent = if percent < 0.05 { format!("{percent:5.0e} %") } else { format!("{percent:5.1} %") };
        let percent = output.paint.dim(&percent);
        let text = text.replace('\n', "⏎");
        let line = match latent {
            Some(latent) => format!("{percent}  {:<4}{}", format!("z{latent}"), output.paint.latent(*latent, &text)),
            None => format!("{percent}      {text}"),
        };
        output.line(&line)?;
    }
    Ok(())
}
