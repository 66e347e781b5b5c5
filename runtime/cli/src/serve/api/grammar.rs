//! What an answer keeps to: read with the prompt, compiled behind it.

use std::sync::Arc;

use hyper::StatusCode;
use ollm_runtime::constraint::{Allowed, Constraint, ConstraintError, Grammar, GrammarCompiler, GrammarKind};

use crate::serve::admission::Waiter;
use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::tools::CallsGrammar;

type Result<T, E = ApiError> = std::result::Result<T, E>;

/// What an answer keeps to, before it is compiled.
pub(crate) enum AnswerGrammar {
    /// A JSON schema, behind a text, if there is one.
    Json { schema: String, behind: &'static str },
    /// The calls of tools.
    Calls(Box<CallsGrammar>),
}

impl AnswerGrammar {
    /// The field that it comes from, and its text.
    fn source(&self) -> (&'static str, &str) {
        match self {
            Self::Json { schema, .. } => ("response_format", schema),
            Self::Calls(calls) => ("tools", calls.text()),
        }
    }

    /// Compiles it; takes time.
    fn compile(self, service: &Service, waiter: &Waiter) -> Result<Constraint> {
        match self {
            Self::Json { schema, behind } => {
                let compiled = service.compiler()?.compile(GrammarKind::JsonSchema, &schema)?;
                check_first(&compiled)?;
                Ok(if behind.is_empty() { Constraint::new(&compiled) } else { Constraint::after(&compiled, behind) })
            }
            Self::Calls(calls) => calls.compile(service, waiter),
        }
    }
}

/// Tokens of a text that is forced from its beginning that are followed at most.
const MOST_FORCED: usize = 256;

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
    for _ in 0..MOST_FORCED {
        let Allowed::Only(token) = text.allowed()? else { return Ok(()) };
        if text.is_complete() {
            return Ok(());
        }
        text.accept(token)?;
    }
    Ok(())
}

/// Compiles the grammar of a request, in its turn. What is too large is refused at once.
pub(crate) async fn compile(service: &Arc<Service>, grammar: Option<AnswerGrammar>) -> Result<Option<Constraint>> {
    let Some(grammar) = grammar else { return Ok(None) };
    let (field, text) = grammar.source();
    GrammarCompiler::check_size(text).map_err(|error| ApiError::from(error).at(field))?;
    let shared = Arc::clone(service);
    let compile = move |waiter: &Waiter| {
        waiter.check()?;
        grammar.compile(&shared, waiter).map_err(|error| error.at(field))
    };
    service.admission.compilers.run(compile).await.map(Some)
}
