//! `rerank`: how relevant documents are to a query, as a reranker scores them.

use serde_json::{Value, json};

use crate::args::{MachineArgs, RerankArgs, TextArgs};
use crate::engine::Engine;
use crate::failure::Result;
use crate::output::{Output, number};

pub(crate) fn run(machine: &MachineArgs, args: &RerankArgs) -> Result<()> {
    machine.model()?;
    let text = TextArgs { prompt: None, file: args.file.clone(), special: false }.read_nonempty()?;
    let documents: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut engine = Engine::load(machine)?;
    let mut scores = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let pair = engine.tokenizer.pair(&args.query, document)?;
        scores.push((index, engine.session.rank(&pair)?));
    }
    by_relevance(&mut scores);
    scores.truncate(args.top.map_or(usize::MAX, usize::from));
    let mut output = Output::new();
    if machine.json {
        let result = |&(index, score): &(usize, f32)| json!({ "index": index, "relevance_score": number(score), "document": documents[index] });
        return output.json(&json!({ "results": scores.iter().map(result).collect::<Vec<Value>>() }));
    }
    scores.iter().try_for_each(|&(index, score)| output.line(&format!("{score:.4}\t{}", documents[index])))
}

/// The most relevant document first; of equal ones the first.
pub(crate) fn by_relevance(scores: &mut [(usize, f32)]) {
    scores.sort_by(|one, other| other.1.total_cmp(&one.1));
}
