//! What is bounded: memory, queues, grammars, connections, and clients that do not behave.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ollm_runtime::model::Model;
use ollm_runtime::ops::KvType;
use ollm_runtime::session::Session;
use ollm_tests::http::{Server, read};
use serde_json::{Value, json};

use crate::{end_banned, endless, files, start};

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
    let refused = server.post("/v1/completions", &json!({ "prompt": "x", "n": 64, "max_tokens": 1_000_000 }));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("kv_memory_exceeded")));
    // One answer that may fill the context leaves no room for another, but for a short one.
    let endless = endless().to_string();
    let first = server.send("POST", "/v1/completions", &[], endless.as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    server.json("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1 }));
    // The short one gives its place back once it has been sent.
    server.wait_for("ollm_running_sequences", |count| count == 1);
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
    // The embedding gives its place back once it has been sent.
    server.wait_for("ollm_running_sequences", |count| count == 1);
    drop(search);
    server.wait_for("ollm_running_sequences", |count| count == 0);
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

/// Waits until an answer on its way is ended. Whether the batch or the connection notices that
/// its client takes nothing is a matter of time.
fn wait_until_ended(server: &Server) {
    server.wait_for("ollm_cancelled_total", |count| count + server.metric("ollm_timed_out_total") > 0);
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let server = start(&["-c", "4096", "--timeout", "1"]);
    let stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    let begin = Instant::now();
    server.json("/v1/completions", &json!({ "prompt": "some words", "max_tokens": 4, "seed": 1 }));
    assert!(begin.elapsed() < Duration::from_mins(1));
    wait_until_ended(&server);
    drop(stream);
    // A head that does not come is not waited for either.
    let mut slow = server.connect();
    slow.write_all(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let begin = Instant::now();
    let _ = slow.read_to_end(&mut Vec::new());
    assert!(begin.elapsed() < Duration::from_mins(1));
    // Nor a body.
    let before = server.metric("ollm_timed_out_total");
    let mut slow = server.connect();
    slow.write_all(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{",
    )
    .unwrap();
    assert_eq!(read(slow).status, 408);
    assert_eq!(server.metric("ollm_timed_out_total"), before + 1);
}

/// A continuation whose client does not read takes no place in the batch.
#[test]
fn a_stalled_answer_takes_no_place() {
    let server = start(&["-c", "4096", "--parallel", "1", "--timeout", "600"]);
    let stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    server.json("/v1/completions", &json!({ "prompt": "some words", "max_tokens": 4, "seed": 1 }));
    server.wait_for("ollm_running_sequences", |count| count == 1);
    assert_eq!(server.metric("ollm_cancelled_total"), 0);
    drop(stream);
}

/// A client that takes a little of its answer now and then is cancelled like one that takes
/// nothing.
#[test]
fn a_client_that_reads_too_slowly_is_cancelled() {
    let server = start(&["-c", "4096", "--timeout", "4"]);
    let mut stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut some = vec![0; 64 << 10];
            // What the system holds is not read to its end.
            while !has_ended.load(Ordering::Relaxed) && stream.read(&mut some).is_ok_and(|count| count > 0) {
                thread::sleep(Duration::from_secs(1));
            }
        });
        wait_until_ended(&server);
        has_ended.store(true, Ordering::Relaxed);
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

/// Where there are as many connections as there may be, one that waits for its client makes room,
/// whatever it waits for.
#[test]
fn connections_that_wait_for_their_clients_hold_nobody_up() {
    let half_body = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    for sent in [&b""[..], &half_body[..30], half_body] {
        silent_clients_hold_nobody_up(sent);
    }
}

fn silent_clients_hold_nobody_up(sent: &[u8]) {
    let server = start(&["-c", "65536"]);
    let mut busy = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    server.wait_for("ollm_running_sequences", |count| count == 1);
    // A client that takes its answer keeps its place.
    let reader = thread::spawn(move || {
        let mut some = vec![0; 64 << 10];
        while busy.read(&mut some).is_ok_and(|count| count > 0) {}
    });
    let silent: Vec<_> = (0..700)
        .map(|_| {
            let mut stream = server.connect();
            // Those that have no place yet are not read, and those that lost it do not hear more.
            let _ = stream.write_all(sent);
            stream
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(server.get("/health").status, 200);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(server.metric("ollm_running_sequences"), 1);
    drop((silent, server));
    reader.join().unwrap();
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_after_the_answers_on_their_way() {
    let server = start(&["--timeout", "600"]);
    // Whoever has not asked yet is not waited for.
    let asking = [
        &b"POST /v1/completions HTTP/1.1\r\n"[..],
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ]
    .map(|begun| {
        let mut stream = server.connect();
        stream.write_all(begun).unwrap();
        stream
    });
    let body = json!({ "prompt": "x", "max_tokens": 200, "stream": true, "seed": 3, "logit_bias": end_banned() });
    let mut stream = server.send("POST", "/v1/completions", &[], body.to_string().as_bytes());
    let mut begun = [0; 1];
    stream.read_exact(&mut begun).unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let begin = Instant::now();
    assert_eq!(server.interrupt(), Some(0));
    assert!(begin.elapsed() < Duration::from_mins(1));
    drop(asking);
    assert!(reader.join().unwrap().contains("data: [DONE]"));
}

/// What is kept for a client that reads nothing is bounded: its answer does not go on for long.
#[test]
fn an_answer_that_nobody_reads_soon_stalls() {
    let server = start(&["-c", "65536", "--timeout", "600"]);
    let stream = server.send("POST", "/v1/completions", &[], endless().to_string().as_bytes());
    let generated = || server.metric("ollm_generated_tokens_total");
    let mut before = 0;
    while generated() == 0 || generated() != before {
        before = generated();
        thread::sleep(Duration::from_secs(1));
    }
    // A chunk of this request has some 40 KB.
    assert!(before < 1000, "{before} tokens");
    drop(stream);
}

/// A search reserves memory for the branches that it has, and no others.
#[test]
fn one_branch_reserves_for_one() {
    let context = context_of_most_of_a_megabyte().to_string();
    let server = start(&["-c", &context, "--kv-memory", "1"]);
    let search = |branches: usize| {
        let fields = json!({ "strategy": "vote", "branches": branches, "answer": "text" });
        server.post("/v1/completions", &json!({ "prompt": "x", "max_tokens": 1_000_000, "seed": 1, "ollm": fields }))
    };
    assert_eq!(search(1).status, 200);
    assert_eq!(search(2).json()["error"]["code"], "kv_memory_exceeded");
}

/// Requests that end before the engine has them, and embeddings, are counted as well.
#[test]
fn what_never_comes_to_the_batch_is_counted() {
    let server = start(&[]);
    let gone: Vec<_> =
        (0..4).map(|_| server.send("POST", "/v1/completions", &[], heavy().to_string().as_bytes())).collect();
    server.wait_for("ollm_waiting_requests", |count| count == 4);
    drop(gone);
    server.wait_for("ollm_cancelled_total", |count| count == 4);
    let before = server.metric("ollm_prompt_tokens_total");
    let reply = server.json("/v1/embeddings", &json!({ "input": ["some words", "x"] }));
    assert_eq!(server.metric("ollm_prompt_tokens_total") - before, reply["usage"]["prompt_tokens"].as_u64().unwrap());
}
