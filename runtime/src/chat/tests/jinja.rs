//! Each template of `jinja.json` and each conversation of `conversations.json`, which `jinja.py`
//! writes: the text is that of Hugging Face transformers.

use serde_json::{Map, Value};

use super::super::*;
use super::families;
use super::tokenizer;

/// Parts of templates whose text is another, and why.
const OTHER: &[(&str, &str)] = &[
    ("\\N{", "no names of characters"),
    ("a.real", "numbers have no attributes"),
    ("l[1.0]", "an index may be a float that is whole"),
    ("{{ range(3) }}", "a range is printed as a list"),
    ("{{ range(5)[1:3] }}", "a range is printed as a list"),
    ("{{ d.items() }}", "a view of a dict is a list"),
    ("{{ d.keys() }}", "a view of a dict is a list"),
    ("{{ d.values() }}", "a view of a dict is a list"),
    ("lipsum is defined", "no text at random"),
    ("namespace() is mapping", "a namespace is a mapping"),
    ("{{ self }}", "an object of the engine"),
    ("{{ loop }}", "an object of the engine"),
    ("{{ f }}|", "an object of the engine"),
    ("f.arguments", "an object of the engine"),
    ("|attr('z')", "`attr` finds items too"),
    ("|attr('name')", "`attr` finds items too"),
    ("map('upper') is sequence", "`map` gives a list"),
    ("with a = 5, b = a", "assignments of `with` see those before them"),
    ("macro f(x, y=x)", "a default does not see the parameters before it"),
    ("s.upper is callable", "a method is no value"),
    ("undefined_name is sequence", "what is undefined is no sequence"),
    ("(html|e) + '<'", "what is added to an escaped text is not escaped"),
    ("d|pprint", "a map keeps its order"),
    ("x\u{1c}{{-", "tags trim the white space of Unicode alone"),
];

/// Parts of templates that transformers renders and that are refused here, and why.
const REFUSED: &[(&str, &str)] = &[
    ("{{ +a }}", "no unary plus"),
    ("for x in 1, 2", "no tuple without parentheses there"),
    ("varargs", "macros take the arguments that they name"),
    ("kwargs", "macros take the arguments that they name"),
    ("random", "the same conversation is the same text each time"),
    ("urlize", "no links"),
    ("encode()", "no bytes"),
    ("maketrans", "no tables of characters"),
    ("translate", "no tables of characters"),
    ("'%d' % 3.7", "a float is no whole number"),
    ("'%r'", "texts are formatted as they are"),
    ("'%*d'", "no widths among the values"),
    ("{:%}", "no percentages"),
    ("{!", "no conversions in `format`"),
    ("{:>{}}", "no widths among the values"),
    ("replace(old=", "`replace` takes its texts by position"),
];

fn objects(list: &Value) -> Vec<Map<String, Value>> {
    list.as_array().unwrap().iter().map(|object| object.as_object().unwrap().clone()).collect()
}

fn known(list: &[(&str, &str)], source: &str) -> bool {
    list.iter().any(|(part, _)| source.contains(part))
}

#[test]
fn templates_are_rendered_as_transformers_does() {
    let corpus: Value = serde_json::from_str(include_str!("jinja.json")).unwrap();
    let mut variables = corpus["variables"].as_object().unwrap().clone();
    variables.insert("strftime_now".to_owned(), corpus["now"].clone());
    let messages = objects(&variables.remove("messages").unwrap());
    let tokenizer = tokenizer();
    let mut failed = 0;
    for entry in corpus["templates"].as_array().unwrap() {
        let (source, expected) = (entry[0].as_str().unwrap(), entry[1].as_str());
        let text = ChatTemplate::new(source)
            .and_then(|template| template.run(messages.clone(), variables.clone(), true, &tokenizer));
        let fits = match (&text, expected) {
            (Ok(text), Some(expected)) => text == expected || known(OTHER, source),
            (Err(_), Some(_)) => known(REFUSED, source),
            // What transformers refuses, for want of a method or since a value has another type,
            // may well be rendered.
            (_, None) => true,
        };
        if !fits {
            failed += 1;
            println!("{source:?}\n  expected {expected:?}\n  found    {text:?}");
        }
    }
    assert_eq!(failed, 0);
}

#[test]
fn conversations_are_rendered_as_transformers_does() {
    let corpus: Value = serde_json::from_str(include_str!("conversations.json")).unwrap();
    let tokenizer = tokenizer();
    let mut failed = 0;
    for case in corpus["texts"].as_array().unwrap() {
        let [name, conversation, settings, expected] = &case.as_array().unwrap()[..] else { panic!() };
        let (_, source) = families::ALL.into_iter().find(|(file, _)| name == file).unwrap();
        let index = |index: &Value| usize::try_from(index.as_u64().unwrap()).unwrap();
        let messages = objects(&corpus["conversations"][index(conversation)]);
        let mut variables = corpus["settings"][index(settings)].as_object().unwrap().clone();
        variables.insert("strftime_now".to_owned(), corpus["now"].clone());
        let answer = variables.remove("add_generation_prompt").is_none_or(|answer| answer == true);
        let text = ChatTemplate::new(source).unwrap().run(messages, variables, answer, &tokenizer);
        if text.as_deref().ok() != expected.as_str() {
            failed += 1;
            println!("{name} {conversation} {settings}\n  expected {expected}\n  found    {text:?}");
        }
    }
    assert_eq!(failed, 0);
}
