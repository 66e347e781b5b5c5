//! JSON schemas, as the engine is to read them: without annotations that it does not know, and with
//! formats as they are meant.

mod references;

#[cfg(feature = "constraints")]
use serde_json::Number;
use serde_json::{Map, Value, json};

use self::references::NAMED_SCHEMAS;

#[cfg(feature = "constraints")]
use crate::json::json_from_str;

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

/// The schema of a text, with [`separators`] where it does not say otherwise, references as the
/// engine takes them, and formats as they are meant.
///
/// # Errors
/// What is wrong with the JSON, its references or its numbers.
#[cfg(feature = "constraints")]
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let mut schema = json_from_str(text)?;
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    references::resolve(&mut schema)?;
    normalize(&mut schema);
    check_numbers(&schema)?;
    if let Some(keywords) = schema.as_object_mut() {
        let options = keywords.entry("x-guidance").or_insert_with(|| json!({}));
        let says = |options: &Map<String, Value>| WHITESPACE.iter().any(|option| options.contains_key(*option));
        if let (Some(options), Value::Object(ours)) = (options.as_object_mut().filter(|own| !says(own)), separators()) {
            options.extend(ours);
        }
    }
    Ok(schema)
}

/// A schema whose parts can be read apart from each other: references are as the engine takes them,
/// formats as they are meant. A reference to nowhere stays, for whoever compiles it to tell.
pub(crate) fn prepare(schema: &mut Value) {
    let _ = references::resolve(schema);
    normalize(schema);
}

/// Replaces formats by patterns, narrows bounds to 64 bits and leaves out what demands nothing, in
/// the schema and in those inside of it.
fn normalize(schema: &mut Value) {
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
            exclude_nul(keywords);
            narrow_bounds(keywords);
            let idle: Vec<String> =
                keywords.keys().filter(|keyword| demands_nothing(keyword, keywords)).cloned().collect();
            for keyword in &idle {
                keywords.shift_remove(keyword);
            }
        }
        _ => {}
    }
}

/// Takes U+0000 out of the classes of patterns that exclude characters. The engine lets quotes and
/// backslashes through where a class has all control characters, excluded or not.
fn exclude_nul(keywords: &mut Map<String, Value>) {
    if let Some(Value::String(pattern)) = keywords.get_mut("pattern") {
        *pattern = without_nul(pattern);
    }
    if let Some(Value::Object(named)) = keywords.get_mut("patternProperties") {
        *named = std::mem::take(named).into_iter().map(|(pattern, schema)| (without_nul(&pattern), schema)).collect();
    }
}

/// The pattern without U+0000 in its classes of the form `[^..]`.
fn without_nul(pattern: &str) -> String {
    let (mut out, mut is_escaped, mut is_class) = (String::with_capacity(pattern.len()), false, false);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ']' => is_class = false,
            '[' if !is_class => {
                is_class = true;
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                    // A bracket there is a character of the class.
                    if chars.peek().is_some_and(|next| *next != ']') {
                        out.push_str(r"\x00");
                    }
                }
            }
            _ => {}
        }
    }
    out
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

/// The engine computes with doubles and has integers of 64 bits, of which it cannot negate the
/// lowest: this is the double above it.
const LOWEST: i64 = i64::MIN + 1024;

/// Digits of a `multipleOf` at most, zeros at its ends apart: the engine has a state for each
/// remainder.
#[cfg(feature = "constraints")]
const MAX_DIGITS: usize = 5;

/// Bounds beyond the integers of the engine become these.
fn narrow_bounds(keywords: &mut Map<String, Value>) {
    for (keyword, last) in
        [("minimum", LOWEST), ("exclusiveMinimum", LOWEST), ("maximum", i64::MAX), ("exclusiveMaximum", i64::MAX)]
    {
        let Some(bound) = keywords.get_mut(keyword) else { continue };
        let is_beyond = |number: f64| if last < 0 { number < last as f64 } else { number >= last as f64 };
        if bound.as_f64().is_some_and(is_beyond) {
            *bound = last.into();
        }
    }
}

/// Refuses numbers that the engine would change or not bear, in a schema and in those inside of it.
#[cfg(feature = "constraints")]
fn check_numbers(schema: &Value) -> Result<(), String> {
    for keyword in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const", "enum"] {
        if let Some(number) = schema.get(keyword).and_then(changed_number) {
            return Err(format!("{number} is no exact double, or below all integers of 64 bits: write it as a string"));
        }
    }
    for keyword in ["minimum", "exclusiveMinimum"] {
        if let Some(least) = schema.get(keyword).filter(|least| least.as_f64() >= Some(i64::MAX as f64)) {
            return Err(format!("{least} is above all integers of 64 bits"));
        }
    }
    if let Some(Value::Number(multiple)) = schema.get("multipleOf") {
        let text = multiple.to_string();
        let digits: String = text.split('e').take(1).flat_map(str::chars).filter(char::is_ascii_digit).collect();
        if digits.trim_matches('0').len() > MAX_DIGITS {
            return Err(format!("{multiple} has more than {MAX_DIGITS} digits, which is not supported"));
        }
    }
    parts(schema).into_iter().try_for_each(|(_, part)| check_numbers(part))
}

/// A number in a value that the engine would change.
#[cfg(feature = "constraints")]
fn changed_number(value: &Value) -> Option<&Number> {
    match value {
        Value::Number(number) => is_changed(number).then_some(number),
        Value::Array(items) => items.iter().find_map(changed_number),
        Value::Object(fields) => fields.values().find_map(changed_number),
        _ => None,
    }
}

#[cfg(feature = "constraints")]
fn is_changed(number: &Number) -> bool {
    let double = number.as_f64().unwrap_or(f64::NAN);
    match number.as_i64() {
        // What a cast rounds up to more than the highest is that again.
        Some(integer) => integer < LOWEST || double as i64 != integer,
        None => double < LOWEST as f64 || number.is_u64() && double.to_string() != number.to_string(),
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
    fn classes_that_exclude_characters_exclude_the_first_of_all() {
        for (pattern, want) in [
            (r#"^[^"]*$"#, r#"^[^\x00"]*$"#),
            (r"[^\]]+[^a[^b]x", r"[^\x00\]]+[^\x00a[^b]x"),
            (r"\[^a][^]a]", r"\[^a][^]a]"),
            ("[a^]", "[a^]"),
        ] {
            assert_eq!(without_nul(pattern), want);
        }
    }

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
    fn numbers_are_those_of_the_engine_or_refused() {
        let bounds =
            json!({ "minimum": i64::MIN, "exclusiveMinimum": -1e300, "maximum": u64::MAX, "exclusiveMaximum": 1e19 });
        let narrow =
            json!({ "minimum": LOWEST, "exclusiveMinimum": LOWEST, "maximum": i64::MAX, "exclusiveMaximum": i64::MAX });
        let schema = read(&json!({ "items": bounds }).to_string()).unwrap();
        assert_eq!(schema["items"], narrow);
        let kept = json!({ "minimum": -5, "maximum": 2.5, "exclusiveMinimum": true });
        assert_eq!(read(&json!({ "anyOf": [kept] }).to_string()).unwrap()["anyOf"][0], kept);
        for refused in [
            json!({ "const": 9_007_199_254_740_993_i64 }),
            json!({ "const": i64::MIN }),
            json!({ "enum": [1, [{ "a": -1e19 }]] }),
            json!({ "enum": [12_345_678_901_234_567_890_u64] }),
            json!({ "minimum": 9_007_199_254_740_993_i64 }),
            json!({ "maximum": -1e19 }),
            json!({ "minimum": 1e19, "maximum": u64::MAX }),
            json!({ "multipleOf": 1_000_003 }),
            json!({ "multipleOf": 1.000_003 }),
        ] {
            assert!(read(&json!({ "properties": { "x": refused } }).to_string()).is_err(), "{refused}");
        }
        assert!(read(r#"{"const": 18446744073709551616}"#).unwrap_err().contains("more than 64 bits"));
        for taken in [
            json!({ "const": 9_007_199_254_740_992_i64 }),
            json!({ "const": i64::MAX }),
            json!({ "enum": [-0.0, 0.1, 1e300, 1e-7, 10_000_000_000_000_000_000_u64] }),
            json!({ "multipleOf": 1e6 }),
            json!({ "multipleOf": 1e-8 }),
            json!({ "multipleOf": 99_999 }),
        ] {
            assert!(read(&taken.to_string()).is_ok(), "{taken}");
        }
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
