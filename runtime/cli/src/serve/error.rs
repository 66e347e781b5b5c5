//! Errors as OpenAI's API shapes them.

use std::fmt;

use hyper::StatusCode;
use ollm_runtime::Error;
use ollm_runtime::branches::BranchError;
use ollm_runtime::chat::ChatError;
use ollm_runtime::constraint::ConstraintError;
use ollm_runtime::plugin::SelectError;
use ollm_runtime::sampler::SamplerError;
use ollm_runtime::session::SessionError;
use ollm_runtime::tokenizer::TokenizerError;
use serde_json::{Value, json};

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    message: String,
    /// The field that is wrong, if it is one.
    param: Option<String>,
    code: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    /// A field has a value that it cannot have.
    pub(crate) fn invalid(param: impl Into<String>, message: impl fmt::Display) -> Self {
        let param = param.into();
        let message = format!("{param}: {message}");
        Self { status: StatusCode::BAD_REQUEST, message, param: Some(param), code: Some("invalid_value") }
    }

    /// The engine ended before the answer.
    pub(crate) fn stopped() -> Self {
        let message = "the answer was ended: the server is ending, or the client took nothing of it for too long";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The engine takes nothing any more.
    pub(crate) fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending")
    }

    /// Whether the request took too long.
    pub(crate) fn is_late(&self) -> bool {
        self.status == StatusCode::REQUEST_TIMEOUT || self.code == Some("timeout")
    }

    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Tells which field it is about.
    pub(crate) fn at(mut self, param: &str) -> Self {
        if self.param.is_none() {
            self.message = format!("{param}: {}", self.message);
            self.param = Some(param.to_owned());
            if self.status == StatusCode::BAD_REQUEST {
                self.code.get_or_insert("invalid_value");
            }
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let (status, code) = match &error {
            SessionError::ContextFull { .. } => (StatusCode::BAD_REQUEST, Some("context_length_exceeded")),
            SessionError::NoPlugin => (StatusCode::BAD_REQUEST, Some("no_plugin")),
            SessionError::Bidirectional => (StatusCode::BAD_REQUEST, Some("embeddings_only")),
            SessionError::NoClassifier => (StatusCode::BAD_REQUEST, Some("no_classifier")),
            SessionError::Empty | SessionError::TokenOutOfRange { .. } | SessionError::NoValue => {
                (StatusCode::BAD_REQUEST, None)
            }
            SessionError::Select(_) | SessionError::Sampler(_) => (StatusCode::BAD_REQUEST, None),
            SessionError::Constraint(_) => (StatusCode::UNPROCESSABLE_ENTITY, None),
            SessionError::OutOfMemory(_) | SessionError::MemoryLimit { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Some("out_of_memory"))
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        Self { code, ..Self::new(status, error.to_string()) }
    }
}

impl From<BranchError> for ApiError {
    fn from(error: BranchError) -> Self {
        match error {
            BranchError::Session(error) => error.into(),
            BranchError::Failed(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            error => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
}

impl From<ChatError> for ApiError {
    fn from(error: ChatError) -> Self {
        let status = match &error {
            ChatError::Message { .. } | ChatError::Json { .. } | ChatError::Variable { .. } => StatusCode::BAD_REQUEST,
            ChatError::OutOfMemory(_) | ChatError::Thread(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ConstraintError> for ApiError {
    fn from(error: ConstraintError) -> Self {
        let status = match &error {
            ConstraintError::Schema { .. }
            | ConstraintError::Grammar { .. }
            | ConstraintError::TooLong { .. }
            | ConstraintError::TooDeep { .. } => StatusCode::BAD_REQUEST,
            ConstraintError::NoThread { .. } | ConstraintError::OutOfMemory(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// What is wrong with a request in the words of the library.
macro_rules! bad_request {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for ApiError {
            fn from(error: $error) -> Self {
                Self::new(StatusCode::BAD_REQUEST, error.to_string())
            }
        })+
    };
}

bad_request!(SamplerError, SelectError, TokenizerError);
