//! Macros of templates, whose parameters and closures minijinja has otherwise than Jinja.

use super::words::{is_constant, parameters, word_length};

/// The function that makes of a macro one that takes further arguments.
pub(super) const VARIADIC: &str = "__variadic__";

/// A variable that no template has: the default of a parameter that its body sets.
const UNSET: &str = "__unset__";

/// The names by which a macro sees its further arguments, with what they are without any.
const FURTHER: [(&str, &str); 2] = [("varargs", "()"), ("kwargs", "{}")];

/// The namespace that a statement sets a field of, whose text behind `set` this is. A macro
/// encloses what it reads alone, so that it has to be read.
pub(super) fn namespace(target: &str) -> Option<&str> {
    let (name, rest) = target.trim_start().split_at(word_length(target.trim_start()));
    (!name.is_empty() && rest.trim_start().starts_with('.')).then_some(name)
}

/// The tag that begins a macro.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) text: String,
    parameters: Vec<String>,
    /// Where the last bracket is in the text.
    close: usize,
}

impl Head {
    /// Takes the defaults that speak of variables out of a tag, and sets them behind it, one after
    /// the other: a parameter before them may be such a variable.
    pub(super) fn new(tag: &str) -> Self {
        let open = tag.find('(').unwrap_or(tag.len());
        let found = parameters(&tag[open..]);
        let (mut text, mut at, mut defaults) = (String::with_capacity(tag.len()), 0, String::new());
        for (name, place) in found.iter().filter_map(|it| Some((it.name, it.default.clone()?))) {
            let (start, end) = (open + place.start, open + place.end);
            if !is_constant(&tag[start..end]) {
                text.extend([&tag[at..start], UNSET]);
                let default = tag[start..end].trim();
                defaults.extend(["{% if ", name, " is undefined %}{% set ", name, " = ", default, " %}{% endif %}"]);
                at = end;
            }
        }
        let rest = &tag[at..];
        let close = text.len() + rest.rfind(')').unwrap_or(rest.len());
        match (rest.strip_suffix("%}"), defaults.strip_suffix("%}")) {
            (Some(rest), Some(defaults)) => {
                // What is behind the tag is behind them, with the white space that it takes.
                let (rest, trim) = rest.split_at(rest.trim_end_matches(['-', '+']).len());
                text.extend([rest, "%}", defaults, trim, "%}"]);
            }
            _ => text.push_str(rest),
        }
        Self { text, parameters: found.iter().map(|parameter| parameter.name.to_owned()).collect(), close }
    }
}

/// A macro that is being read.
#[derive(Debug)]
pub(super) struct Macro {
    name: String,
    parameters: Vec<String>,
    /// Where the bracket behind its parameters is in the text that is written.
    close: usize,
    /// Which of [`FURTHER`] it speaks of.
    further: [bool; FURTHER.len()],
}

impl Macro {
    /// The macro whose name `named` begins with, and whose head is written at `begin`.
    pub(super) fn new(named: &str, head: Head, begin: usize) -> Self {
        let named = named.trim_start();
        let name = named[..word_length(named)].to_owned();
        Self { name, parameters: head.parameters, close: begin + head.close, further: [false; FURTHER.len()] }
    }

    pub(super) fn close(&self) -> usize {
        self.close
    }

    /// Notes a word of its body, which may speak of further arguments.
    pub(super) fn mention(&mut self, word: &str) {
        for (further, (name, _)) in self.further.iter_mut().zip(FURTHER) {
            *further |= word == name && !self.parameters.iter().any(|parameter| parameter == word);
        }
    }

    pub(super) fn is_variadic(&self) -> bool {
        self.further.contains(&true)
    }

    fn further(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        FURTHER.iter().zip(self.further).filter_map(|(further, wanted)| wanted.then_some(further))
    }

    /// What stands behind its own parameters.
    pub(super) fn further_parameters(&self) -> String {
        let comma = if self.parameters.is_empty() { "" } else { ", " };
        let added: Vec<String> = self.further().map(|(name, none)| format!("{name}={none}")).collect();
        format!("{comma}{}", added.join(", "))
    }

    /// What sets it to the function that fills them.
    pub(super) fn filled(&self) -> String {
        let names = self.parameters.iter().map(|name| format!("'{name}'"));
        let takes = self.further().map(|(name, _)| format!("{name}=true"));
        let arguments: Vec<String> = std::iter::once(self.name.clone()).chain(names).chain(takes).collect();
        format!("{} = {VARIADIC}({})", self.name, arguments.join(", "))
    }
}
