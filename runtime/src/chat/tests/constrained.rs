//! Constrained calls of the forms that are not all JSON: what a model writes is taken, what the
//! schema forbids is refused, and what was taken is read as the same call again.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::*;
use super::safe::with_controls;
use crate::constraint::{Constraint, GrammarCompiler, GrammarKind};
use crate::tokenizer::Tokenizer;

/// The marks of the forms; in some files they are control tokens, in others text.
const MARKS: [&str; 14] = [
    "<s>",
    "</s>",
    "</tool_call>",
    "<seed:tool_call>",
    "</seed:tool_call>",
    "<|tool_call>",
    "<tool_call|>",
    "<|\"|>",
    "<|channel|>",
    "<|message|>",
    "<|constrain|>",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    "<|tool_call|>",
];

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object",
        "properties": {
            "day": {"enum": ["Mo", "Tu"]},
            "text": {"type": "string"},
            "n": {"$ref": "#count"},
            "on": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "string"}},
            "inner": {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer"}}, "required": ["k"]}
        },
        "required": ["day"],
        "$defs": {"whole/number": {"$anchor": "count", "type": "integer"}}
    }}}, {"type": "function", "function": {"name": "stop"}}])
}

/// A form, the text of its template, calls behind the opening text with the arguments that they
/// are, and texts that are no calls.
struct Case {
    format: ToolFormat,
    template: &'static str,
    calls: [&'static str; 3],
    refused: [&'static str; 4],
}

/// The arguments of the three calls.
fn expected() -> [Value; 3] {
    let all = json!({
        "day": "Mo", "text": "it's <b>\n\"5\"", "n": -3, "on": true, "list": ["x", "5"], "inner": {"k": "1", "n": 2}
    });
    [all, json!({"day": "Tu", "on": false}), json!({})]
}

const CASES: &[Case] = &[
    Case {
        format: ToolFormat::QwenXml,
        template: "<tool_call> <function=",
        calls: [
            "\n<function=f>\n<parameter=day>\nMo\n</parameter>\n<parameter=text>\nit's <b>\n\"5\"\n</parameter>\n\
            <parameter=n>\n-3\n</parameter>\n<parameter=on>\ntrue\n</parameter>\n<parameter=list>\n[\"x\", \"5\"]\n\
            </parameter>\n<parameter=inner>\n{\"k\": \"1\", \"n\": 2}\n</parameter>\n</function>\n</tool_call>",
            "\n<function=f>\n<parameter=day>\nTu\n</parameter>\n<parameter=on>\nfalse\n</parameter>\n</function>\n\
            </tool_call>",
            "\n<function=stop>\n</function>\n</tool_call>",
        ],
        refused: [
            "\n<function=f>\n<parameter=day>\nWe",
            "\n<function=f>\n<parameter=text>",
            "\n<function=f>\n<parameter=day>\nMo\n</parameter>\n<parameter=n>\n1.5",
            "\n{\"name\":",
        ],
    },
    Case {
        format: ToolFormat::Seed,
        template: "<seed:tool_call>",
        calls: [
            "\n<function=f>\n<parameter=day>Mo</parameter>\n<parameter=text>it's <b>\n\"5\"</parameter>\n\
            <parameter=n>-3</parameter>\n<parameter=on>true</parameter>\n<parameter=list>[\"x\", \"5\"]</parameter>\n\
            <parameter=inner>{\"k\": \"1\", \"n\": 2}</parameter>\n</function>\n</seed:tool_call>",
            "\n<function=f>\n<parameter=day>Tu</parameter>\n<parameter=on>false</parameter>\n</function>\n\
            </seed:tool_call>",
            "\n<function=stop>\n</function>\n</seed:tool_call>",
        ],
        refused: [
            "\n<function=f>\n<parameter=day>We",
            "\n<function=f>\n<parameter=text>",
            "\n<function=g>",
            "\n<function=f>\n<parameter=day>Mo</parameter>\n<parameter=on>yes",
        ],
    },
    Case {
        format: ToolFormat::Glm,
        template: "<tool_call> <arg_key>",
        calls: [
            "f\n<arg_key>day</arg_key>\n<arg_value>Mo</arg_value>\n<arg_key>text</arg_key>\n<arg_value>it's <b>\n\"5\"\
            </arg_value>\n<arg_key>n</arg_key>\n<arg_value>-3</arg_value>\n<arg_key>on</arg_key>\n<arg_value>true\
            </arg_value>\n<arg_key>list</arg_key>\n<arg_value>[\"x\", \"5\"]</arg_value>\n<arg_key>inner</arg_key>\n\
            <arg_value>{\"k\": \"1\", \"n\": 2}</arg_value>\n</tool_call>",
            "f\n<arg_key>day</arg_key>\n<arg_value>Tu</arg_value>\n<arg_key>on</arg_key>\n<arg_value>false</arg_value>\n\
            </tool_call>",
            "stop\n</tool_call>",
        ],
        refused: ["f\n</tool_call>", "g\n", "f\n<arg_key>text", "f\n<arg_key>day</arg_key>\n<arg_value>We"],
    },
    Case {
        format: ToolFormat::Gemma4,
        template: "<|tool_call>",
        calls: [
            "call:f{day:<|\"|>Mo<|\"|>,text:<|\"|>it's <b>\n\"5\"<|\"|>,n:-3,on:true,list:[<|\"|>x<|\"|>,<|\"|>5<|\"|>],\
            inner:{k:<|\"|>1<|\"|>,n:2}}<tool_call|>",
            "call:f{day:<|\"|>Tu<|\"|>,on:false}<tool_call|>",
            "call:stop{}<tool_call|>",
        ],
        refused: ["call:g", "call:f{}", "call:f{day:<|\"|>We", "call:f{day:<|\"|>Mo<|\"|>,n:1.5"],
    },
    Case {
        format: ToolFormat::Gemma,
        template: "<start_function_call>",
        calls: [
            "call:f{day:<escape>Mo<escape>,text:<escape>it's <b>\n\"5\"<escape>,n:-3,on:true,\
            list:[<escape>x<escape>,<escape>5<escape>],inner:{k:<escape>1<escape>,n:2}}<end_function_call>",
            "call:f{day:<escape>Tu<escape>,on:false}<end_function_call>",
            "call:stop{}<end_function_call>",
        ],
        refused: ["call:g", "call:f{}", "call:f{day:<escape>We", "f("],
    },
    Case {
        format: ToolFormat::Harmony,
        template: "<|start|>assistant<|channel|>commentary to=functions. <|message|>",
        calls: [
            "f <|constrain|>json<|message|>{\"day\": \"Mo\", \"text\": \"it's <b>\\n\\\"5\\\"\", \"n\": -3, \"on\": true, \
            \"list\": [\"x\", \"5\"], \"inner\": {\"k\": \"1\", \"n\": 2}}",
            "f<|channel|>commentary json<|message|>{\"day\": \"Tu\", \"on\": false}",
            "stop<|message|>{}",
        ],
        refused: ["g", "f<|message|>{}", "f<|message|>{\"day\": \"We", "f{"],
    },
    Case {
        format: ToolFormat::Command,
        template: "<|START_ACTION|>",
        calls: [
            "[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"day\": \"Mo\", \
            \"text\": \"it's <b>\\n\\\"5\\\"\", \"n\": -3, \"on\": true, \"list\": [\"x\", \"5\"], \
            \"inner\": {\"k\": \"1\", \"n\": 2}}}\n]<|END_ACTION|>",
            "[\n    {\"tool_call_id\": \"12\", \"tool_name\": \"f\", \"parameters\": {\"day\": \"Tu\", \"on\": false}}\n]\
            <|END_ACTION|>",
            "[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"stop\", \"parameters\": {}}\n]<|END_ACTION|>",
        ],
        refused: ["[]", "[\n    {\"tool_name\"", "f(", "[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"g"],
    },
    Case {
        format: ToolFormat::Granite,
        template: "<|tool_call|>",
        calls: [
            "[{\"name\": \"f\", \"arguments\": {\"day\": \"Mo\", \"text\": \"it's <b>\\n\\\"5\\\"\", \"n\": -3, \
            \"on\": true, \"list\": [\"x\", \"5\"], \"inner\": {\"k\": \"1\", \"n\": 2}}}]",
            "[{\"name\": \"f\", \"arguments\": {\"day\": \"Tu\", \"on\": false}}]",
            "[{\"name\": \"stop\", \"arguments\": {}}]",
        ],
        refused: ["[]", "{\"name\"", "[{\"name\": \"g", "[{\"name\": \"f\", \"arguments\": {}}"],
    },
];

/// Takes a text token by token; whether all of it was taken.
fn takes(constraint: &mut Constraint, tokenizer: &Tokenizer, text: &str) -> bool {
    tokenizer.encode(text, true).unwrap().into_iter().all(|token| constraint.accept(token).is_ok())
}

#[test]
fn constrained_calls_are_read_again() {
    let variables = Variables::new().with("tools", tools()).unwrap();
    for controls in [&MARKS[..2], &MARKS] {
        let tokenizer = Arc::new(with_controls("gpt2", controls));
        let compiler = GrammarCompiler::new(&tokenizer, 256 + controls.len() + 4).unwrap();
        for Case { format, template, calls, refused } in CASES {
            let template = ChatTemplate::new(template).unwrap();
            assert_eq!(template.format().tools, Some(*format));
            let grammar = CallGrammar::new(*format, &variables, true, &template, &tokenizer).unwrap().unwrap();
            let CallGrammar { trigger, lark } = grammar;
            let compiled = compiler.compile(GrammarKind::Lark, &lark).unwrap_or_else(|error| panic!("{error}\n{lark}"));
            for (call, expected) in calls.iter().zip(expected()) {
                let mut constraint = Constraint::new(&compiled);
                assert!(takes(&mut constraint, &tokenizer, call), "{format}: {call}\n{lark}");
                assert!(constraint.is_complete(), "{format}: {call}\n{lark}");
                let mut parser = ChatParser::new(template.format(), false).with_tools(&variables);
                let mut events = parser.push(&format!("{trigger}{call}"));
                events.extend(parser.finish());
                let [ChatEvent::Call(call)] = &events[..] else { panic!("{format}: {events:?}") };
                assert_eq!(Value::Object(call.arguments.clone()), expected, "{format}");
            }
            for text in refused {
                assert!(!takes(&mut Constraint::new(&compiled), &tokenizer, text), "{format}: {text}\n{lark}");
            }
        }
    }
}

/// Beside tools an answer may be JSON of a schema; its first key may be that of a call.
#[test]
fn an_answer_is_calls_or_json() {
    let variables = Variables::new().with("tools", tools()).unwrap();
    let answer = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
        "required": ["name", "age"],
        "$defs": {"age": {"type": "integer"}}
    });
    let call = "{\"name\": \"f\", \"arguments\": {\"day\": \"Mo\"}}";
    let hermes = format!("<tool_call>\n{call}\n</tool_call>");
    let twice = format!("{hermes}\n{hermes}");
    let llama = call.replace("arguments", "parameters");
    for (format, source, calls, may_repeat) in
        [(ToolFormat::Hermes, "<tool_call>", &hermes, true), (ToolFormat::Llama3, "<|python_tag|>", &llama, false)]
    {
        for controls in [&MARKS[..2], &["<s>", "</s>", "<tool_call>", "</tool_call>"]] {
            let tokenizer = Arc::new(with_controls("gpt2", controls));
            let compiler = GrammarCompiler::new(&tokenizer, 256 + controls.len() + 4).unwrap();
            let template = ChatTemplate::new(source).unwrap();
            let write = |parallel| {
                let answer = answer.as_object().unwrap();
                let grammar = CallGrammar::or_json(format, &variables, parallel, &template, &tokenizer, answer);
                let lark = grammar.unwrap().unwrap().lark;
                compiler.compile(GrammarKind::Lark, &lark).unwrap_or_else(|error| panic!("{error}\n{lark}"))
            };
            let all = write(true);
            let takes_all = |text: &str| {
                let mut constraint = Constraint::new(&all);
                takes(&mut constraint, &tokenizer, text) && constraint.is_complete()
            };
            assert!(takes_all("{\"name\": \"f\", \"age\": 3}"), "{format}");
            assert!(takes_all(calls), "{format}");
            for text in ["{\"name\": 3", "{\"name\": \"f\", \"age\": 1.5", "[", "So"] {
                assert!(!takes(&mut Constraint::new(&all), &tokenizer, text), "{format}: {text}");
            }
            assert_eq!(takes(&mut Constraint::new(&all), &tokenizer, &twice), may_repeat, "{format}");
            assert!(!takes(&mut Constraint::new(&write(false)), &tokenizer, &twice), "{format}");
        }
    }
}
