//! `ollm-run serve` from the outside: OpenAI's API in raw HTTP, options, errors, and clients that
//! do not behave.

mod errors;
mod limits;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_tests::c_programs::chat_file;
use ollm_tests::http::Server;
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
    server.wait_for("ollm_running_sequences", |count| count == 0);
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
    // A stop string that does not come changes nothing, though it holds text back for a while.
    let mut held = base.clone();
    held["stop"] = text(&reply).chars().take(16).map(|c| format!("{c}\u{1}")).collect();
    let same = server.json("/v1/completions", &held);
    assert_eq!((text(&same), &same["choices"][0]["logprobs"]), (text(&reply), probabilities));
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

/// A bias for the token that a text begins with.
fn bias_for(text: &str, server: &Server) -> Value {
    let tokens = server.json("/v1/ollm/tokenize", &json!({ "prompt": text }))["tokens"].clone();
    let tokens = tokens.as_array().unwrap();
    // The text behind BOS, if there is one.
    let token = &tokens[tokens.len() - 1];
    json!({ token.to_string(): 100 })
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
    assert!([r#"{"a": 1}"#, r#"{"a": 2}"#].contains(&content(&reply)), "{reply}");
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
    // What calls nothing keeps to its schema; a schema that is none is named.
    let mut both = body.clone();
    both["tool_choice"] = json!("auto");
    both["logit_bias"] = bias_for("{", &server);
    for format in [
        json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } }),
        json!({ "type": "json_schema", "schema": schema }),
        json!({ "type": "json_object", "schema": schema }),
    ] {
        both["response_format"] = format;
        let reply = server.json("/v1/chat/completions", &both);
        assert!([r#"{"a": 1}"#, r#"{"a": 2}"#].contains(&content(&reply)), "{reply}");
    }
    both["response_format"] = json!({ "type": "json_object", "schema": { "type": "x" } });
    let error = server.post("/v1/chat/completions", &both).json()["error"].clone();
    assert_eq!(error["param"], "response_format", "{error}");
    // What is cut off leaves nothing of its markup.
    let mut cut = body.clone();
    cut["logprobs"] = json!(true);
    cut["tools"][1]["function"]["parameters"] = json!({
        "type": "object", "properties": { "x": { "type": "string", "minLength": 50 } }, "required": ["x"],
    });
    cut["max_tokens"] = json!(10);
    let reply = server.json("/v1/chat/completions", &cut);
    let choice = &reply["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("length"), &json!("")), "{reply}");
    assert_eq!(choice["logprobs"]["content"], json!([]));
    cut["stream"] = json!(true);
    let chunks = server.post("/v1/chat/completions", &cut).chunks();
    assert_eq!(chunks.len(), 2, "{chunks:?}");
    assert_eq!(chunks[1]["choices"][0]["finish_reason"], "length");
    // A tool without parameters has no arguments.
    let mut none = body.clone();
    none["tools"] = json!([{ "type": "function", "function": { "name": "second" } }]);
    let reply = server.json("/v1/chat/completions", &none);
    assert_eq!(reply["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{}", "{reply}");
    body["stream"] = json!(true);
    let chunks = server.post("/v1/chat/completions", &body).chunks();
    let is_empty = |chunk: &Value| chunk["choices"][0]["delta"].as_object().is_some_and(serde_json::Map::is_empty);
    assert_eq!(chunks.iter().filter(|chunk| is_empty(chunk)).count(), 1);
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

/// A request that would go on for long.
fn endless() -> Value {
    json!({ "prompt": "x", "max_tokens": 1_000_000, "stream": true, "seed": 3, "logit_bias": end_banned(), "ollm": { "show_options": 100 } })
}

/// No end token: the text goes on until the context is full.
fn end_banned() -> Value {
    let model = Model::open(Path::new(&files().0)).unwrap();
    let tokenizer = ollm_runtime::tokenizer::Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    tokenizer.ends().iter().map(|end| (end.to_string(), json!(-100))).collect::<serde_json::Map<_, _>>().into()
}
