//! Batches: a step of several sessions of one model in one read of the weights. Each session gets
//! what it would have got alone, to the last bit.

use std::sync::Mutex;

use ollm_runtime::session::{Batch, Turn};

use crate::boundary::guard;
use crate::cast::{self, Out, OutStruct};
use crate::generate::OllmToken;
use crate::handle::{HandleTable, Named};
use crate::session::{Live, OllmSession};
use crate::status::{CallFailure, OllmStatus, Result, note};
use crate::turn::{only, with_all};

/// The memory of batched steps. Since 0.1.0.
pub struct OllmBatch(Mutex<Batch>);

static BATCHES: HandleTable<OllmBatch> = HandleTable::new();

impl Named for OllmBatch {
    const KIND: usize = 8;
    const NAME: &'static str = "batch";
    fn table() -> &'static HandleTable<Self> {
        &BATCHES
    }
}

/// Makes the memory that batched steps work in. On success `*batch` is a handle of one owner: free
/// it with `ollm_batch_free`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_batch_new(batch: *mut *mut OllmBatch) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("batch", batch) }?;
        out.set(BATCHES.insert(OllmBatch(Mutex::default()))?);
        Ok(())
    })
}

/// Frees it and makes `*batch` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_batch_free(batch: *mut *mut OllmBatch) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { BATCHES.release_at(batch) }.map(drop))
}

/// Takes a step of each of `count` sessions, as `ollm_session_step` would, in one pass: they are
/// of one model and one plugin, or all of them without. They may have adapters, samplings and
/// selections of their own. Tokens that were fed and not yet computed are computed too.
///
/// `tokens` has a pointer to an `ollm_token` for each session, which must begin with its
/// `struct_size`; `outcomes` a place for the status of each. A session that fails leaves its token
/// as it is, and the others take their steps all the same; the last error is that of the last one
/// that failed.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a session that is there twice, `OLLM_INVALID_HANDLE`,
/// `OLLM_BUSY` if one of the sessions, or the batch, is in use: then no session has moved. Of a
/// session: as `ollm_session_step`, and `OLLM_INVALID_ARGUMENT` if it cannot be batched with the
/// first. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_batch_step(
    batch: *mut OllmBatch,
    sessions: *const *mut OllmSession,
    count: usize,
    tokens: *const *mut OllmToken,
    outcomes: *mut OllmStatus,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the arrays are as long as the caller says.
        let (sessions, tokens, places) = unsafe {
            let sessions = cast::slice("the sessions", sessions, count)?;
            let tokens = cast::slice("the tokens", tokens, count)?;
            let places = (0..count).map(|i| Out::new("the outcomes", outcomes.wrapping_add(i)));
            (sessions, tokens, places.collect::<Result<Vec<_>>>()?)
        };
        // SAFETY: the structs are what the header asks for.
        let outs = tokens.iter().map(|token| unsafe { OutStruct::new(*token) }).collect::<Result<Vec<_>>>()?;
        if (1..count).any(|i| sessions[..i].contains(&sessions[i])) {
            return Err(CallFailure::argument("a session is twice in the batch"));
        }
        let batch = BATCHES.get(batch)?;
        let mut batch = only(&batch.0, OllmBatch::NAME)?;
        with_all(sessions, |lives| {
            let turns = lives.iter_mut().map(|live| {
                let Live { session, selector, sampler, .. } = &mut **live;
                Turn { session: &mut *session, selector: selector.as_ref(), sampler }
            });
            let steps = batch.step(&mut turns.collect::<Vec<_>>());
            for (((live, step), out), place) in lives.iter_mut().zip(steps).zip(&outs).zip(&places) {
                let outcome = step.map_err(CallFailure::from).map(|step| live.show(step, out));
                place.set(note(outcome));
            }
            Ok(())
        })
    })
}
