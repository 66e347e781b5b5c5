//! `ollm-run` from the outside: its output is a contract, its errors are messages with an exit
//! code, and it never panics.
//!
//! The binary is the one that `cargo build --bins` put beside this test (`make test` does so
//! first).

mod errors;
mod search;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use ollm_convert::adapter::{Adapter, Factors};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use ollm_tests::{golden, ollm_run, plugins, smollm2};
use serde_json::Value;

const OPTIONS: usize = 10;

/// A file for one test, below the target folder.
fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A tiny backbone without a chat template; its text is noise.
fn tiny() -> PathBuf {
    golden("tiny/llama.gguf")
}

fn plugin_for(model: &Path, name: &str) -> PathBuf {
    held_plugin_for(model, name, Hold::Token)
}

fn held_plugin_for(model: &Path, name: &str, hold: Hold) -> PathBuf {
    let model = Model::open(model).unwrap();
    let spec = PluginConfig { hold, ..plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS) };
    scratch(name, &plugins::plugin_file(&spec, TensorType::F16, 0.25).to_bytes())
}

fn tiny_plugin() -> PathBuf {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| plugin_for(&tiny(), "tiny-plugin.gguf")).clone()
}

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn spawn(args: &[&str]) -> Child {
    let piped = || Stdio::piped();
    Command::new(ollm_run()).args(args).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap()
}

fn run_with(args: &[&str], stdin: &[u8]) -> Outcome {
    let mut child = spawn(args);
    // A command that does not read its input closes the pipe: that is its right.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn run(args: &[&str]) -> Outcome {
    run_with(args, b"")
}

/// The output of a run that must succeed, and be silent about it.
fn succeed(args: &[&str]) -> String {
    let outcome = run(args);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{args:?}");
    outcome.stdout
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args)).unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn text_of(lines: &[Value]) -> String {
    lines.iter().filter_map(|line| line["text"].as_str()).collect()
}

fn ids(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Generates with the tiny backbone and its plugin.
fn with_plugin(args: &[&str]) -> String {
    let (model, plugin) = (tiny(), tiny_plugin());
    succeed(&[&["-m", path(&model), "--plugin", path(&plugin), "-p", "some words", "-n", "12"], args].concat())
}

#[test]
fn tokenize_prints_ids() {
    let model = smollm2();
    let model = path(&model);
    assert_eq!(ids(&json(&["tokenize", "-m", model, "-p", "Hello world", "--json"])["tokens"]), [19556, 905]);
    let special = json(&["tokenize", "-m", model, "-p", "<|im_start|>Hello", "--special", "--json"]);
    assert_eq!(ids(&special["tokens"]), [1, 19556]);
    assert_eq!(succeed(&["-m", model, "tokenize", "-p", "Hello world"]), "   19556  \"Hello\"\n     905  \" world\"\n");
    let empty = run_with(&["tokenize", "-m", model, "--json"], b"");
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), "{\"tokens\":[]}\n"));
}

/// What cannot be mapped is read: a model behind `|`, behind `<(..)`, in a FIFO.
#[cfg(unix)]
#[test]
fn models_are_read_from_pipes() {
    let (model, plugin) = (tiny(), tiny_plugin());
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script]).env("RUN", ollm_run()).env("MODEL", &model).env("PLUGIN", &plugin);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let expected = shell("$RUN -m $MODEL --plugin $PLUGIN -p 'some words' -n 8");
    for script in [
        "cat $MODEL | $RUN -m /dev/stdin --plugin $PLUGIN -p 'some words' -n 8",
        "$RUN -m <(cat $MODEL) --plugin <(cat $PLUGIN) -p 'some words' -n 8",
        "$RUN -m /dev/stdin --plugin $PLUGIN -p 'some words' -n 8 <$MODEL",
        "printf 'some words' | $RUN -m $MODEL --plugin $PLUGIN -f /dev/stdin -n 8",
    ] {
        assert_eq!(shell(script), expected, "{script}");
    }
    shell("cat $MODEL | $RUN info -m /dev/stdin --json");
    shell("cat $MODEL | $RUN tokenize -m /dev/stdin -p 'some words'");
    // What is no model is not read to its end, and a device not at all.
    for (script, says) in [
        ("yes | $RUN -m /dev/stdin -p x", "not a GGUF file"),
        ("$RUN -m /dev/zero -p x", "this is a device"),
        ("$RUN -m /dev/stdin -p x </dev/null", "this is a device"),
    ] {
        let output = Command::new("bash").args(["-c", script]).env("RUN", ollm_run()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(says), "{script}: {said}");
    }
}

/// A model whose file is cut while it generates: the command says so; with `--copy` nothing
/// happens.
#[cfg(unix)]
#[test]
fn a_file_that_is_cut_under_a_run_is_an_error_and_a_copy_does_not_mind() {
    let bytes = fs::read(tiny()).unwrap();
    let run_cut = |name: &str, more: &[&str]| {
        let model = scratch(name, &bytes);
        let shifting = ["-c", "64", "--context-shift", "-n", "3000", "-t", "2", "--stop", "no such text"];
        let args = [&["-m", path(&model), "-p", "some words"], &shifting[..], more].concat();
        let mut child = spawn(&args);
        let mut stdout = child.stdout.take().unwrap();
        let mut text = vec![0; 10];
        stdout.read_exact(&mut text).unwrap();
        fs::File::options().write(true).open(&model).unwrap().set_len(0).unwrap();
        stdout.read_to_end(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text, String::from_utf8(output.stderr).unwrap())
    };
    let (code, _, stderr) = run_cut("cut.gguf", &[]);
    assert!(code == Some(1) && stderr.contains("cut.gguf") && stderr.contains("--copy"), "{code:?} {stderr}");
    let (code, text, stderr) = run_cut("copied.gguf", &["--copy"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(text.len() > 1000);
}

#[test]
fn score_aligns_its_lists_with_the_tokens() {
    let model = smollm2();
    let scored = json(&["score", "-m", path(&model), "-p", "The capital of France is Paris", "--json"]);
    let (tokens, logprobs, top1) = (ids(&scored["tokens"]), &scored["logprobs"], &scored["top1"]);
    assert_eq!(tokens.len(), 6);
    assert!(logprobs[0].is_null() && top1[0].is_null());
    let logprobs: Vec<f64> = (1..6).map(|i| logprobs[i].as_f64().unwrap()).collect();
    assert_eq!(top1[5].as_u64(), Some(tokens[5]));
    assert!(logprobs.iter().all(|&x| x <= 0.0) && logprobs[4] > -1.0, "{logprobs:?}");
    let perplexity = (-logprobs.iter().sum::<f64>() / 5.0).exp();
    assert!((scored["perplexity"].as_f64().unwrap() - perplexity).abs() < 1e-3 * perplexity);
}

#[test]
fn embed_gives_the_embedding_of_the_golden() {
    let golden: Value = serde_json::from_slice(&fs::read(golden("encoders.json")).unwrap()).unwrap();
    for model in golden["models"].as_array().unwrap() {
        let file = ollm_tests::golden(&format!("encoders/{}.gguf", model["name"].as_str().unwrap()));
        let text = golden["text"].as_str().unwrap();
        let told = json(&["embed", "-m", path(&file), "-p", text, "--json"]);
        assert_eq!(told["tokens"], model["ids"].as_array().unwrap().len());
        let plain = succeed(&["embed", "-m", path(&file), "-p", text]);
        let numbers: Vec<f64> = plain.split_whitespace().map(|x| x.parse().unwrap()).collect();
        let want = model["embedding"].as_array().unwrap();
        assert_eq!(numbers.len(), want.len());
        for (i, (x, want)) in numbers.iter().zip(want).enumerate() {
            assert!((x - want.as_f64().unwrap()).abs() < 1e-3, "{}: {x} {want}", model["name"]);
            assert!((x - told["embedding"][i].as_f64().unwrap()).abs() < 1e-7);
        }
    }
}

#[test]
fn rerank_puts_the_most_relevant_document_first() {
    let manifest: Value = serde_json::from_slice(&fs::read(golden("rerankers.json")).unwrap()).unwrap();
    let (query, entry) = (manifest["query"].as_str().unwrap(), &manifest["models"][0]);
    // Documents are lines that are not blank: here from line 1 on, and the last one is none.
    let pairs = &entry["pairs"].as_array().unwrap()[..2];
    let documents: Vec<&str> = pairs.iter().map(|pair| pair["document"].as_str().unwrap()).collect();
    let file = scratch("documents.txt", format!("\n{}\n \n", documents.join("\n")).as_bytes());
    let (model, file) = (golden("rerankers/bert.gguf"), path(&file).to_owned());
    let command = ["rerank", "-m", path(&model), "-q", query, "-f", &file];
    let told = json(&[&command[..], &["--json"]].concat());
    let results = told["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let score = |result: &Value| result["relevance_score"].as_f64().unwrap();
    assert!(score(&results[0]) >= score(&results[1]));
    for result in results {
        let index = result["index"].as_u64().unwrap() as usize - 1;
        assert!((score(result) - pairs[index]["logits"][0].as_f64().unwrap()).abs() < 2e-3);
        assert_eq!(result["document"]["text"], documents[index]);
    }
    let lines = succeed(&command);
    let first = results[0]["document"]["text"].as_str().unwrap();
    assert!(lines.lines().count() == 2 && lines.lines().next().unwrap().ends_with(first), "{lines}");
    let top = json(&[&command[..], &["--top-n", "1", "--json"]].concat());
    assert_eq!(top["results"], serde_json::json!([results[0]]));
}

#[test]
fn bench_says_what_it_measured() {
    let model = tiny();
    let bench = json(&["bench", "-m", path(&model), "-p", "20", "-n", "4", "-s", "3", "-r", "2", "-t", "1", "--json"]);
    for (part, tokens) in [("prefill", 20), ("decode", 4), ("decode_together", 12)] {
        assert_eq!(bench[part]["tokens"], tokens);
        assert!(bench[part]["tokens_per_second"].as_f64().unwrap() > 0.0);
    }
    assert!(bench["load_seconds"].as_f64().unwrap() > 0.0 && bench["isa"].is_string());
    assert_eq!(bench["threads"], 1);
    assert!(!cfg!(target_os = "linux") || bench["peak_rss_bytes"].as_u64().unwrap() > 1_000_000);
}

#[test]
fn bench_measures_a_constraint() {
    let model = tiny();
    let args = ["bench", "-m", path(&model), "-p", "8", "-n", "8", "-r", "1", "--json", "--json-schema", "{}"];
    let measured = json(&args);
    assert!(measured["decode_constrained"]["step_over_free"].as_f64().is_some_and(|ratio| ratio > 0.0), "{measured}");
}

#[test]
fn bench_measures_what_drafts_give() {
    let (model, text) = (tiny(), scratch("drafted.txt", b"one two one two one two one two one two"));
    let args = ["bench", "-m", path(&model), "-p", "8", "-n", "24", "-r", "1", "--json", "--draft", "ngram"];
    let drafts = &json(&[&args[..], &["--text", path(&text)]].concat())["drafts"];
    let count = |name: &str| drafts[name].as_u64().unwrap();
    assert!(count("accepted") <= count("drafted") && count("passes") > 0, "{drafts}");
    assert!(count("passes") + count("accepted") >= 24, "{drafts}");
    assert!(drafts["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{drafts}");
}

#[test]
fn info_describes_models_and_plugins() {
    let (model, plugin) = (smollm2(), tiny_plugin());
    let info = json(&["info", path(&model), "--json"]);
    assert_eq!(info["architecture"], "llama");
    assert_eq!((&info["model"]["layers"], &info["model"]["vocabulary"]), (&30.into(), &49152.into()));
    assert_eq!((&info["tokenizer"]["pre"], &info["chat_template"]), (&"smollm".into(), &true.into()));
    assert!(info["plugin"].is_null() && info["types"][0]["type"] == "Q4_1");
    let info = json(&["info", path(&plugin), "--json"]);
    assert_eq!((&info["plugin"]["options"], &info["plugin"]["decoder"]), (&OPTIONS.into(), &"lowrank".into()));
    assert!(info["plugin"]["value_width"].is_null());
    assert!(succeed(&["info", path(&plugin)]).contains("plugin"));
    let spec = plugins::spec(&Model::open(&tiny()).unwrap(), DecoderKind::SwiGlu { width: 32 }, OPTIONS);
    let spec = PluginConfig { value_width: Some(24), ..spec };
    let valued = scratch("valued-plugin.gguf", &plugins::plugin_file(&spec, TensorType::F16, 0.25).to_bytes());
    assert_eq!(json(&["info", path(&valued), "--json"])["plugin"]["value_width"], 24);
    let text = succeed(&["info", path(&valued)]);
    assert!(text.lines().any(|line| line.trim_start().starts_with("value width") && line.ends_with(" 24")), "{text}");
}

#[test]
fn generation_streams_an_object_a_token() {
    let model = smollm2();
    let lines = json_lines(&succeed(&["-m", path(&model), "-p", "The capital of France is", "-n", "3", "--json"]));
    assert_eq!(lines.len(), 4);
    for line in &lines[..3] {
        assert!(line["token"].is_u64() && line["latent"].is_null() && line["logprob"].as_f64().unwrap() <= 0.0);
        assert!(line.get("options").is_none());
    }
    assert!(text_of(&lines).starts_with(" Paris"));
    assert_eq!((&lines[3]["done"], &lines[3]["generated"]), (&"length".into(), &3.into()));
}

#[test]
fn drafts_take_fewer_passes_to_the_same_tokens() {
    let model = smollm2();
    let text = "one two three four five six one two three four five six one two three";
    let plain = ["-m", path(&model), "-p", text, "-n", "24", "--json"];
    let expected = json_lines(&succeed(&plain));
    for draft in ["ngram", path(&model)] {
        let lines = json_lines(&succeed(&[&plain[..], &["--draft", draft]].concat()));
        let (done, tokens) = lines.split_last().unwrap();
        assert_eq!(tokens, &expected[..24], "{draft}");
        let count = |key: &str| done[key].as_u64().unwrap();
        assert!(count("accepted") > 0 && count("accepted") <= count("drafted") && count("passes") < 24, "{done}");
    }
    let other = succeed(&[&plain[..], &["--draft", "ngram", "--temperature", "1", "--seed", "4"]].concat());
    let same = succeed(&[&plain[..], &["--temperature", "1", "--seed", "4"]].concat());
    assert_eq!(text_of(&json_lines(&other)), text_of(&json_lines(&same)));
    let refused = run(&["score", "-m", path(&model), "-p", text, "--draft", "ngram"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("'--draft' has no effect"), "{}", refused.stderr);
}

#[test]
fn a_chat_ends_by_itself_and_goes_on() {
    let model = smollm2();
    let asked =
        ["-m", path(&model), "--chat", "--system", "Answer with one word.", "-p", "Capital of France?", "--json"];
    let lines = json_lines(&succeed(&asked));
    assert_eq!(lines.last().unwrap()["done"], "eos");
    assert_eq!(lines.last().unwrap()["generated"], lines.len() - 1);
    let talk =
        run_with(&["chat", "-m", path(&model), "-n", "4", "--json"], b"Hi\n\n/undo\n/reset\nHi\nAnd?\n/quit\nno\n");
    let lines = json_lines(&talk.stdout);
    let ends: Vec<usize> = (0..lines.len()).filter(|&i| lines[i].get("done").is_some()).collect();
    assert_eq!((talk.code, ends.len()), (Some(0), 3));
    assert_eq!(lines[..ends[0]], lines[ends[0] + 1..ends[1]]);
}

#[test]
fn option_sets_are_shown() {
    let lines = json_lines(&with_plugin(&["--show-options=2", "--json"]));
    for line in &lines[..12] {
        let options = line["options"].as_array().unwrap();
        assert_eq!(options.len(), OPTIONS);
        let policy: f64 = options.iter().map(|option| option["policy"].as_f64().unwrap()).sum();
        assert!((policy - 1.0).abs() < 1e-4);
        let chosen = &options[line["latent"].as_u64().unwrap() as usize];
        assert_eq!(chosen["top"][0]["token"], line["token"]);
        assert_eq!(chosen["top"].as_array().unwrap().len(), 2);
        assert!(options.iter().all(|option| option["policy"].as_f64() <= chosen["policy"].as_f64()));
    }
    let table = with_plugin(&["--show-options"]);
    assert!(table.lines().count() > 12 && table.starts_with("step  z ") && !table.contains('\x1b'), "{table}");
}

#[test]
fn latents_do_as_they_are_told() {
    let latents = |args: &[&str]| -> Vec<Option<u64>> {
        let lines = json_lines(&with_plugin(&[args, &["--json"]].concat()));
        lines[..12].iter().map(|line| line["latent"].as_u64()).collect()
    };
    assert_eq!(latents(&["--latent", "fixed:3"]), [Some(3); 12]);
    assert_eq!(latents(&["--latent", "mixture"]), [None; 12]);
    assert_eq!(latents(&["--latent", "script:1,2,0"])[..4], [Some(1), Some(2), Some(0), Some(0)]);
    let held = latents(&["--latent", "uniform", "--hold", "all", "--seed", "3"]);
    assert!(held.iter().all(|latent| *latent == held[0] && latent.is_some()));
    assert_ne!(latents(&["--latent", "uniform", "--seed", "3"]), held);
}

#[test]
fn a_plugin_says_how_long_its_latents_stay() {
    let (model, plugin) = (tiny(), held_plugin_for(&tiny(), "held-plugin.gguf", Hold::All));
    let flags = ["-m", path(&model), "--plugin", path(&plugin), "-p", "x", "-n", "12", "--seed", "5", "--json"];
    let latents = |more: &[&str]| -> Vec<Option<u64>> {
        let lines = json_lines(&succeed(&[&flags, more].concat()));
        lines[..12].iter().map(|line| line["latent"].as_u64()).collect()
    };
    let held = latents(&["--latent", "sample", "--latent-temperature", "9"]);
    assert!(held.iter().all(|latent| *latent == held[0] && latent.is_some()));
    assert_eq!(latents(&["--latent", "sample", "--latent-temperature", "9", "--hold", "all"]), held);
    assert_ne!(latents(&["--latent", "sample", "--latent-temperature", "9", "--hold", "token"]), held);
    assert_eq!(json(&["info", path(&plugin), "--json"])["plugin"]["hold"], "all");
}

#[test]
fn the_same_seed_is_the_same_text() {
    let sampled = |seed| with_plugin(&["--temperature", "2", "--latent", "sample", "--seed", seed]);
    assert_eq!(sampled("1"), sampled("1"));
    assert_ne!(sampled("1"), sampled("2"));
    assert_eq!(with_plugin(&["--latent", "fixed:3"]), with_plugin(&["--latent", "fixed:3"]));
}

#[test]
fn text_keeps_to_a_grammar() {
    let (model, plugin) = (tiny(), tiny_plugin());
    let schema = r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false}"#;
    let file = scratch("schema.json", schema.as_bytes());
    for schema in [schema, path(&file)] {
        let lines = json_lines(&succeed(&["-m", path(&model), "-p", "ab", "--json", "--json-schema", schema]));
        let value: Value = serde_json::from_str(&text_of(&lines)).unwrap();
        assert!(value["n"].is_number() && lines.last().unwrap()["done"] == "eos", "{value}");
        let cut = json_lines(&succeed(&["-m", path(&model), "-p", "a", "-n", "3", "--json", "--json-schema", schema]));
        assert_eq!(cut.last().unwrap()["done"], "length");
    }
    let files = [
        scratch("list.gbnf", b"root ::= \"- \" [ab]{2} \"!\"\n"),
        scratch("list.lark", b"start: \"- \" /[ab]{2}/ \"!\"\n"),
    ];
    let flags = [["--grammar", path(&files[0])], ["--grammar", path(&files[1])], ["--regex", "^- [ab]{2}!$"]];
    let is_right = |text: &str| text.len() == 5 && text.starts_with("- ") && text.ends_with('!');
    for flags in flags {
        let common = ["-m", path(&model), "--plugin", path(&plugin), "-p", "ab", "--json"];
        let text = text_of(&json_lines(&succeed(&[&common[..], &flags].concat())));
        assert!(is_right(&text), "{text:?}");
        for command in ["search", "suggest"] {
            let found = json(&[&[command], &common[..], &flags].concat());
            let all = found["branches"].as_array().or(found["suggestions"].as_array()).unwrap();
            assert!(!all.is_empty());
            for one in all.iter().filter(|one| one["end"] != "merged") {
                assert!(is_right(one["text"].as_str().unwrap()), "{found}");
            }
        }
    }
    let options = ["-m", path(&model), "--plugin", path(&plugin), "-p", "ab", "--json", "--show-options=9"];
    let shown = json_lines(&succeed(&[&options[..], &["--regex", "[xyz]"]].concat()));
    let tokens = shown[0]["options"][0]["tokens"].as_array().or(shown[0]["options"][0]["top"].as_array());
    assert_eq!(tokens.unwrap().len(), 3, "{}", shown[0]);
    // The trigger of this text is in its prompt's answer or not; the grammar begins behind it.
    let waits = text_of(&json_lines(&succeed(&[
        "-m",
        path(&model),
        "-p",
        "ab",
        "--json",
        "-n",
        "40",
        "--regex",
        "0{4}",
        "--trigger",
        "zzzz",
    ])));
    assert!(!waits.contains("zzzz0000"));
}

#[test]
fn what_is_wrong_with_a_grammar_is_said() {
    let model = tiny();
    let run = |args: &[&str]| run(&[&["-m", path(&model), "-p", "a"], args].concat());
    for (args, code, message) in [
        (&["--json-schema", "{\"not\": {}}"][..], 1, "the JSON schema cannot be used: `not` at #: it is not supported"),
        (&["--json-schema", "no/such/file"], 1, "no/such/file: "),
        (&["--regex", "(a"], 1, "the regular expression cannot be used: "),
        (&["--regex", "a", "--json-schema", "{}"], 2, "cannot be used with"),
        (&["--trigger", "a"], 2, "--json-schema"),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{args:?}: {}", outcome.stderr);
    }
}

#[test]
fn a_stop_string_ends_the_text_and_is_not_in_it() {
    let model = smollm2();
    let counted = ["-m", path(&model), "-p", "1, 2, 3, 4, 5,", "-n", "30", "--stop", "8, 9", "--json"];
    let lines = json_lines(&succeed(&counted));
    assert_eq!((text_of(&lines).as_str(), &lines.last().unwrap()["done"]), (" 6, 7, ", &"stop".into()));
}

#[test]
fn adapters_are_applied_beside_the_model() {
    let model = tiny();
    let hidden = Model::open(&model).unwrap().config().hidden;
    let values = |n: usize| (0..n).map(|i| (i * 31 % 23) as f32 / 23.0 - 0.5).collect();
    let factors = Factors { rank: 2, a: values(2 * hidden), b: values(hidden * 2) };
    let pairs = [("blk.0.attn_output.weight".to_owned(), factors)].into();
    let adapter = scratch("adapter.gguf", b"");
    let file = Adapter::new(16.0, pairs).of(Some("llama".into()));
    file.write(TensorType::F16, &adapter, true).unwrap();
    let text = |lora: &[&str]| {
        let asked = ["-m", path(&model), "-p", "some words", "-n", "8", "--temperature", "1", "--seed", "2"];
        succeed(&[&asked[..], lora].concat())
    };
    let scaled = format!("{}=0", path(&adapter));
    assert_ne!(text(&["--lora", path(&adapter)]), text(&[]));
    assert_eq!(text(&["--lora", &scaled]), text(&[]));
    let refused = run(&["-m", path(&model), "-p", "x", "--lora", path(&model)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("no LoRA adapter"), "{}", refused.stderr);
}

#[test]
fn a_prompt_that_begins_alike_is_not_computed_again() {
    let model = tiny();
    let folder = scratch("prompts.gguf", b"").with_extension("folder");
    let _ = fs::remove_dir_all(&folder);
    let story = "a b c d e f g h ".repeat(12);
    let ask = |end: &str, cache: &[&str]| {
        let text = format!("{story}{end}");
        let asked = ["-m", path(&model), "-p", &text, "-n", "8", "-v"];
        let done = run(&[&asked[..], cache].concat());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let prefill = done.stderr.split("prefill ").nth(1).and_then(|rest| rest.split(' ').next());
        (done.stdout, prefill.unwrap().parse::<usize>().unwrap())
    };
    let cache = ["--prompt-cache", path(&folder)];
    for (end, most) in [("xyz", 1000), ("xyz", 1), ("xya and more", 20), ("other", 20)] {
        let (plain, cached) = (ask(end, &[]), ask(end, &cache));
        assert_eq!(cached.0, plain.0);
        assert!(cached.1 <= most && (most < 1000 || cached.1 == plain.1), "{end}: {} of {}", cached.1, plain.1);
    }
    // A folder in which nobody can write: the answer is there, and why nothing is kept.
    if cfg!(target_os = "linux") {
        let asked = ["-m", path(&model), "-p", &story, "-n", "8"];
        let done = run(&[&asked[..], &["--prompt-cache", "/proc/sys"]].concat());
        assert_eq!((done.code, done.stdout), (Some(0), run(&asked).stdout));
        assert!(done.stderr.contains("note: this prompt is not kept"), "{}", done.stderr);
    }
}

#[test]
fn the_end_of_the_context_is_told() {
    let model = tiny();
    let done = run(&["-m", path(&model), "-p", "some words", "-c", "16", "--json"]);
    let lines = json_lines(&done.stdout);
    assert_eq!((done.code, &lines.last().unwrap()["done"]), (Some(0), &"context".into()));
    assert!(lines.len() < 16 && done.stderr.contains("the context of 16 positions is full"), "{}", done.stderr);
}

#[test]
fn logits_are_told_and_biased() {
    let model = smollm2();
    let asked = ["-m", path(&model), "-p", "The capital of France is", "-n", "1", "--json"];
    let first = |more: &[&str]| json_lines(&succeed(&[&asked[..], more].concat())).remove(0);
    let plain = first(&["--logprobs", "3"]);
    let top = plain["top"].as_array().unwrap();
    assert_eq!((top.len(), &top[0]["token"], &top[0]["logprob"]), (3, &plain["token"], &plain["logprob"]));
    let banned = first(&["--logit-bias", &format!("{}=-inf", plain["token"])]);
    assert_eq!(banned["token"], top[1]["token"]);
    assert_eq!(first(&["--logit-bias", " London=100"])["text"], " London");
    // In another order the same filters keep another number of tokens.
    let hot = ["--temperature", "9", "--top-p", "0.4", "--seed", "7", "--samplers"];
    let ordered = |order| first(&[&hot[..], &[order]].concat())["token"].clone();
    assert_eq!(ordered("top-p,temperature"), plain["token"]);
    assert_ne!(ordered("temperature,top-p"), plain["token"]);
}

#[test]
fn a_context_shift_goes_on_past_the_end_of_the_context() {
    let model = tiny();
    let sampled = ["-m", path(&model), "-p", "some words", "-n", "40", "--temperature", "1", "--seed", "3", "--json"];
    let run = |more: &[&str]| json_lines(&succeed(&[&sampled[..], more].concat()));
    let (whole, slid) =
        (run(&["-c", "64"]), run(&["-c", "16", "--context-shift", "--keep", "2", "--prefill-threads", "2"]));
    assert!(slid.len() > 16, "it ended after {} tokens", slid.len());
    // Up to the end of the context nothing differs.
    assert_eq!(whole[..4], slid[..4]);
}

#[test]
fn help_is_there_for_everything() {
    for command in [&[][..], &["chat"], &["score"], &["embed"], &["rerank"], &["tokenize"], &["bench"], &["info"]] {
        let help = succeed(&[command, &["--help"]].concat());
        assert!(help.contains("--model") && help.contains("--json") && !help.contains('\x1b'), "{help}");
    }
    assert!(succeed(&["--help"]).contains("Examples:"));
    assert!(succeed(&["--version"]).starts_with("ollm-run "));
}

/// A run as a page: the text is the same, and the page has its option sets.
#[test]
fn a_trace_is_a_page_with_the_options_of_each_token() {
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace.html");
    let traced = with_plugin(&["--trace", path(&page)]);
    assert_eq!(traced, with_plugin(&[]));
    let html = fs::read_to_string(&page).unwrap();
    let data = html.split_once("id=\"trace\">").unwrap().1.split_once("</script>").unwrap().0;
    let shown: Value = serde_json::from_str(data).unwrap();
    assert_eq!(text_of(shown["steps"].as_array().unwrap()), traced.trim_end_matches('\n'));
    assert!(shown["steps"].as_array().unwrap().iter().all(|step| step["options"].as_array().unwrap().len() == OPTIONS));
    assert_eq!(run(&["-m", path(&tiny()), "-p", "x", "-n", "1", "--trace", "/nowhere/x.html"]).code, Some(1));
}
