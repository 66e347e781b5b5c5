//! Writes Lark.

use std::collections::BTreeSet;

use super::read::escaped;
use super::{Part, Rules};

/// The grammar in Lark.
pub(super) fn lark(rules: &Rules) -> String {
    let mut writer = Writer { regular: regular(rules), terminals: Vec::new() };
    let mut lines = vec![format!("start: {}", writer.name(rules.root))];
    for (rule, body) in rules.bodies.iter().enumerate() {
        let body = if writer.regular[rule] { writer.terminal(body) } else { writer.rule(body) };
        lines.push(format!("// {}\n{}: {body}", rules.names[rule], writer.name(rule)));
    }
    let terminals = writer.terminals.iter().enumerate().map(|(i, body)| format!("{}: {body}", terminal_name(i)));
    lines.extend(terminals);
    lines.join("\n") + "\n"
}

/// Which rules a regular expression can say: those that do not come back to themselves, and name
/// none that does.
fn regular(rules: &Rules) -> Vec<bool> {
    let mut named: Vec<BTreeSet<usize>> = rules.bodies.iter().map(|body| names(body).collect()).collect();
    // Rules that are reached, step by step, until nothing is added.
    loop {
        let reached = named.iter().map(|own| own.iter().flat_map(|&other| &named[other]).chain(own).copied().collect());
        let reached: Vec<BTreeSet<usize>> = reached.collect();
        if reached == named {
            break;
        }
        named = reached;
    }
    let comes_back = |rule: &usize| named[*rule].contains(rule);
    let speaks = |rule: &usize| has_token(&rules.bodies[*rule]);
    let other = |rule: usize| named[rule].iter().chain([&rule]).any(|rule| comes_back(rule) || speaks(rule));
    (0..rules.bodies.len()).map(|rule| !other(rule)).collect()
}

fn parts(part: &Part) -> &[Part] {
    match part {
        Part::Either(parts) | Part::Sequence(parts) => parts,
        Part::Repeat(part, ..) => std::slice::from_ref(part),
        _ => &[],
    }
}

fn names(part: &Part) -> Box<dyn Iterator<Item = usize> + '_> {
    let own = if let Part::Rule(rule) = part { Some(*rule) } else { None };
    Box::new(own.into_iter().chain(parts(part).iter().flat_map(names)))
}

fn has_token(part: &Part) -> bool {
    matches!(part, Part::Token(_)) || parts(part).iter().any(has_token)
}

fn terminal_name(number: usize) -> String {
    format!("T{number}")
}

struct Writer {
    regular: Vec<bool>,
    /// The bodies of the terminals that have no name.
    terminals: Vec<String>,
}

impl Writer {
    fn name(&self, rule: usize) -> String {
        if self.regular[rule] { format!("R{rule}") } else { format!("r{rule}") }
    }

    fn is_regular(&self, part: &Part) -> bool {
        !has_token(part) && names(part).all(|rule| self.regular[rule])
    }

    /// The body of a terminal.
    fn terminal(&self, part: &Part) -> String {
        match part {
            Part::Either(parts) => joined(parts.iter().map(|part| self.terminal(part)), " | "),
            Part::Sequence(parts) => joined(parts.iter().map(|part| self.terminal(part)), " "),
            Part::Repeat(part, from, to) => format!("({}){}", self.terminal(part), times(*from, *to)),
            Part::Text(text) => literal(text),
            Part::Class(class) => format!("/{class}/"),
            Part::Rule(rule) => self.name(*rule),
            Part::Token(token) => token.clone(),
        }
    }

    /// The body of a rule, in which runs of regular parts become terminals.
    fn rule(&mut self, part: &Part) -> String {
        if self.is_regular(part) {
            return self.run(std::slice::from_ref(part));
        }
        match part {
            Part::Either(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.rule(part)).collect();
                joined(parts.into_iter(), " | ")
            }
            Part::Sequence(parts) => {
                let runs = parts.chunk_by(|a, b| self.is_regular(a) && self.is_regular(b));
                let runs: Vec<&[Part]> = runs.collect();
                let runs = runs.into_iter().map(|run| match run {
                    [part] if !self.is_regular(part) => self.rule(part),
                    run => self.run(run),
                });
                let runs: Vec<String> = runs.collect();
                joined(runs.into_iter(), " ")
            }
            Part::Repeat(part, from, to) => format!("({}){}", self.rule(part), times(*from, *to)),
            other => self.terminal(other),
        }
    }

    /// A terminal for regular parts that follow each other.
    fn run(&mut self, parts: &[Part]) -> String {
        if let [Part::Rule(rule)] = parts {
            return self.name(*rule);
        }
        let body = joined(parts.iter().map(|part| self.terminal(part)), " ");
        let number = self.terminals.iter().position(|other| *other == body).unwrap_or_else(|| {
            self.terminals.push(body);
            self.terminals.len() - 1
        });
        terminal_name(number)
    }
}

fn joined(parts: impl Iterator<Item = String>, between: &str) -> String {
    let parts: Vec<String> = parts.collect();
    match &parts[..] {
        [] => "\"\"".to_owned(),
        [one] => one.clone(),
        parts => format!("({})", parts.join(between)),
    }
}

fn times(from: u32, to: Option<u32>) -> String {
    match (from, to) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (from, None) => format!("{{{from},}}"),
        (from, Some(to)) => format!("{{{from},{to}}}"),
    }
}

/// A text as Lark writes it: letters and digits as they are, the rest as a regular expression.
fn literal(text: &str) -> String {
    if text.is_empty() { "\"\"".to_owned() } else { format!("/{}/", text.chars().map(escaped).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::super::to_lark;

    #[test]
    fn rules_that_do_not_come_back_are_terminals() {
        let lark = to_lark("root ::= list \"!\"?\nlist ::= item (\",\" list)?\nitem ::= [a-z]+ # an item\n").unwrap();
        let expected = "start: r0\n// root\nr0: (r1 T0)\n// list\nr1: (R2 ((T1 r1))?)\n// item\nR2: (/[a-z]/)+\nT0: (/\\x{21}/)?\nT1: /\\x{2C}/\n";
        assert_eq!(lark, expected);
    }

    #[test]
    fn a_regular_grammar_is_one_terminal() {
        let lark = to_lark("root ::= yes | \"no\"\nyes ::= \"yes\"{2,3}").unwrap();
        assert_eq!(lark, "start: R0\n// root\nR0: (R1 | /no/)\n// yes\nR1: (/yes/){2,3}\n");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, error) in [
            ("", "it has no rule named root"),
            ("a ::= \"b\"", "it has no rule named root"),
            ("root ::= a", "the rule a is used, but not defined"),
            ("root = \"a\"", "line 1, column 6: there should be \"::=\""),
            ("root ::= \"a\nb", "line 2, column 2: the text ends here, but should not"),
            ("\nroot ::= (\"a\"", "line 2, column 14: there should be \")\""),
            ("root ::= \"\\q\"", "line 1, column 13: that is no escape"),
            ("root ::= [b-a]", "line 1, column 14: a range goes from less to more"),
            ("root ::= []", "line 1, column 12: a class without a character matches nothing"),
            ("root ::= \"a\"{2,1}", "line 1, column 17: a repetition goes from less to more"),
            ("root ::= \"a\"{}", "line 1, column 14: a repetition is"),
            ("root ::= \"\\xG0\"", "line 1, column 13: there should be a character of 2 hexadecimal"),
            ("root ::= \"\\uD800\"", "line 1, column 13: there should be a character of 4 hexadecimal"),
            ("root ::= !<a>", "line 1, column 10: tokens that must not come"),
            ("root ::= < a>", "line 1, column 10: a token is"),
            ("root ::= \"a\" )", "line 1, column 14: ')' cannot be here"),
            ("-- x", "line 1, column 4: there should be \"::=\""),
        ] {
            let found = to_lark(text).unwrap_err();
            assert!(found.starts_with(error), "{text:?}: {found}");
        }
    }
}
