//! Reads the fields of a request. What is not known is ignored, as OpenAI does; what is known and
//! wrong is an error that names the field. `null` is as good as nothing.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use hyper::StatusCode;
use ollm_runtime::chat::json_from_str;
use serde_json::{Map, Value};

use crate::serve::error::ApiError;

type Result<T> = std::result::Result<T, ApiError>;

/// A JSON object of a request, and where in it that is.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

/// The object that a body is.
pub(crate) fn parse(body: &[u8]) -> Result<Map<String, Value>> {
    let refused = |message: String| ApiError::new(StatusCode::BAD_REQUEST, message).with_code("invalid_json");
    let text = std::str::from_utf8(body)
        .map_err(|error| refused(format!("the body is not UTF-8 (byte {})", error.valid_up_to())))?;
    match json_from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(refused("the body is no JSON object".to_owned())),
        Err(reason) => Err(refused(format!("the body is no JSON object: {reason}"))),
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, path: String::new() }
    }

    /// The whole name of a field.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(crate) fn invalid(&self, name: &str, message: impl fmt::Display) -> ApiError {
        ApiError::invalid(self.path(name), message)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a Value> {
        self.get(name).ok_or_else(|| self.invalid(name, "it is missing"))
    }

    fn read<T>(&self, name: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.invalid(name, format!("it must be {expected}")))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        self.read(name, "a string", Value::as_str)
    }

    /// `false` where there is none.
    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        self.flag_or(name, false)
    }

    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.read(name, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(crate) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f32>> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let read = |value: &Value| value.as_f64().filter(|x| range.contains(x)).map(|x| x as f32);
        self.read(name, &expected, read)
    }

    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<usize>> {
        let expected = match *range.end() {
            u64::MAX => format!("an integer from {} on", range.start()),
            end => format!("an integer from {} to {end}", range.start()),
        };
        let read = |value: &Value| value.as_u64().filter(|n| range.contains(n))?.try_into().ok();
        self.read(name, &expected, read)
    }

    /// What a type of the library reads from a text.
    pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Option<T>> {
        let parse = |text: &str| text.parse().map_err(|error| self.invalid(name, error));
        self.text(name)?.map(parse).transpose()
    }

    pub(crate) fn list(&self, name: &str) -> Result<Option<&'a [Value]>> {
        self.read(name, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>> {
        let object = self.read(name, "an object", Value::as_object)?;
        Ok(object.map(|object| Fields { object, path: self.path(name) }))
    }

    /// The names and values of an object.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let body = parse(br#"{"a": "x", "n": 3, "none": null, "o": {"p": 2.5}}"#).unwrap();
        let fields = Fields::new(&body);
        assert_eq!((fields.text("a"), fields.text("none"), fields.text("b")), (Ok(Some("x")), Ok(None), Ok(None)));
        assert_eq!(fields.integer("n", 1..=3), Ok(Some(3)));
        let error = fields.integer("n", 4..=u64::MAX).unwrap_err().json();
        assert_eq!(error["error"]["param"], "n");
        assert_eq!(error["error"]["message"], "n: it must be an integer from 4 on");
        let inner = fields.object("o").unwrap().unwrap();
        assert_eq!(inner.number("p", 0.0..=2.5), Ok(Some(2.5)));
        assert_eq!(inner.number("p", 0.0..=2.0).unwrap_err().json()["error"]["param"], "o.p");
        assert!(parse(b"[1]").is_err() && parse(b"{\"a\":\xff}").is_err() && parse(b"{}").is_ok());
    }
}
