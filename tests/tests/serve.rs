//! `ollm-run serve` from the outside: OpenAI's API in raw HTTP, options, errors, and clients that
//! do not behave.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::ops::KvType;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::session::Session;
use ollm_tests::c_programs::chat_file;
use ollm_tests::http::{Server, read};
use ollm_tests::{ollm_run, plugins};
use serde_json::{Value, json};

const OPTIONS: usize = 10;

/// A tiny backbone with a chat template, and a plugin of ten options; their text is noise.
fn files() -> &'static (String, String) {
    static FILES: OnceLock<(String, String)> = OnceLock::new();
    FILES.get_or_init(|| {
        let path = |name: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let (backbone, plugin) = (path("serve-model.gguf"), path("serve-plugin.gguf"));
        fs::write(&backbone, chat_file()).unwrap();
        let model = Model::open(&backbone).unwrap();
        let spec = plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
        fs::write(&plugin, plugins::plugin_file(&spec, TensorType::F16, 0.25).to_bytes()).unwrap();
        (backbone.to_str().unwrap().to_owned(), plugin.to_str().unwrap().to_owned())
    })
}

/// A server with options.
fn start(args: &[&str]) -> Server {
    let (model, plugin) = files();
    let context: &[&str] = if args.contains(&"-c") { &[] } else { &["-c", "1024"] };
    let common = ["-m", model, "--plugin", plugin, "--alias", "tiny", "-t", "1"];
    Server::start(&ollm_run(), &[&common, context, args].concat())
}

fn text(reply: &Value) -> &str {
    reply["choices"][0]["text"].as_str().unwrap()
}

fn content(reply: &Value) -> &str {
    reply["choices"][0]["message"]["content"].as_str().unwrap()
}

/// The request of a number: each kind of answer, of choice and of prompt.
fn request(number: usize) -> (&'static str, Value) {
    let words = "the quick brown fox jumps over the lazy dog and runs far away ".repeat(1 + number % 4);
    let prompt = format!("{}{number}", &words[..words.len() - number % 7]);
    let mut body = json!({ "max_tokens": 6 + number % 9, "temperature": 0.9, "seed": number, "n": 1 + number % 2 });
    body["ollm"] = match number % 4 {
        0 => json!({ "mode": "policy" }),
        1 => json!({ "latent": number % OPTIONS, "hold": "line" }),
        2 => json!({ "mode": "mixture" }),
        _ => json!({ "mode": "backbone" }),
    };
    if number.is_multiple_of(3) {
        body["frequency_penalty"] = json!(1.5);
    }
    if number.is_multiple_of(5) {
        body["response_format"] = json!({ "type": "json_schema", "json_schema": { "schema": { "type": "boolean" } } });
    }
    if number.is_multiple_of(2) {
        body["prompt"] = prompt.into();
        ("/v1/completions", body)
    } else {
        body["messages"] = json!([{ "role": "user", "content": prompt }]);
        ("/v1/chat/completions", body)
    }
}

/// What was generated, without what differs from request to request.
fn choices(reply: &Value) -> Value {
    reply["choices"].clone()
}

#[test]
fn each_text_of_sixteen_clients_is_that_of_a_request_alone() {
    const CLIENTS: usize = 16;
    const EACH: usize = 4;
    let alone = start(&["--parallel", "1", "--prefixes", "0"]);
    let expected: Vec<Value> = (0..CLIENTS * EACH)
        .map(|number| {
            let (path, body) = request(number);
            choices(&alone.json(path, &body))
        })
        .collect();
    assert!((1..expected.len()).any(|i| expected[i] != expected[0]));
    let server = start(&["--prefixes", "4"]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, expected) = (&server, &expected);
            scope.spawn(move || {
                for number in (0..EACH).map(|i| (client * 7 + i * CLIENTS + i) % (CLIENTS * EACH)) {
                    let (path, body) = request(number);
                    assert_eq!(choices(&server.json(path, &body)), expected[number], "{number}");
                }
            });
        }
    });
    assert_eq!(server.metric("ollm_running_sequences"), 0);
    assert!(server.metric("ollm_reused_tokens_total") > 0);
    let (generated, passes) = (server.metric("ollm_generated_tokens_total"), server.metric("ollm_decode_passes_total"));
    assert!(passes < generated, "{passes} passes for {generated} tokens: nothing was batched");
}

/// The same text as the command generates.
#[test]
fn the_server_says_what_the_command_says() {
    let (model, plugin) = files();
    let args = ["-m", model, "--plugin", plugin, "-p", "some words", "-n", "12", "--seed", "7", "--temperature", "0.8"];
    let output = std::process::Command::new(ollm_run()).args(args).args(["--json", "--latent", "sample:0.7"]).output();
    let lines = String::from_utf8(output.unwrap().stdout).unwrap();
    let steps: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |step: &Value| (step["token"].clone(), step["latent"].clone(), step["logprob"].clone());
    let expected: Vec<_> = steps.iter().filter(|step| step["token"].is_u64()).map(told).collect();
    let server = start(&[]);
    let body = json!({
        "prompt": "some words", "max_tokens": 12, "seed": 7, "temperature": 0.8,
        "ollm": { "mode": "sample:0.7", "show_options": 2 },
    });
    let reply = server.json("/v1/completions", &body);
    let steps = reply["choices"][0]["ollm"]["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(expected.len() > 3);
    for step in steps {
        let options = step["options"].as_array().unwrap();
        assert_eq!((options.len(), options[0]["top"].as_array().unwrap().len()), (OPTIONS, 2));
    }
}

#[test]
fn a_stream_has_the_parts_of_the_whole() {
    let server = start(&["--prefixes", "0"]);
    for number in 0..6 {
        let (path, mut body) = request(number);
        body["n"] = json!(2);
        let whole = server.json(path, &body);
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
        let chunks = server.post(path, &body).chunks();
        let (last, chunks) = chunks.split_last().unwrap();
        assert_eq!((&last["usage"], &last["choices"]), (&whole["usage"], &json!([])), "{number}");
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let own = || chunks.iter().filter(move |chunk| chunk["choices"][0]["index"] == index);
            let is_chat = path.contains("chat");
            let part = |chunk: &Value| {
                let choice = &chunk["choices"][0];
                let text = if is_chat { &choice["delta"]["content"] } else { &choice["text"] };
                text.as_str().unwrap_or_default().to_owned()
            };
            let expected = if is_chat { &choice["message"]["content"] } else { &choice["text"] };
            assert_eq!(own().map(part).collect::<String>(), *expected, "{number}");
            let end: Vec<&Value> = own().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
            assert_eq!(*end.last().unwrap(), &choice["finish_reason"]);
            assert!(end[..end.len() - 1].iter().all(|reason| reason.is_null()));
            let steps: Vec<&Value> = own().map(|chunk| &chunk["ollm"]).filter(|step| !step.is_null()).collect();
            assert_eq!(steps, choice["ollm"]["steps"].as_array().unwrap().iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn stops_biases_and_probabilities_are_those_of_the_api() {
    let server = start(&[]);
    let base = json!({ "prompt": "a b c", "max_tokens": 8, "temperature": 0, "logprobs": 3, "ollm": {} });
    let reply = server.json("/v1/completions", &base);
    assert_eq!((&reply["object"], &reply["model"]), (&json!("text_completion"), &json!("tiny")));
    let probabilities = &reply["choices"][0]["logprobs"];
    for (name, value) in probabilities.as_object().unwrap() {
        assert_eq!(value.as_array().unwrap().len(), 8, "{name}");
    }
    assert_eq!(reply["usage"]["completion_tokens"], 8);
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    // The most probable token is banned: another comes.
    let first = reply["choices"][0]["ollm"]["steps"][0]["token"].as_u64().unwrap();
    let mut banned = base.clone();
    banned["logit_bias"] = json!({ (first.to_string()): -100 });
    let other = server.json("/v1/completions", &banned);
    assert_ne!(other["choices"][0]["ollm"]["steps"][0]["token"], first);
    // A stop string is not part of the text.
    let all = text(&reply);
    let stop: String = all.chars().skip(2).take(2).collect();
    let mut stopped = base.clone();
    stopped["stop"] = json!([stop]);
    let reply = server.json("/v1/completions", &stopped);
    assert_eq!(
        (text(&reply), &reply["choices"][0]["finish_reason"]),
        (all.split(&stop).next().unwrap(), &json!("stop"))
    );
    let chat = json!({
        "messages": [{ "role": "user", "content": "hi" }], "max_completion_tokens": 3, "logprobs": true,
        "top_logprobs": 2, "seed": 1,
    });
    let reply = server.json("/v1/chat/completions", &chat);
    let tokens = reply["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert!(
        tokens.iter().all(|token| token["top_logprobs"].as_array().unwrap().len() == 2 && token["bytes"].is_array())
    );
    assert!(reply["choices"][0].get("ollm").is_none());
}

#[test]
fn answers_keep_to_schemas_and_tools_are_called() {
    let server = start(&[]);
    let schema = json!({ "type": "object", "properties": { "a": { "enum": [1, 2] } }, "required": ["a"], "additionalProperties": false });
    let body = json!({
        "messages": [{ "role": "user", "content": "hi" }], "seed": 5, "max_tokens": 200,
        "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } },
    });
    let reply = server.json("/v1/chat/completions", &body);
    let value: Value = serde_json::from_str(content(&reply)).unwrap();
    assert!(value["a"] == 1 || value["a"] == 2, "{value}");
    let tool = |name: &str| {
        let parameters = json!({ "type": "object", "properties": { "x": { "type": "boolean" } }, "required": ["x"] });
        json!({ "type": "function", "function": { "name": name, "parameters": parameters } })
    };
    let mut body = json!({
        "messages": [{ "role": "user", "content": "hi" }], "seed": 5, "max_tokens": 200,
        "tools": [tool("first"), tool("second")],
        "tool_choice": { "type": "function", "function": { "name": "second" } },
    });
    let reply = server.json("/v1/chat/completions", &body);
    let choice = &reply["choices"][0];
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null),
        "{reply}"
    );
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("second")));
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["x"].is_boolean());
    // The template takes the id that the call was given, and no other length.
    let mut next = body.clone();
    let mut answer = choice["message"].clone();
    let result = json!({ "role": "tool", "tool_call_id": call["id"], "content": "21" });
    next["messages"] = json!([{ "role": "user", "content": "hi" }, answer, result]);
    next["tool_choice"] = json!("none");
    assert!(server.json("/v1/chat/completions", &next)["choices"].is_array());
    answer["tool_calls"][0]["id"] = json!("call-1");
    next["messages"][1] = answer;
    assert!(server.post("/v1/chat/completions", &next).json()["error"].is_object());
    // One of those that are allowed, and one alone.
    let allowed = json!({ "mode": "required", "tools": [{ "type": "function", "function": { "name": "first" } }] });
    let mut other = body.clone();
    other["tool_choice"] = json!({ "type": "allowed_tools", "allowed_tools": allowed });
    other["parallel_tool_calls"] = json!(false);
    let reply = server.json("/v1/chat/completions", &other);
    let calls = reply["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!((calls.len(), &calls[0]["function"]["name"]), (1, &json!("first")), "{reply}");
    body["stream"] = json!(true);
    let chunks = server.post("/v1/chat/completions", &body).chunks();
    let deltas = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array());
    let deltas: Vec<&Value> = deltas.flatten().collect();
    assert_eq!((deltas.len(), &deltas[0]["index"], &deltas[0]["function"]), (1, &json!(0), &call["function"]));
    body["tool_choice"] = json!({ "type": "function", "function": { "name": "third" } });
    assert_eq!(server.post("/v1/chat/completions", &body).json()["error"]["param"], "tool_choice");
}

/// Where a tool's schema has what cannot be expressed, any JSON may stand there, unless the tool is
/// strict; a format of the answer has to be expressed.
#[test]
fn what_cannot_be_expressed_is_left_out_or_named() {
    let server = start(&[]);
    let schema = json!({
        "type": "object", "required": ["x", "tags"],
        "properties": {
            "x": { "type": "boolean" },
            "tags": { "type": "array", "uniqueItems": true, "maxItems": 1, "items": { "enum": ["a"] } },
            "link": { "type": "string", "format": "uri-reference" },
        },
    });
    let ask = |strict: bool, choice: &str| {
        let function = json!({ "name": "f", "parameters": schema, "strict": strict });
        server.post(
            "/v1/chat/completions",
            &json!({
                "messages": [{ "role": "user", "content": "hi" }], "seed": 5, "max_tokens": 300,
                "tools": [{ "type": "function", "function": function }], "tool_choice": choice,
            }),
        )
    };
    assert_eq!(ask(false, "auto").status, 200);
    let reply = ask(false, "required").json();
    let call = &reply["choices"][0]["message"]["tool_calls"][0]["function"];
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["x"].is_boolean() && arguments["tags"].is_array(), "{reply}");
    let format = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
    let formatted = server.post("/v1/completions", &json!({ "prompt": "x", "response_format": format }));
    for (reply, param) in [(ask(true, "auto"), "tools"), (formatted, "response_format")] {
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error["param"]), (400, &json!(param)), "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("`uniqueItems` at #/properties/tags: it is not supported"), "{message}");
    }
}

/// A schema that takes long to compile.
fn heavy() -> Value {
    let mut part = json!({ "type": "string" });
    for _ in 0..9 {
        part = json!({ "anyOf": [
            { "type": "object", "properties": { "a": part }, "required": ["a"] }, { "type": "array", "items": part },
        ] });
    }
    let format = json!({ "type": "json_schema", "json_schema": { "schema": part } });
    json!({ "prompt": "x", "max_tokens": 1, "response_format": format })
}

/// Requests without a grammar never wait for one, and who has gone waits for none.
#[test]
fn grammars_hold_nobody_up() {
    let server = start(&[]);
    let body = heavy().to_string();
    let gone: Vec<_> = (0..24).map(|_| server.send("POST", "/v1/completions", &[], body.as_bytes())).collect();
    server.wait_for("ollm_waiting_requests", |count| count > 12);
    server.json("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 }));
    assert!(server.metric("ollm_waiting_requests") > 0, "all grammars were compiled before a request without one");
    drop(gone);
    server.wait_for("ollm_waiting_requests", |count| count == 0);
    server.json("/v1/completions", &heavy());
}

/// A context whose KV cache takes most of a megabyte, and not all of it.
fn context_of_most_of_a_megabyte() -> usize {
    let model = Model::open(Path::new(&files().0)).unwrap();
    let bytes = |context| Session::kv_needed(model.config(), KvType::F16, context, context, 1);
    (64..)
        .step_by(64)
        .find(|&context| bytes(context) > 800_000)
        .inspect(|&context| assert!(bytes(context) < 1_000_000))
        .unwrap()
}

#[test]
fn what_has_no_memory_waits_or_is_refused() {
    let context = context_of_most_of_a_megabyte().to_string();
    let server = start(&["-c", &context, "--kv-memory", "1"]);
    let refused = server.post("/v1/completions", &json!({ "prompt": "x", "n": 64 }));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("kv_memory_exceeded")));
    // One answer that may fill the context leaves no room for another, but for a short one.
    let endless = endless().to_string();
    let first = server.send("POST", "/v1/completions", &[], endless.as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    server.json("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 }));
    let second = server.send("POST", "/v1/completions", &[], endless.as_bytes());
    server.wait_for("ollm_waiting_requests", |count| count == 1);
    assert_eq!(server.metric("ollm_running_sequences"), 1);
    drop(first);
    server.wait_for("ollm_waiting_requests", |count| count == 0);
    server.wait_for("ollm_running_sequences", |count| count == 1);
    drop(second);
    server.wait_for("ollm_running_sequences", |count| count == 0);
    // A context that has no room is shortened.
    let server = start(&["-c", "1000000", "--kv-memory", "1"]);
    let models = server.get("/v1/models").json();
    let shortened = models["data"][0]["ollm"]["context"].as_u64().unwrap();
    assert!((64..1_000_000).contains(&shortened), "{shortened}");
}

/// What is kept of earlier texts makes room for new ones.
#[test]
fn kept_prefixes_are_bounded_by_their_bytes() {
    let context = context_of_most_of_a_megabyte();
    let prompt: Vec<u32> = (0..context as u32 / 2).map(|i| 10 + i % 7).collect();
    let other: Vec<u32> = (0..context as u32 / 2).map(|i| 20 + i % 7).collect();
    let ask = |server: &Server, prompt: &[u32], tokens: usize| {
        let reply = server.json("/v1/completions", &json!({ "prompt": prompt, "max_tokens": tokens, "seed": 1 }));
        reply["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    let context_text = context.to_string();
    for (memory, is_kept) in [("1", false), ("64", true)] {
        let server = start(&["-c", &context_text, "--kv-memory", memory]);
        assert_eq!(ask(&server, &prompt, 1), 0);
        assert!(ask(&server, &prompt, 1) > 0);
        ask(&server, &other, context);
        assert_eq!(ask(&server, &prompt, 1) > 0, is_kept, "{memory} MB");
    }
}

/// Works take turns: an embedding does not wait for the end of a search.
#[test]
fn a_search_holds_no_other_work_up() {
    let server = start(&[]);
    let search = json!({
        "prompt": "x", "max_tokens": 1000, "strategy": "vote", "answer": "text", "temperature": 1,
        "expand": "sample:32:1.5", "logit_bias": end_banned(),
    });
    let search = server.send("POST", "/v1/ollm/search", &[], search.to_string().as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    server.json("/v1/embeddings", &json!({ "input": ["some words", "others"] }));
    assert_eq!(server.metric("ollm_running_sequences"), 1);
    drop(search);
    server.wait_for("ollm_running_sequences", |count| count == 0);
}

#[test]
fn options_searches_suggestions_and_embeddings() {
    let server = start(&[]);
    let prompt = "some words";
    let tokens = server.json("/v1/ollm/tokenize", &json!({ "prompt": prompt }))["tokens"].clone();
    let options = server.json("/v1/ollm/options", &json!({ "prompt": tokens, "top": 4, "held": 5 }));
    let options = options["options"].as_array().unwrap();
    assert_eq!(options.len(), OPTIONS);
    for option in options {
        assert_eq!(option["top"].as_array().unwrap().len(), 4);
        let held = json!({
            "prompt": prompt, "max_tokens": 5, "temperature": 0, "ollm": { "latent": option["latent"], "hold": "all" },
        });
        let alone = server.json("/v1/completions", &held);
        assert_eq!(option["held"]["text"], text(&alone), "{option}");
    }
    let search = json!({ "prompt": prompt, "max_tokens": 6, "strategy": "vote", "answer": "text", "branches": 4 });
    let found = server.json("/v1/ollm/search", &search);
    assert!(found["branches"].as_array().unwrap().len() == 4 && found["answer"].is_string(), "{found}");
    let chat = json!({
        "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 6, "temperature": 0,
        "ollm": { "strategy": "best", "branches": 3 },
    });
    let reply = server.json("/v1/chat/completions", &chat);
    assert_eq!(reply["ollm"]["text"], content(&reply));
    let suggested = server.json("/v1/ollm/suggest", &json!({ "prompt": prompt, "count": 2 }));
    assert_eq!(suggested["suggestions"].as_array().unwrap().len(), 2);

    let both = server.json("/v1/embeddings", &json!({ "input": [prompt, "x"] }));
    let one = server.json("/v1/embeddings", &json!({ "input": prompt }));
    assert_eq!(both["data"][0]["embedding"], one["data"][0]["embedding"]);
    let numbers = one["data"][0]["embedding"].as_array().unwrap();
    let norm: f64 = numbers.iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
    assert!((norm - 1.0).abs() < 1e-4, "{norm}");
    let encoded = server.json("/v1/embeddings", &json!({ "input": prompt, "encoding_format": "base64" }));
    let bytes = BASE64_STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let floats = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    assert!(floats.eq(numbers.iter().map(|x| x.as_f64().unwrap() as f32)));
}

/// A model with bidirectional attention gives embeddings alone.
#[test]
fn an_embedding_model_gives_the_goldens_and_generates_nothing() {
    let golden: Value = serde_json::from_slice(&fs::read(ollm_tests::golden("encoders.json")).unwrap()).unwrap();
    let (model, file) = (&golden["models"][0], ollm_tests::golden("encoders/gemma-embedding.gguf"));
    let server = Server::start(&ollm_run(), &["-m", file.to_str().unwrap(), "-t", "1"]);
    let input = json!({ "input": [golden["text"], "x"], "dimensions": 32 });
    let reply = server.json("/v1/embeddings", &input);
    let (got, want) = (reply["data"][0]["embedding"].as_array().unwrap(), model["embedding"].as_array().unwrap());
    assert_eq!(got.len(), want.len());
    let close = |(got, want): (&Value, &Value)| (got.as_f64().unwrap() - want.as_f64().unwrap()).abs() < 1e-3;
    assert!(got.iter().zip(want).all(close), "{got:?}");
    let tokens = model["ids"].as_array().unwrap().len();
    // BOS, a letter, EOS.
    assert_eq!(reply["usage"]["prompt_tokens"], tokens + 3);
    // As many as the context has positions, and one more.
    for (tokens, status) in [(320, 200), (321, 400)] {
        let reply = server.post("/v1/embeddings", &json!({ "input": vec![5; tokens] }));
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    for (path, body) in [
        ("/v1/completions", json!({ "prompt": "x" })),
        ("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "x" }] })),
        ("/v1/ollm/suggest", json!({ "prompt": "x" })),
    ] {
        let reply = server.post(path, &body);
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!("embeddings_only")), "{path}");
    }
}

/// Documents by their relevance, as the golden has it.
#[test]
fn a_reranker_gives_the_goldens() {
    let golden: Value = serde_json::from_slice(&fs::read(ollm_tests::golden("rerankers.json")).unwrap()).unwrap();
    let file = ollm_tests::golden("rerankers/bert.gguf");
    let server = Server::start(&ollm_run(), &["-m", file.to_str().unwrap(), "-t", "1"]);
    let pairs = golden["models"][0]["pairs"].as_array().unwrap();
    let documents: Vec<&Value> = pairs.iter().map(|pair| &pair["document"]).collect();
    let reply = server.json("/v1/rerank", &json!({ "query": golden["query"], "documents": documents }));
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), pairs.len());
    let score = |result: &Value| result["relevance_score"].as_f64().unwrap();
    assert!(results.is_sorted_by(|one, other| score(one) >= score(other)), "{results:?}");
    for result in results {
        let want = &pairs[result["index"].as_u64().unwrap() as usize]["logits"][0];
        assert!((score(result) - want.as_f64().unwrap()).abs() < 2e-3, "{result}");
        assert!(result.get("document").is_none());
    }
    let tokens: usize = pairs.iter().map(|pair| pair["ids"].as_array().unwrap().len()).sum();
    assert_eq!(reply["usage"]["prompt_tokens"], tokens);
    let objects: Vec<Value> = documents.iter().map(|text| json!({ "text": text })).collect();
    let body = json!({ "query": golden["query"], "documents": objects, "top_n": 1, "return_documents": true });
    let top = server.json("/rerank", &body);
    let first = results[0]["index"].as_u64().unwrap() as usize;
    assert_eq!(top["results"].as_array().unwrap().len(), 1);
    assert_eq!(top["results"][0]["document"]["text"], *documents[first]);
    let long = "the ".repeat(400);
    for (key, value) in [
        ("documents", json!([])),
        ("documents", json!([1])),
        ("query", json!(1)),
        ("top_n", json!(0)),
        ("query", json!(long)),
    ] {
        let mut body = body.clone();
        body[key] = value;
        assert_eq!(server.post("/v1/rerank", &body).status, 400, "{body}");
    }
    // Where there is no head, there is no score.
    let other = ollm_tests::golden("encoders/bert.gguf");
    let other = Server::start(&ollm_run(), &["-m", other.to_str().unwrap(), "-t", "1"]);
    let reply = other.post("/v1/rerank", &body);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!("no_classifier")));
}

#[test]
fn what_is_wrong_is_told_in_the_shape_of_the_api() {
    let server = start(&["-c", "64"]);
    let chat = |fields: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 1 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.post("/v1/chat/completions", &body)
    };
    for (fields, status, param) in [
        (json!({ "temperature": 3 }), 400, "temperature"),
        (json!({ "temperature": "hot" }), 400, "temperature"),
        (json!({ "top_p": -0.1 }), 400, "top_p"),
        (json!({ "n": 0 }), 400, "n"),
        (json!({ "max_tokens": 0 }), 400, "max_tokens"),
        (json!({ "top_logprobs": 2 }), 400, "top_logprobs"),
        (json!({ "stop": [1] }), 400, "stop"),
        (json!({ "logit_bias": { "99999999": 1 } }), 400, "logit_bias.99999999"),
        (json!({ "messages": [] }), 400, "messages"),
        (json!({ "messages": [{ "content": "x" }] }), 400, "messages[0]"),
        (json!({ "model": "gpt" }), 404, "model"),
        (json!({ "response_format": { "type": "xml" } }), 400, "response_format.type"),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": "x" } } } }),
            400,
            "response_format",
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": { "$ref": "#" } } } }),
            400,
            "response_format",
        ),
        (json!({ "messages": [{ "role": "king", "content": "x" }] }), 400, "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": null }] }), 400, "messages[0].content"),
        (json!({ "messages": [{ "role": "assistant", "content": null }] }), 400, "messages[0].content"),
        (json!({ "messages": [3] }), 400, "messages[0]"),
        (json!({ "reasoning_effort": 3 }), 400, "reasoning_effort"),
        (json!({ "verbosity": {} }), 400, "verbosity"),
        (json!({ "stream_options": { "include_usage": true } }), 400, "stream_options"),
        (json!({ "tool_choice": "required" }), 400, "tool_choice"),
        (json!({ "tools": [{ "type": "function" }] }), 400, "tools"),
        (json!({ "tools": 3 }), 400, "tools"),
        (json!({ "tools": [3] }), 400, "tools"),
        (json!({ "parallel_tool_calls": "no" }), 400, "parallel_tool_calls"),
        (json!({ "tool_choice": 5 }), 400, "tool_choice"),
        (json!({ "functions": [{ "name": "f" }] }), 400, "functions"),
        (json!({ "function_call": "auto" }), 400, "function_call"),
        (json!({ "modalities": ["text", "audio"] }), 400, "modalities"),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }), 400, "messages[0]"),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "text" }] }] }), 400, "messages[0]"),
        (json!({ "messages": [{ "role": "user", "content": ["x"] }] }), 400, "messages[0]"),
        (json!({ "stop": vec!["x"; 10_000] }), 400, "stop"),
        (json!({ "ollm": { "latent": OPTIONS } }), 400, "ollm.latent"),
        (json!({ "ollm": { "mode": "best" } }), 400, "ollm.mode"),
        (json!({ "ollm": { "latent": 1, "mode": "policy" } }), 400, "ollm.latent"),
        (json!({ "ollm": { "show_options": 0 } }), 400, "ollm.show_options"),
    ] {
        let reply = chat(fields.clone());
        let error = &reply.json()["error"];
        assert_eq!(reply.status, status, "{fields}: {error}");
        assert!(error["message"].is_string() && error["type"].is_string(), "{fields}: {error}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{fields}: {error}");
    }
    // What changes nothing is no error: the values that a field has by itself, parts that are
    // texts, a developer.
    let parts = json!([{ "type": "text", "text": "hi" }]);
    let messages = json!([{ "role": "developer", "content": "be kind" }, { "role": "user", "content": parts }]);
    let by_default = json!({ "messages": messages, "functions": [], "function_call": "none", "modalities": ["text"] });
    assert_eq!(chat(by_default).status, 200);
    let refusal = json!([{ "type": "refusal", "refusal": "I will not say it." }]);
    let messages = json!([
        { "role": "user", "content": "hi" }, { "role": "assistant", "content": refusal },
        { "role": "assistant", "content": null, "refusal": "no" }, { "role": "user", "content": "oh" },
    ]);
    assert_eq!(chat(json!({ "messages": messages, "reasoning_effort": "low", "verbosity": "high" })).status, 200);
    // What is not known is no error, nor is null.
    assert_eq!(chat(json!({ "user": "me", "store": true, "whatever": {}, "stop": null })).status, 200);
    let long = chat(json!({ "messages": [{ "role": "user", "content": "word ".repeat(99) }] }));
    assert_eq!((long.status, &long.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
    // What cannot fit is refused before it is taken apart.
    for (messages, unit) in [
        (json!([{ "role": "user", "content": "a".repeat(7 << 20) }]), " bytes,"),
        (vec![json!({ "role": "user", "content": "a" }); 9999].into(), " messages,"),
    ] {
        let error = &chat(json!({ "messages": messages })).json()["error"];
        assert_eq!(error["code"], "context_length_exceeded");
        assert!(error["message"].as_str().unwrap().contains(unit), "{error}");
    }
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/tiny", 200),
        ("GET", "/v1/models/t%69ny", 200),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/../../etc/passwd", 404),
        ("GET", "/%2e%2e/etc/passwd", 404),
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("HEAD", "/v1/completions", 405),
        ("OPTIONS", "/v1/completions", 204),
        ("BREW", "/health", 405),
    ] {
        assert_eq!(server.ask(method, path, &[], b"").status, status, "{method} {path}");
    }
}

#[test]
fn what_is_no_request_is_told_and_what_is_empty_is_one() {
    let server = start(&["-c", "64"]);
    for body in [&b"{"[..], b"[]", b"", b"{\"prompt\": \"\xff\xfe\"}", b"nonsense"] {
        let reply = server.ask("POST", "/v1/completions", &[], body);
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!("invalid_json")), "{body:?}");
    }
    for (path, field) in [("search", "prompt"), ("suggest", "prompt"), ("tokenize", "prompt")] {
        let reply = server.post(&format!("/v1/ollm/{path}"), &json!({ (field): "x", "stream": true }));
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("stream")), "{path}");
    }
    // Of nothing, nothing: both are allowed.
    let none = server.json("/v1/completions", &json!({ "prompt": "x", "max_tokens": 0 }));
    assert_eq!((text(&none), &none["choices"][0]["finish_reason"]), ("", &json!("length")));
    assert_eq!(none["usage"]["completion_tokens"], 0);
    let begun = server.json("/v1/completions", &json!({ "prompt": "", "max_tokens": 2, "ollm": {} }));
    assert_eq!(begun["usage"]["prompt_tokens"], 1);
    let compressed = server.ask("POST", "/v1/completions", &["Content-Encoding: gzip"], b"{}");
    assert_eq!(compressed.status, 415);
    let host = server.ask("GET", "/health", &["Host: localhost", "Host: localhost"], b"");
    assert_eq!(host.status, 400);
    let head = format!("X: {}", "a".repeat(300 << 10));
    assert_eq!(server.ask("GET", "/health", &[&head], b"").status, 431);
    let huge = server.ask("POST", "/v1/completions", &[], &vec![b' '; 10 << 20]);
    assert_eq!((huge.status, &huge.json()["error"]["code"]), (413, &json!("body_too_large")));
    let mut stream = server.connect();
    stream.write_all(b"no http at all\r\n\r\n").unwrap();
    assert_eq!(read(stream).status, 400);
    assert_eq!(server.json("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 }))["object"], "text_completion");
}

#[test]
fn only_who_may_ask_is_answered() {
    let local = start(&["--cors", "https://a.example/", "--host", "localhost"]);
    let status = |headers: &[&str]| local.ask("GET", "/v1/models", headers, b"").status;
    assert_eq!(status(&["Host: localhost:1"]), 200);
    assert_eq!(status(&["Host: rebound.example"]), 403);
    assert_eq!(status(&["Origin: https://b.example"]), 403);
    let asked = ["Origin: https://a.example", "Access-Control-Request-Headers: authorization, x-stainless-lang"];
    let allowed = local.ask("OPTIONS", "/v1/models", &asked, b"");
    assert!(allowed.status == 204 && allowed.head.contains("access-control-allow-origin: https://a.example"));
    assert!(allowed.head.contains("access-control-allow-headers: authorization, x-stainless-lang"), "{}", allowed.head);
    assert!(!local.get("/v1/models").head.contains("access-control"));

    let keyed = start(&["--api-key", "sesame"]);
    let status = |path: &str, headers: &[&str]| keyed.ask("GET", path, headers, b"").status;
    assert_eq!(status("/v1/models", &[]), 401);
    assert_eq!(status("/metrics", &["Authorization: Bearer sesam"]), 401);
    assert_eq!(status("/v1/models", &["Authorization: bearer sesame", "Host: far.example"]), 200);
    assert_eq!(status("/health", &[]), 200);

    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("serve-key");
    fs::write(&file, "sesame\n").unwrap();
    let keyed = start(&["--api-key-file", file.to_str().unwrap()]);
    assert_eq!(keyed.ask("GET", "/v1/models", &["Authorization: Bearer sesame"], b"").status, 200);
    assert_eq!(keyed.get("/v1/models").status, 401);

    let (model, _) = files();
    for (args, told) in [
        (&["--host", "0.0.0.0"][..], "OLLM_API_KEY"),
        (&["--cors", "a.example"], "origin"),
        (&["--host", "a.example"], "IP address"),
        (&["--draft", "ngram"], "--draft"),
    ] {
        let output = std::process::Command::new(ollm_run()).args(["serve", "-m", model]).args(args).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && complaint.contains(told), "{args:?}: {complaint}");
    }
}

/// A request that would go on for long.
fn endless() -> Value {
    json!({ "prompt": "x", "stream": true, "seed": 3, "logit_bias": end_banned(), "ollm": { "show_options": 100 } })
}

/// No end token: the text goes on until the context is full.
fn end_banned() -> Value {
    let model = Model::open(Path::new(&files().0)).unwrap();
    let tokenizer = ollm_runtime::tokenizer::Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    tokenizer.ends().iter().map(|end| (end.to_string(), json!(-100))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_client_that_goes_away_is_cancelled() {
    let server = start(&["-c", "4096"]);
    for close in [true, false] {
        let before = server.metric("ollm_cancelled_total");
        let mut stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
        stream.read_exact(&mut [0; 100]).unwrap();
        if close {
            drop(stream);
        } else {
            // Half-closed: whoever says nothing more does not wait any more.
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
        server.wait_for("ollm_cancelled_total", |count| count > before);
        server.wait_for("ollm_running_sequences", |count| count == 0);
    }
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let server = start(&["-c", "4096", "--timeout", "1"]);
    let stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    let begin = Instant::now();
    server.json("/v1/completions", &json!({ "prompt": "some words", "max_tokens": 4, "seed": 1 }));
    assert!(begin.elapsed() < Duration::from_mins(1));
    server.wait_for("ollm_cancelled_total", |count| count == 1);
    drop(stream);
    // A head that does not come is not waited for either.
    let mut slow = server.connect();
    slow.write_all(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let begin = Instant::now();
    let _ = slow.read_to_end(&mut Vec::new());
    assert!(begin.elapsed() < Duration::from_mins(1));
    // Nor a body.
    let mut slow = server.connect();
    slow.write_all(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{",
    )
    .unwrap();
    assert_eq!(read(slow).status, 408);
}

/// A continuation whose client does not read takes no place in the batch.
#[test]
fn a_stalled_answer_takes_no_place() {
    let server = start(&["-c", "4096", "--parallel", "1", "--timeout", "600"]);
    let stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    server.json("/v1/completions", &json!({ "prompt": "some words", "max_tokens": 4, "seed": 1 }));
    assert_eq!((server.metric("ollm_running_sequences"), server.metric("ollm_cancelled_total")), (1, 0));
    drop(stream);
}

/// A client that takes a little of its answer now and then is cancelled like one that takes
/// nothing.
#[test]
fn a_client_that_reads_too_slowly_is_cancelled() {
    let server = start(&["-c", "4096", "--timeout", "4"]);
    let mut stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut some = vec![0; 64 << 10];
            while stream.read(&mut some).is_ok_and(|count| count > 0) {
                thread::sleep(Duration::from_secs(1));
            }
        });
        server.wait_for("ollm_cancelled_total", |count| count == 1);
        reader.join().unwrap();
    });
}

#[test]
fn what_does_not_fit_the_queue_is_told_to_come_again() {
    let server = start(&["-c", "4096", "--parallel", "1", "--queue", "1"]);
    let endless = endless().to_string();
    let first = server.send("POST", "/v1/completions", &[], endless.as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    let second = server.send("POST", "/v1/completions", &[], endless.as_bytes());
    server.wait_for("ollm_waiting_requests", |count| count == 1);
    let refused = server.post("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 }));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("queue_full")));
    assert!(refused.head.contains("retry-after: 1"));
    drop((first, second));
    server.wait_for("ollm_waiting_requests", |count| count == 0);
    server.wait_for("ollm_running_sequences", |count| count == 0);
    server.json("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 }));
}

/// A request may have more prompts than the queue has room for requests.
#[test]
fn a_request_waits_as_one() {
    let server = start(&["--queue", "1"]);
    let body = json!({ "prompt": vec!["x"; 40], "max_tokens": 1, "n": 2, "seed": 1 });
    let reply = server.json("/v1/completions", &body);
    assert_eq!(reply["choices"].as_array().unwrap().len(), 80);
    let body = json!({ "prompt": vec!["x"; 2048], "n": 2 });
    assert_eq!(server.post("/v1/completions", &body).json()["error"]["param"], "n");
}

/// Requests take turns: one of many prompts holds up no other.
#[test]
fn a_request_of_many_prompts_holds_nobody_up() {
    let server = start(&[]);
    let many = json!({ "prompt": vec!["x"; 2000], "max_tokens": 8, "seed": 1, "logit_bias": end_banned() });
    let many = server.send("POST", "/v1/completions", &[], many.to_string().as_bytes());
    server.wait_for("ollm_generated_tokens_total", |count| count > 0);
    server.json("/v1/completions", &json!({ "prompt": "some words", "max_tokens": 4, "seed": 1 }));
    assert_eq!(server.metric("ollm_waiting_requests"), 1);
    drop(many);
    server.wait_for("ollm_waiting_requests", |count| count == 0);
}

/// Where there are as many connections as there may be, one that asks for nothing makes room.
#[test]
fn connections_that_ask_for_nothing_hold_nobody_up() {
    let server = start(&["-c", "4096"]);
    let mut busy = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    let silent: Vec<_> = (0..700).map(|_| server.connect()).collect();
    let begin = Instant::now();
    assert_eq!(server.get("/health").status, 200);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    // The one that has an answer on its way has it still.
    busy.read_exact(&mut [0; 4096]).unwrap();
    assert_eq!(server.metric("ollm_cancelled_total"), 0);
    drop(silent);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_after_the_answers_on_their_way() {
    let server = start(&[]);
    let body = json!({ "prompt": "x", "max_tokens": 200, "stream": true, "seed": 3, "logit_bias": end_banned() });
    let mut stream = server.send("POST", "/v1/completions", &[], body.to_string().as_bytes());
    let mut begun = [0; 1];
    stream.read_exact(&mut begun).unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(server.interrupt(), Some(0));
    assert!(reader.join().unwrap().contains("data: [DONE]"));
}
