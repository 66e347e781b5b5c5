//! What the engine says, in the terms of who wrote the grammar.

use crate::constraint::kind::GrammarKind;

/// What is wrong with a grammar of this kind.
pub(super) fn told(kind: GrammarKind, reason: &str) -> String {
    let reason = first_line(reason);
    if reason.starts_with("panic: ") {
        return "it is too complex for the engine".to_owned();
    }
    match kind {
        GrammarKind::JsonSchema => of_schema(&reason).unwrap_or(reason),
        // The engine sees a rule that holds the expression.
        GrammarKind::Regex => of_regex(&reason).unwrap_or(reason),
        GrammarKind::Lark => reason,
        // The engine sees it in Lark, where places are others.
        GrammarKind::Gbnf => without_place(&reason).unwrap_or(&reason).to_owned(),
    }
}

/// The rest of "at LINE(COLUMN): REST".
fn without_place(reason: &str) -> Option<&str> {
    let (place, rest) = reason.strip_prefix("at ").unwrap_or(reason).split_once("): ")?;
    place.bytes().all(|byte| byte.is_ascii_digit() || byte == b'(').then_some(rest)
}

fn of_schema(reason: &str) -> Option<String> {
    if reason.starts_with("Unimplemented keys") {
        return Some("it is not supported".to_owned());
    }
    if reason.starts_with("oneOf constraints are not supported") {
        return Some("more than one of its schemas may match, which is not supported: use anyOf".to_owned());
    }
    if let Some(reason) = reason.strip_prefix("Unsatisfiable schema: ") {
        return Some(format!("no JSON satisfies it: {reason}"));
    }
    of_regex(reason)
}

fn of_regex(reason: &str) -> Option<String> {
    if let Some((_, anchor)) = reason.split_once("lookarounds not supported yet; ") {
        let what = if anchor.starts_with("Word") {
            r"word boundaries (\b, \B) are not supported"
        } else {
            "^ and $ are supported at the ends alone"
        };
        return Some(what.to_owned());
    }
    let (_, parsed) = reason.split_once("regex parse error:")?;
    let (expression, message) = parsed.rsplit_once("error: ")?;
    let expression = expression.trim_end_matches(['^', ' ']).trim_start();
    Some(format!("{message}, in {expression:?}"))
}

/// What an error says, without the dumps that follow it.
pub(super) fn first_line(reason: &str) -> String {
    let reason = reason.split("\n<").next().unwrap_or_default();
    let lines = reason.lines().take_while(|line| !is_dumped(line));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// Whether it is a line of a grammar, behind its number.
fn is_dumped(line: &str) -> bool {
    line.split_once(" | ").is_some_and(|(number, _)| number.trim().parse::<usize>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_was_written() {
        for (kind, reason, expected) in [
            (GrammarKind::JsonSchema, "Unimplemented keys: [\"not\"]", "it is not supported"),
            (GrammarKind::JsonSchema, "Unsatisfiable schema: x", "no JSON satisfies it: x"),
            (
                GrammarKind::Regex,
                "at 1(8): invalid regex \"(\" (in regex): regex parse error:\n    (\n    ^\nerror: unclosed group\n1 | start: /(/\n ^",
                "unclosed group, in \"(\"",
            ),
            (
                GrammarKind::Regex,
                "at 1(8): invalid regex: lookarounds not supported yet; WordUnicode in regex /x/",
                r"word boundaries (\b, \B) are not supported",
            ),
            (GrammarKind::Lark, "at 1(8): x\n1 | start: y\n   ^", "at 1(8): x"),
            (GrammarKind::Gbnf, "at 3(5): x (y): z\n 1 | start: r0\n", "x (y): z"),
            (GrammarKind::Gbnf, "no rule (a): b", "no rule (a): b"),
            (GrammarKind::Gbnf, "panic: assertion failed: x\n<>", "it is too complex for the engine"),
        ] {
            assert_eq!(told(kind, reason), expected);
        }
    }
}
