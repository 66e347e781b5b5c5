//! `/v1/models`.

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::fields::Fields;

impl Service {
    /// The model as the list of models has it.
    fn model(&self) -> Value {
        let plugin = self.plugin.as_ref();
        json!({
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "ollm",
            "ollm": {
                "options": plugin.map_or(0, |plugin| plugin.option_count()),
                "hold": plugin.map(|plugin| plugin.spec().hold.to_string()),
                "context": self.context,
                "vocabulary": self.vocabulary,
                "chat": self.template().is_ok(),
            },
        })
    }

    /// That a request means this model.
    pub(super) fn check_model(&self, fields: &Fields<'_>) -> Result<(), ApiError> {
        match fields.text("model")? {
            Some(name) if name != self.name => Err(self.unknown(name).at("model")),
            _ => Ok(()),
        }
    }

    fn unknown(&self, name: &str) -> ApiError {
        let message = format!("there is no model {name:?}: the server has {:?}", self.name);
        ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found")
    }
}

/// All models, which are one.
pub(crate) fn list(service: &Service) -> Value {
    json!({ "object": "list", "data": [service.model()] })
}

/// The model of that name, which is the end of a path.
pub(crate) fn named(service: &Service, name: &str) -> Result<Value, ApiError> {
    let name = percent_decode_str(name).decode_utf8_lossy();
    if name == service.name { Ok(service.model()) } else { Err(service.unknown(&name)) }
}
