//! `/v1/models`.

use hyper::StatusCode;
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
    let name = decoded(name);
    if name == service.name { Ok(service.model()) } else { Err(service.unknown(&name)) }
}

/// What a part of a path means: `%` and two digits are a byte (RFC 3986).
fn decoded(part: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let Some((&first, others)) = rest.split_first() {
        let digit = |at: usize| others.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &others[2..];
            }
            _ => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn parts_of_paths_are_read_as_they_are_written() {
        for (part, expected) in [("a.b-1", "a.b-1"), ("a%2Fb%20c", "a/b c"), ("%C3%a9", "é"), ("%", "%"), ("%2", "%2")]
        {
            assert_eq!(super::decoded(part), expected);
        }
        assert_eq!(super::decoded("%zz%ff"), "%zz\u{fffd}");
    }
}
