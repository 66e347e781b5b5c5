//! Each template of `jinja.json` and each conversation of `conversations.json`, which `jinja.py`
//! writes: the text is that of Hugging Face transformers.

use serde_json::{Map, Value};

use super::super::*;
use super::families;
use super::tokenizer;
use crate::gguf::{Gguf, Writer};
use crate::tokenizer::Tokenizer;

/// Parts of templates whose text is another, and why.
const OTHER: &[(&str, &str)] = &[
    ("'%5s|'", "widths of formats count bytes"),
    ("{:<5}", "widths of formats count bytes"),
    ("10 ** 30 / ", "large integers are divided as floats"),
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
    ("{{ f(1, a=2) }}", "an argument by position and by name"),
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
    ("{0!", "no conversions in `format`"),
    ("340282366920938463463374607431768211456", "integers have 128 bits"),
    ("99999999999999999999999999999999999999999999999999", "integers have 128 bits"),
    ("2 ** 128", "integers have 128 bits"),
    ("2 ** 200", "integers have 128 bits"),
    ("10 ** 39", "integers have 128 bits"),
    ("3 ** 90", "integers have 128 bits"),
    ("2 ** 64 * 2 ** 64", "integers have 128 bits"),
    ("10 ** 30 * 10 ** 30", "integers have 128 bits"),
    ("1e40", "integers have 128 bits"),
    ("1e300|int", "integers have 128 bits"),
    ("namespace(d, x=1)", "a namespace is made of a mapping or of names"),
    ("{:>{}}", "no widths among the values"),
    ("replace(old=", "`replace` takes its texts by position"),
];

/// Parts of templates that transformers refuses and that are rendered here, and why.
const RENDERED: &[(&str, &str)] = &[
    ("1 < 'a'", "values of different kinds have an order"),
    ("none < 1", "values of different kinds have an order"),
    ("{{ 1 in s }}", "a number is in no text"),
    ("a is number is true", "a test of a test"),
    ("deep.k.items", "a dot finds items before methods"),
    ("deep.k.get", "a dot finds items before methods"),
    ("d.items }}", "a method is no value"),
    ("s.strip }}", "a method is no value"),
    ("s.upper }}", "a method is no value"),
    ("attr('upper')", "a method is no value"),
    ("count=1", "`replace` takes a count by name, as Python 3.13"),
    ("l|batch(2) }}", "a filter gives a list, not a generator"),
    ("d|items }}", "a filter gives a list, not a generator"),
    ("l|map('string')|length", "a filter gives a list, not a generator"),
    ("l|map('string')|tojson", "a filter gives a list, not a generator"),
    ("sl|map('upper') }}", "a filter gives a list, not a generator"),
    ("l|reverse }}", "a filter gives a list, not a generator"),
    ("l|select('odd') }}", "a filter gives a list, not a generator"),
    ("l|select('odd')|length", "a filter gives a list, not a generator"),
    ("l|slice(2) }}", "a filter gives a list, not a generator"),
    ("|unique }}", "a filter gives a list, not a generator"),
    ("range(3)|tojson", "a range is a list"),
    ("d.items()|tojson", "a view of a dict is a list"),
    ("d.keys()|tojson", "a view of a dict is a list"),
    ("namespace(a=1)|tojson", "a namespace is a mapping"),
    ("['{}']|map('format', 1)", "a format without values for all arguments"),
    ("truncate(2)", "a length below that of the end"),
    ("namespace(_x=1)", "names may begin with `_`"),
    ("ns._y", "names may begin with `_`"),
    ("macro f(x, x)", "two parameters of one name"),
    ("ignore missing", "every template but this one is missing"),
];

/// Parts of templates that give another text of what has twins, and why.
const MARKED: &[(&str, &str)] = &[("{:>6}", "widths of formats count bytes"), ("%6s", "widths of formats count bytes")];

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
            (Ok(_), None) => known(RENDERED, source),
            (Err(_), None) => true,
        };
        if !fits {
            failed += 1;
            println!("{source:?}\n  expected {expected:?}\n  found    {text:?}");
        }
    }
    assert_eq!(failed, 0);
}

/// Control tokens that begin and end with every sign that text has.
fn tokenizer_of_signs() -> Tokenizer {
    const CONTROLS: [&str; 17] = [
        "<|a|>", "[x]", "(y)", "{z}", "'q'", ",r,", ":s;", "-t-", "/u/", "&v&", "#w#", ".x.", "=y=", "_z_", "%1%",
        "*2*", "~3!",
    ];
    let mut writer = Writer::new();
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "gpt2").unwrap();
    writer.set("tokenizer.ggml.tokens", CONTROLS.map(str::to_owned).to_vec()).unwrap();
    writer.set("tokenizer.ggml.token_type", vec![3; CONTROLS.len()]).unwrap();
    writer.set("tokenizer.ggml.merges", Vec::<String>::new()).unwrap();
    Tokenizer::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata()).unwrap()
}

/// Texts whose signs have twins are treated as if they had none, by every filter, test and method.
#[test]
fn twins_change_no_text() {
    let corpus: Value = serde_json::from_str(include_str!("jinja.json")).unwrap();
    let mut variables = corpus["variables"].as_object().unwrap().clone();
    variables.insert("strftime_now".to_owned(), corpus["now"].clone());
    let messages = objects(&variables.remove("messages").unwrap());
    let tokenizer = tokenizer_of_signs();
    variables.remove("add_generation_prompt");
    let said: Vec<&Map<String, Value>> = messages.iter().collect();
    let guarded = Variables::from_json(&Value::Object(variables.clone()).to_string()).unwrap();
    let (mut failed, mut marked) = (0, 0);
    for entry in corpus["templates"].as_array().unwrap() {
        let source = entry[0].as_str().unwrap();
        let Ok(template) = ChatTemplate::new(source) else { continue };
        let plain = template.run(messages.clone(), variables.clone(), true, &tokenizer);
        let text = template.run_guarded(&said, &guarded, true, &tokenizer);
        marked += usize::from(text.as_ref().is_ok_and(|(_, ranges)| !ranges.is_empty()));
        let text = text.map(|(text, _)| text);
        let fits = match (&text, &plain) {
            (Ok(text), Ok(plain)) => text == plain,
            (text, plain) => text.is_err() == plain.is_err(),
        };
        if !fits && !known(MARKED, source) {
            failed += 1;
            println!("{source:?}\n  expected {plain:?}\n  found    {text:?}");
        }
    }
    assert!(marked > 150, "{marked} texts with twins");
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
