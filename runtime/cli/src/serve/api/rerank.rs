//! `/v1/rerank`: documents by their relevance to a query, as Jina's and Cohere's APIs have it.

use std::sync::Arc;

use ollm_runtime::session::{Session, SessionError};
use ollm_runtime::tokenizer::TextPair;
use serde_json::{Value, json};

use crate::output::number;
use crate::rerank::by_relevance;
use crate::serve::admission::{Place, Waiter};
use crate::serve::body::Read;
use crate::serve::engine::Between;
use crate::serve::error::ApiError;
use crate::serve::reply::{Reply, ReplyExt as _};
use crate::serve::service::Service;

use super::fields::{Fields, parse};
use super::prompt::{MAX_TEXTS, check_length, check_whole};

/// Bytes of all pairs at most: the query counts once for each document.
const MAX_PAIR_BYTES: usize = 8 << 20;

type Result<T> = std::result::Result<T, ApiError>;

/// What was asked for.
struct RerankRequest {
    pairs: Vec<TextPair>,
    /// The documents themselves, where they are to be given back.
    documents: Option<Vec<String>>,
    top: usize,
}

/// The score of each document, the most relevant first.
pub(crate) async fn rerank(service: Arc<Service>, body: Read, place: Place) -> Result<Reply> {
    let shared = Arc::clone(&service);
    let request = service.admission.readers.run(move |waiter| read(&shared, &body, waiter)).await?;
    let RerankRequest { pairs, documents, top } = request;
    let longest = pairs.iter().map(|pair| pair.tokens.len()).max().unwrap_or(0);
    let tokens: usize = pairs.iter().map(|pair| pair.tokens.len()).sum();
    let rank = move |mut session: Session, between: &mut Between<'_>| {
        let mut scores = Vec::with_capacity(pairs.len());
        for (index, pair) in pairs.iter().enumerate() {
            let mut is_heard = true;
            scores.push((index, session.rank_watched(pair, &mut || is_heard = between())?));
            if !is_heard {
                break;
            }
        }
        Ok(scores)
    };
    let mut scores = service.work(Vec::new(), (longest, 1), place, rank).await?;
    service.metrics.prompted.add(tokens);
    by_relevance(&mut scores);
    scores.truncate(top);
    let one = |(index, score): (usize, f32)| {
        let mut result = json!({ "index": index, "relevance_score": number(score) });
        if let Some(document) = documents.as_ref().and_then(|documents| documents.get(index)) {
            result["document"] = json!({ "text": document });
        }
        result
    };
    Ok(Reply::json(&json!({
        "object": "list",
        "results": scores.into_iter().map(one).collect::<Vec<Value>>(),
        "model": service.name,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

fn read(service: &Service, body: &[u8], waiter: &Waiter) -> Result<RerankRequest> {
    let body = parse(body)?;
    let fields = Fields::new(&body);
    service.check_model(&fields)?;
    if !service.ranks {
        return Err(SessionError::NoClassifier.into());
    }
    let query = fields.required("query")?.as_str().ok_or_else(|| fields.invalid("query", "it must be a string"))?;
    let expected = || fields.invalid("documents", "it must be a list of strings, or of objects with a text");
    let document = |value: &Value| value.as_str().or_else(|| value["text"].as_str()).map(str::to_owned);
    let list = fields.required("documents")?.as_array().filter(|list| !list.is_empty()).ok_or_else(expected)?;
    if list.len() > MAX_TEXTS {
        return Err(fields.invalid("documents", format!("there are more than {MAX_TEXTS} texts")));
    }
    let documents: Vec<String> = list.iter().map(document).collect::<Option<_>>().ok_or_else(expected)?;
    let bytes = documents.iter().map(|document| query.len() + document.len()).sum::<usize>();
    if bytes > MAX_PAIR_BYTES {
        let reason = format!("the pairs of query and document have {bytes} bytes, more than {MAX_PAIR_BYTES}");
        return Err(fields.invalid("documents", reason));
    }
    let pair = |document: &String| {
        waiter.check()?;
        check_length(query, service)?;
        check_length(document, service)?;
        let pair = service.tokenizer.pair(query, document)?;
        check_whole(&pair.tokens, service)?;
        Ok::<_, ApiError>(pair)
    };
    let pairs = documents.iter().map(pair).collect::<Result<_>>()?;
    let top = fields.integer("top_n", 1..=u64::from(u32::MAX))?.unwrap_or(usize::MAX);
    let documents = fields.flag("return_documents")?.then_some(documents);
    Ok(RerankRequest { pairs, documents, top })
}
