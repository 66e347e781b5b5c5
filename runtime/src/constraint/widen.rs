//! Which part of a JSON schema cannot be compiled, and the schema without it.
//!
//! The engine names neither the part nor, often, the keyword. Both are found by trial: the
//! innermost part that fails on its own, and in it the keyword without which it does not.

use serde_json::{Map, Value};

use crate::json_schema::{parts, prepare};

use super::error::ConstraintError;
use super::grammar::GrammarCompiler;
use super::kind::GrammarKind;

type Result<T, E = ConstraintError> = std::result::Result<T, E>;

/// Parts that are tried at most to find the one that fails.
const MAX_TRIALS: usize = 500;

/// Parts that are widened at most.
const MAX_WIDENED: usize = 64;

/// How the reason of a schema that no JSON satisfies begins.
const UNSATISFIABLE: &str = "no JSON satisfies it";

/// Keywords that other parts refer to.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

impl GrammarCompiler {
    /// A JSON schema whose parts can all be compiled: those that cannot are left out, so that any
    /// JSON may stand where they were. Gives what was left out, too. `goes_on` is asked before each
    /// trial, which take time.
    ///
    /// # Errors
    /// [`ConstraintError::Grammar`] if too many parts would have to go, or `goes_on` says no; those
    /// of [`GrammarCompiler::check_size`].
    pub fn widen(&self, schema: &Value, goes_on: &mut dyn FnMut() -> bool) -> Result<(Value, Vec<ConstraintError>)> {
        let (mut schema, mut left_out) = (schema.clone(), Vec::new());
        prepare(&mut schema);
        loop {
            Self::check_size(&schema.to_string())?;
            let Err(error) = self.trial(&schema) else { return Ok((schema, left_out)) };
            if left_out.len() >= MAX_WIDENED || !goes_on() {
                return Err(error);
            }
            let error = self.locate(&schema, error, goes_on);
            let ConstraintError::Schema { path, keyword, .. } = &error else { return Err(error) };
            let pointer = path.trim_start_matches('#');
            let Some(part) = schema.pointer_mut(pointer) else { return Err(error) };
            leave_out(part, keyword.as_deref());
            left_out.push(error);
        }
    }

    /// The same error, with the part of the schema that it is about.
    pub(super) fn located(&self, text: &str, error: ConstraintError) -> ConstraintError {
        match serde_json::from_str(text) {
            Ok(mut schema) => {
                prepare(&mut schema);
                self.locate(&schema, error, &mut || true)
            }
            Err(_) => error,
        }
    }

    fn locate(&self, schema: &Value, error: ConstraintError, goes_on: &mut dyn FnMut() -> bool) -> ConstraintError {
        let ConstraintError::Grammar { reason, .. } = &error else { return error };
        let mut trials = 0;
        let mut compiled = |part: &Value| {
            trials += 1;
            (trials <= MAX_TRIALS && goes_on()).then(|| self.trial(&alone(part, schema)))
        };
        let (mut at, mut path, mut reason) = (schema, "#".to_owned(), reason.clone());
        while let Some((place, part, inner)) = failing_part(at, &mut compiled) {
            (at, path, reason) = (part, path + &place, inner);
        }
        let keywords = at.as_object().map(Map::keys).into_iter().flatten();
        let mut keywords = keywords.filter(|keyword| !DEFINITIONS.contains(&keyword.as_str()));
        let keyword = keywords.find(|keyword| compiled(&without(at, keyword)) == Some(Ok(())));
        ConstraintError::Schema { path, keyword: keyword.cloned(), reason }
    }

    /// Whether a schema can be compiled.
    fn trial(&self, schema: &Value) -> Result<()> {
        self.engine.compile(GrammarKind::JsonSchema, &schema.to_string()).map(drop)
    }
}

/// The first part directly inside of a schema that fails on its own, with its place and why. One
/// that no JSON satisfies is right where it is one of several, or says what may not be there.
fn failing_part<'s>(
    schema: &'s Value,
    compiled: &mut dyn FnMut(&Value) -> Option<Result<()>>,
) -> Option<(String, &'s Value, String)> {
    parts(schema).into_iter().find_map(|(place, part)| match compiled(part) {
        Some(Err(ConstraintError::Grammar { reason, .. })) if !reason.starts_with(UNSATISFIABLE) => {
            Some((place, part, reason))
        }
        _ => None,
    })
}

/// A part as a schema of its own, with the definitions of the whole. What it says by reference to
/// another part of the whole is left out.
fn alone(part: &Value, whole: &Value) -> Value {
    let mut alone = part.clone();
    if std::ptr::eq(part, whole) {
        return alone;
    }
    drop_references(&mut alone);
    if let Some(keywords) = alone.as_object_mut() {
        for name in DEFINITIONS.into_iter().chain(["x-guidance"]) {
            if let Some(value) = whole.get(name) {
                keywords.entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    alone
}

fn drop_references(schema: &mut Value) {
    let Some(keywords) = schema.as_object_mut() else {
        schema.as_array_mut().into_iter().flatten().for_each(drop_references);
        return;
    };
    let is_elsewhere = |reference: &str| {
        let place = reference.strip_prefix('#').unwrap_or("/$defs/");
        !DEFINITIONS.iter().any(|name| place.starts_with(&format!("/{name}/")))
    };
    if keywords.get("$ref").and_then(Value::as_str).is_some_and(is_elsewhere) {
        keywords.shift_remove("$ref");
    }
    keywords.values_mut().for_each(drop_references);
}

fn without(schema: &Value, keyword: &str) -> Value {
    let mut rest = schema.clone();
    rest.as_object_mut().and_then(|keywords| keywords.shift_remove(keyword));
    rest
}

/// Leaves a keyword out of a schema; without one, all of them. `oneOf` is then `anyOf`.
fn leave_out(schema: &mut Value, keyword: Option<&str>) {
    let (Some(keyword), Some(keywords)) = (keyword, schema.as_object_mut()) else {
        *schema = Value::Object(Map::new());
        return;
    };
    let value = keywords.shift_remove(keyword);
    if let ("oneOf", Some(value), false) = (keyword, value, keywords.contains_key("anyOf")) {
        keywords.insert("anyOf".to_owned(), value);
    }
}
