//! Answers of all families, cut into pieces in every way.

use serde_json::json;

use super::super::*;
use crate::random::Random;

const THINK: Reasoning = Reasoning { open: "<think>", close: "</think>", end: "\n</think>\n\n" };

fn format(tools: ToolFormat) -> ChatFormat {
    ChatFormat { reasoning: Some(THINK), tools: Some(tools) }
}

/// The parts of an answer that comes in pieces.
fn parse(format: ChatFormat, open: bool, pieces: &[&str]) -> Vec<ChatEvent> {
    let mut parser = ChatParser::new(format, open);
    let mut events: Vec<ChatEvent> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    // Texts that follow each other are one.
    events.into_iter().fold(Vec::new(), |mut all, event| {
        match (all.last_mut(), &event) {
            (Some(ChatEvent::Text(text)), ChatEvent::Text(more))
            | (Some(ChatEvent::Reasoning(text)), ChatEvent::Reasoning(more)) => text.push_str(more),
            _ => all.push(event),
        }
        all
    })
}

/// `R` a thought, `T` text, `C` a call, `E` an error, without its reason.
fn shown(events: &[ChatEvent]) -> Vec<String> {
    let show = |event: &ChatEvent| match event {
        ChatEvent::Reasoning(text) => format!("R {text}"),
        ChatEvent::Text(text) => format!("T {text}"),
        ChatEvent::Call(call) => {
            let id = call.id.as_ref().map_or(String::new(), |id| format!(" #{id}"));
            format!("C {} {}{id}", call.name, serde_json::Value::Object(call.arguments.clone()))
        }
        ChatEvent::Malformed(_) => "E".to_owned(),
    };
    events.iter().map(show).collect()
}

/// Answers with their parts; the last ones are not what they should be.
const CASES: &[(ToolFormat, &str, &[&str])] = &[
    (ToolFormat::Hermes, "Hello  there.\n", &["T Hello  there.\n"]),
    (ToolFormat::Hermes, " \n", &["T  \n"]),
    (ToolFormat::Hermes, "<think>\nhm\n\nso\n</think>\n\nYes. ", &["R hm\n\nso", "T Yes. "]),
    (ToolFormat::Hermes, "<think>\n\n</think>\n\nYes", &["T Yes"]),
    (ToolFormat::Hermes, "<think>no end </thin", &["R no end </thin"]),
    (ToolFormat::Hermes, "I say <think> here", &["T I say <think> here"]),
    (
        ToolFormat::Hermes,
        "Look:\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x</tool_call>\\\"\"}}\n</tool_call>\n<tool_call>{\"name\": \"g\"}</tool_call>\n",
        &["T Look:", r#"C f {"a":"x</tool_call>\""}"#, "C g {}"],
    ),
    (ToolFormat::Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}", &["C f {}"]),
    (
        ToolFormat::Hermes,
        "<tool_call>[{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}]</tool_call> done",
        &[r#"C f {"a":1}"#, "T done"],
    ),
    (ToolFormat::Llama3, "{\"name\": \"f\", \"parameters\": {\"a\": [1, {}]}}", &[r#"C f {"a":[1,{}]}"#]),
    (
        ToolFormat::Llama3,
        "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}",
        &["C f {}", "C g {}"],
    ),
    (ToolFormat::Llama3, "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}", &[r#"C f {"a":1}"#]),
    (ToolFormat::Llama3, "<|python_tag|>brave_search.call(query=\"a, b\")", &[r#"C brave_search {"query":"a, b"}"#]),
    (ToolFormat::Llama3, "<|python_tag|>print(1)\nx = 2", &[r#"C code_interpreter {"code":"print(1)\nx = 2"}"#]),
    (ToolFormat::Llama3, "[f(a=1), g(b='x]')]", &[r#"C f {"a":1}"#, r#"C g {"b":"x]"}"#]),
    (
        ToolFormat::Llama3,
        "{\"name\": \"Bob\", \"type\": \"cat\"} it is",
        &["T {\"name\": \"Bob\", \"type\": \"cat\"} it is"],
    ),
    (ToolFormat::Llama3, "{\"answer\": 42}", &["T {\"answer\": 42}"]),
    (ToolFormat::Llama3, "[1] says (so)", &["T [1] says (so)"]),
    (ToolFormat::Llama3, "Say {\"name\": \"f\", \"parameters\": {}}", &["T Say {\"name\": \"f\", \"parameters\": {}}"]),
    (ToolFormat::Gemma, "```tool_code\nprint(f(a=True))\n```\nok", &[r#"C f {"a":true}"#, "T ok"]),
    (ToolFormat::Gemma, "```json\n{\"name\": \"f\", \"parameters\": {}}\n```", &["C f {}"]),
    (ToolFormat::Gemma, "```json\n{\"x\": 1}\n```", &["T ```json\n{\"x\": 1}\n```"]),
    (ToolFormat::Gemma, "```python\n1\n```", &["T ```python\n1\n```"]),
    (
        ToolFormat::Gemma,
        "<start_function_call>call:f{a:<escape>x, }<escape>,b:2}<end_function_call>",
        &[r#"C f {"a":"x, }","b":2}"#],
    ),
    (
        ToolFormat::Lfm2,
        "<|tool_call_start|>[f(a=\"x\", b=None), g()]<|tool_call_end|>Wait.",
        &[r#"C f {"a":"x","b":null}"#, "C g {}", "T Wait."],
    ),
    (ToolFormat::Lfm2, "<|tool_call_start|>[{\"name\": \"f\", \"arguments\": {}}]<|tool_call_end|>", &["C f {}"]),
    (
        ToolFormat::Mistral,
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": \"]\"}, \"id\": \"abc\"}]",
        &[r#"C f {"a":"]"} #abc"#],
    ),
    (
        ToolFormat::Mistral,
        "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]x9[ARGS]{}",
        &[r#"C f {"a":1}"#, "C g {} #x9"],
    ),
    // Nothing of what is malformed is lost.
    (
        ToolFormat::Hermes,
        "a <tool_call>{\"name\": }</tool_call> b",
        &["T a <tool_call>{\"name\": }</tool_call>", "E", "T  b"],
    ),
    (
        ToolFormat::Hermes,
        "<tool_call>{\"name\": \"f</tool_call> b",
        &["T <tool_call>{\"name\": \"f</tool_call>", "E", "T  b"],
    ),
    (
        ToolFormat::Hermes,
        "<tool_call>{\"arguments\": {}}</tool_call>",
        &["T <tool_call>{\"arguments\": {}}</tool_call>", "E"],
    ),
    (ToolFormat::Hermes, "<tool_call>", &["T <tool_call>", "E"]),
    (
        ToolFormat::Llama3,
        " {\"name\": \"f\", \"parameters\": {\"a\": ",
        &["T  {\"name\": \"f\", \"parameters\": {\"a\": ", "E"],
    ),
    (ToolFormat::Llama3, "[f(a=x)] b", &["T [f(a=x)]", "E", "T  b"]),
    (ToolFormat::Gemma, "```tool_code\nx = 1\n```", &["T ```tool_code\nx = 1\n```", "E"]),
    (
        ToolFormat::Lfm2,
        "<|tool_call_start|>f(1)<|tool_call_end|>",
        &["T <|tool_call_start|>f(1)<|tool_call_end|>", "E"],
    ),
    (ToolFormat::Mistral, "[TOOL_CALLS]f g[ARGS]{}", &["T [TOOL_CALLS]f", "E", "T  g[ARGS]{}"]),
    (ToolFormat::Mistral, "[TOOL_CALLS]f[ARGS]{\"a\"", &["T [TOOL_CALLS]f[ARGS]{\"a\"", "E"]),
];

#[test]
fn answers_fall_into_their_parts() {
    for (tools, answer, expected) in CASES {
        assert_eq!(shown(&parse(format(*tools), false, &[answer])), *expected, "{answer}");
    }
}

#[test]
fn a_thought_that_the_prompt_has_opened_goes_on() {
    let format = format(ToolFormat::Hermes);
    assert_eq!(shown(&parse(format, true, &["hm\n</think>\n\nYes"])), ["R hm", "T Yes"]);
    let mut parser = ChatParser::new(format, true);
    assert!(parser.is_reasoning());
    parser.push("hm</think>");
    assert!(!parser.is_reasoning());
    let without = ChatFormat { reasoning: None, ..format };
    assert_eq!(shown(&parse(without, true, &["hm</think>"])), ["T hm</think>"]);
    assert_eq!(shown(&parse(ChatFormat::default(), false, &["<tool_call> \n"])), ["T <tool_call> \n"]);
}

/// Cuts `text` into pieces at random.
fn pieces<'t>(text: &'t str, random: &mut Random) -> Vec<&'t str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let most = rest.char_indices().nth(1 + random.below(6)).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(most);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The cases, and what becomes of them where parts are lost, doubled or put after each other: the
/// same parts for all cuts, and all of the text where nothing was read as a call or a thought.
#[test]
fn cuts_change_nothing() {
    let mut random = Random::new(3);
    let parts: Vec<&str> = CASES.iter().flat_map(|(_, answer, _)| pieces(answer, &mut Random::new(4))).collect();
    for round in 0..4000 {
        let (tools, answer, _) = CASES[round % CASES.len()];
        let mut text = answer.to_owned();
        for _ in 0..random.below(4) {
            let part = parts[random.below(parts.len())];
            let at = text.char_indices().map(|(at, _)| at).nth(random.below(text.len().max(1))).unwrap_or(text.len());
            if random.below(2) == 0 { text.insert_str(at, part) } else { text.truncate(at) }
        }
        let (format, open) = (format(tools), random.below(4) == 0);
        let whole = parse(format, open, &[&text]);
        assert_eq!(parse(format, open, &pieces(&text, &mut random)), whole, "{text:?}");
        let letters: Vec<&str> = text.split_inclusive(|_| true).collect();
        assert_eq!(parse(format, open, &letters), whole, "{text:?}");
        let said = |event: &ChatEvent| if let ChatEvent::Text(text) = event { text.clone() } else { String::new() };
        let read = |event: &ChatEvent| matches!(event, ChatEvent::Reasoning(_) | ChatEvent::Call(_));
        if !open && !text.contains("<think>") && !whole.iter().any(read) {
            assert_eq!(whole.iter().map(said).collect::<String>(), text);
        }
    }
}

#[test]
fn calls_have_arguments_that_are_json() {
    let events =
        parse(format(ToolFormat::Lfm2), false, &["<|tool_call_start|>[f(a={'b': [1, 2.5]})]<|tool_call_end|>"]);
    let [ChatEvent::Call(call)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(json!(call.arguments), json!({"a": {"b": [1, 2.5]}}));
}
