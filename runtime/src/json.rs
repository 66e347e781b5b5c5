//! JSON whose integers stay what they are.

use serde_json::Value;

/// Reads JSON. Integers are exact: one that 64 bits do not hold is an error, where `serde_json`
/// makes a float of it, which is another number.
///
/// # Errors
/// What is wrong with the text, and where.
///
/// # Examples
/// ```
/// use ollm_runtime::chat::json_from_str;
///
/// assert_eq!(json_from_str("[18446744073709551615]").unwrap()[0], u64::MAX);
/// assert!(json_from_str("[18446744073709551616]").unwrap_err().contains("64 bits"));
/// ```
pub fn json_from_str(text: &str) -> Result<Value, String> {
    let value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    check_integers(text).map(|()| value)
}

/// Refuses integers that 64 bits do not hold.
pub(crate) fn check_integers(text: &str) -> Result<(), String> {
    match integers(text).find(|digits| digits.parse::<i64>().is_err() && digits.parse::<u64>().is_err()) {
        Some(digits) => Err(format!("{} is an integer of more than 64 bits: write it as a string", shortened(digits))),
        None => Ok(()),
    }
}

/// The integers of a JSON text, outside of strings.
fn integers(mut rest: &str) -> impl Iterator<Item = &str> {
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?;
            rest = &rest[start..];
            if let Some(string) = rest.strip_prefix('"') {
                rest = &string[string_length(string)..];
                continue;
            }
            let (number, behind) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
            rest = behind;
            if !number.contains(['.', 'e', 'E']) {
                return Some(number);
            }
        }
    })
}

/// The bytes of a string of JSON behind its first quote, the last one among them.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 1)
}

fn shortened(digits: &str) -> String {
    const SHOWN: usize = 40;
    if digits.len() > SHOWN { format!("{}..", &digits[..SHOWN]) } else { digits.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_stay_what_they_are() {
        for text in [
            "[18446744073709551615, -9223372036854775808, 1e30, 123456789012345678901234567890.0, -0]",
            r#"{"12345678901234567890123": "\"99999999999999999999\\", "a": "99999999999999999999"}"#,
            "1",
        ] {
            assert_eq!(json_from_str(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
        for text in ["18446744073709551616", "-9223372036854775809", r#"{"a\"": [1, 99999999999999999999]}"#] {
            assert!(json_from_str(text).unwrap_err().contains("more than 64 bits"), "{text}");
        }
        let long = "9".repeat(1000);
        assert!(json_from_str(&long).unwrap_err().len() < 200);
        assert!(json_from_str("[1").is_err());
    }
}
