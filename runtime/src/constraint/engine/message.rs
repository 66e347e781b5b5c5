//! What the engine says, in the terms of who wrote the grammar.

use crate::constraint::kind::GrammarKind;

/// What is wrong with a grammar of this kind.
pub(super) fn told(kind: GrammarKind, reason: &str) -> String {
    let reason = first_line(reason);
    match kind {
        GrammarKind::JsonSchema => of_schema(&reason).unwrap_or(reason),
        // The engine sees a rule that holds the expression.
        GrammarKind::Regex => of_regex(&reason).unwrap_or(reason),
        GrammarKind::Lark | GrammarKind::Gbnf => reason,
    }
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
    // The rule that held it is no part of the message.
    let message = message.split(" 1 | start:").next().unwrap_or_default();
    let expression = expression.trim_end_matches(['^', ' ']).trim_start();
    Some(format!("{message}, in {expression:?}"))
}

/// What an error says, without the dumps that follow it.
pub(super) fn first_line(reason: &str) -> String {
    let reason = reason.split("\n<").next().unwrap_or_default();
    reason.split_whitespace().collect::<Vec<_>>().join(" ")
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
            (GrammarKind::Lark, "at 1(8): x", "at 1(8): x"),
        ] {
            assert_eq!(told(kind, reason), expected);
        }
    }
}
