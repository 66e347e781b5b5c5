//! Writes Lark.

use super::chars::escaped;
use super::cut::Pieces;
use super::parts::{Part, Rules};

/// The grammar in Lark.
pub(super) fn lark(rules: &Rules, pieces: &Pieces<'_>) -> String {
    let name = |rule: usize| if pieces.regular[rule] { format!("R{rule}") } else { format!("r{rule}") };
    let write = |part: &Part| body(part, &name);
    let mut lines = vec![format!("start: {}", name(rules.root))];
    for (rule, part) in pieces.bodies.iter().enumerate() {
        lines.push(format!("// {}\n{}: {}", rules.names[rule], name(rule), write(part)));
    }
    lines.extend(pieces.lexemes.iter().enumerate().map(|(lexeme, part)| format!("T{lexeme}: {}", write(part))));
    lines.join("\n") + "\n"
}

/// What stands behind the name of a rule or of a terminal.
fn body(part: &Part, name: &dyn Fn(usize) -> String) -> String {
    match part {
        Part::Either(parts) => joined(parts, " | ", name),
        Part::Sequence(parts) => joined(parts, " ", name),
        Part::Repeat(part, from, to) => format!("({}){}", body(part, name), times(*from, *to)),
        Part::Text(text) if text.is_empty() => "\"\"".to_owned(),
        Part::Text(text) => format!("/{}/", text.chars().map(|c| escaped(c.into())).collect::<String>()),
        Part::Class(class) => format!("/{}/", class.class()),
        Part::Rule(rule) => name(*rule),
        Part::Lexeme(lexeme) => format!("T{lexeme}"),
        Part::Tokens { ids, excluded } => {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            format!("<[{}{}]>", if *excluded { "^" } else { "" }, ids.join(","))
        }
    }
}

fn joined(parts: &[Part], between: &str, name: &dyn Fn(usize) -> String) -> String {
    match parts {
        [] => "\"\"".to_owned(),
        [one] => body(one, name),
        parts => format!("({})", parts.iter().map(|part| body(part, name)).collect::<Vec<_>>().join(between)),
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

#[cfg(test)]
mod tests {
    use ollm_kernels::cpu::with_stack;

    /// For a model whose only token with a name is `<a>`, and whose texts end with token 9.
    fn to_lark(text: &str) -> Result<String, String> {
        super::super::to_lark(text, &|name| (name == "<a>").then_some(7), &[9])
    }

    #[test]
    fn what_is_regular_is_one_lexeme_where_the_longest_is_right() {
        let lark = to_lark("root ::= list \"!\"?\nlist ::= item (\",\" list)?\nitem ::= [a-z]+ # an item\n").unwrap();
        let expected = "start: r0\n// root\nr0: (r1 T0)\n// list\nr1: (T1 ((T2 r1))?)\n// item\nR2: (/[a-z]/)+\n\
            T0: (/\\x{21}/)?\nT1: R2\nT2: /\\x{2C}/\n";
        assert_eq!(lark, expected);
    }

    #[test]
    fn a_regular_grammar_is_one_terminal() {
        let lark = to_lark("root ::= yes | \"no\"\nyes ::= \"yes\"{2,3}").unwrap();
        assert_eq!(lark, "start: R0\n// root\nR0: (R1 | /no/)\n// yes\nR1: (/yes/){2,3}\n");
        assert_eq!(to_lark("root ::= \"a\"{0} \"b\"").unwrap(), "start: R0\n// root\nR0: (\"\" /b/)\n");
    }

    #[test]
    fn tokens_have_numbers() {
        let lark = to_lark("root ::= <a> !<a>* <[3]> !<[4]>").unwrap();
        assert_eq!(lark, "start: r0\n// root\nr0: (<[7]> (<[^7,9]>)* <[3]> <[^4,9]>)\n");
    }

    #[test]
    fn lexemes_are_short_where_the_longest_may_be_wrong() {
        // What follows a word may be a letter, and a part of it.
        let words = to_lark("root ::= \"(\" root \")\" | [a-z]+ root | \"end\"").unwrap();
        assert!(words.contains("T0: /\\x{28}/\nT1: /\\x{29}/\nT2: /[a-z]/\nT3: /e/\nT4: /n/\nT5: /d/\n"), "{words}");
        // Here it may not, and texts stay whole.
        let spaced = to_lark("root ::= \"(\" root \")\" | [a-z]+ \".\" root | \"END\"").unwrap();
        assert!(spaced.contains("T2: ((/[a-z]/)+ /\\x{2E}/)\nT3: /END/"), "{spaced}");
    }

    #[test]
    fn each_part_is_met_once_however_often_it_is_named() {
        let twice =
            (0..100).map(|rule| format!("r{rule} ::= r{} | r{}\n", rule + 1, rule + 1)).collect::<Vec<_>>().concat();
        assert!(to_lark(&format!("root ::= \"(\" root \")\" | r0\n{twice}r100 ::= \"\"")).is_ok());
        let nested = format!("{}root{}", "(".repeat(90), ")*".repeat(90));
        assert!(to_lark(&format!("root ::= \"x\" | {nested}")).is_ok());
        let chain = (0..1900).map(|rule| format!("r{rule} ::= \"a\" r{}\n", rule + 1)).collect::<Vec<_>>().concat();
        let chain = format!("root ::= \"(\" root \")\" | r0\n{chain}r1900 ::= \"b\"");
        assert!(with_stack(chain.len() << 11, || to_lark(&chain)).unwrap().unwrap().is_ok());
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
            ("root ::= !\"a\"", "line 1, column 11: a token is <name>"),
            ("root ::= <a", "line 1, column 10: a token is <name>"),
            ("root ::= <b>", "line 1, column 10: <b> is no token of the model"),
            ("root ::= !<b>", "line 1, column 11: <b> is no token of the model"),
            ("root ::= <[x]>", "line 1, column 10: <[x]> is no token of the model"),
            ("root ::= \"a\" )", "line 1, column 14: ')' cannot be here"),
            ("-- x", "line 1, column 4: there should be \"::=\""),
        ] {
            let found = to_lark(text).unwrap_err();
            assert!(found.starts_with(error), "{text:?}: {found}");
        }
    }
}
