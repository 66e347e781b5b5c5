//! JSON schemas, as the engine is to read them: without annotations that it does not know, and with
//! formats as they are meant.

use serde_json::{Map, Value, json};

/// Formats that the engine knows. All others are annotations, as the specification has it.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// Between tokens of JSON there is what models write there, and no other white space: no text ends
/// in a line of it, and separators are forced, so that they are not computed.
pub(crate) fn separators() -> Value {
    json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " })
}

/// Options under `x-guidance` that say what white space there is.
#[cfg(feature = "constraints")]
const WHITESPACE: [&str; 4] = ["whitespace_flexible", "whitespace_pattern", "item_separator", "key_separator"];

/// Formats that the engine reads too widely: it knows no leap years, takes a leap second at any
/// time, and does not bound the lengths of names.
fn pattern(format: &str) -> Option<String> {
    const LEAP_YEAR: &str = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][48]|[2468]0|[13579][26])00)";
    const DAY: &str = "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)\
        |02-(?:0[1-9]|1[0-9]|2[0-8])";
    const TIME: &str = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?\
        (?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
    const LABEL: &str = "[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}";
    const WORD: &str = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}";
    let date = format!("(?:(?:[0-9]{{3}}[1-9]|[0-9]{{2}}[1-9]0|[0-9][1-9]00|[1-9]000)-(?:{DAY})|{LEAP_YEAR}-02-29)");
    let host = format!("{LABEL}(?:\\.{LABEL}){{0,6}}");
    let whole = match format {
        "date" => date,
        "time" => TIME.to_owned(),
        "date-time" => format!("{date}T{TIME}"),
        "hostname" => host,
        "email" => format!("{WORD}(?:\\.{WORD}){{0,2}}@{host}"),
        _ => return None,
    };
    Some(format!("^(?:{whole})$"))
}

/// Keywords whose value is a schema, or a list of schemas.
const SCHEMAS: [&str; 7] =
    ["items", "additionalItems", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"];

/// Keywords whose value has a schema for each name.
const NAMED_SCHEMAS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// The schema of a text, with [`separators`] where it does not say otherwise, and with formats as
/// they are meant.
///
/// # Errors
/// What is wrong with the JSON.
#[cfg(feature = "constraints")]
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    normalize(&mut schema);
    if let Some(keywords) = schema.as_object_mut() {
        let options = keywords.entry("x-guidance").or_insert_with(|| json!({}));
        let says = |options: &Map<String, Value>| WHITESPACE.iter().any(|option| options.contains_key(*option));
        if let (Some(options), Value::Object(ours)) = (options.as_object_mut().filter(|own| !says(own)), separators()) {
            options.extend(ours);
        }
    }
    Ok(schema)
}

/// Replaces formats by patterns and leaves out what demands nothing, in the schema and in those
/// inside of it.
pub(crate) fn normalize(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(normalize),
        Value::Object(keywords) => {
            for (keyword, value) in keywords.iter_mut() {
                match value {
                    Value::Object(named) if NAMED_SCHEMAS.contains(&keyword.as_str()) => {
                        named.values_mut().for_each(normalize);
                    }
                    value if SCHEMAS.contains(&keyword.as_str()) => normalize(value),
                    _ => {}
                }
            }
            tighten_format(keywords);
            let idle: Vec<String> =
                keywords.keys().filter(|keyword| demands_nothing(keyword, keywords)).cloned().collect();
            for keyword in &idle {
                keywords.shift_remove(keyword);
            }
        }
        _ => {}
    }
}

/// Whether no JSON is excluded by a keyword of a schema, whatever the others are.
fn demands_nothing(keyword: &str, keywords: &Map<String, Value>) -> bool {
    let has = |other: &str| keywords.contains_key(other);
    let value = &keywords[keyword];
    let is_empty = value.as_object().is_some_and(Map::is_empty);
    match keyword {
        "format" => value.as_str().is_some_and(|format| !FORMATS.contains(&format)),
        "uniqueItems" | "not" => *value == false,
        "propertyNames" | "unevaluatedProperties" | "unevaluatedItems" => *value == true || is_empty,
        "dependencies" | "dependentRequired" | "dependentSchemas" => is_empty,
        "minContains" | "maxContains" => !has("contains"),
        "if" => !has("then") && !has("else"),
        "then" | "else" => !has("if"),
        "$dynamicAnchor" | "$recursiveAnchor" => true,
        _ => false,
    }
}

/// The schemas directly inside of one, with their places; those that others refer to come first.
#[cfg(feature = "constraints")]
pub(crate) fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let Some(keywords) = schema.as_object() else { return Vec::new() };
    let mut parts = Vec::new();
    let is_definition = |keyword: &str| keyword == "$defs" || keyword == "definitions";
    let (definitions, others): (Vec<_>, Vec<_>) = keywords.iter().partition(|(keyword, _)| is_definition(keyword));
    for (keyword, value) in definitions.into_iter().chain(others) {
        match value {
            Value::Object(named) if NAMED_SCHEMAS.contains(&keyword.as_str()) => {
                parts.extend(named.iter().map(|(name, part)| (format!("/{keyword}/{}", escaped(name)), part)));
            }
            Value::Array(list) if SCHEMAS.contains(&keyword.as_str()) => {
                parts.extend(list.iter().enumerate().map(|(i, part)| (format!("/{keyword}/{i}"), part)));
            }
            part if SCHEMAS.contains(&keyword.as_str()) => parts.push((format!("/{keyword}"), part)),
            _ => {}
        }
    }
    parts
}

/// A name in a JSON pointer.
#[cfg(feature = "constraints")]
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn tighten_format(keywords: &mut Map<String, Value>) {
    let Some(pattern) = keywords.get("format").and_then(Value::as_str).and_then(pattern) else { return };
    keywords.shift_remove("format");
    if keywords.contains_key("pattern") {
        let all = keywords.entry("allOf").or_insert_with(|| json!([]));
        all.as_array_mut().into_iter().for_each(|all| all.push(json!({ "pattern": pattern })));
    } else {
        keywords.insert("pattern".to_owned(), pattern.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_demands_nothing_is_left_out() {
        let idle = json!({
            "type": "array", "uniqueItems": false, "format": "uri-reference", "then": false, "minContains": 2,
            "items": { "anyOf": [{ "format": "password", "not": false, "if": true, "propertyNames": {} }] },
            "properties": { "format": { "$dynamicAnchor": "x", "dependentRequired": {} }, "not": { "format": "uuid" } },
        });
        let mut schema = idle.clone();
        normalize(&mut schema);
        let kept = json!({
            "type": "array", "items": { "anyOf": [{}] }, "properties": { "format": {}, "not": { "format": "uuid" } },
        });
        assert_eq!(schema, kept);
        let mut schema =
            json!({ "uniqueItems": true, "not": {}, "if": {}, "then": {}, "contains": {}, "minContains": 2 });
        let all = schema.clone();
        normalize(&mut schema);
        assert_eq!(schema, all);
    }

    #[cfg(feature = "constraints")]
    #[test]
    fn separators_of_json_are_fixed_unless_told() {
        let options = |text: &str| read(text).unwrap()["x-guidance"].clone();
        assert_eq!(options("{}"), separators());
        assert_eq!(options("true"), separators());
        let mut lenient = separators();
        lenient["lenient"] = true.into();
        assert_eq!(options(r#"{"x-guidance": {"lenient": true}}"#).to_string().len(), lenient.to_string().len());
        for own in [json!({ "whitespace_pattern": "x" }), json!({ "whitespace_flexible": true })] {
            assert_eq!(options(&json!({ "x-guidance": own }).to_string()), own);
        }
        assert!(read("{").is_err());
    }

    #[cfg(feature = "constraints")]
    #[test]
    fn formats_become_patterns_where_they_are_schemas() {
        let text = r#"{"properties": {"format": {"format": "date"}, "enum": {"items": {"format": "time", "pattern": "Z"}}},
            "enum": [{"format": "date"}], "format": "uuid"}"#;
        let schema = read(text).unwrap();
        assert!(schema["properties"]["format"]["pattern"].as_str().unwrap().contains("-02-29"));
        let time = &schema["properties"]["enum"]["items"];
        assert_eq!((time["pattern"].as_str(), time["allOf"].as_array().map(Vec::len)), (Some("Z"), Some(1)));
        assert_eq!((&schema["enum"][0]["format"], &schema["format"]), (&json!("date"), &json!("uuid")));
    }

    #[test]
    fn patterns_match_what_the_formats_mean() {
        let matches =
            |format: &str, text: &str| regex_lite::Regex::new(&pattern(format).unwrap()).unwrap().is_match(text);
        for (format, right, wrong) in [
            (
                "date",
                &["2024-02-29", "2000-02-29", "1999-12-31", "0400-02-29"][..],
                &["2023-02-29", "1900-02-29", "0000-01-01", "0000-02-29", "2024-04-31", "2024-13-01"][..],
            ),
            ("time", &["23:59:59Z", "00:00:00.5+02:30"], &["23:59:60Z", "24:00:00Z", "12:00:00"]),
            ("date-time", &["2024-02-29T01:02:03Z"], &["2024-02-29", "2024-02-29 01:02:03Z"]),
            ("hostname", &["a", "a-b.example.org"], &["-a", "a..b", "a--b"]),
            ("email", &["a.b@c.org", "a@b"], &["a", "@b", "a@", ".a@b"]),
        ] {
            assert!(right.iter().all(|text| matches(format, text)), "{format}");
            assert!(!wrong.iter().any(|text| matches(format, text)), "{format}");
        }
    }
}
