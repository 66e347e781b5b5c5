//! The text of a template, as the engine takes it.
//!
//! One pass makes of Jinja as transformers reads it what minijinja reads alike: line ends are `\n`,
//! texts in quotes have Python's escapes, `'text' % operand` is a filter, and the tags
//! `generation`, which mark an assistant's text for training, are a scope. Comments and `raw` are
//! left alone.

/// The filter that stands for the operator `%` behind a text.
pub(super) const FORMAT: &str = "__mod__";

/// A template for the engine.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) text: String,
    /// The texts in quotes of all expressions and statements, each once.
    pub(super) literals: Vec<String>,
    /// How deep operands of `%` may still be nested; 0 once one of them has no end.
    levels: usize,
}

/// How deep operands of `%` are nested at most: each is scanned once for each level.
const MAX_LEVELS: usize = 16;

impl Source {
    pub(super) fn new(template: &str) -> Self {
        let template = template.replace("\r\n", "\n").replace('\r', "\n");
        let mut source = Self { text: String::with_capacity(template.len()), literals: Vec::new(), levels: MAX_LEVELS };
        source.data(&template);
        source.literals.sort();
        source.literals.dedup();
        source
    }

    /// Text with tags in it.
    fn data(&mut self, mut rest: &str) {
        let opens = |rest: &str, at: usize| rest.as_bytes().get(at + 1).is_some_and(|next| b"{%#".contains(next));
        while let Some((at, _)) = rest.match_indices('{').find(|&(at, _)| opens(rest, at)) {
            self.text.push_str(&rest[..at]);
            rest = &rest[at..];
            rest = match rest.as_bytes()[1] {
                b'{' => self.code(rest, "}}"),
                b'#' => self.copy(rest, rest.find("#}").map_or(rest.len(), |end| end + 2)),
                _ => self.statement(rest),
            };
        }
        self.text.push_str(rest);
    }

    fn copy<'s>(&mut self, rest: &'s str, end: usize) -> &'s str {
        self.text.push_str(&rest[..end]);
        &rest[end..]
    }

    fn statement<'s>(&mut self, tag: &'s str) -> &'s str {
        let start = tag.len() - tag[2..].trim_start_matches(['-', '+']).trim_start().len();
        let word = &tag[start..start + word_length(&tag[start..])];
        let stand_in = match word {
            "raw" => return self.raw(tag),
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => return self.code(tag, "%}"),
        };
        self.text.push_str(&tag[..start]);
        self.text.push_str(stand_in);
        self.code_from(tag, start + word.len(), "%}")
    }

    /// `{% raw %}` up to `{% endraw %}`. The line break behind the first is kept, as in Jinja.
    fn raw<'s>(&mut self, tag: &'s str) -> &'s str {
        let Some(begin) = tag.find("%}").map(|at| at + 2) else { return self.copy(tag, tag.len()) };
        let ends = |at: usize| {
            let word = tag[at + 2..].trim_start_matches(['-', '+']).trim_start();
            word.starts_with("endraw") && word_length(word) == "endraw".len()
        };
        let end = tag.match_indices("{%").map(|(at, _)| at).find(|&at| at >= begin && ends(at));
        self.text.push_str(&tag[..begin]);
        if tag[begin..].starts_with('\n') && !tag[..begin].ends_with("-%}") {
            self.text.push('\n');
        }
        let Some(end) = end else { return self.copy(&tag[begin..], tag.len() - begin) };
        self.text.push_str(&tag[begin..end]);
        self.code(&tag[end..], "%}")
    }

    /// A whole tag; gives what follows it.
    fn code<'s>(&mut self, tag: &'s str, close: &str) -> &'s str {
        self.text.push_str(&tag[..2]);
        self.code_from(tag, 2, close)
    }

    /// A tag from a place on, up to `close` outside of brackets and texts; gives what follows it.
    fn code_from<'s>(&mut self, tag: &'s str, start: usize, close: &str) -> &'s str {
        let (mut rest, mut depth) = (&tag[start..], 0_usize);
        while let Some(c) = rest.chars().next() {
            if depth == 0 && rest.starts_with(close) {
                return self.copy(rest, close.len());
            }
            match c {
                '\'' | '"' => {
                    rest = self.literal(rest, if depth == 0 { close } else { "" });
                    continue;
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            rest = self.copy(rest, c.len_utf8());
        }
        rest
    }

    /// A text in quotes, and the operands of `%` behind it.
    fn literal<'s>(&mut self, quoted: &'s str, close: &str) -> &'s str {
        let Some(length) = quoted_length(quoted) else { return self.copy(quoted, quoted.len()) };
        let value = unescaped(&quoted[1..length - 1]);
        let quote = &quoted[..1];
        self.text.push_str(quote);
        self.text.push_str(&value.replace('\\', "\\\\").replace(quote, &format!("\\{quote}")));
        self.text.push_str(quote);
        self.literals.push(value);
        let mut rest = &quoted[length..];
        loop {
            let operator = rest.trim_start();
            let closes = !close.is_empty() && operator.starts_with(close);
            let Some(operand) = operator.strip_prefix('%').filter(|operand| !closes && !operand.starts_with('}'))
            else {
                return rest;
            };
            if self.levels == 0 {
                return rest;
            }
            let Some(end) = operand_length(operand) else {
                self.levels = 0;
                return rest;
            };
            self.levels -= 1;
            self.text.extend(["|", FORMAT, "("]);
            self.code_from(&operand[..end], 0, "\0");
            self.levels += 1;
            self.text.push(')');
            rest = &operand[end..];
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_length(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_word).len()
}

fn space_length(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// The bytes of the text in quotes that `text` begins with, quotes among them.
fn quoted_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The bytes of what brackets enclose, brackets among them.
fn bracket_length(text: &str) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '\'' | '"' => {
                at += quoted_length(&text[at..])?;
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The bytes of a unary expression: signs, a value, and the subscripts, calls and filters behind
/// it.
fn operand_length(text: &str) -> Option<usize> {
    let mut at = space_length(text);
    while text[at..].starts_with(['-', '+']) {
        at += 1;
        at += space_length(&text[at..]);
    }
    at += match text[at..].chars().next()? {
        '\'' | '"' => quoted_length(&text[at..])?,
        '(' | '[' | '{' => bracket_length(&text[at..])?,
        c if is_word(c) => word_length(&text[at..]),
        _ => return None,
    };
    loop {
        let next = at + space_length(&text[at..]);
        at = match text[next..].chars().next() {
            Some('(' | '[') => next + bracket_length(&text[next..])?,
            Some('.' | '|') => {
                let name = next + 1 + space_length(&text[next + 1..]);
                name + word_length(&text[name..])
            }
            _ => return Some(at),
        };
    }
}

/// What stands between quotes, as Python's `unicode-escape` reads it.
fn unescaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        value.push_str(&rest[..at]);
        let code = &rest[at + 1..];
        let Some(c) = code.chars().next() else { break };
        let (length, replacement) = escape(c, code).unwrap_or((c.len_utf8(), None));
        match replacement {
            Some(c) => value.push_str(&c),
            None => value.extend(['\\', c]),
        }
        rest = &code[length..];
    }
    value + rest
}

/// The bytes of an escape behind its backslash, and what it stands for. None: it is none.
fn escape(c: char, code: &str) -> Option<(usize, Option<String>)> {
    let plain = |text: &str| Some((1, Some(text.to_owned())));
    let number = |digits: &str, radix, length| {
        let c = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)?;
        Some((length, Some(String::from(c))))
    };
    let hex = |count: usize| {
        let digits = code.get(1..=count).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        number(digits, 16, count + 1)
    };
    match c {
        '\n' => plain(""),
        '\\' => plain("\\"),
        '\'' => plain("'"),
        '"' => plain("\""),
        'a' => plain("\x07"),
        'b' => plain("\x08"),
        'f' => plain("\x0c"),
        'n' => plain("\n"),
        'r' => plain("\r"),
        't' => plain("\t"),
        'v' => plain("\x0b"),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '0'..='7' => {
            let count = code.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            number(&code[..count], 8, count)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(template: &str) -> String {
        Source::new(template).text
    }

    #[test]
    fn generation_tags_become_scopes() {
        let source = "{% for m in x %}{%- generation -%} a {%endgeneration%}{% generation_x %}{{ '{% generation %}' }}";
        let without = "{% for m in x %}{%- with -%} a {%endwith%}{% generation_x %}{{ '{% generation %}' }}";
        assert_eq!(prepared(source), without);
        assert_eq!(prepared("é {% generation"), "é {% with");
        for left_alone in ["{# {% generation %} #}", "{% raw %}{% generation %}{% endraw %}", "{% raw %}{{ '"] {
            assert_eq!(prepared(left_alone), left_alone);
        }
    }

    #[test]
    fn texts_have_the_escapes_of_python() {
        assert_eq!(prepared(r"{{ 'a\/\x41\u00e9\101\d\'' }}"), r"{{ 'a\\/AéA\\d\'' }}");
        assert_eq!(prepared("{{ 'a\\\nb\\n' }}"), "{{ 'ab\n' }}");
        assert_eq!(prepared("a\r\n\r{{ 'b\r\n' }}"), "a\n\n{{ 'b\n' }}");
    }

    #[test]
    fn a_percent_sign_behind_a_text_formats() {
        for (source, expected) in [
            ("{{ '%s' % a.b(c)|d ~ 'x' }}", "{{ '%s'|__mod__( a.b(c)|d) ~ 'x' }}"),
            ("{% set x = '%s' % ('a', \"%d\" % 1) %}", "{% set x = '%s'|__mod__( ('a', \"%d\"|__mod__( 1))) %}"),
            ("{% if 'x'%}{{ 5 % 3 }}", "{% if 'x'%}{{ 5 % 3 }}"),
            ("{{ 'a' % }}", "{{ 'a' % }}"),
        ] {
            assert_eq!(prepared(source), expected);
        }
    }

    #[test]
    fn literals_are_found_in_code_alone() {
        let source = r#"'no' {{ 'a' + "b\n" }} isn't {% if '</think>' in x %}{{ "it's }}" }} {{ 'a' }}{{ 'open"#;
        assert_eq!(Source::new(source).literals, ["</think>", "a", "b\n", "it's }}"]);
        assert_eq!(Source::new("{% it is").literals, [""; 0]);
    }
}
