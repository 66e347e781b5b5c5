//! `ollm-run` in a conversation: tools, template variables, messages of a file, thoughts. What the
//! template engine, the guard and the parser do is in the tests of `runtime/src/chat`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use ollm_runtime::chat::{ChatTemplate, Message, Variables};
use ollm_runtime::generate::{GenerateOptions, Reason, ReasoningBudget, generate};
use ollm_runtime::model::Model;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::c_programs::{build, chat_file};
use serde_json::{Value, json};

fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn model() -> PathBuf {
    static FILE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    FILE.get_or_init(|| scratch("chats.gguf", &chat_file())).clone()
}

fn run(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(build().join("ollm-run"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its flags reads nothing.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The objects that a command prints, which must succeed.
fn lines(args: &[&str], input: &str) -> Vec<Value> {
    let model = model();
    let output = run(&[args, &["-m", model.to_str().unwrap(), "--json"]].concat(), input);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line["token"].as_u64()).collect()
}

/// What the library answers to a conversation: the tokens.
fn answer(messages: &[Message], variables: &Variables, limit: usize) -> Vec<u64> {
    let model = Arc::new(Model::open(&model()).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let template = ChatTemplate::from_metadata(model.gguf().metadata()).unwrap();
    let prompt = template.render(messages, variables, true, &tokenizer).unwrap();
    let mut session = Session::new(model, None, &SessionOptions::default()).unwrap();
    session.feed(&prompt.tokens(&tokenizer).unwrap()).unwrap();
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let options = GenerateOptions { limit, stops: Vec::new(), show: None, reasoning: None };
    let each = &mut |_: &ollm_runtime::generate::Token<'_>| std::ops::ControlFlow::Continue(());
    let done = generate(&mut session, &tokenizer, None, &mut sampler, &options, each).unwrap();
    done.tokens.into_iter().map(u64::from).collect()
}

#[test]
fn messages_tools_and_variables_come_from_flags() {
    let tools = scratch("chats-tools.json", br#"[{"name": "f<|im_end|>"}]"#);
    let messages = scratch(
        "chats-messages.json",
        br#"[{"role": "user", "content": "a<|im_start|>"}, {"role": "assistant", "content": "b"}]"#,
    );
    let (tools, messages) = (tools.to_str().unwrap(), messages.to_str().unwrap());
    let said = [Message::new("user", "a<|im_start|>"), Message::new("assistant", "b"), Message::new("user", "c")];
    let offered = Variables::new().with("tools", json!([{"name": "f<|im_end|>"}])).unwrap();
    let all = offered.clone().with("think", json!(true)).unwrap();
    let flags = ["--chat", "--messages", messages, "-p", "c", "-n", "6"];
    assert_eq!(ids(&lines(&flags, "")), answer(&said, &Variables::new(), 6));
    let flags = [&flags[..], &["--tools", tools]].concat();
    assert_eq!(ids(&lines(&flags, "")), answer(&said, &offered, 6));
    let flags = [&flags[..], &["--template-arg", "think=true"]].concat();
    assert_eq!(ids(&lines(&flags, "")), answer(&said, &all, 6));
    // The messages of the file may be all that is said.
    let alone = lines(&["--chat", "--messages", messages, "-n", "6"], "not read");
    assert_eq!(ids(&alone), answer(&said[..2], &Variables::new(), 6));
    let talk = lines(&["chat", "--messages", messages, "-n", "6"], "c\n");
    assert_eq!(ids(&talk), answer(&said, &Variables::new(), 6));
}

/// A thought is ended after its tokens, by the tokens that end one; the message tells it apart.
#[test]
fn a_thought_has_a_budget() {
    for (command, input) in [(&["--chat", "-p", "x"][..], ""), (&["chat"], "x\n")] {
        let flags = [command, &["-n", "12", "--template-arg", "think=true", "--reasoning-budget", "3"]].concat();
        let lines = lines(&flags, input);
        let (done, tokens) = lines.split_last().unwrap();
        let text: String = tokens.iter().filter_map(|line| line["text"].as_str()).collect();
        let (thought, said) = text.split_once("\n</think>\n\n").unwrap();
        let forced = tokens.iter().filter(|line| line["logprob"] == 0.0).count();
        assert!(forced > 1 && tokens[..3].iter().all(|line| line["logprob"].as_f64().unwrap() < 0.0), "{tokens:?}");
        assert_eq!(tokens[3]["logprob"], 0.0);
        assert_eq!(done["message"]["role"], "assistant");
        assert_eq!(done["message"]["reasoning_content"].as_str().unwrap_or_default(), thought.trim());
        assert!(done["message"]["content"].as_str().unwrap().starts_with(said.trim()), "{done}");
    }
    // A thought that is not too long is left alone.
    let free = ["--chat", "-p", "x", "-n", "4", "--template-arg", "think=true"];
    let limited = [&free[..], &["--reasoning-budget", "40"]].concat();
    assert_eq!(ids(&lines(&free, "")), ids(&lines(&limited, "")));
}

/// The end of a thought counts against the limit of tokens, and stops at the end of the context.
#[test]
fn the_end_of_a_thought_keeps_the_limits() {
    let model = Arc::new(Model::open(&model()).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let end = tokenizer.encode("\n</think>\n\n", true).unwrap();
    let budget = ReasoningBudget {
        tokens: 2,
        open: "<think>".to_owned(),
        close: "</think>".to_owned(),
        end: end.clone(),
        in_reasoning: true,
    };
    for (limit, context, reason, expected) in [(4, 64, Reason::Limit, 4), (40, 8, Reason::ContextFull, 3)] {
        let options = SessionOptions { context, ..SessionOptions::default() };
        let mut session = Session::new(Arc::clone(&model), None, &options).unwrap();
        session.feed(&[10, 200, 31, 47, 5]).unwrap();
        let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
        let options = GenerateOptions { limit, stops: Vec::new(), show: None, reasoning: Some(budget.clone()) };
        let each = &mut |_: &ollm_runtime::generate::Token<'_>| std::ops::ControlFlow::Continue(());
        let done = generate(&mut session, &tokenizer, None, &mut sampler, &options, each).unwrap();
        assert_eq!((done.reason, done.tokens.len()), (reason, expected));
        assert_eq!(done.tokens[2..], end[..expected - 2]);
    }
}

#[test]
fn what_is_wrong_is_said() {
    let model = model();
    let m = model.to_str().unwrap();
    let bad = scratch("chats-bad.json", b"{");
    let object = scratch("chats-object.json", b"{}");
    let (bad, object) = (bad.to_str().unwrap(), object.to_str().unwrap());
    let wrong = scratch("chats-wrong.jinja", b"{% if %}");
    let wrong = wrong.to_str().unwrap();
    for (code, args, part) in [
        (2, &["-p", "x", "--tools", bad][..], "--chat"),
        (2, &["-p", "x", "--reasoning-budget", "3"], "--chat"),
        (2, &["-p", "x", "--chat", "--template-arg", "a"], "="),
        (2, &["-p", "x", "--chat", "--template-arg", "a=b"], "JSON"),
        (1, &["-p", "x", "--chat", "--template-arg", "messages=1"], "messages"),
        (1, &["-p", "x", "--chat", "--tools", "/no/such"], "/no/such"),
        (1, &["-p", "x", "--chat", "--tools", bad], "chats-bad.json"),
        (1, &["-p", "x", "--chat", "--tools", object], "list"),
        (1, &["--chat", "--messages", object], "chats-object.json"),
        (2, &["-p", "x", "--template", "a"], "--chat"),
        (1, &["-p", "x", "--chat", "--template", "rag"], "it has default"),
        (1, &["-p", "x", "--chat", "--chat-template", "/no/such"], "/no/such"),
        (1, &["-p", "x", "--chat", "--chat-template", wrong], "chats-wrong.jinja"),
        (2, &["chat", "--strategy", "vote", "--reasoning-budget", "3"], "--reasoning-budget"),
    ] {
        let output = run(&[args, &["-m", m]].concat(), "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.contains(part)), (Some(code), true), "{args:?}: {said}");
    }
    let output = run(&["chat", "-m", m], "/tool 3\n");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
