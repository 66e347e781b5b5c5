//! Drafts: what guesses the tokens to come.

use std::sync::Arc;

use ollm_runtime::draft::{ModelDrafter, NgramDrafter};
use ollm_runtime::session::Drafter;

use crate::boundary::guard;
use crate::handle::Named;
use crate::model::OllmModel;
use crate::session::OllmSession;
use crate::status::{CallFailure, OllmStatus};
use crate::turn::with;

/// What guesses the tokens to come. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmDraft {
    /// Nothing, as at first.
    None = 0,
    /// The text: what followed the same tokens before. Good where a text is quoted or edited.
    Ngram = 1,
    /// A smaller model of the same vocabulary.
    Model = 2,
}

/// Sets what guesses the tokens to come. What it guesses goes through the network beside the last
/// token, and is of use where the session chooses just that: the tokens are the same, bit for bit,
/// and fewer passes are made (`ollm_session_statistics` tells how many). `draft` is of
/// `ollm_draft`. How long drafts are follows from what they bring. Steps of this session alone
/// draft; batches, branches and forks do not. `model` is the draft model of `OLLM_DRAFT_MODEL`,
/// which the session keeps alive, and NULL otherwise; its memory is not under the session's limit.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for a
/// model of another vocabulary, `OLLM_UNSUPPORTED` for one that continues no texts,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_session_set_draft(session: *mut OllmSession, draft: i32, model: *const OllmModel) -> OllmStatus {
    guard(|| {
        if model.is_null() == (draft == 2) {
            return Err(CallFailure::argument("a draft model is given without OLLM_DRAFT_MODEL, or not with it"));
        }
        let model = if model.is_null() { None } else { Some(OllmModel::table().get(model)?) };
        with(session, |live| {
            let drafter: Option<Box<dyn Drafter>> = match (draft, model) {
                (0, _) => None,
                (1, _) => Some(Box::new(NgramDrafter::default())),
                (2, Some(model)) => Some(Box::new(ModelDrafter::new(&live.session, Arc::clone(&model.model))?)),
                _ => return Err(CallFailure::argument(format!("{draft} is no draft"))),
            };
            live.session.set_drafter(drafter);
            Ok(())
        })
    })
}
