//! JSON schemas, as the engine is to read them.

use serde_json::{Map, Value, json};

/// White space between tokens of JSON: bounded, so that no text ends in an endless line of it.
const WHITESPACE: &str = r"[ ]|\n[ \t]{0,20}";

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

/// The schema of a text, with bounded white space where it does not say otherwise, and with formats
/// as they are meant.
///
/// # Errors
/// What is wrong with the JSON.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    tighten(&mut schema);
    if let Some(keywords) = schema.as_object_mut() {
        let options = keywords.entry("x-guidance").or_insert_with(|| json!({}));
        if let Some(options) = options.as_object_mut().filter(|options| !options.contains_key("whitespace_flexible")) {
            options.entry("whitespace_pattern").or_insert(WHITESPACE.into());
        }
    }
    Ok(schema)
}

/// Replaces formats by patterns, in the schema and in those inside of it.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(tighten),
        Value::Object(keywords) => {
            for (keyword, value) in keywords.iter_mut() {
                match value {
                    Value::Object(named) if NAMED_SCHEMAS.contains(&keyword.as_str()) => {
                        named.values_mut().for_each(tighten);
                    }
                    value if SCHEMAS.contains(&keyword.as_str()) => tighten(value),
                    _ => {}
                }
            }
            tighten_format(keywords);
        }
        _ => {}
    }
}

fn tighten_format(keywords: &mut Map<String, Value>) {
    let Some(pattern) = keywords.get("format").and_then(Value::as_str).and_then(pattern) else { return };
    keywords.remove("format");
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
    fn white_space_of_json_is_bounded_unless_told() {
        let pattern = |text: &str| read(text).unwrap()["x-guidance"]["whitespace_pattern"].as_str().map(str::len);
        assert_eq!(pattern("{}"), Some(WHITESPACE.len()));
        assert_eq!(pattern("true"), Some(WHITESPACE.len()));
        assert_eq!(pattern(r#"{"x-guidance": {"whitespace_pattern": "x"}}"#), Some(1));
        assert_eq!(pattern(r#"{"x-guidance": {"whitespace_flexible": false}}"#), None);
        assert!(read("{").is_err());
    }

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
