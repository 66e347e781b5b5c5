//! What is wrong with a command line, its files, and who reads what it prints.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Command;

use ollm_tests::{golden, ollm_run};

use crate::{Outcome, path, run, run_with, scratch, spawn, tiny, tiny_plugin};

/// Everything that can be wrong with a command line or its files: the exit code, and what the
/// message says.
#[test]
fn what_is_wrong_is_said() {
    let (model, plugin) = (tiny(), tiny_plugin());
    let (m, p) = (path(&model), path(&plugin));
    let bytes = fs::read(&model).unwrap();
    let truncated = scratch("truncated.gguf", &bytes[..bytes.len() / 2]);
    let text = scratch("text.gguf", b"this is no model");
    let empty = scratch("empty.gguf", b"");
    let latin1 = scratch("latin1.txt", b"caf\xe9");
    let other = golden("tiny/qwen2.gguf");
    let folder = golden("tiny");
    let unreadable = format!("cannot read {}:", path(&folder));
    let encoder = golden("encoders/bert.gguf");
    let encoder = path(&encoder);
    let long = "word ".repeat(300);
    let cases: &[(i32, &[&str], &str)] = &[
        (2, &["-p", "x"], "-m FILE"),
        (2, &["-m", m, "-p", "x", "-n", "0"], "0"),
        (2, &["-m", m, "-p", "x", "--samplers", "topk"], "no filter has this name"),
        (2, &["-m", m, "-p", "x", "--top-k", "3", "--samplers", "temperature"], "top-k is asked for, but not"),
        (2, &["-m", m, "-p", "x", "--mirostat", "5"], "temperature must be above 0 with mirostat"),
        (2, &["-m", m, "-p", "x", "--xtc-probability", "2"], "xtc-probability must be"),
        (2, &["-m", m, "-p", "x", "--logit-bias", "7"], "a bias is TOKEN=X"),
        (2, &["-m", m, "-p", "x", "--logit-bias", "7=nan"], "the logit bias of token 7"),
        (2, &["-m", m, "-p", "x", "--logit-bias", "99999=1"], "not in the vocabulary"),
        (2, &["-m", m, "-p", "x", "--logit-bias", "two words=1"], "not one"),
        (2, &["-m", m, "-p", "x", "-n", "many"], "many"),
        (1, &["-m", m, "-p", "x", "-c", "16", "--context-shift", "--keep", "15"], "no room to shift"),
        (2, &["-m", m, "-p", "x", "--temperature", "-1"], "temperature"),
        (2, &["-m", m, "-p", "x", "--temperature", "nan"], "temperature"),
        (2, &["-m", m, "-p", "x", "--top-p", "1.5"], "top-p"),
        (2, &["-m", m, "-p", "x", "--min-p", "2"], "min-p"),
        (2, &["-m", m, "-p", "x", "--repeat-penalty", "0"], "repeat-penalty"),
        (2, &["-m", m, "-p", "x", "--latent", "best"], "policy, sample"),
        (2, &["-m", m, "-p", "x", "--latent", "fixed:-1"], "-1"),
        (2, &["-m", m, "-p", "x", "--hold", "word"], "line"),
        (2, &["-m", m, "-p", "x", "-f", m], "--file"),
        (2, &["-m", m, "-p", "x", "--stop", ""], "--stop"),
        (2, &["-m", m, "-p", "x", "--system", "y"], "--chat"),
        (2, &["-m", m, "-p", "x", "chat"], "--prompt"),
        (2, &["dance"], "dance"),
        (2, &["tokenize", "-m", m, "-p", "x", "--plugin", p], "'--plugin' has no effect in 'tokenize'"),
        (2, &["-t", "2", "info", m], "'--threads' has no effect in 'info'"),
        (2, &["info", m, "--copy"], "'--copy' has no effect"),
        (2, &["score", "-m", m, "-p", "xy", "--context-shift", "--keep", "2"], "'--context-shift' has no effect"),
        (2, &["manual", "/nowhere", "-m", m], "'--model' has no effect"),
        (2, &["-m", m, "-p", "x", "--latent-temperature", "2"], "without '--latent sample'"),
        (2, &["-m", m, "-p", "x", "--latent", "policy", "--latent-temperature", "2"], "without '--latent sample'"),
        (1, &["search", "-m", m, "--plugin", p, "-p", "x", "--expand", "top:11"], "which are 10"),
        (1, &["-m", "/nowhere/model.gguf", "-p", "x"], "/nowhere/model.gguf"),
        (1, &["-m", path(&folder), "-p", "x"], "this is a folder"),
        (1, &["-m", path(&truncated), "-p", "x"], "truncated.gguf"),
        (1, &["-m", path(&text), "-p", "x"], "not a GGUF file"),
        (1, &["-m", path(&empty), "-p", "x"], "empty"),
        (1, &["-m", p, "-p", "x"], "tiny-plugin.gguf"),
        (1, &["-m", m, "--plugin", "/nowhere/plugin.gguf", "-p", "x"], "/nowhere/plugin.gguf"),
        (1, &["-m", m, "--plugin", m, "-p", "x"], "llama.gguf"),
        (1, &["-m", path(&other), "--plugin", p, "-p", "x"], "backbone"),
        (1, &["-m", m, "--plugin", p, "-p", "x", "--latent", "fixed:10"], "latent 10"),
        (1, &["-m", m, "--plugin", p, "-p", "x", "--latent", "script:0,99"], "latent 99"),
        (1, &["-m", m, "--plugin", p, "-p", "x", "--latent", "sample", "--latent-temperature", "0"], "temperature"),
        (1, &["-m", m, "-p", "x", "--latent", "policy"], "--plugin"),
        (1, &["-m", m, "-p", "x", "--hold", "all"], "--plugin"),
        (1, &["-m", m, "-p", "x", "--show-options"], "--plugin"),
        (1, &["score", "-m", m, "-p", "xy", "--latent", "policy"], "--plugin"),
        (
            1,
            &["bench", "-m", m, "-p", "4", "-n", "2", "-r", "1", "--peer", "/nowhere/llama-bench"],
            "/nowhere/llama-bench",
        ),
        (1, &["bench", "-m", m, "-p", "4", "-n", "2", "-r", "1", "--peer", "/bin/echo"], "no JSON"),
        (2, &["bench", "-m", m, "--draft", "ngram"], "--text"),
        (2, &["bench", "-m", m, "--text", "/nowhere/text.txt"], "--draft"),
        (1, &["bench", "-m", m, "-p", "4", "--draft", "ngram", "--text", "/nowhere/text.txt"], "/nowhere/text.txt"),
        (1, &["-m", m, "-p", &long], "context of 256"),
        (1, &["-m", m, "-p", "some words", "-c", "2"], "context of 2"),
        (1, &["score", "-m", m, "-p", &long], "context of 256"),
        (1, &["bench", "-m", m, "-p", "1000"], "context of 256"),
        (1, &["bench", "-m", m, "-p", "8", "-n", "8", "-d", "250"], "context of 256"),
        (1, &["-m", m, "-p", ""], "empty"),
        (1, &["-m", m], "empty"),
        (1, &["score", "-m", m, "-p", ""], "empty"),
        (1, &["-m", encoder, "-p", "xy"], "ollm-run embed"),
        (1, &["score", "-m", encoder, "-p", "xy"], "generates no text"),
        (1, &["rerank", "-m", encoder, "-q", "xy", "-f", path(&text)], "no head for classification"),
        (2, &["embed", "-m", encoder, "-p", "xy", "--plugin", m], "'--plugin' has no effect"),
        (1, &["-m", m, "-f", "/nowhere/prompt.txt"], "/nowhere/prompt.txt"),
        (1, &["-m", m, "-f", path(&folder)], &unreadable),
        (1, &["-m", m, "--chat", "-p", "x", "--chat-template", path(&folder)], &unreadable),
        (1, &["-m", m, "-f", path(&latin1)], "byte 3"),
        (1, &["-m", m, "--chat", "-p", "x"], "chat template"),
        (1, &["chat", "-m", m], "chat template"),
        (1, &["info", path(&text)], "not a GGUF file"),
        (1, &["tokenize", "-m", p, "-p", "x"], "tokenizer"),
    ];
    for (code, args, says) in cases {
        let outcome = run(args);
        let Outcome { stderr, stdout, .. } = &outcome;
        assert_eq!(outcome.code, Some(*code), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(says), "{args:?} does not say {says:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains('\x1b') && stdout.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn input_that_is_not_utf8_is_refused() {
    let model = tiny();
    let outcome = run_with(&["-m", path(&model), "-n", "1"], b"ab\xff");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("standard input is not UTF-8 (byte 2)"), "{}", outcome.stderr);
}

/// `| head -1`
#[test]
fn a_reader_that_leaves_is_no_error() {
    let (model, plugin) = (tiny(), tiny_plugin());
    let flags = ["-m", path(&model), "--plugin", path(&plugin), "-p", "some words", "-n", "200"];
    for more in [&["--json", "--show-options=100"][..], &["--show-options"], &[]] {
        let mut child = spawn(&[&flags, more].concat());
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.read_line(&mut String::new()).unwrap();
        drop(reader);
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{more:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let model = tiny();
    for args in [&["-p", "x", "-n", "3"][..], &["tokenize", "-p", "x"], &["info"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(ollm_run()).args(["-m", path(&model)]).args(args).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr.starts_with("error: cannot write the output"), "{args:?}: {stderr}");
    }
}
