//! Logits, scores, embeddings and relevance: what the network says of a text, without choosing from
//! it.

use std::ffi::c_char;

use ollm_runtime::session::{Distribution, Scored};

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray};
use crate::session::OllmSession;
use crate::status::{CallFailure, OllmStatus, Result};
use crate::turn::with;

/// The distributions of the next token. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmDistribution {
    /// The backbone's, as if there were no plugin.
    Backbone = 0,
    /// That of the option of a latent.
    Option = 1,
    /// The mixture of all options, weighted by the policy.
    Mixture = 2,
}

/// The logits of the next token, one for each token of the model's vocabulary: of the backbone, of
/// the option of `latent` (which is 0 for the others), or of the mixture, whose logits are
/// log-probabilities. The session does not move. `distribution` is of `ollm_distribution`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
/// `OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_logits(
    session: *mut OllmSession,
    distribution: i32,
    latent: u32,
    logits: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let out = unsafe { OutArray::new("the logits", logits, capacity, count) }?;
        let of = distribution_of(distribution, latent)?;
        with(session, |live| {
            let vocabulary = live.session.model().config().vocab;
            if out.fits(vocabulary)? { out.write(&live.session.logits(of)?) } else { Ok(()) }
        })
    })
}

fn distribution_of(distribution: i32, latent: u32) -> Result<Distribution> {
    match (distribution, latent) {
        (0, 0) => Ok(Distribution::Backbone),
        (1, latent) => Ok(Distribution::Option(latent as usize)),
        (2, 0) => Ok(Distribution::Mixture),
        (0 | 2, _) => Err(CallFailure::argument("a latent is for OLLM_DISTRIBUTION_OPTION alone: else it is 0")),
        (other, _) => Err(CallFailure::argument(format!("{other} is no distribution"))),
    }
}

/// Adds tokens to the sequence, as `ollm_session_feed` does, and tells of each the natural
/// logarithm of its probability given the tokens before it: under the session's selection, as if
/// the tokens were an answer. That of the first token of a sequence is not a number (NAN). With a
/// NULL buffer nothing is added, and `*written` is `count`. To score several continuations, fork
/// the session, or rewind it.
///
/// Statuses: as `ollm_session_feed` and `ollm_session_step`, and `OLLM_BUFFER_TOO_SMALL`; what was
/// scored by then is part of the session. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_score(
    session: *mut OllmSession,
    tokens: *const u32,
    count: usize,
    logprobs: *mut f32,
    capacity: usize,
    written: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the arrays are as long as the caller says.
        let (tokens, out) = unsafe {
            (cast::slice("the tokens", tokens, count)?, OutArray::new("the logprobs", logprobs, capacity, written)?)
        };
        with(session, |live| {
            if !out.fits(tokens.len())? {
                return Ok(());
            }
            let mut scores = Vec::new();
            if live.session.tokens().is_empty() && !tokens.is_empty() {
                scores.push(f32::NAN);
            }
            let sink = &mut |scored: Scored| scores.push(scored.logprob);
            live.moving(|live| Ok(live.session.score_next(tokens, live.selector.as_ref(), sink)?))?;
            out.write(&scores)
        })
    })
}

/// How hidden states of a text become one. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmPooling {
    /// Their mean.
    Mean = 0,
    /// That of the first token.
    Cls = 1,
    /// That of the last token.
    Last = 2,
    /// The one that the model's file names; the mean, if it names none.
    Model = 3,
}

/// The embedding of a text: the hidden states of its tokens, after the final norm, pooled into one
/// vector, which is as long as the model is wide, or as its last dense layer makes it. With
/// `normalized` other than 0 its Euclidean norm is 1. The session forgets what it held, and holds
/// these tokens afterwards; none, if the model has bidirectional attention: such a model gives
/// embeddings alone (`OLLM_UNSUPPORTED`). With a NULL buffer the length alone is written. `pooling`
/// is of `ollm_pooling`. Tokens that the model's file wants around a whole text:
/// `ollm_tokenize_flags`.
///
/// Statuses: as `ollm_session_feed`, `OLLM_BUFFER_TOO_SMALL`, and `OLLM_EMPTY` without tokens.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_embed(
    session: *mut OllmSession,
    tokens: *const u32,
    count: usize,
    pooling: i32,
    normalized: i32,
    embedding: *mut f32,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the arrays are as long as the caller says.
        let (tokens, out) = unsafe {
            (cast::slice("the tokens", tokens, count)?, OutArray::new("the embedding", embedding, capacity, length)?)
        };
        let pooling = pooling_of(pooling)?;
        with(session, |live| {
            if !out.fits(live.session.model().config().embedding_width())? {
                return Ok(());
            }
            out.write(&live.moving(|live| Ok(live.session.embed(tokens, pooling, normalized != 0)?))?)
        })
    })
}

/// How relevant a document is to a query, as a reranker scores the pair: the logit of a model with
/// one label, of one with several the probability of the label `yes`, or of the first. The session
/// forgets what it held, and holds the tokens of the pair afterwards; none, if the model has
/// bidirectional attention. The texts of special tokens are text here.
///
/// Statuses: as `ollm_session_feed_text`; `OLLM_UNSUPPORTED` if the model has no head for
/// classification. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_rank(
    session: *mut OllmSession,
    query: *const c_char,
    query_length: usize,
    document: *const c_char,
    document_length: usize,
    score: *mut f32,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the texts are as long as the caller says, and the output is where it says.
        let (query, document, out) = unsafe {
            let query = cast::text("the query", query, query_length)?;
            (query, cast::text("the document", document, document_length)?, Out::new("the score", score)?)
        };
        out.set(with(session, |live| {
            let pair = live.model.tokenizer()?.pair(query, document)?;
            live.moving(|live| Ok(live.session.rank(&pair)?))
        })?);
        Ok(())
    })
}

fn pooling_of(pooling: i32) -> Result<Option<ollm_runtime::model::Pooling>> {
    use ollm_runtime::model::Pooling;
    match pooling {
        0 => Ok(Some(Pooling::Mean)),
        1 => Ok(Some(Pooling::Cls)),
        2 => Ok(Some(Pooling::Last)),
        3 => Ok(None),
        other => Err(CallFailure::argument(format!("{other} is no pooling"))),
    }
}
