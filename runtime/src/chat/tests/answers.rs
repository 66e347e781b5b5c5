//! Answers of all families, cut into pieces in every way.

use ollm_kernels::random::Random;
use serde_json::json;

use super::super::*;

const THINK: Reasoning = Reasoning::new("<think>", "</think>", "\n</think>\n\n");

fn format(tools: ToolFormat) -> ChatFormat {
    ChatFormat { reasoning: Some(THINK), tools: Some(tools), dropped: &[] }
}

/// The parts of an answer that comes in pieces.
fn parse(format: ChatFormat, open: bool, pieces: &[&str]) -> Vec<ChatEvent> {
    let mut parser = ChatParser::new(format, open);
    let mut events: Vec<ChatEvent> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    joined(events)
}

/// Texts that follow each other are one.
fn joined(events: Vec<ChatEvent>) -> Vec<ChatEvent> {
    events.into_iter().fold(Vec::new(), |mut all, event| {
        match (all.last_mut(), &event) {
            (Some(ChatEvent::Text(text)), ChatEvent::Text(more))
            | (Some(ChatEvent::Reasoning(text)), ChatEvent::Reasoning(more)) => text.push_str(more),
            _ => all.push(event),
        }
        all
    })
}

/// A call that the end of an answer cuts off leaves no text, wherever that is; a whole one is a
/// call.
#[test]
fn a_call_that_is_cut_off_is_left_out() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";
    let whole = call.find("}}").unwrap() + 2;
    for cut in 1..call.len() {
        let mut parser = ChatParser::new(format(ToolFormat::Hermes), false);
        let mut events = parser.push("Well");
        events.extend(parser.push(&call[..cut]));
        events.extend(parser.finish_cut());
        let shown = shown(&events);
        assert_eq!(shown[0], "T Well", "{cut}");
        let rest: Vec<&str> = shown[1..].iter().map(String::as_str).collect();
        let expected: &[&str] = match cut {
            ..11 => &[],
            _ if (whole..=whole + 2).contains(&cut) || cut == call.len() => &["C f {\"x\":1}"],
            _ => &["E"],
        };
        assert_eq!(rest, expected, "{cut}");
    }
    let mut parser = ChatParser::new(format(ToolFormat::Llama3), false);
    assert_eq!(parser.push("{\"name\": \"f\", \"param"), []);
    assert_eq!(shown(&parser.finish_cut()), ["E"]);
    let mut parser = ChatParser::new(format(ToolFormat::Llama3), false);
    assert_eq!(shown(&parser.push("{\"x\": 1")), ["T {\"x\": 1"]);
    assert_eq!(parser.finish_cut(), []);
}

/// What is said is told with its place in the answer, and white space around a call belongs to it,
/// also around one that is cut off.
#[test]
fn what_is_said_has_a_place() {
    let answer = "Well, <b> \n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\nDone. \n<tool_c";
    let said = ["Well, <b>", "Done."];
    for size in 1..answer.len() {
        let mut parser = ChatParser::new(format(ToolFormat::Hermes), false);
        assert_eq!((parser.push("\n\n"), parser.position()), (Vec::new(), 2));
        let (mut places, mut events) = (Vec::new(), Vec::new());
        for piece in answer.as_bytes().chunks(size) {
            events.extend(parser.push(str::from_utf8(piece).unwrap()));
            places.extend(parser.take_said());
            assert!(places.last().is_none_or(|last| last.end <= parser.decided()));
        }
        assert_eq!(parser.position(), 2 + answer.len());
        events.extend(parser.finish_cut());
        places.extend(parser.take_said());
        let whole = format!("\n\n{answer}");
        let texts: String = places.into_iter().map(|place| &whole[place]).collect();
        assert_eq!(texts.trim_start(), said.concat(), "pieces of {size}");
        assert_eq!(shown(&joined(events)), ["T \n\nWell, <b>", "C f {}", "T Done."], "pieces of {size}");
    }
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
    (
        ToolFormat::Hermes,
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 18446744073709551616}}</tool_call>",
        &["T <tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 18446744073709551616}}</tool_call>", "E"],
    ),
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
    // Qwen3-Coder and Qwen 3.5.
    (
        ToolFormat::QwenXml,
        "Look.\n<tool_call>\n<function=f>\n<parameter=a>\nline <b>\n\n</parameter>\n<parameter=n>\n[1, \"x\"]\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>",
        &["T Look.", r#"C f {"a":"line <b>\n","n":[1,"x"]}"#, "C g {}"],
    ),
    (
        ToolFormat::QwenXml,
        "<tool_call><function=f><parameter=a></parameter> is no end</parameter></function></tool_call>ok",
        &[r#"C f {"a":"</parameter> is no end"}"#, "T ok"],
    ),
    (
        ToolFormat::QwenXml,
        "<tool_call>\n<function=f>\n</function>\n<function=g>\n</function>\n</tool_call>",
        &["C f {}", "C g {}"],
    ),
    (ToolFormat::QwenXml, "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", &["C f {}"]),
    (ToolFormat::QwenXml, "<tool_call>\n<function=f>\n</function>", &["C f {}"]),
    (
        ToolFormat::QwenXml,
        "Look. <function=f>\n<parameter=a>\n1\n</parameter>\n</function> and <function=g>\n</function>",
        &["T Look.", r#"C f {"a":1}"#, "T and", "C g {}"],
    ),
    (
        ToolFormat::Seed,
        "<seed:tool_call>\n<function=f>\n<parameter=a>x\n</parameter>\n</function>\n</seed:tool_call>",
        &[r#"C f {"a":"x\n"}"#],
    ),
    // GLM, with and without line breaks.
    (
        ToolFormat::Glm,
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x y</arg_value>\n<arg_key>b</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
        &[r#"C f {"a":"x y","b":2}"#],
    ),
    (
        ToolFormat::Glm,
        "<tool_call>f<arg_key>a</arg_key><arg_value>x</arg_value></tool_call><tool_call>g</tool_call>",
        &[r#"C f {"a":"x"}"#, "C g {}"],
    ),
    (
        ToolFormat::Gemma4,
        "<|tool_call>call:f{a:<|\"|>x<tool_call|>}<|\"|>,b:[1,{c:true}]}<tool_call|>",
        &[r#"C f {"a":"x<tool_call|>}","b":[1,{"c":true}]}"#],
    ),
    (
        ToolFormat::Granite,
        "<|tool_call|>[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}] Wait.",
        &["C f {}", "C g {}", "T Wait."],
    ),
    (
        ToolFormat::Command,
        "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"a\": 1}}\n]<|END_ACTION|>",
        &[r#"C f {"a":1}"#],
    ),
    (ToolFormat::Hunyuan, "<tool_calls>[{\"name\": \"f\", \"arguments\": {}}]</tool_calls>", &["C f {}"]),
    (ToolFormat::Hunyuan, "<tool_calls>\n{\"name\": \"f\"}\n{\"name\": \"g\"}\n</tool_calls>", &["C f {}", "C g {}"]),
    (
        ToolFormat::DeepSeek,
        "Look.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": \"```\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜>",
        &["T Look.", r#"C f {"a":"```"}"#, "C g {}"],
    ),
    (
        ToolFormat::DeepSeekV31,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜> b",
        &[r#"C f {"a":1}"#, "C g {}", "T b"],
    ),
    (
        ToolFormat::DeepSeekV31,
        "<｜tool▁call▁begin｜>f g<｜tool▁sep｜>{}",
        &["T <｜tool▁call▁begin｜>f", "E", "T  g<｜tool▁sep｜>{}"],
    ),
    (ToolFormat::Nemotron, "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {}}]</TOOLCALL>", &["C f {}"]),
    (ToolFormat::Harmony, " to=functions.f<|channel|>commentary json<|message|>{\"a\": \"}\"}", &[r#"C f {"a":"}"}"#]),
    (
        ToolFormat::QwenXml,
        "<tool_call>\n<function=f>\n<parameter a>1</parameter></function>\n</tool_call> b",
        &["T <tool_call>\n<function=f>\n<parameter a>1</parameter></function>\n</tool_call>", "E", "T  b"],
    ),
    (ToolFormat::Glm, "<tool_call>f\nx</tool_call>", &["T <tool_call>f\nx</tool_call>", "E"]),
    (ToolFormat::Granite, "<|tool_call|>f()", &["T <|tool_call|>", "E", "T f()"]),
    (ToolFormat::Harmony, "to=functions.f<|channel|>analysis code<|message|>{\"a\": 1}", &[r#"C f {"a":1}"#]),
    // What closes a call may be left out where the next one begins.
    (
        ToolFormat::Hermes,
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"<tool_call>\"}}\n<tool_call>\n\
        {\"name\": \"g\", \"arguments\": \"\"}\n</tool_call>",
        &[r#"C f {"a":"<tool_call>"}"#, "C g {}"],
    ),
    (ToolFormat::Harmony, "to=functions.f is", &["T to=functions.f", "E", "T  is"]),
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

/// Answers of templates whose marks are special, as [`ChatTemplate::format`] tells them.
const MARKED: &[(&str, &str, &[&str])] = &[
    (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        &["R Hm.", "T Yes."],
    ),
    (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary<|message|>Wait.<|end|>\
        <|start|>assistant<|channel|>analysis<|message|>B<|end|><|start|>assistant<|channel|>commentary \
        to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>",
        &["R A", "T Wait.", "R B", r#"C f {"a":1}"#],
    ),
    (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|channel|>final <|constrain|>json<|message|>{\"a\": 1}<|return|>",
        &["T {\"a\": 1}"],
    ),
    (
        "<|channel>thought\n<channel|> <|tool_call>",
        "<|channel>thought\nHm\n<channel|>Wait. <|tool_call>call:f{}<tool_call|>",
        &["R Hm", "T Wait.", "C f {}"],
    ),
    (
        "<|START_THINKING|> <|START_ACTION|> <|START_RESPONSE|>",
        "<|START_THINKING|>Hm<|END_THINKING|><|START_RESPONSE|>Yes<|END_RESPONSE|>",
        &["R Hm", "T Yes"],
    ),
    ("<seed:think> <seed:tool_call>", "<seed:think>Hm</seed:think>Yes", &["R Hm", "T Yes"]),
    ("<think></think><answer>", "<think>\nHm\n</think>\n<answer>\nYes\n</answer>", &["R Hm", "T Yes"]),
    ("<|tool_call|><|/tool_call|>", "<|tool_call|>[{\"name\": \"f\"}]<|/tool_call|>", &["C f {}"]),
    (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜><｜tool▁sep｜>\n```json\n",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        &["C f {}"],
    ),
    ("{{ x.split('</think>') }}", "Hm\n</think>\n\nYes </think>", &["R Hm", "T Yes </think>"]),
    ("{{ x.split('</think>') }}", "<think>Hm</think>Yes", &["R Hm", "T Yes"]),
    ("{{ x.split('</think>') }}", " Yes", &["T  Yes"]),
    ("{{ '<think>' }}{{ x.split('</think>') }}", "Hm</think>Yes", &["T Hm</think>Yes"]),
];

#[test]
fn templates_tell_the_marks_of_answers() {
    let mut random = Random::new(5);
    for (template, answer, expected) in MARKED {
        let format = ChatTemplate::new(template).unwrap().format();
        assert_eq!(shown(&parse(format, false, &[answer])), *expected, "{answer}");
        for _ in 0..40 {
            assert_eq!(shown(&parse(format, false, &pieces(answer, &mut random))), *expected, "{answer}");
        }
        let letters: Vec<&str> = answer.split_inclusive(|_| true).collect();
        assert_eq!(shown(&parse(format, false, &letters)), *expected, "{answer}");
    }
}

/// Forms that write texts without quotes need the schema.
#[test]
fn schemas_tell_texts_from_other_values() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"properties": {
        "s": {"type": "string"}, "i": {"type": "integer"}, "l": {"type": "array"}
    }}}}]);
    let answer = "<tool_call>\n<function=f>\n<parameter=s>\n12\n</parameter>\n<parameter=i>\n12\n</parameter>\n\
        <parameter=l>\n[\"</parameter>\\n</function>\"]\n</parameter>\n</function>\n</tool_call>";
    let variables = Variables::new().with("tools", tools).unwrap();
    let mut parser = ChatParser::new(format(ToolFormat::QwenXml), false).with_tools(&variables);
    let events: Vec<ChatEvent> = answer.split_inclusive(|_| true).flat_map(|piece| parser.push(piece)).collect();
    assert_eq!(shown(&events), [r#"C f {"s":"12","i":12,"l":["</parameter>\n</function>"]}"#]);
}

/// Templates of Mistral refuse other ids.
#[test]
fn ids_have_nine_letters_and_digits() {
    let ids = ["a", "b", "chatcmpl-1-0-0", "chatcmpl-1-0-1", ""].map(call_id);
    assert!(ids.iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())), "{ids:?}");
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
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
