//! What grammars take and refuse, by texts: GBNF with the constructs of the grammar files that
//! llama.cpp comes with, Lark, regular expressions.

use std::sync::Arc;

use ollm_runtime::constraint::{Constraint, GrammarCompiler, GrammarKind};
use ollm_runtime::model::Model;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::golden;

/// Whether a grammar takes a text as a whole, cut into the tokens that the tokenizer makes, and
/// into bytes.
struct Judge {
    tokenizer: Arc<Tokenizer>,
    compiler: GrammarCompiler,
    bytes: Vec<Option<u32>>,
}

impl Judge {
    fn new() -> Self {
        let model = Model::open(&golden("tiny/llama.gguf")).unwrap();
        let tokenizer = Arc::new(Tokenizer::from_metadata(model.gguf().metadata()).unwrap());
        let compiler = GrammarCompiler::new(&tokenizer, model.config().vocab).unwrap();
        let one = |byte: u8| (0..320).find(|&token| tokenizer.token_bytes(token) == Some(&[byte]));
        let bytes = (0..=255).map(one).collect();
        Self { tokenizer, compiler, bytes }
    }

    fn check(&self, kind: GrammarKind, grammar: &str, right: &[&str], wrong: &[&str]) {
        let compiled = self.compiler.compile(kind, grammar).unwrap_or_else(|error| panic!("{error}\n{grammar}"));
        let constraint = Constraint::new(&compiled);
        for (texts, expected) in [(right, true), (wrong, false)] {
            for text in texts {
                let bytes: Option<Vec<u32>> = text.bytes().map(|byte| self.bytes[usize::from(byte)]).collect();
                let tokens = self.tokenizer.encode(text, false).unwrap();
                for tokens in [Some(tokens), bytes].into_iter().flatten() {
                    assert_eq!(takes(&constraint, &tokens), expected, "{text:?}, {tokens:?} of\n{grammar}");
                }
            }
        }
    }
}

fn takes(constraint: &Constraint, tokens: &[u32]) -> bool {
    let mut constraint = constraint.clone();
    tokens.iter().all(|&token| constraint.accept(token).is_ok()) && constraint.is_complete()
}

#[test]
fn gbnf() {
    let judge = Judge::new();
    let check = |grammar, right: &[&str], wrong: &[&str]| judge.check(GrammarKind::Gbnf, grammar, right, wrong);
    // Sums over lines, with names, numbers and parentheses that come back to themselves.
    check(
        "root  ::= (expr \"=\" ws term \"\\n\")+\n\
         expr  ::= term ([-+*/] term)*\n\
         term  ::= ident | num | \"(\" ws expr \")\" ws\n\
         ident ::= [a-z] [a-z0-9_]* ws\n\
         num   ::= [0-9]+ ws\n\
         ws    ::= [ \\t\\n]*\n",
        &["1=1\n", "(a +b1 )*2 = x\n", "((1))=2\n3=3\n"],
        &["", "1=1", "1+=2\n", "(1=2\n", "1=2)\n"],
    );
    // JSON: optional groups over several lines, escapes, classes that exclude.
    check(
        "root ::= object\n\
         value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n\n\
         object ::=\n  \"{\" ws (\n            string \":\" ws value\n    (\",\" ws string \":\" ws value)*\n  )? \"}\" ws\n\n\
         array  ::=\n  \"[\" ws (\n            value\n    (\",\" ws value)*\n  )? \"]\" ws\n\n\
         string ::=\n  \"\\\"\" (\n    [^\"\\\\\\x7F\\x00-\\x1F] |\n    \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}) # escapes\n  )* \"\\\"\" ws\n\n\
         number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n\n\
         # Optional space: by convention, applied in this grammar after literal chars when allowed\n\
         ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n",
        &["{}", "{\"a\": [1, -2.5e+3, \"x\\\"y\\u00e4\", null, {\"b\":true}]}", "{\n  \"a\":[]\n}\n"],
        &["[]", "{\"a\":}", "{a:1}", "{\"a\": 01}", "{\"a\": \"\n\"}", "{\"a\": \"\\x\"}"],
    );
    // A list of lines that begin with a dash.
    check(
        "root ::= item+\n# Excludes various line break characters\nitem ::= \"- \" [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ \"\\n\"\n",
        &["- a\n", "- a b\n- c\n"],
        &["", "- \n", "- a", "a\n"],
    );
    // Moves: alternatives of classes, options, repetitions with counts.
    check(
        "root   ::= \"1. \" move \" \" move \"\\n\" ([1-9] [0-9]? \". \" move \" \" move \"\\n\")*\n\
         move   ::= (pawn | nonpawn | castle) [+#]?\n\
         nonpawn ::= [NBKQR] [a-h]? [1-8]? \"x\"? [a-h] [1-8]\n\
         pawn   ::= ([a-h] \"x\")? [a-h] [1-8] (\"=\" [NBKQR])?\n\
         castle ::= \"O-O\" \"-O\"?\n",
        &["1. e4 e5\n", "1. e4 e5\n2. Nf3 Nc6\n12. O-O-O exd8=Q#\n"],
        &["1. e4\n", "1. e9 e5\n", "2. e4 e5\n"],
    );
    // Ambiguous alternatives, nesting of the same brackets, bars at the beginning of a line.
    check("root ::= (\"a\" | \"ab\") \"bc\"", &["abc", "abbc"], &["ab", "abb"]);
    check("root ::= \"(\" root? \")\"", &["()", "((()))"], &["", "(()", "()()"]);
    check("root ::= \"x\"\n  | \"y\"\n  | ( \"z\" root )\n", &["x", "zzy"], &["z", "xy"]);
    check(
        "root ::= stmt ((\";\" | \",\") stmt)*\nstmt ::= dataType \" \" [a-z]+ | \"{\" root \"}\"\ndataType ::= \"int\" | \"char\" \"*\"?",
        &["int a", "{char* b;int c},int d"],
        &["int", "{int a", "long a"],
    );
    // Counts, any character, characters by number, beyond ASCII.
    check(
        "root ::= \"a\"{2} \"b\"{2,} \"c\"{1,3} \"d\"{,2}",
        &["aabbc", "aabbbbcccdd"],
        &["aabbcccc", "aabc", "aabbcddd", "abbc"],
    );
    check("root ::= \"<\" .{2} \">\"", &["<ab>", "<\n\n>", "<é!>"], &["<a>", "<abc>"]);
    check("root ::= [\\u00e0-\\u00ff]+ \"\\x21\" \"\\U0001F600\"?", &["é!", "àÿ!\u{1F600}"], &["e!", "é"]);
    check("root ::= [a\\-z\\]\\[^]+ \"-\"", &["a-z]-", "^[-"], &["b-", "-"]);
    check("root ::= [^a] [-+] [+-]", &["b-+", "-++"], &["a-+"]);
    check("root ::= \"\" | \"a\"", &["", "a"], &["aa"]);
    check("root ::= ( \"a\"? \"b\"* )? \"c\"", &["c", "abbc"], &["ab"]);
    check("root ::= ws root | \"a\"\nws ::= \" \"*", &["a", "  a"], &["", "b"]);
}

/// Tokens by name and by number, and any but one.
#[test]
fn gbnf_with_tokens() {
    let judge = Judge::new();
    let is_other = |&token: &u32| judge.tokenizer.is_control(token) && !judge.tokenizer.is_end(token);
    let control = (0..320).rfind(is_other).unwrap();
    let name = String::from_utf8(judge.tokenizer.token_bytes(control).unwrap().to_vec()).unwrap();
    let letter = |c: u8| judge.bytes[usize::from(c)].unwrap();
    let (a, b) = (letter(b'a'), letter(b'b'));
    for (grammar, right, wrong) in [
        (format!("root ::= \"a\" {name} \"b\""), vec![a, control, b], vec![a, a, b]),
        (
            format!("root ::= <[{control}]> !<[{control}]>* <[{control}]>"),
            vec![control, a, b, control],
            vec![control, a],
        ),
        (format!("root ::= !{name} {name}"), vec![b, control], vec![control, control]),
        (
            format!("root ::= \"(\" !<[{a}]>{{2}} \")\""),
            vec![letter(b'('), b, b, letter(b')')],
            vec![letter(b'('), a, b, letter(b')')],
        ),
    ] {
        let compiled = judge.compiler.compile(GrammarKind::Gbnf, &grammar);
        let constraint = Constraint::new(&compiled.unwrap_or_else(|error| panic!("{error}\n{grammar}")));
        assert!(takes(&constraint, &right), "{grammar}");
        assert!(!takes(&constraint, &wrong), "{grammar}");
    }
    // A token that ends the text is none of the others.
    let end = (0..320).find(|&token| judge.tokenizer.is_end(token)).unwrap();
    let compiled = judge.compiler.compile(GrammarKind::Gbnf, &format!("root ::= !<[{control}]> \"a\"")).unwrap();
    assert!(!takes(&Constraint::new(&compiled), &[end]));
    let error = judge.compiler.compile(GrammarKind::Gbnf, &format!("root ::= <[{end}]>")).unwrap_err().to_string();
    assert!(error.contains("ends the text"), "{error}");
    let error = judge.compiler.compile(GrammarKind::Gbnf, "root ::= \"a\" <[99999999]>").unwrap_err().to_string();
    assert!(error.ends_with("Token range end too large: 99999999"), "{error}");
    let error = judge.compiler.compile(GrammarKind::Gbnf, "root ::= <no-such-token>").unwrap_err().to_string();
    assert!(error.contains("line 1, column 10: <no-such-token> is no token of the model"), "{error}");
}

#[test]
fn lark_and_regular_expressions() {
    let judge = Judge::new();
    judge.check(
        GrammarKind::Lark,
        "start: greeting (\", \" NAME)* \"!\"\ngreeting: \"Hello\" | \"Hi\"\nNAME: /[A-Z][a-z]+/\n",
        &["Hi!", "Hello, Ann, Bob!"],
        &["Hi", "Hi, ann!"],
    );
    judge.check(GrammarKind::Regex, "^[a-c]{2,3}$", &["ab", "abc"], &["a", "abca", "ad"]);
    judge.check(GrammarKind::Regex, r"(\d+|x)/\$", &["12/$", "x/$"], &["/$", "12/"]);
}

#[test]
fn json_schemas() {
    let judge = Judge::new();
    let check = |schema, right: &[&str], wrong: &[&str]| judge.check(GrammarKind::JsonSchema, schema, right, wrong);
    check("true", &["{}", "[1, \"a\"]", "null"], &["", "{", "nul"]);
    check(r#"{"type": "string", "format": "date"}"#, &["\"2024-02-29\""], &["\"2023-02-29\"", "\"2024-2-1\""]);
    check(r#"{"type": "integer", "minimum": 3, "exclusiveMaximum": 12}"#, &["3", "11"], &["2", "12", "3.5", "03"]);
    check(
        r#"{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false}"#,
        &["{\"a\": 1}"],
        &["{}", "{\"a\": 2}", "{\"b\": 1}", "{\"a\":1}", "{ \"a\": 1}"],
    );
    check(
        r#"{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false,
            "x-guidance": {"whitespace_flexible": true}}"#,
        &["{\"a\":1}", "{ \"a\": 1 }", "{\n  \"a\":\n1}"],
        &["{}", "{\"a\":2}", "{\"b\":1}"],
    );
    check(
        r##"{"$ref": "#/$defs/list", "$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}}"##,
        &["[]", "[[], [[]]]"],
        &["[1]", "["],
    );
    check(
        r#"{"type": "integer", "minimum": -9223372036854775808, "maximum": 9223372036854775807}"#,
        &["0", "-9007199254740993", "9223372036854775807"],
        &["9223372036854775808", "-9223372036854775809"],
    );
    // Characters that JSON escapes are excluded like others.
    check(
        r#"{"type": "string", "pattern": "^[^\"\\\\]*$"}"#,
        &[r#""ab""#, r#""a\nb""#, r#""\t""#],
        &[r#""a\"b""#, r#""a\\b""#],
    );
    check(
        r#"{"type": "object", "patternProperties": {"^[^<>\"]+$": {"type": "integer"}}, "additionalProperties": false}"#,
        &[r#"{"a": 1}"#],
        &[r#"{"\"": 1}"#, r#"{"a": true}"#],
    );
    // The engine would run out of stack, or write another number.
    for number in ["-9223372036854775808", "-1e+19", "9007199254740993"] {
        let schema = format!("{{\"properties\": {{\"x\": {{\"const\": {number}}}}}}}");
        let error = judge.compiler.compile(GrammarKind::JsonSchema, &schema).unwrap_err().to_string();
        assert!(error.contains(&format!("`const` at #/properties/x: {number} is no exact double")), "{error}");
    }
}
