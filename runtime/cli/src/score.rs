//! `score`: the log-probability of each token of a text.

use ollm_console::progress::count_bar;
use ollm_runtime::Error;
use ollm_runtime::model::Rope;
use ollm_runtime::session::{Scored, SessionError};
use serde_json::{Value, json};

use crate::args::{MachineArgs, ScoreArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::output::{Output, count, number};

pub(crate) fn run(machine: &MachineArgs, args: &ScoreArgs) -> Result<()> {
    machine.model()?;
    let text = args.text.read_nonempty()?;
    let mut tokens = Vec::new();
    let mut engine = Engine::load_for(machine, |model, tokenizer| {
        tokens = args.text.tokens(tokenizer, &text)?;
        // A rope that depends on the context is that of the text.
        let depends = machine.context == 0 && model.config().ropes().any(Rope::depends_on_context);
        Ok(if depends { tokens.len() } else { machine.context })
    })?;
    let scores = score(&mut engine, args, &tokens)?;
    let mut output = Output::new();
    if machine.json { output.json(&document(&tokens, &scores)) } else { print(&mut output, &engine, &tokens, &scores) }
}

/// The scores of all tokens but the first.
fn score(engine: &mut Engine, args: &ScoreArgs, tokens: &[u32]) -> Result<Vec<Scored>> {
    let context = engine.session.context();
    if tokens.len() > context {
        let error = SessionError::ContextFull { tokens: tokens.len(), position: 0, context };
        return Err(Failure::Runtime(Error::Session(error)));
    }
    let selector = engine.selector(&args.select, args.seed)?;
    let mut scores = Vec::with_capacity(tokens.len());
    let progress = count_bar("score", tokens.len() as u64, "tokens");
    engine.session.score(tokens, selector.as_ref(), &mut |scored| {
        scores.push(scored);
        progress.set_position(scores.len() as u64);
    })?;
    progress.finish_and_clear();
    Ok(scores)
}

/// Perplexity: e to the mean negative log-probability; `None` where nothing was predicted.
fn perplexity(scores: &[Scored]) -> Option<f64> {
    let sum: f64 = scores.iter().map(|scored| f64::from(scored.logprob)).sum();
    (!scores.is_empty()).then(|| (-sum / scores.len() as f64).exp())
}

/// Entry i is about token i; of the first one nothing is said.
fn document(tokens: &[u32], scores: &[Scored]) -> Value {
    let aligned = |values: &mut dyn Iterator<Item = Value>| -> Vec<Value> {
        tokens.first().map(|_| Value::Null).into_iter().chain(values).collect()
    };
    json!({
        "tokens": tokens,
        "logprobs": aligned(&mut scores.iter().map(|scored| number(scored.logprob))),
        "top1": aligned(&mut scores.iter().map(|scored| scored.top1.into())),
        "perplexity": perplexity(scores),
    })
}

/// A line a token: log-probability, whether it was the most probable one, text.
fn print(output: &mut Output, engine: &Engine, tokens: &[u32], scores: &[Scored]) -> Result<()> {
    let text = |token: u32| format!("{:?}", engine.tokenizer.decode(&[token]));
    for (&token, scored) in tokens.iter().skip(1).zip(scores) {
        let instead = if scored.top1 == token { String::new() } else { format!("  (not {})", text(scored.top1)) };
        let instead = output.paint.dim(&instead);
        output.line(&format!("{:>9.4}  {}{instead}", scored.logprob, text(token)))?;
    }
    let right = scores.iter().zip(&tokens[1..]).filter(|(scored, token)| scored.top1 == **token).count();
    let perplexity = perplexity(scores).map_or("-".to_owned(), |x| format!("{x:.4}"));
    let summary = format!("perplexity {perplexity}, {right} of {} most probable", count(scores.len(), "token"));
    output.line(&output.paint.bold(&summary))
}
