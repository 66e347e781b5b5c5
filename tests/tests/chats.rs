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

/// The messages that the model answered, by what the answers' prompts are: each line of input that
/// is one has an answer.
fn answers(lines: &[Value]) -> usize {
    lines.iter().filter(|line| line.get("done").is_some()).count()
}

/// What begins with a slash and is no command is a message; two slashes are one.
#[test]
fn a_line_is_a_command_or_a_message() {
    let talk = |input: &str| lines(&["chat", "-n", "6"], input);
    let (path, slashes) = (talk("/etc/hosts is what?\n"), talk("//etc/hosts is what?\n"));
    assert_eq!(
        (answers(&path), ids(&path)),
        (1, answer(&[Message::new("user", "/etc/hosts is what?")], &Variables::new(), 6))
    );
    assert_eq!(ids(&slashes), ids(&path));
    assert_eq!(answers(&talk("/nothing\nHi\n/undo\n//undo\n/quit\nno\n")), 3);
}

#[test]
fn a_conversation_is_saved_and_goes_on() {
    let saved = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chats-saved.bin");
    let name = saved.to_str().unwrap();
    let flags = ["chat", "-n", "6"];
    let whole = lines(&flags, &format!("Hi\n/save {name}\nAnd?\n"));
    let again = lines(&flags, &format!("other\n/load {name}\nAnd?\n"));
    let last = |lines: &[Value]| ids(&lines[lines.iter().position(|line| line.get("done").is_some()).unwrap()..]);
    assert_eq!((last(&whole), answers(&again)), (last(&again), 2));
    fs::write(&saved, b"OLLMCHAT").unwrap();
    let model = model();
    for (command, says) in [(format!("/load {name}\n"), "chats-saved.bin"), ("/load /no/such\n".to_owned(), "/no/such")]
    {
        let output = run(&["chat", "-m", model.to_str().unwrap()], &command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.contains(says)), (Some(1), true), "{said}");
    }
    fs::remove_file(saved).unwrap();
}

/// The oldest turns are forgotten, and that is said; a message that is too long is an error.
#[test]
fn a_full_context_forgets_the_oldest_turns() {
    let model = model();
    let flags = ["chat", "-m", model.to_str().unwrap(), "-c", "120", "-n", "10", "--system", "Be kind."];
    let output = run(&flags, &"a question of some length\n".repeat(6));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("forgotten the oldest"), "{said}");
    let output = run(&flags, &("x".repeat(200) + "\n"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("shorten the message"));
}

#[test]
fn calls_can_be_constrained() {
    let tools = scratch("chats-constrained.json", br#"[{"name": "f", "parameters": {"type": "object"}}]"#);
    let tools = tools.to_str().unwrap();
    assert_eq!(answers(&lines(&["chat", "-n", "6", "--tools", tools, "--constrain-calls"], "Hi\nAnd?\n")), 2);
    let (model, none) = (model(), scratch("chats-nameless.json", b"[{}]"));
    for (code, args) in [
        (2, &["chat", "--constrain-calls"][..]),
        (2, &["chat", "--constrain-calls", "--tools", tools, "--regex", "a"]),
        (1, &["chat", "--constrain-calls", "--tools", none.to_str().unwrap()]),
    ] {
        let output = run(&[args, &["-m", model.to_str().unwrap()]].concat(), "");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// At a terminal: Ctrl-C ends the answer and not the program; at the prompt it ends that, twice.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_an_answer() {
    const AT_A_TERMINAL: &str = "\
import os, pty, sys, time
child, end = pty.fork()
if child == 0:
    os.environ['TERM'] = 'xterm'
    os.execv(sys.argv[1], sys.argv[1:])
seen = b''
def until(what, seconds=60):
    global seen
    limit = time.time() + seconds
    while what not in seen and time.time() < limit:
        try:
            seen += os.read(end, 65536)
        except OSError:
            break
    if what not in seen:
        sys.exit('no %r in %r' % (what, seen))
    seen = seen[seen.index(what) + len(what):]
until(b'> ')
os.write(end, b'Count from one to three thousand.\\r')
until(b'\\n')
time.sleep(1)
os.read(end, 65536)
seen = b''
os.write(end, b'\\x03')
until(b'> ', 30)
os.write(end, b'\\x03')
until(b'once more')
os.write(end, b'/help\\r')
until(b'/undo')
until(b'> ')
os.write(end, b'caf\\xe9\\r')
until(b'not UTF-8')
until(b'> ')
os.write(end, b'\\x03')
until(b'once more')
os.write(end, b'\\x03')
# 130: the second one came between two reads of the line.
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) not in (0, 130))
";
    let mut command = Command::new("python3");
    command.args(["-c", AT_A_TERMINAL]).arg(build().join("ollm-run")).arg("chat");
    // However fast the machine is, the answer does not end by itself.
    command.args(["-n", "5000", "--logit-bias", "<|im_end|>=-inf", "--logit-bias", "<|endoftext|>=-inf"]);
    let output = command.arg("-m").arg(ollm_tests::smollm2()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
