//! What is wrong with a request, and who may ask.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use ollm_tests::http::{Reply, Server, read};
use ollm_tests::ollm_run;
use serde_json::{Value, json};

use crate::{OPTIONS, end_banned, files, start, text};

/// A schema that compiles, and is too complex for its first token.
fn too_complex() -> Value {
    let choices: Vec<Value> = (0..3999)
        .map(|i| {
            let name = format!("a{i}");
            json!({ "type": "object", "properties": { (name.clone()): {} }, "required": [name] })
        })
        .collect();
    json!({ "type": "json_schema", "json_schema": { "schema": { "anyOf": choices } } })
}

/// What a chat of these fields answers.
fn chat(server: &Server, fields: &Value) -> Reply {
    let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 1 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post("/v1/chat/completions", &body)
}

/// Asserts that a chat with each of these fields is refused, with this status, for this field.
fn assert_refused<const N: usize>(cases: [(Value, u16, &str); N]) {
    let server = start(&["-c", "64"]);
    for (fields, status, param) in cases {
        let reply = chat(&server, &fields);
        let error = &reply.json()["error"];
        assert_eq!(reply.status, status, "{fields}: {error}");
        assert!(error["message"].is_string() && error["type"].is_string(), "{fields}: {error}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{fields}: {error}");
    }
}

#[test]
fn wrong_fields_are_told_in_the_shape_of_the_api() {
    assert_refused([
        (json!({ "temperature": 3 }), 400, "temperature"),
        (json!({ "temperature": "hot" }), 400, "temperature"),
        (json!({ "top_p": -0.1 }), 400, "top_p"),
        (json!({ "n": 0 }), 400, "n"),
        (json!({ "max_tokens": 0 }), 400, "max_tokens"),
        (json!({ "max_completion_tokens": 1, "max_tokens": "x" }), 400, "max_tokens"),
        (json!({ "top_logprobs": 2 }), 400, "top_logprobs"),
        (json!({ "stop": [1] }), 400, "stop"),
        (json!({ "logit_bias": { "99999999": 1 } }), 400, "logit_bias.99999999"),
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
        (json!({ "response_format": too_complex(), "stream": true }), 400, "response_format"),
        (json!({ "reasoning_effort": 3 }), 400, "reasoning_effort"),
        (json!({ "verbosity": {} }), 400, "verbosity"),
        (json!({ "chat_template_kwargs": { "chat_template": "x" } }), 400, "chat_template_kwargs.chat_template"),
        (json!({ "stream_options": { "include_usage": true } }), 400, "stream_options"),
        (json!({ "prompt": "x" }), 400, "prompt"),
        (json!({ "logprobs": true, "ollm": { "strategy": "vote" } }), 400, "logprobs"),
        (json!({ "ollm": { "latents": 3 } }), 400, "ollm.latents"),
        (json!({ "ollm": { "branches": 3 } }), 400, "ollm.branches"),
        (json!({ "ollm": { "mode": "backbone", "hold": "line" } }), 400, "ollm.hold"),
        (json!({ "ollm": { "strategy": "vote", "show_options": 3 } }), 400, "ollm.show_options"),
        (json!({ "ollm": { "strategy": "best", "weight": "one" } }), 400, "ollm.weight"),
        (json!({ "parallel_tool_calls": "no" }), 400, "parallel_tool_calls"),
        (json!({ "functions": [{ "name": "f" }] }), 400, "functions"),
        (json!({ "modalities": ["text", "audio"] }), 400, "modalities"),
        (json!({ "stop": vec!["x"; 10_000] }), 400, "stop"),
        (json!({ "ollm": { "latent": OPTIONS } }), 400, "ollm.latent"),
        (json!({ "ollm": { "mode": "best" } }), 400, "ollm.mode"),
        (json!({ "ollm": { "mode": format!("script:1,{OPTIONS}") } }), 400, "ollm.mode"),
        (json!({ "ollm": { "strategy": "vote", "expand": "top:99" } }), 400, "ollm.expand"),
        (json!({ "ollm": { "strategy": "best", "score": "value" } }), 400, "ollm.score"),
        (json!({ "ollm": { "strategy": "vote", "weight": "value" } }), 400, "ollm.weight"),
        (json!({ "ollm": { "latent": 1, "mode": "policy" } }), 400, "ollm.latent"),
        (json!({ "ollm": { "show_options": 0 } }), 400, "ollm.show_options"),
        (json!({ "ollm": { "show_options": 100 }, "n": 64, "max_tokens": 64 }), 400, "ollm.show_options"),
    ]);
}

#[test]
fn wrong_messages_and_tools_are_told_by_their_place() {
    let tool = |name: &str, parameters: Value| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
    let called = |calls: Value| json!({ "role": "assistant", "content": null, "tool_calls": calls });
    assert_refused([
        (json!({ "messages": [] }), 400, "messages"),
        (json!({ "messages": [{ "content": "x" }] }), 400, "messages[0]"),
        (json!({ "messages": [{ "role": "king", "content": "x" }] }), 400, "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": null }] }), 400, "messages[0].content"),
        (json!({ "messages": [{ "role": "assistant", "content": null }] }), 400, "messages[0].content"),
        (json!({ "messages": [3] }), 400, "messages[0]"),
        (json!({ "tool_choice": "required" }), 400, "tool_choice"),
        (json!({ "tools": [{ "type": "function" }] }), 400, "tools[0].function"),
        (json!({ "tools": [{ "type": "web_search" }] }), 400, "tools[0].type"),
        (json!({ "tools": [tool("a b", json!({}))] }), 400, "tools[0].function.name"),
        (json!({ "tools": [tool(&"a".repeat(65), json!({}))] }), 400, "tools[0].function.name"),
        (json!({ "tools": [tool("f", json!({})), tool("f", json!({}))] }), 400, "tools[1].function.name"),
        (json!({ "tools": [tool("f", json!({ "type": "string" }))] }), 400, "tools[0].function.parameters"),
        (json!({ "tools": [tool("f", json!([]))] }), 400, "tools[0].function.parameters"),
        (json!({ "messages": [{ "role": "tool", "content": "x" }] }), 400, "messages[0].tool_call_id"),
        (json!({ "messages": [called(json!({}))] }), 400, "messages[0].tool_calls"),
        (
            json!({ "messages": [{ "role": "assistant", "content": null, "function_call": { "name": "f" } }] }),
            400,
            "messages[0].function_call",
        ),
        (json!({ "messages": [called(json!([3]))] }), 400, "messages[0].tool_calls[0]"),
        (json!({ "messages": [called(json!([{ "id": "x" }]))] }), 400, "messages[0].tool_calls[0].function"),
        (
            json!({ "messages": [called(json!([{ "id": "x", "function": { "name": "f" } }]))] }),
            400,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            json!({ "messages": [called(json!([{ "id": "x", "function": { "name": "f", "arguments": [1] } }]))] }),
            400,
            "messages[0].tool_calls[0].function.arguments",
        ),
        (json!({ "tools": 3 }), 400, "tools"),
        (json!({ "tools": [3] }), 400, "tools[0]"),
        (json!({ "tool_choice": 5 }), 400, "tool_choice"),
        (json!({ "function_call": "auto" }), 400, "function_call"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            400,
            "messages[0].content[0]",
        ),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "text" }] }] }), 400, "messages[0].content[0]"),
        (json!({ "messages": [{ "role": "user", "content": ["x"] }] }), 400, "messages[0].content[0]"),
    ]);
}

#[test]
fn what_changes_nothing_is_no_error_and_what_cannot_fit_is_one() {
    let server = start(&["-c", "64"]);
    let chat = |fields: Value| chat(&server, &fields);
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
    // What was answered can be sent back: a text that is empty, a call without arguments, or with a
    // text that is no JSON, as models write it at times.
    let server = start(&[]);
    for arguments in [json!(""), json!(null), json!("{}"), json!("{bad"), json!("{\"a\": 1}{}"), json!("[]")] {
        let call =
            json!([{ "id": "call00000", "type": "function", "function": { "name": "f", "arguments": arguments } }]);
        let messages = json!([
            { "role": "user", "content": "hi" }, { "role": "assistant", "content": "" },
            { "role": "user", "content": "oh" }, { "role": "assistant", "content": null, "tool_calls": call },
            { "role": "tool", "tool_call_id": "call00000", "content": "1" },
        ]);
        let back = self::chat(&server, &json!({ "messages": messages }));
        assert_eq!(back.status, 200, "{arguments} {}", back.text());
    }
    // What is not known is no error, nor is null.
    assert_eq!(chat(json!({ "user": "me", "store": true, "whatever": {}, "stop": null })).status, 200);
    assert_eq!(chat(json!({ "logprobs": false, "top_logprobs": 0 })).status, 200);
    let long = chat(json!({ "messages": [{ "role": "user", "content": "word ".repeat(99) }] }));
    assert_eq!((long.status, &long.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
    let message = long.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("This model's maximum context length is 64 tokens"), "{message}");
    // What cannot fit is refused before it is taken apart.
    for (messages, unit) in [
        (json!([{ "role": "user", "content": "a".repeat(7 << 20) }]), " bytes,"),
        (vec![json!({ "role": "user", "content": "a" }); 9999].into(), " messages,"),
    ] {
        let error = &chat(json!({ "messages": messages })).json()["error"];
        assert_eq!(error["code"], "context_length_exceeded");
        assert!(error["message"].as_str().unwrap().contains(unit), "{error}");
    }
}

#[test]
fn each_address_has_its_methods() {
    let server = start(&["-c", "64"]);
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/tiny", 200),
        ("GET", "/v1/models/t%69ny", 200),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "v1/models", 400),
        ("OPTIONS", "*", 400),
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
    for (field, value) in [("n", json!(2)), ("show_options", json!(3)), ("strategy", json!("vote"))] {
        let reply = server.post("/v1/ollm/search", &json!({ "prompt": "x", "max_tokens": 1, (field): value }));
        let refused = Some(field).filter(|&field| field != "strategy");
        assert_eq!(reply.json()["error"]["param"].as_str(), refused, "{}", reply.text());
    }
    // Of nothing, nothing: both are allowed.
    let none = server.json("/v1/completions", &json!({ "prompt": "x", "max_tokens": 0 }));
    assert_eq!((text(&none), &none["choices"][0]["finish_reason"]), ("", &json!("length")));
    assert_eq!(none["usage"]["completion_tokens"], 0);
    // A raw prompt has the special tokens that a client writes, a message has their text alone.
    let special = server.json("/v1/completions", &json!({ "prompt": "<|im_end|>", "max_tokens": 0 }));
    let plain = server.json("/v1/completions", &json!({ "prompt": "<|im end|>", "max_tokens": 0 }));
    let count = |reply: &Value| reply["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(count(&special) <= 2 && count(&plain) > 3, "{} {}", count(&special), count(&plain));
    let begun = server.json("/v1/completions", &json!({ "prompt": "", "max_tokens": 2, "ollm": {} }));
    assert_eq!(begun["usage"]["prompt_tokens"], 1);
    for (path, body, param) in [
        ("/v1/completions", json!({ "prompt": [5, 99_999_999] }), "prompt"),
        ("/v1/completions", json!({ "prompt": "x", "messages": [] }), "messages"),
        ("/v1/embeddings", json!({ "input": [[-1]] }), "input"),
    ] {
        let reply = server.post(path, &body);
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error["param"]), (400, &json!(param)), "{error}");
        assert_eq!(error["message"].as_str().unwrap().contains("there are tokens 0 to "), param != "messages");
    }
    let default = server.json("/v1/completions", &json!({ "prompt": "x", "logit_bias": end_banned() }));
    assert_eq!(default["usage"]["completion_tokens"], 16);
    let coded = server.ask("POST", "/v1/completions", &["Transfer-Encoding: gzip, chunked"], b"");
    assert_eq!(coded.status, 501);
    assert!(coded.head.contains("x-request-id: req-"));
    for (codings, status) in [
        (&["Content-Encoding: gzip"][..], 415),
        (&["Content-Encoding: Identity"], 400),
        (&["Content-Encoding: identity", "Content-Encoding: gzip"], 415),
    ] {
        assert_eq!(server.ask("POST", "/v1/completions", codings, b"{}").status, status, "{codings:?}");
    }
    let host = server.ask("GET", "/health", &["Host: localhost", "Host: localhost"], b"");
    assert_eq!(host.status, 400);
    let head = format!("X: {}", "a".repeat(300 << 10));
    assert_eq!(server.ask("GET", "/health", &[&head], b"").status, 431);
    let huge = server.ask("POST", "/v1/completions", &[], &vec![b' '; 10 << 20]);
    assert_eq!((huge.status, &huge.json()["error"]["code"]), (413, &json!("body_too_large")));
    // A connection is not used again behind a body that nobody has read; else it is.
    for (path, closes) in [("/v1/nothing", true), ("/v1/completions", false)] {
        let mut stream = server.connect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b' '; 200_000]).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0_u8];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0].to_ascii_lowercase());
        }
        let says = head.windows(17).any(|line| line == b"connection: close");
        assert_eq!(says, closes, "{path}");
    }
    // It is told before the body has come.
    let mut early = server.connect();
    let head =
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 9000000\r\n\r\n";
    early.write_all(head).unwrap();
    assert_eq!(read(early).status, 413);
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
    assert_eq!(status(&["Host: [::1]evil"]), 403);
    assert_eq!(local.ask("GET", "http://rebound.example/v1/models", &["Host: localhost"], b"").status, 403);
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
        (&["--api-key", "sésame"], "API key"),
    ] {
        let output = std::process::Command::new(ollm_run()).args(["serve", "-m", model]).args(args).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && complaint.contains(told), "{args:?}: {complaint}");
    }
    let port = local.address.port().to_string();
    let output = std::process::Command::new(ollm_run()).args(["serve", "-m", model, "--port", &port]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(&local.address.to_string()));
}
