//! Calls as models write them outside of JSON: as Python (`f(a=1, b="x")`) and in braces
//! (`call:f{a:1,b:<escape>x<escape>}`).

use serde_json::{Map, Number, Value};

/// How deep values may be nested.
const MAX_NESTING: usize = 64;

/// The name of a function and its arguments.
pub(super) type NamedCall = (String, Map<String, Value>);

type Result<T, E = String> = std::result::Result<T, E>;

/// Calls of Python functions with literals as keyword arguments: a list of them, or one after the
/// other. `print` around a call is left out.
pub(super) fn python_calls(text: &str) -> Result<Vec<NamedCall>> {
    let mut reader = Reader { text, at: 0, form: &PYTHON };
    let listed = reader.take("[");
    let mut calls = Vec::new();
    while !(if listed { reader.take("]") } else { reader.is_at_end() }) {
        calls.push(reader.call()?);
        while reader.take(",") || reader.take(";") {}
    }
    reader.end(calls)
}

/// Calls as `FunctionGemma` and Gemma 4 write them, one after the other.
pub(super) fn brace_calls(text: &str) -> Result<Vec<NamedCall>> {
    let mut reader = Reader { text, at: 0, form: &BRACES };
    let mut calls = Vec::new();
    while !reader.is_at_end() {
        reader.expect("call:")?;
        let name = reader.name()?;
        reader.expect("{")?;
        calls.push((name, reader.entries(MAX_NESTING)?));
    }
    reader.end(calls)
}

/// Whether `text` could go on to be a list of calls of Python: `[f(`.
pub(super) fn begins_python_list(text: &str) -> Option<bool> {
    let inside = text.strip_prefix('[')?.trim_start();
    let name = inside.len() - inside.trim_start_matches(is_name).len();
    let first = inside.chars().next().is_none_or(|c| c.is_ascii_alphabetic() || c == '_');
    match inside[name..].trim_start().chars().next() {
        None => first.then_some(false),
        Some('(') => (first && name > 0).then_some(true),
        Some(_) => None,
    }
}

/// What differs between the two forms.
struct LiteralForm {
    /// What texts are in.
    quotes: &'static [&'static str],
    /// Whether a backslash means something in texts.
    escapes: bool,
    /// Whether names of fields stand without quotes.
    bare_names: bool,
}

static PYTHON: LiteralForm = LiteralForm { quotes: &["\"\"\"", "'''", "\"", "'"], escapes: true, bare_names: false };
static BRACES: LiteralForm = LiteralForm { quotes: &QUOTES_OF_BRACES, escapes: false, bare_names: true };

/// What texts are in, in calls in braces: `FunctionGemma`'s, Gemma 4's.
pub(super) const QUOTES_OF_BRACES: [&str; 2] = ["<escape>", "<|\"|>"];

/// Words that are values.
const WORDS: [(&str, Value); 7] = [
    ("True", Value::Bool(true)),
    ("true", Value::Bool(true)),
    ("False", Value::Bool(false)),
    ("false", Value::Bool(false)),
    ("None", Value::Null),
    ("none", Value::Null),
    ("null", Value::Null),
];

struct Reader<'t> {
    text: &'t str,
    at: usize,
    form: &'static LiteralForm,
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl Reader<'_> {
    /// What is to come, without white space before it.
    fn rest(&mut self) -> &str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    fn is_at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn take(&mut self, part: &str) -> bool {
        let found = self.rest().starts_with(part);
        self.at += if found { part.len() } else { 0 };
        found
    }

    fn expect(&mut self, part: &str) -> Result<()> {
        if self.take(part) { Ok(()) } else { Err(self.wrong(&format!("{part:?}"))) }
    }

    fn wrong(&self, expected: &str) -> String {
        format!("there should be {expected} at byte {} of the call", self.at)
    }

    fn end(mut self, calls: Vec<NamedCall>) -> Result<Vec<NamedCall>> {
        match (self.is_at_end(), calls.is_empty()) {
            (true, false) => Ok(calls),
            (true, true) => Err("there is no call".to_owned()),
            (false, _) => Err(self.wrong("the end")),
        }
    }

    fn name(&mut self) -> Result<String> {
        let rest = self.rest();
        let name = rest[..rest.len() - rest.trim_start_matches(is_name).len()].to_owned();
        if name.is_empty() {
            return Err(self.wrong("a name"));
        }
        self.at += name.len();
        Ok(name)
    }

    fn call(&mut self) -> Result<NamedCall> {
        let mut prints = 0;
        let name = loop {
            let name = self.name()?;
            self.expect("(")?;
            if name != "print" {
                break name;
            }
            prints += 1;
        };
        let arguments = self.arguments()?;
        (0..prints).try_for_each(|_| self.expect(")"))?;
        Ok((name, arguments))
    }

    /// Arguments up to the closing parenthesis.
    fn arguments(&mut self) -> Result<Map<String, Value>> {
        let mut arguments = Map::new();
        if self.rest().starts_with('{') {
            let Value::Object(all) = self.value(MAX_NESTING)? else { return Err(self.wrong("an object")) };
            arguments = all;
            self.take(",");
            self.expect(")")?;
            return Ok(arguments);
        }
        while !self.take(")") {
            let argument = self.name()?;
            self.expect("=")?;
            arguments.insert(argument, self.value(MAX_NESTING)?);
            if !self.take(",") && !self.rest().starts_with(')') {
                return Err(self.wrong("a comma or a parenthesis"));
            }
        }
        Ok(arguments)
    }

    fn value(&mut self, nesting: usize) -> Result<Value> {
        let inner = nesting.checked_sub(1).ok_or("its arguments are nested too deep")?;
        if self.take("{") {
            return Ok(Value::Object(self.entries(inner)?));
        }
        for (open, close) in [("[", "]"), ("(", ")")] {
            if self.take(open) {
                return self.items(close, inner);
            }
        }
        match self.quoted()? {
            Some(text) => Ok(Value::String(text)),
            None => self.word(),
        }
    }

    fn items(&mut self, close: &str, nesting: usize) -> Result<Value> {
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.value(nesting)?);
            if !self.take(",") && !self.rest().starts_with(close) {
                return Err(self.wrong(&format!("a comma or {close:?}")));
            }
        }
        Ok(Value::Array(items))
    }

    /// Names and values up to a closing brace.
    fn entries(&mut self, nesting: usize) -> Result<Map<String, Value>> {
        let mut entries = Map::new();
        while !self.take("}") {
            let name = match self.quoted()? {
                Some(name) => name,
                None if self.form.bare_names => self.name()?,
                None => return Err(self.wrong("a name in quotes")),
            };
            self.expect(":")?;
            entries.insert(name, self.value(nesting)?);
            if !self.take(",") && !self.rest().starts_with('}') {
                return Err(self.wrong("a comma or a brace"));
            }
        }
        Ok(entries)
    }

    /// A text in quotes, if one is next; in Python several that follow each other are one.
    fn quoted(&mut self) -> Result<Option<String>> {
        let mut value = None;
        while self.begins_quoted() {
            self.quoted_part(value.get_or_insert_default())?;
            if !self.form.escapes {
                break;
            }
        }
        Ok(value)
    }

    fn begins_quoted(&mut self) -> bool {
        let quotes = self.form.quotes;
        let prefix = self.prefix().map_or(0, char::len_utf8);
        quotes.iter().any(|quote| self.rest()[prefix..].starts_with(quote))
    }

    /// The letter before the quotes of a text of Python: `r"\d"`.
    fn prefix(&mut self) -> Option<char> {
        let escapes = self.form.escapes;
        let mut next = self.rest().chars();
        let letter = next.next().filter(|c| escapes && matches!(c, 'r' | 'R' | 'u' | 'U'))?;
        next.next().is_some_and(|c| matches!(c, '"' | '\'')).then_some(letter)
    }

    fn quoted_part(&mut self, value: &mut String) -> Result<()> {
        let prefix = self.prefix();
        self.at += prefix.map_or(0, char::len_utf8);
        let escapes = self.form.escapes && !matches!(prefix, Some('r' | 'R'));
        let quotes = self.form.quotes;
        let Some(quote) = quotes.iter().find(|quote| self.take(quote)) else { return Ok(()) };
        loop {
            let rest = &self.text[self.at..];
            let Some(c) = rest.chars().next() else { return Err(self.wrong("the end of a text")) };
            if rest.starts_with(quote) {
                self.at += quote.len();
                return Ok(());
            }
            self.at += c.len_utf8();
            match c {
                '\\' if escapes => self.escape(value)?,
                // A quote behind a backslash does not end a text that has no escapes.
                '\\' if prefix.is_some() => {
                    value.push(c);
                    if let Some(next) = self.text[self.at..].chars().next() {
                        self.at += next.len_utf8();
                        value.push(next);
                    }
                }
                c => value.push(c),
            }
        }
    }

    fn escape(&mut self, value: &mut String) -> Result<()> {
        let code = self.text[self.at..].chars().next();
        self.at += code.map_or(0, char::len_utf8);
        let c = match code {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some('0'..='7') => self.octal(),
            Some('x') => self.hex(2)?,
            Some('u') => self.hex(4)?,
            Some('U') => self.hex(8)?,
            Some('\n') => return Ok(()),
            Some(c @ ('\\' | '\'' | '"')) => c,
            Some(c) => {
                value.push('\\');
                c
            }
            None => return Err(self.wrong("the end of a text")),
        };
        value.push(c);
        Ok(())
    }

    /// The character that one to three octal digits name, the first of which was read.
    fn octal(&mut self) -> char {
        let digits = &self.text[self.at - 1..];
        let length = digits.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let code = digits[..length].bytes().fold(0, |code, digit| code * 8 + u32::from(digit - b'0'));
        self.at += length - 1;
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self, digits: usize) -> Result<char> {
        let text = self.text.get(self.at..self.at + digits);
        let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = text.and_then(|text| u32::from_str_radix(text, 16).ok()).and_then(char::from_u32);
        let code = code.ok_or_else(|| self.wrong("the code of a character"))?;
        self.at += digits;
        Ok(code)
    }

    /// A number, or a word that is a value.
    fn word(&mut self) -> Result<Value> {
        let rest = self.rest();
        let word = rest[..rest.len() - rest.trim_start_matches(|c| is_name(c) || c == '+').len()].to_owned();
        let digits = without_underscores(&word);
        let constant = WORDS.iter().find(|(name, _)| *name == word).map(|(_, value)| value.clone());
        let float = || {
            let is_float = word.contains(['.', 'e', 'E']) && word.contains(|c: char| c.is_ascii_digit());
            digits.parse().ok().filter(|_| is_float)
        };
        // One that 64 bits do not hold is no float.
        let integer =
            || digits.parse::<i64>().map(Number::from).or_else(|_| digits.parse::<u64>().map(Number::from)).ok();
        let number = || integer().or_else(|| float().and_then(Number::from_f64));
        let value = constant.or_else(|| number().map(Value::Number)).ok_or_else(|| self.wrong("a value"))?;
        self.at += word.len();
        Ok(value)
    }
}

/// A number of Python without the underscores between its digits: `1_000`.
fn without_underscores(word: &str) -> String {
    let is_digit = |at: usize| word.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let is_left_out = |&(at, c): &(usize, char)| c == '_' && at > 0 && is_digit(at - 1) && is_digit(at + 1);
    word.char_indices().filter(|place| !is_left_out(place)).map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn python(text: &str) -> Value {
        let calls = python_calls(text).unwrap();
        calls.into_iter().map(|(name, arguments)| json!([name, arguments])).collect()
    }

    #[test]
    fn python_is_read() {
        assert_eq!(python("[f(), g.h(a=1,)]"), json!([["f", {}], ["g.h", {"a": 1}]]));
        assert_eq!(python("f(a='x\\'y', b=\"\\u00e9\\n\")\ng( )"), json!([["f", {"a": "x'y", "b": "é\n"}], ["g", {}]]));
        let values = "f(a=-1, b=2.5e3, c=True, d=None, e=[1, (2, 'é'), {}], f={'k': \"v)\"}, g='''a\n'b''')";
        let read =
            json!({"a": -1, "b": 2500.0, "c": true, "d": null, "e": [1, [2, "é"], {}], "f": {"k": "v)"}, "g": "a\n'b"});
        assert_eq!(python(values), json!([["f", read]]));
        assert_eq!(python("print(f(a=1))"), json!([["f", {"a": 1}]]));
        assert_eq!(python("f({'a': 1})"), json!([["f", {"a": 1}]]));
        assert_eq!(
            python(r#"f(a=r"\d\"x", b="\101\0z", c='x' "y", d=1_000, e=-1_0.5, r=u'é', u="\a\b")"#),
            json!([["f", {
                "a": "\\d\\\"x", "b": "A\0z", "c": "xy", "d": 1000, "e": -10.5, "r": "é", "u": "\u{7}\u{8}"
            }]])
        );
        // As deep as anybody writes it.
        let printed = "print(".repeat(50_000) + "f()" + &")".repeat(50_000);
        assert_eq!(python(&printed), json!([["f", {}]]));
        assert!(python_calls(&"print(".repeat(50_000)).is_err());
    }

    #[test]
    fn braces_are_read() {
        let text = "call:f{a:<escape>x, \\y}<escape>,b:[1,true],c:{d:null}}call:g{}";
        let expected =
            [("f".to_owned(), json!({"a": "x, \\y}", "b": [1, true], "c": {"d": null}})), ("g".to_owned(), json!({}))];
        let read = brace_calls(text).unwrap().into_iter().map(|(name, arguments)| (name, Value::Object(arguments)));
        assert!(read.eq(expected));
    }

    #[test]
    fn what_is_no_call_is_refused() {
        let deep = format!("f(a={}{})", "[".repeat(100), "]".repeat(100));
        for bad in [
            "",
            "[]",
            "f",
            "f(",
            "f(1)",
            "f(a=)",
            "f(a=x)",
            "f(a='x)",
            "f() g",
            "[f()",
            "f(a='\\x')",
            "f(a=1 b=2)",
            "f(a=1__0)",
            "f(a=_1)",
            "f(a=r)",
            "f(a=r'\\')",
            "f(a='\\",
            &deep,
        ] {
            assert!(python_calls(bad).is_err(), "{bad}");
        }
        for bad in ["", "f{}", "call:f", "call:f{", "call:f{a:<escape>}", "call:f{a}", "call:f{a:1 b:2}"] {
            assert!(brace_calls(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_of_calls_are_seen_early() {
        let seen = ["[", "[ ", "[f", "[f_1.g (", "[1(", "[(", "[link](", "[a, b", "{"].map(begins_python_list);
        assert_eq!(seen, [Some(false), Some(false), Some(false), Some(true), None, None, None, None, None]);
    }
}
