//! `/v1/embeddings`.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ollm_runtime::session::Session;
use serde_json::{Value, json};

use crate::output::number;
use crate::serve::admission::Place;
use crate::serve::body::Read;
use crate::serve::engine::Between;
use crate::serve::error::ApiError;
use crate::serve::reply::{Reply, ReplyExt as _};
use crate::serve::service::Service;

use super::fields::{Fields, parse};
use super::prompt::{Purpose, check_whole, texts};

type Result<T> = std::result::Result<T, ApiError>;

/// What was asked for.
struct EmbeddingRequest {
    texts: Vec<Vec<u32>>,
    base64: bool,
}

/// The hidden states of each text, pooled as the model's file says, with a norm of 1.
pub(crate) async fn embeddings(service: Arc<Service>, body: Read, place: Place) -> Result<Reply> {
    let shared = Arc::clone(&service);
    let EmbeddingRequest { texts, base64 } = service.admission.readers.run(move |_| read(&shared, &body)).await?;
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    let tokens: usize = texts.iter().map(Vec::len).sum();
    let embed = move |mut session: Session, between: &mut Between<'_>| {
        let mut embeddings = Vec::with_capacity(texts.len());
        for text in &texts {
            let mut is_heard = true;
            embeddings.push(session.embed_watched(text, None, true, &mut || is_heard = between())?);
            if !is_heard {
                break;
            }
        }
        Ok(embeddings)
    };
    let embeddings = service.work(Vec::new(), (longest, 1), place, embed).await?;
    service.metrics.prompted.add(tokens);
    let one = |(index, embedding): (usize, Vec<f32>)| {
        let embedding: Value = if base64 {
            BASE64_STANDARD.encode(embedding.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).into()
        } else {
            embedding.into_iter().map(number).collect()
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    Ok(Reply::json(&json!({
        "object": "list",
        "data": embeddings.into_iter().enumerate().map(one).collect::<Vec<Value>>(),
        "model": service.name,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

fn read(service: &Service, body: &[u8]) -> Result<EmbeddingRequest> {
    let body = parse(body)?;
    let fields = Fields::new(&body);
    service.check_model(&fields)?;
    let texts = texts(&fields, "input", service, Purpose::Whole)?;
    texts.iter().try_for_each(|text| check_whole(text, service))?;
    if fields.get("dimensions").is_some_and(|wanted| wanted.as_u64() != Some(service.embedding as u64)) {
        return Err(fields.invalid("dimensions", format!("embeddings of this model have {}", service.embedding)));
    }
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(fields.invalid("encoding_format", "it must be float or base64")),
    };
    Ok(EmbeddingRequest { texts, base64 })
}
