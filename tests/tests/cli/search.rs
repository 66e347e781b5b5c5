//! Searches over options, and suggestions.

use ollm_runtime::plugin::Hold;
use ollm_tests::smollm2;

use crate::{OPTIONS, held_plugin_for, json, path, run_with, succeed, tiny, tiny_plugin};

#[test]
fn a_search_is_one_document_with_all_of_its_branches() {
    let (model, plugin) = (tiny(), held_plugin_for(&tiny(), "search-plugin.gguf", Hold::All));
    let flags = ["search", "-m", path(&model), "--plugin", path(&plugin), "-p", "some words", "-n", "8", "--json"];
    let document = |more: &[&str]| json(&[&flags, more].concat());
    for strategy in ["vote", "best", "beam"] {
        let found = document(&["--strategy", strategy, "--answer", "text", "--score", "logprob"]);
        let branches = found["branches"].as_array().unwrap();
        assert!(branches.len() >= OPTIONS && found["passes"].as_u64() > Some(0), "{found}");
        let best = &branches[found["branch"].as_u64().unwrap() as usize];
        assert_eq!(found["text"], best["text"]);
        assert!((0.0..=1.0).contains(&found["confidence"].as_f64().unwrap()));
        for (id, branch) in branches.iter().enumerate() {
            assert_eq!(branch["id"], id);
            let lengths = ["tokens", "latents"].map(|name| branch[name].as_array().unwrap().len());
            assert_eq!(lengths[0], lengths[1]);
            assert!(["eos", "stop", "length", "pruned", "merged"].contains(&branch["end"].as_str().unwrap()));
            assert_eq!(branch["end"] == "merged", branch["merged_into"].is_u64());
        }
    }
    let top = document(&["--expand", "top:2"]);
    assert_eq!(top["branches"].as_array().unwrap().len(), 2);
    let limited = document(&["--branches", "3"]);
    assert_eq!(limited["branches"].as_array().unwrap().len(), 3);
    // Without a plugin there are samples.
    let bare = json(&["search", "-m", path(&model), "-p", "x", "-n", "4", "--branches", "6", "--json"]);
    assert_eq!(bare["branches"].as_array().unwrap().len(), 6);
    assert!(bare["branches"][0]["latents"].as_array().unwrap().iter().all(serde_json::Value::is_null));
    let text = succeed(&["search", "-m", path(&model), "-p", "x", "-n", "4", "--expand", "tokens:3"]);
    assert!(text.contains("of the weight agrees"), "{text}");
}

#[test]
fn suggestions_are_ranked_and_distinct() {
    let (model, plugin) = (tiny(), tiny_plugin());
    for more in [&[][..], &["--plugin", path(&plugin)]] {
        let flags = ["suggest", "-m", path(&model), "-p", "some words", "-k", "4", "-n", "5", "--json"];
        let document = json(&[&flags, more].concat());
        let all = document["suggestions"].as_array().unwrap();
        assert_eq!(all.len(), 4);
        let probability = |one: &serde_json::Value| one["probability"].as_f64().unwrap();
        assert!(all.windows(2).all(|pair| probability(&pair[0]) >= probability(&pair[1])));
        let texts: std::collections::BTreeSet<_> = all.iter().map(|one| one["text"].as_str().unwrap()).collect();
        assert_eq!(texts.len(), 4);
    }
}

#[test]
fn samples_have_the_temperature_that_is_given() {
    let model = tiny();
    let flags = ["search", "-m", path(&model), "-p", "x", "-n", "4", "--json"];
    let texts = |more: &[&str]| {
        let found = json(&[&flags, more].concat());
        let branches = found["branches"].as_array().unwrap().iter();
        branches.map(|branch| branch["tokens"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&["--temperature", "2"]), texts(&["--expand", "sample:10:2"]));
    assert_eq!(texts(&[]), texts(&["--expand", "sample:10:0.8"]));
    assert_ne!(texts(&[]), texts(&["--temperature", "2"]));
    let both = run_with(&[&flags[..], &["--temperature", "2", "--expand", "sample:4:0.7"]].concat(), b"");
    assert_eq!((both.code, both.stderr.contains("--temperature")), (Some(2), true), "{}", both.stderr);
    texts(&["--temperature", "2", "--expand", "sample:4:2"]);
}

#[test]
fn a_search_without_an_answer_says_so() {
    let model = tiny();
    let flags = ["search", "-m", path(&model), "-p", "x", "-n", "4", "--answer", "regex:(never said)"];
    let text = succeed(&flags);
    assert!(text.contains("no answer by the rule regex:(never said)") && !text.contains("agrees"), "{text}");
    assert!(json(&[&flags[..], &["--json"]].concat())["answer"].is_null());
}

#[test]
fn a_conversation_can_be_searched_turn_by_turn() {
    let model = smollm2();
    let flags = ["chat", "-m", path(&model), "--strategy", "vote", "--branches", "3", "-n", "6", "--json"];
    let outcome = run_with(&flags, b"Say one\nSay two\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let documents: Vec<serde_json::Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), 2);
    assert!(documents.iter().all(|document| document["branches"].as_array().unwrap().len() == 3));
}

#[test]
fn flags_of_a_search_without_effect_are_refused() {
    let (model, plugin) = (tiny(), tiny_plugin());
    let chat = run_with(&["chat", "-m", path(&model), "--branches", "3"], b"");
    assert_eq!((chat.code, chat.stderr.contains("--strategy")), (Some(2), true), "{}", chat.stderr);
    let held =
        ["search", "-m", path(&model), "--plugin", path(&plugin), "-p", "x", "--hold", "all", "--latent", "uniform"];
    let search = run_with(&held, b"");
    assert_eq!((search.code, search.stderr.contains("no effect")), (Some(2), true), "{}", search.stderr);
    // A beam at each token has thousands of branches, few of them open.
    let beam =
        ["search", "-m", path(&model), "--plugin", path(&plugin), "-p", "x", "--hold", "token", "--strategy", "beam"];
    let found = json(&[&beam[..], &["-n", "300", "--json"]].concat());
    assert!(found["branches"].as_array().unwrap().len() > 10 && found["passes"].as_u64() <= Some(300));
    let heaviest = found["branches"].as_array().unwrap().iter().filter_map(|branch| branch["weight"].as_f64());
    assert!(heaviest.fold(0.0, f64::max) <= 10.0);
}

#[test]
fn a_search_that_cannot_be_is_refused_for_what_is_wrong() {
    let model = tiny();
    let search = |more: &[&str]| run_with(&[&["search", "-m", path(&model), "-p", "x"], more].concat(), b"");
    for (flags, code, says) in [
        (&["--branches", "0"][..], 2, "--branches"),
        (&["--expand", "top:0"], 2, "N from 1 on"),
        (&["--expand", "everything"], 2, "no way to expand"),
        (&["--answer", "regex:("], 2, "no regular expression"),
        (&["--answer", "regex:a"], 2, "must have one"),
        (&["--answer", "last"], 2, "no rule"),
        (&["--strategy", "mcts"], 2, "no strategy"),
        (&["--expand", "latents"], 1, "no plugin"),
        (&["--latent", "policy"], 1, "--plugin"),
        (&["--score", "value"], 1, "value head"),
        (&["--branches", "4097"], 2, "--branches"),
        (&["--weight", "policy"], 1, "--plugin"),
        (&["--hold", "line"], 1, "--plugin"),
    ] {
        let outcome = search(flags);
        assert_eq!(outcome.code, Some(code), "{flags:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(says) && outcome.stdout.is_empty(), "{flags:?}: {}", outcome.stderr);
    }
}
