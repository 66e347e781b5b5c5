//! Grammars that compile, and that the engine gives up before anything is chosen.

use std::sync::Arc;

use hyper::StatusCode;
use ollm_runtime::constraint::{Allowed, Constraint, ConstraintError, Grammar};

use crate::serve::error::ApiError;

/// Tokens of a text that is forced from its beginning that are followed at most.
const MAX_FORCED: usize = 256;

type Result<T, E = ApiError> = std::result::Result<T, E>;

/// That a text of a grammar can begin: a schema may compile, and be too complex for the first place
/// where there is a choice.
pub(super) fn check_first(grammar: &Arc<Grammar>) -> Result<()> {
    follow_forced(Constraint::new(grammar)).map_err(|error| match error {
        ConstraintError::Stuck { reason } => {
            let message = format!("it is too complex to be followed ({reason}): make it simpler");
            ApiError::new(StatusCode::BAD_REQUEST, message)
        }
        error => error.into(),
    })
}

fn follow_forced(mut text: Constraint) -> Result<(), ConstraintError> {
    for _ in 0..MAX_FORCED {
        let Allowed::Only(token) = text.allowed()? else { return Ok(()) };
        if text.is_complete() {
            return Ok(());
        }
        text.accept(token)?;
    }
    Ok(())
}
