//! Tool calls: those of every family follow the schemas of the tools, and have ids.

use std::ops::ControlFlow;

use ollm_runtime::chat::{
    CallGrammar, ChatEvent, ChatFormat, ChatParser, ChatTemplate, Message, ToolFormat, Variables,
};
use ollm_runtime::constraint::{Allowed, Constraint, GrammarKind};
use ollm_runtime::conversation::{ConversationError, ConversationOptions};
use ollm_runtime::random::Random;
use serde_json::{Value, json};

use super::{Fixture, up_to, user};

/// Tools with arguments of all kinds.
fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "look_up", "parameters": {
            "type": "object",
            "properties": {
                "day": {"enum": ["Mo", "Tu"]},
                "count": {"type": "integer", "minimum": 0, "maximum": 9},
                "exact": {"type": "boolean"}
            },
            "required": ["day", "exact"]
        }}},
        {"name": "stop", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}
    ])
}

fn check_call(call: &ollm_runtime::chat::ToolCall) {
    let arguments = &call.arguments;
    match call.name.as_str() {
        "look_up" => {
            assert!(arguments["day"] == "Mo" || arguments["day"] == "Tu", "{call:?}");
            assert!(arguments["exact"].is_boolean(), "{call:?}");
            assert!(arguments.get("count").is_none_or(|count| count.as_u64().unwrap() < 10), "{call:?}");
            assert!(arguments.keys().all(|key| ["day", "count", "exact"].contains(&key.as_str())), "{call:?}");
        }
        "stop" => assert!(arguments.is_empty(), "{call:?}"),
        other => panic!("{other}"),
    }
}

/// One of the tokens that come next, until the text is free.
fn next(constraint: &mut Constraint, random: &mut Random) -> Option<u32> {
    let token = match constraint.allowed().unwrap() {
        Allowed::Only(token) => Some(token),
        Allowed::Set(set) => {
            let all: Vec<u32> = (4..320).filter(|&id| set.contains(id)).collect();
            Some(all[random.below(all.len())])
        }
        Allowed::Any | Allowed::Nothing => None,
    };
    token.filter(|_| !constraint.is_waiting())
}

/// Behind the text that opens calls, every way through the grammar is a call that the parser reads;
/// then the text is free again, or at its end where there may be one call alone.
#[test]
fn calls_of_every_family_follow_the_schemas() {
    let fixture = Fixture::tiny();
    let compiler = fixture.compiler();
    let variables = Variables::new().with("tools", tools()).unwrap();
    for (format, source) in [
        (ToolFormat::Hermes, "<tool_call>"),
        (ToolFormat::Llama3, "<|python_tag|>"),
        (ToolFormat::Gemma, "<start_of_turn>"),
        (ToolFormat::Lfm2, "<|tool_call_start|>"),
        (ToolFormat::Mistral, "[TOOL_CALLS]"),
        (ToolFormat::Mistral, "[TOOL_CALLS][ARGS]"),
        (ToolFormat::QwenXml, "<tool_call><function="),
        (ToolFormat::Seed, "<seed:tool_call>"),
        (ToolFormat::Glm, "<tool_call><arg_key>"),
        (ToolFormat::Harmony, "<|channel|><|message|>"),
        (ToolFormat::Gemma4, "<|tool_call>"),
        (ToolFormat::Granite, "<|tool_call|>"),
        (ToolFormat::Command, "<|START_ACTION|>"),
        (ToolFormat::Hunyuan, "<tool_calls>"),
        (ToolFormat::DeepSeek, "<｜tool▁sep｜>```json"),
        (ToolFormat::DeepSeekV31, "<｜tool▁sep｜>"),
        (ToolFormat::Nemotron, "<TOOLCALL>"),
    ] {
        let template = ChatTemplate::new(source).unwrap();
        for parallel in [true, false] {
            let grammar = CallGrammar::new(format, &variables, parallel, &template, &fixture.tokenizer);
            let CallGrammar { lark, trigger } = grammar.unwrap().unwrap();
            let compiled = compiler.compile(GrammarKind::Lark, &lark).unwrap_or_else(|e| panic!("{e}: {lark}"));
            let start = if parallel { Constraint::after_each } else { Constraint::after }(&compiled, trigger);
            for seed in 0..20 {
                let (mut random, mut constraint) = (Random::new(seed), start.clone());
                let mut text = Vec::new();
                // Llama 3 calls once; in others a second call may follow.
                for _ in 0..if parallel && format != ToolFormat::Llama3 { 2 } else { 1 } {
                    for token in fixture.tokenizer.encode(trigger, false).unwrap() {
                        constraint.accept(token).unwrap();
                        text.push(token);
                    }
                    assert!(!constraint.is_waiting());
                    while let Some(token) = next(&mut constraint, &mut random)
                        && !fixture.tokenizer.is_end(token)
                    {
                        constraint.accept(token).unwrap();
                        text.push(token);
                        assert!(text.len() < 2000);
                    }
                }
                let text = fixture.tokenizer.decode(&text);
                let mut parser = ChatParser::new(ChatFormat { tools: Some(format), ..ChatFormat::default() }, false);
                let mut events = parser.push(&text);
                events.extend(parser.finish());
                let calls: Vec<_> = events
                    .iter()
                    .filter_map(|event| if let ChatEvent::Call(call) = event { Some(call) } else { None })
                    .collect();
                assert!(!calls.is_empty() && calls.len() == events.len(), "{format}: {text:?} {events:?}");
                assert!(parallel || calls.len() == 1, "{format}: {text:?}");
                calls.into_iter().for_each(check_call);
            }
        }
    }
}

#[test]
fn a_conversation_constrains_calls_and_gives_them_ids() {
    let fixture = Fixture::tiny();
    let variables = Variables::new().with("tools", tools()).unwrap();
    let options = ConversationOptions { variables, ..ConversationOptions::default() };
    let (mut talk, mut session) = (fixture.talk(options), fixture.session(1024));
    talk.constrain_calls(&fixture.compiler()).unwrap();
    for turn in 0..6 {
        talk.add(if turn == 0 { user("Look") } else { Message::new("tool", "21") });
        let mut calls = Vec::new();
        let mut each = |part: &ollm_runtime::conversation::AnswerPart<'_>| {
            for event in part.events {
                match event {
                    ChatEvent::Call(call) => calls.push(call.clone()),
                    ChatEvent::Malformed(reason) => panic!("{reason}"),
                    _ => {}
                }
            }
            if calls.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let mut sampler = fixture.writing("Well.<tool_call>", turn);
        talk.answer(&mut session, None, &mut sampler, &up_to(300), &mut each).unwrap();
        check_call(&calls[0]);
        assert_eq!(calls[0].id, Some(format!("call{turn:05}")));
        let message = talk.messages().last().unwrap();
        assert_eq!(message.get("tool_calls").unwrap()[0]["id"], json!(calls[0].id));
    }
    assert!(session.constraint().is_none());
    talk.set_options(ConversationOptions::default()).unwrap();
    assert!(!talk.constrains_calls());
    assert!(matches!(talk.constrain_calls(&fixture.compiler()), Err(ConversationError::NoCalls)));
}
