//! `rerank`: how relevant documents are to a query, as a reranker scores them.

use serde_json::{Value, json};

use crate::args::{MachineArgs, RerankArgs, TextArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::output::{Output, number};

pub(crate) fn run(machine: &MachineArgs, args: &RerankArgs) -> Result<()> {
    machine.model()?;
    let text = TextArgs { prompt: None, file: args.file.clone(), special: false }.read_nonempty()?;
    let lines: Vec<&str> = text.lines().collect();
    let documents = || (0..lines.len()).filter(|&index| !lines[index].trim().is_empty());
    if documents().next().is_none() {
        return Err(Failure::EmptyPrompt);
    }
    let mut engine = Engine::load(machine)?;
    let mut scores = Vec::new();
    for index in documents() {
        let pair = engine.tokenizer.pair(&args.query, lines[index])?;
        scores.push((index, engine.session.rank(&pair)?));
    }
    by_relevance(&mut scores);
    scores.truncate(args.top_n.map_or(usize::MAX, usize::from));
    let mut output = Output::new();
    if machine.json {
        let result = |&(index, score): &(usize, f32)| {
            let document = json!({ "text": lines[index] });
            json!({ "index": index, "relevance_score": number(score), "document": document })
        };
        return output.json(&json!({ "results": scores.iter().map(result).collect::<Vec<Value>>() }));
    }
    scores.iter().try_for_each(|&(index, score)| output.line(&format!("{score:.4}\t{}", lines[index])))
}

/// The most relevant document first; of equal ones the first.
pub(crate) fn by_relevance(scores: &mut [(usize, f32)]) {
    scores.sort_by(|one, other| other.1.total_cmp(&one.1));
}
