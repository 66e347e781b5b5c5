//! Standard output, colours, numbers.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use serde_json::Value;

use crate::failure::{Failure, Result};

/// Standard output. Every failure to write comes back as an error: a closed pipe ends the command
/// quietly.
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    pub(crate) paint: Paint,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::new(io::stdout()), paint: Paint::for_terminal(io::stdout().is_terminal()) }
    }

    /// Writes at once: someone may be watching.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        self.out.write_all(line.as_bytes())?;
        self.text("\n")
    }

    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        self.line(&value.to_string())
    }
}

/// A number in JSON, as short as it can be and still be the same `f32`; `null` if it is not finite.
pub(crate) fn number(x: f32) -> Value {
    Value::from(x.to_string().parse::<f64>().ok().filter(|x| x.is_finite()))
}

/// Colours, where they are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

/// One colour of the 256 for each latent: far apart, and readable on dark and on light ground.
const LATENTS: [u8; 10] = [39, 208, 77, 170, 178, 44, 203, 105, 29, 137];

impl Paint {
    /// Colours on a terminal, unless the user's environment forbids them (<https://no-color.org>).
    pub(crate) fn for_terminal(terminal: bool) -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: terminal && !forbidden && !dumb }
    }

    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn error(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// The colour of a latent.
    pub(crate) fn latent(self, latent: usize, text: &str) -> String {
        self.wrap(&format!("38;5;{}", LATENTS[latent % LATENTS.len()]), text)
    }

    /// The colour of a latent, loud.
    pub(crate) fn chosen(self, latent: usize, text: &str) -> String {
        self.wrap(&format!("1;38;5;{}", LATENTS[latent % LATENTS.len()]), text)
    }
}

/// `n` with its noun.
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// One line on standard error, of what is no failure.
pub(crate) fn aside(text: &str) {
    let paint = Paint::for_terminal(io::stderr().is_terminal());
    // If that is closed, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", paint.dim(text));
}

/// One line on standard error, of what is probably a mistake.
pub(crate) fn warn(text: &str) {
    aside(&format!("warning: {text}"));
}

/// One line on standard error. If that is closed too, there is nobody left to tell.
pub(crate) fn complain(failure: &Failure) {
    if !matches!(failure, Failure::Closed) {
        let paint = Paint::for_terminal(io::stderr().is_terminal());
        let _ = writeln!(io::stderr(), "{} {failure}", paint.error("error:"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_finite() {
        assert_eq!(number(0.1).to_string(), "0.1");
        assert_eq!(number(-12.345_678).to_string(), "-12.345678");
        assert_eq!(number(f32::NEG_INFINITY), Value::Null);
        assert_eq!(number(f32::NAN), Value::Null);
    }

    #[test]
    fn no_colour_is_no_bytes() {
        let (on, off) = (Paint { on: true }, Paint { on: false });
        assert_eq!(off.chosen(3, "x") + &off.dim("y"), "xy");
        assert_eq!(on.bold("x"), "\x1b[1mx\x1b[0m");
        assert_eq!(on.bold(""), "");
    }
}
