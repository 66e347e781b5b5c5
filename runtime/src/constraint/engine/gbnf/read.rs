//! Reads GBNF.

use std::collections::HashMap;

use super::chars::Chars;
use super::parts::{Part, Rules};

type Result<T, E = String> = std::result::Result<T, E>;

/// Times that something can be repeated.
const MAX_TIMES: u32 = 2000;

/// Rules of a grammar.
const MAX_RULES: usize = 2000;

/// Repetitions of repetitions: more say nothing new.
const MAX_REPETITIONS: usize = 8;

/// The rules of a text.
pub(super) fn rules(text: &str, token: &dyn Fn(&str) -> Option<u32>, ends: &[u32]) -> Result<Rules> {
    let (numbers, names, bodies) = (HashMap::new(), Vec::new(), Vec::new());
    let mut reader = Reader { rest: text.chars(), text, token, ends, numbers, names, bodies };
    reader.skip(true);
    while reader.peek().is_some() {
        reader.rule()?;
        reader.skip(true);
    }
    let Reader { numbers, names, bodies, .. } = reader;
    let missing = names.iter().zip(&bodies).find(|(_, body)| body.is_none());
    if let Some((name, _)) = missing {
        return Err(format!("the rule {name} is used, but not defined"));
    }
    let root = *numbers.get("root").ok_or("it has no rule named root")?;
    Ok(Rules { names, bodies: bodies.into_iter().flatten().collect(), root })
}

struct Reader<'t> {
    text: &'t str,
    rest: std::str::Chars<'t>,
    /// Finds the token that a text is all of.
    token: &'t dyn Fn(&str) -> Option<u32>,
    /// The tokens that end a text.
    ends: &'t [u32],
    numbers: HashMap<String, usize>,
    names: Vec<String>,
    /// Of the rules that were defined.
    bodies: Vec<Option<Part>>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take(&mut self, expected: &str) -> bool {
        let found = self.rest.as_str().strip_prefix(expected);
        if let Some(rest) = found {
            self.rest = rest.chars();
        }
        found.is_some()
    }

    fn expect(&mut self, expected: &str) -> Result<()> {
        if self.take(expected) { Ok(()) } else { self.wrong(&format!("there should be {expected:?}")) }
    }

    /// An error at this place.
    fn wrong<T>(&self, what: &str) -> Result<T> {
        let before = &self.text[..self.text.len() - self.rest.as_str().len()];
        let (line, column) =
            (before.matches('\n').count() + 1, before.chars().rev().take_while(|&c| c != '\n').count() + 1);
        Err(format!("line {line}, column {column}: {what}"))
    }

    /// Skips spaces and comments, and ends of lines where the rule goes on behind them.
    fn skip(&mut self, lines: bool) {
        loop {
            match self.peek() {
                Some(' ' | '\t') => drop(self.rest.next()),
                Some('\n' | '\r') if lines => drop(self.rest.next()),
                Some('#') => {
                    let comment = self.rest.as_str().find(['\n', '\r']).unwrap_or(self.rest.as_str().len());
                    self.rest = self.rest.as_str()[comment..].chars();
                }
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<String> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let length = self.rest.as_str().find(|c| !word(c)).unwrap_or(self.rest.as_str().len());
        if length == 0 {
            return self.wrong("there should be the name of a rule");
        }
        let (name, rest) = self.rest.as_str().split_at(length);
        self.rest = rest.chars();
        Ok(name.to_owned())
    }

    fn number(&mut self, name: String) -> usize {
        *self.numbers.entry(name.clone()).or_insert_with(|| {
            self.names.push(name);
            self.bodies.push(None);
            self.names.len() - 1
        })
    }

    fn rule(&mut self) -> Result<()> {
        let name = self.name()?;
        let rule = self.number(name);
        if self.names.len() > MAX_RULES {
            return self.wrong(&format!("there are more than {MAX_RULES} rules"));
        }
        self.skip(false);
        self.expect("::=")?;
        self.skip(true);
        let body = self.either(false)?;
        // A rule that is defined again replaces the first one, as in llama.cpp.
        self.bodies[rule] = Some(body);
        match self.peek() {
            None | Some('\n' | '\r') => Ok(()),
            Some(c) => self.wrong(&format!("{c:?} cannot be here")),
        }
    }

    /// Alternatives, inside of parentheses or not.
    fn either(&mut self, inside: bool) -> Result<Part> {
        let mut parts = vec![self.sequence(inside)?];
        while self.bar(inside) {
            self.skip(true);
            parts.push(self.sequence(inside)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Part::Either(parts) })
    }

    /// Takes a bar, which may be the first of a new line.
    fn bar(&mut self, inside: bool) -> bool {
        let here = self.rest.clone();
        self.skip(true);
        let found = self.take("|");
        if !found && !inside {
            self.rest = here;
        }
        found
    }

    fn sequence(&mut self, inside: bool) -> Result<Part> {
        let mut parts = Vec::new();
        loop {
            self.skip(inside);
            let Some(part) = self.part()? else { break };
            self.skip(inside);
            parts.push(self.repeated(part)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Part::Sequence(parts) })
    }

    /// The next part, if there is one.
    fn part(&mut self) -> Result<Option<Part>> {
        Ok(Some(match self.peek() {
            Some('"') => self.literal()?,
            Some('[') => self.class()?,
            Some('(') => {
                self.rest.next();
                let inner = self.either(true)?;
                self.skip(true);
                self.expect(")")?;
                inner
            }
            Some('.') => {
                self.rest.next();
                Part::Class(Chars::all())
            }
            Some('<') => self.token(false)?,
            Some('!') => {
                self.rest.next();
                self.token(true)?
            }
            Some(c) if c.is_ascii_alphanumeric() || c == '-' || c == '_' => {
                let name = self.name()?;
                Part::Rule(self.number(name))
            }
            _ => return Ok(None),
        }))
    }

    /// The part with what stands behind it: `*`, `+`, `?`, `{m}`, `{m,}`, `{m,n}`, `{,n}`.
    fn repeated(&mut self, mut part: Part) -> Result<Part> {
        for _ in 0..MAX_REPETITIONS {
            let (from, to) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => self.times()?,
                _ => return Ok(part),
            };
            self.rest.next();
            part = if to == Some(0) { Part::Sequence(Vec::new()) } else { Part::Repeat(Box::new(part), from, to) };
        }
        self.wrong("these are too many repetitions of repetitions")
    }

    /// What stands in braces, up to the last one.
    fn times(&mut self) -> Result<(u32, Option<u32>)> {
        self.expect("{")?;
        self.skip(false);
        let from = self.digits()?;
        self.skip(false);
        let to = if self.take(",") {
            self.skip(false);
            self.digits()?
        } else {
            from
        };
        self.skip(false);
        if self.peek() != Some('}') || from.is_none() && to.is_none() {
            return self.wrong("a repetition is {m}, {m,}, {m,n} or {,n}");
        }
        let from = from.unwrap_or(0);
        if to.is_some_and(|to| to < from) || from.max(to.unwrap_or(0)) > MAX_TIMES {
            return self.wrong(&format!("a repetition goes from less to more, and to {MAX_TIMES} at most"));
        }
        Ok((from, to))
    }

    fn digits(&mut self) -> Result<Option<u32>> {
        let length = self.rest.as_str().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.as_str().len());
        let (digits, rest) = self.rest.as_str().split_at(length);
        if digits.is_empty() {
            return Ok(None);
        }
        self.rest = rest.chars();
        digits.parse().map(Some).or_else(|_| self.wrong("that is too large a number"))
    }

    fn literal(&mut self) -> Result<Part> {
        self.expect("\"")?;
        let mut text = String::new();
        while !self.take("\"") {
            text.push(self.character()?);
        }
        Ok(Part::Text(text))
    }

    fn class(&mut self) -> Result<Part> {
        self.expect("[")?;
        let excludes = self.take("^");
        let mut class = Chars::default();
        while !self.take("]") {
            let first = self.character()?;
            let is_range = self.peek() == Some('-') && !self.rest.as_str().starts_with("-]");
            let last = if is_range {
                self.rest.next();
                self.character()?
            } else {
                first
            };
            if last < first {
                return self.wrong("a range goes from less to more");
            }
            class.add(first, last);
        }
        let class = if excludes { class.others() } else { class };
        if class.is_empty() {
            self.wrong("a class without a character matches nothing")
        } else {
            Ok(Part::Class(class))
        }
    }

    /// A character, or what stands for one.
    fn character(&mut self) -> Result<char> {
        match self.rest.next() {
            None => self.wrong("the text ends here, but should not"),
            Some('\\') => match self.rest.next() {
                Some('n') => Ok('\n'),
                Some('r') => Ok('\r'),
                Some('t') => Ok('\t'),
                Some('x') => self.hexadecimal(2),
                Some('u') => self.hexadecimal(4),
                Some('U') => self.hexadecimal(8),
                Some(c @ ('\\' | '"' | '[' | ']' | '-' | '^' | '/')) => Ok(c),
                _ => self.wrong("that is no escape; there are \\n \\r \\t \\xHH \\uHHHH \\UHHHHHHHH \\\\ \\\" \\[ \\]"),
            },
            Some(c) => Ok(c),
        }
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<char> {
        let code = self.rest.as_str().get(..digits).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(found) = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32) else {
            return self.wrong(&format!("there should be a character of {digits} hexadecimal digits"));
        };
        self.rest = self.rest.as_str()[digits..].chars();
        Ok(found)
    }

    /// A token, or any other one.
    fn token(&mut self, excluded: bool) -> Result<Part> {
        let end = self.rest.as_str().find('>').filter(|_| self.peek() == Some('<'));
        let Some((token, rest)) = end.map(|end| self.rest.as_str().split_at(end + 1)) else {
            return self.wrong("a token is <name> or <[number]>, and what is no such token !<name> or !<[number]>");
        };
        let number = token.strip_prefix("<[").and_then(|token| token.strip_suffix("]>"));
        let found = match number {
            Some(number) => number.trim().parse().ok(),
            None => (self.token)(token),
        };
        let Some(id) = found else { return self.wrong(&format!("{token} is no token of the model")) };
        if self.ends.contains(&id) && !excluded {
            return self.wrong(&format!("{token} ends the text, as the end of the grammar does: leave it out"));
        }
        self.rest = rest.chars();
        let mut ids = vec![id];
        if excluded {
            ids.extend(self.ends.iter().filter(|&&end| end != id));
        }
        Ok(Part::Tokens { ids, excluded })
    }
}
