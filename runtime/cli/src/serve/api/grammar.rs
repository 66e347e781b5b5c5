//! What an answer keeps to: read with the prompt, compiled behind it.

use std::borrow::Cow;
use std::sync::Arc;

use ollm_runtime::constraint::{Constraint, GrammarCompiler};

use crate::serve::admission::Waiter;
use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::answer_schema::AnswerSchema;
use super::first_choice::check_first;
use super::tools::CallsGrammar;

type Result<T, E = ApiError> = std::result::Result<T, E>;

/// What an answer keeps to, before it is compiled.
pub(crate) enum AnswerGrammar {
    /// JSON.
    Json(AnswerSchema),
    /// The calls of tools.
    Calls(Box<CallsGrammar>),
}

impl AnswerGrammar {
    /// The field that it comes from, and its text.
    fn source(&self) -> (&'static str, Cow<'_, str>) {
        match self {
            Self::Json(answer) => ("response_format", answer.text().into()),
            Self::Calls(calls) => ("tools", calls.text().into()),
        }
    }

    /// Compiles it; takes time.
    fn compile(self, service: &Service, waiter: &Waiter) -> Result<Constraint> {
        match self {
            Self::Json(answer) => {
                let compiled = answer.compile(service.compiler()?)?;
                check_first(&compiled)?;
                Ok(answer.follow(&compiled))
            }
            Self::Calls(calls) => calls.compile(service, waiter),
        }
    }
}

/// Compiles the grammar of a request, in its turn. What is too large is refused at once.
pub(crate) async fn compile(service: &Arc<Service>, grammar: Option<AnswerGrammar>) -> Result<Option<Constraint>> {
    let Some(grammar) = grammar else { return Ok(None) };
    let (field, text) = grammar.source();
    GrammarCompiler::check_size(&text).map_err(|error| ApiError::from(error).at(field))?;
    let shared = Arc::clone(service);
    let compile = move |waiter: &Waiter| {
        waiter.check()?;
        grammar.compile(&shared, waiter).map_err(|error| error.at(field))
    };
    service.admission.compilers.run(compile).await.map(Some)
}
