//! Trees of branches that are grown by hand.

use std::collections::HashSet;
use std::sync::Arc;

use ollm_runtime::branches::{Branch, BranchEnd, BranchError, BranchOptions, Branches, Expansion};
use ollm_runtime::plugin::{Hold, LatentMode, Selector};
use ollm_runtime::random::Random;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionError, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

use crate::{OPTIONS, PROMPT, branch_options, model, options, session, session_with, tokenizer, tokens};

/// How a token of a branch came to be: drawn with these options, or forced by an expansion.
#[derive(Clone)]
enum Origin {
    Drawn(Box<SamplerOptions>),
    Forced,
}

/// Grows a tree at random; tells how each token of each branch came to be.
fn grow(branches: &mut Branches, tokenizer: &Tokenizer, latents: bool, seed: u64) -> Vec<Vec<Origin>> {
    let mut random = Random::new(seed);
    let mut origins: Vec<Vec<Origin>> = vec![Vec::new()];
    let mut forced: Vec<bool> = vec![false];
    for _ in 0..60 {
        let open: Vec<(usize, bool)> = branches.open().map(|(i, branch)| (i, branch.at_boundary)).collect();
        if open.is_empty() {
            break;
        }
        let (chosen, at_boundary) = open[random.below(open.len())];
        let count = 2 + random.below(3);
        match if branches.all().len() == 1 { 1 } else { random.below(12) } {
            0 if open.len() > 3 => branches.prune(chosen).unwrap(),
            1..=3 if at_boundary && open.len() < 24 => {
                let expansion = match random.below(if latents { 5 } else { 2 }) {
                    0 => Expansion::Tokens(count),
                    1 => Expansion::Sample { count, temperature: 0.7 },
                    2 => Expansion::Latents,
                    3 => Expansion::Top(count),
                    _ => Expansion::Draw(count),
                };
                for copy in branches.expand(chosen, expansion).unwrap() {
                    if copy == origins.len() {
                        origins.push(origins[chosen].clone());
                        forced.push(false);
                    }
                    forced[copy] = matches!(expansion, Expansion::Tokens(_));
                }
            }
            choice => {
                let before: Vec<usize> = branches.all().iter().map(|branch| branch.tokens.len()).collect();
                let sampling: Vec<_> = (0..before.len()).map(|i| branches.sampling(i).unwrap().clone()).collect();
                // All, or those that are at no boundary.
                branches.step(tokenizer, |branch| choice > 6 || !branch.at_boundary).unwrap();
                for (i, branch) in branches.all().iter().enumerate().filter(|(i, b)| b.tokens.len() > before[*i]) {
                    let drawn = Origin::Drawn(Box::new(sampling[i].clone()));
                    origins[i].push(if std::mem::take(&mut forced[i]) { Origin::Forced } else { drawn });
                    assert_eq!(branch.tokens.len(), origins[i].len());
                }
            }
        }
    }
    origins
}

/// The tokens of a branch once more, by a session of its own; the sum of their log-probabilities.
fn replay(origin: &Session, branch: &Branch, origins: &[Origin]) -> f64 {
    let mut session = origin.fork().unwrap();
    for ((&token, &latent), origin) in branch.tokens.iter().zip(&branch.latents).zip(origins) {
        match origin {
            Origin::Forced => session.feed(&[token]).unwrap(),
            Origin::Drawn(options) => {
                let mut sampler = Sampler::new((**options).clone()).unwrap();
                let step = match latent {
                    Some(latent) => session.step_with_latent(latent, &mut sampler),
                    None => session.step(None, &mut sampler),
                };
                assert_eq!(step.unwrap().token, token);
            }
        }
    }
    // The log-probabilities are those of the given text under the same latents.
    let text = [origin.tokens(), &branch.tokens].concat();
    let script: Option<Vec<usize>> = branch.latents.iter().copied().collect();
    let script = script
        .filter(|script| !script.is_empty())
        .map(|script| LatentMode::Script([vec![0; origin.position() - 1], script].concat()));
    let selector = script.map(|script| Selector::new(script, Hold::Token, OPTIONS, 0).unwrap());
    let mut scores = Vec::new();
    let mut fresh = origin.fork().unwrap();
    fresh.score(&text, selector.as_ref(), &mut |scored| scores.push(f64::from(scored.logprob))).unwrap();
    scores[origin.position() - 1..].iter().sum()
}

#[test]
fn every_branch_of_a_random_tree_is_a_session_of_its_own() {
    for (seed, family) in ["llama", "qwen3", "gemma3", "llama", "qwen2", "llama"].into_iter().enumerate() {
        let model = model(family);
        let tokenizer = tokenizer(&model);
        for latents in [true, false] {
            let origin = session_with(&model, latents, &options(1 + seed % 2));
            let mode = latents.then_some([LatentMode::Policy, LatentMode::Uniform][seed % 2].clone());
            let hold = [Hold::Token, tokens(2), tokens(5)][seed % 3];
            let mut branches = Branches::new(&origin, branch_options(mode, hold, &tokenizer)).unwrap();
            let origins = grow(&mut branches, &tokenizer, latents, seed as u64 + 100);
            assert!(branches.all().len() > 3, "{family} {latents}: a tree without branches tests nothing");
            for (i, branch) in branches.all().iter().enumerate() {
                let sum = replay(&origin, branch, &origins[i]);
                if !matches!(branch.end, Some(BranchEnd::End)) {
                    assert_eq!(branch.logprob.to_bits(), sum.to_bits(), "{family} {latents} {i} {:?}", branch.end);
                }
                if branch.is_open() || branch.is_complete() {
                    let mut session = branches.session(i).unwrap();
                    assert!(session.tokens().starts_with(&[&PROMPT[..], &branch.tokens].concat()));
                    let mut other = origin.fork().unwrap();
                    other.feed(&session.tokens()[PROMPT.len()..]).unwrap();
                    assert_eq!(session.hidden().unwrap(), other.hidden().unwrap());
                }
            }
            assert_eq!(origin.tokens(), PROMPT);
        }
    }
}

#[test]
fn latents_that_say_the_same_are_evaluated_once() {
    let (origin, tokenizer) = session(true);
    let greedy = BranchOptions {
        sampling: SamplerOptions::default(),
        limit: 12,
        ..branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer)
    };
    let mut branches = Branches::new(&origin, greedy).unwrap();
    assert_eq!(branches.expand(0, Expansion::Latents).unwrap(), [0, 1, 2, 3, 4]);
    while branches.step(&tokenizer, |_| true).unwrap() > 0 {}
    assert!(branches.passes() <= 12 && branches.generated() <= 60, "{}", branches.generated());
    let count: f64 = branches.all().iter().filter(|branch| branch.is_complete()).map(|branch| branch.count).sum();
    assert!((count - 5.0).abs() < 1e-9);
    let policy: f64 = branches.all().iter().filter(|b| b.is_complete()).map(|branch| branch.policy_weight).sum();
    assert!((policy - 1.0).abs() < 1e-5, "{policy}");
    for (latent, branch) in branches.all().iter().enumerate() {
        assert!(branch.latents.iter().all(|&z| z == Some(latent)) && branch.parent.is_none());
    }
}

#[test]
fn what_is_drawn_twice_counts_twice() {
    let (origin, tokenizer) = session(true);
    let options = branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer);
    let mut branches = Branches::new(&origin, options).unwrap();
    branches.expand(0, Expansion::Draw(40)).unwrap();
    let open: Vec<f64> = branches.open().map(|(_, branch)| branch.count).collect();
    assert!(open.len() <= OPTIONS && (open.iter().sum::<f64>() - 40.0).abs() < 1e-9, "{open:?}");
    assert_eq!(branches.all().iter().filter(|b| matches!(b.end, Some(BranchEnd::Merged(_)))).count(), 40 - open.len());
}

#[test]
fn a_tree_is_cancelled_as_a_whole_and_continues_as_if_nothing_had_been() {
    let (origin, tokenizer) = session(true);
    let run = |cancel: bool| {
        let options = branch_options(Some(LatentMode::Uniform), tokens(3), &tokenizer);
        let mut branches = Branches::new(&origin, options).unwrap();
        branches.expand(0, Expansion::Latents).unwrap();
        for step in 0..10 {
            if cancel && step % 3 == 1 {
                branches.canceller().cancel();
                let lengths: Vec<usize> = branches.all().iter().map(|branch| branch.tokens.len()).collect();
                let outcome = branches.step(&tokenizer, |_| true);
                assert!(matches!(outcome, Err(BranchError::Session(SessionError::Cancelled))), "{outcome:?}");
                assert_eq!(branches.all().iter().map(|branch| branch.tokens.len()).collect::<Vec<_>>(), lengths);
            }
            branches.step(&tokenizer, |_| true).unwrap();
        }
        branches.all().iter().map(|b| (b.tokens.clone(), b.latents.clone(), b.logprob.to_bits())).collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
    // The session's own canceller is another.
    origin.canceller().cancel();
    run(false);
}

#[test]
fn a_cancellation_ends_the_rest_of_all_branches() {
    let (origin, tokenizer) = session(true);
    let options = branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer);
    let mut branches = Branches::new(&origin, options).unwrap();
    branches.expand(0, Expansion::Tokens(4)).unwrap();
    (0..2).for_each(|_| assert!(branches.step(&tokenizer, |_| true).unwrap() > 1));
    branches.set_duty(1e-9).unwrap();
    // After the pass over the weights each of them would rest for years.
    let canceller = branches.canceller();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            canceller.cancel();
        });
        branches.step(&tokenizer, |_| true)
    });
    assert!(matches!(outcome, Err(BranchError::Session(SessionError::Cancelled))), "{outcome:?}");
}

#[test]
fn a_session_adopts_a_branch_and_continues_as_if_it_had_generated_it() {
    let (origin, tokenizer) = session(true);
    let options = branch_options(Some(LatentMode::Policy), tokens(7), &tokenizer);
    let mut branches = Branches::new(&origin, options).unwrap();
    branches.expand(0, Expansion::Tokens(3)).unwrap();
    (0..5).for_each(|_| assert!(branches.step(&tokenizer, |_| true).unwrap() > 0));
    for branch in branches.open().map(|(branch, _)| branch) {
        let (mut adopted, mut fork) = (origin.fork().unwrap(), branches.session(branch).unwrap());
        branches.adopt(branch, &mut adopted).unwrap();
        assert_eq!((adopted.tokens(), adopted.latent_state()), (fork.tokens(), fork.latent_state()));
        assert_eq!(adopted.hidden().unwrap(), fork.hidden().unwrap());
        assert!(matches!(branches.adopt(branch, &mut adopted), Err(BranchError::Mismatch)));
    }
    let (mut bare, _) = session(false);
    assert!(matches!(branches.adopt(0, &mut bare), Err(BranchError::Mismatch)));
    branches.prune(0).unwrap();
    assert!(matches!(branches.adopt(0, &mut origin.fork().unwrap()), Err(BranchError::Ended { branch: 0 })));
}

#[test]
fn a_full_context_ends_a_branch_and_a_memory_limit_refuses_the_step() {
    let model = model("llama");
    let tokenizer = tokenizer(&model);
    let small = SessionOptions { context: PROMPT.len() + 6, ..options(1) };
    let origin = session_with(&model, true, &small);
    let options = branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer);
    let mut branches = Branches::new(&origin, options.clone()).unwrap();
    branches.expand(0, Expansion::Latents).unwrap();
    while branches.step(&tokenizer, |_| true).unwrap() > 0 {}
    assert!(branches.all().iter().all(|branch| branch.tokens.len() <= 6));
    assert!(branches.all().iter().any(|branch| matches!(branch.end, Some(BranchEnd::Length))));
    assert!(branches.session(0).is_ok() || matches!(branches.all()[0].end, Some(BranchEnd::Merged(_))));

    let roomy = session_with(&model, true, &crate::options(1));
    let options = BranchOptions { limit: 300, ..options };
    let mut branches = Branches::new(&roomy, options.clone()).unwrap();
    branches.expand(0, Expansion::Latents).unwrap();
    while branches.step(&tokenizer, |_| true).unwrap() > 0 {}
    let limit = branches.kv_bytes();
    let limited = SessionOptions { memory_limit: Some(limit), ..crate::options(1) };
    let origin = session_with(&model, true, &limited);
    let mut branches = Branches::new(&origin, options).unwrap();
    let refused = branches.expand(0, Expansion::Sample { count: 1000, temperature: 1.0 });
    assert!(matches!(refused, Err(BranchError::Session(SessionError::MemoryLimit { .. }))), "{refused:?}");
    assert_eq!(branches.all().len(), 1);
    branches.expand(0, Expansion::Latents).unwrap();
    let error = loop {
        match branches.step(&tokenizer, |_| true) {
            Ok(0) => panic!("the limit was not met"),
            Ok(_) => assert!(branches.kv_bytes() <= limit),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, BranchError::Session(SessionError::MemoryLimit { .. })), "{error}");
    // With fewer branches there is room for more.
    let open: Vec<usize> = branches.open().map(|(branch, _)| branch).collect();
    open[1..].iter().for_each(|&branch| branches.prune(branch).unwrap());
    assert_eq!(branches.step(&tokenizer, |_| true).unwrap(), 1);
}

#[test]
fn what_cannot_be_expanded_is_refused_and_nothing_changes() {
    let (origin, tokenizer) = session(false);
    let options = branch_options(None, Hold::All, &tokenizer);
    let mut branches = Branches::new(&origin, options.clone()).unwrap();
    let refused = branches.expand(0, Expansion::Latents);
    assert!(matches!(&refused, Err(BranchError::NoPlugin { .. })), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("tokens:N"));
    for count in [0, 100_000, usize::MAX] {
        assert!(matches!(branches.expand(0, Expansion::Tokens(count)), Err(BranchError::Count { .. })));
    }
    let wrong = branches.expand(0, Expansion::Sample { count: 2, temperature: -1.0 });
    assert!(matches!(wrong, Err(BranchError::Session(SessionError::Sampler(_)))), "{wrong:?}");
    assert!(matches!(branches.expand(7, Expansion::Tokens(2)), Err(BranchError::NoBranch { branch: 7 })));
    assert_eq!(branches.all().len(), 1);
    branches.prune(0).unwrap();
    assert!(matches!(branches.expand(0, Expansion::Tokens(2)), Err(BranchError::Ended { branch: 0 })));
    assert!(matches!(branches.prune(0), Err(BranchError::Ended { branch: 0 })));
    assert!(matches!(branches.session(0), Err(BranchError::Ended { branch: 0 })));
    assert_eq!(branches.step(&tokenizer, |_| true).unwrap(), 0);
    let latents = BranchOptions { latents: Some(LatentMode::Policy), ..options };
    assert!(matches!(Branches::new(&origin, latents), Err(BranchError::Session(SessionError::NoPlugin))));
    let empty = Session::new(Arc::clone(origin.model()), None, &crate::options(1)).unwrap();
    let mut branches = Branches::new(&empty, branch_options(None, Hold::All, &tokenizer)).unwrap();
    assert!(matches!(branches.expand(0, Expansion::Tokens(2)), Err(BranchError::Session(SessionError::Empty))));
}

#[test]
fn ten_branches_of_a_long_prompt_take_little_more_memory_than_one() {
    let model = model("llama");
    let tokenizer = tokenizer(&model);
    let long = SessionOptions { context: 4200, ..options(2) };
    let mut origin = Session::new(Arc::clone(&model), None, &long).unwrap();
    origin.feed(&(0..4000).map(|i| i * 7919 % 256).collect::<Vec<u32>>()).unwrap();
    let grown = |count: usize| {
        let options = BranchOptions { limit: 100, ..branch_options(None, Hold::All, &tokenizer) };
        let mut branches = Branches::new(&origin, options).unwrap();
        branches.expand(0, Expansion::Sample { count, temperature: 2.0 }).unwrap();
        while branches.step(&tokenizer, |_| true).unwrap() > 0 {}
        branches.kv_bytes() as f64
    };
    let (ten, one) = (grown(10), grown(1));
    assert!(ten <= 1.3 * one && ten > one, "{ten} {one}");
}

#[test]
fn what_later_branches_count_is_shared() {
    let (origin, tokenizer) = session(true);
    let options = branch_options(Some(LatentMode::Policy), tokens(2), &tokenizer);
    for expansion in
        [Expansion::Latents, Expansion::Draw(7), Expansion::Tokens(3), Expansion::Sample { count: 4, temperature: 1.0 }]
    {
        let mut branches = Branches::new(&origin, options.clone()).unwrap();
        branches.expand(0, expansion).unwrap();
        let first = expansion.count(OPTIONS) as f64;
        for _ in 0..3 {
            branches.step(&tokenizer, |branch| !branch.at_boundary).unwrap();
            let at: Vec<usize> = branches.open().filter(|(_, b)| b.at_boundary).map(|(i, _)| i).collect();
            for i in at {
                branches.expand(i, expansion).unwrap();
            }
            let those = || branches.all().iter().filter(|branch| branch.is_open() || branch.is_complete());
            let count: f64 = those().map(|branch| branch.count).sum();
            let policy: f64 = those().map(|branch| branch.policy_weight).sum();
            assert!((count - first).abs() < 1e-6, "{expansion} {count}");
            // Tokens and samples select latents that are one of several: their probability is less.
            let is_all = matches!(expansion, Expansion::Latents | Expansion::Draw(_));
            assert!(policy < 1.0 + 1e-4 && (!is_all || policy > 1.0 - 1e-4), "{expansion} {policy}");
        }
        // A huge count is refused, however many are open.
        let (open, _) = branches.open().next().unwrap();
        for count in [usize::MAX, usize::MAX - 1, 4097] {
            let refused = branches.expand(open, Expansion::Sample { count, temperature: 1.0 });
            assert!(matches!(refused, Err(BranchError::Count { .. })), "{count}");
        }
    }
}

/// What an expansion chose for the next token, a second one does not choose again.
#[test]
fn a_branch_is_expanded_once_before_a_step() {
    let (origin, tokenizer) = session(true);
    let options = branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer);
    let tree = |first: Expansion| {
        let mut branches = Branches::new(&origin, options.clone()).unwrap();
        branches.expand(0, first).unwrap();
        branches
    };
    for (first, second) in [
        (Expansion::Latents, Expansion::Top(2)),
        (Expansion::Draw(2), Expansion::Latents),
        (Expansion::Tokens(3), Expansion::Latents),
        (Expansion::Tokens(3), Expansion::Tokens(2)),
    ] {
        let mut branches = tree(first);
        let count = branches.all().len();
        let refused = branches.expand(0, second);
        assert!(matches!(refused, Err(BranchError::Chosen { branch: 0, .. })), "{first} {second} {refused:?}");
        assert_eq!(branches.all().len(), count);
        branches.step(&tokenizer, |_| true).unwrap();
        branches.expand(0, second).unwrap();
    }
    // A latent and then its tokens, and samples of what is chosen, are a choice more each.
    let mut branches = tree(Expansion::Latents);
    branches.expand(1, Expansion::Tokens(2)).unwrap();
    branches.expand(1, Expansion::Sample { count: 2, temperature: 1.0 }).unwrap();
    branches.step(&tokenizer, |_| true).unwrap();
    let those: Vec<&Branch> = [1, 5, 6].map(|index| &branches.all()[index]).to_vec();
    assert!(those.iter().all(|branch| branch.latents == [Some(1)]));
    assert!(those[0].tokens != those[1].tokens && those[0].tokens == those[2].tokens);
}

#[test]
fn a_limit_of_no_tokens_makes_none() {
    let (origin, tokenizer) = session(true);
    let options = BranchOptions { limit: 0, ..branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer) };
    let mut branches = Branches::new(&origin, options).unwrap();
    assert!(matches!(branches.all()[0].end, Some(BranchEnd::Length)));
    assert!(matches!(branches.expand(0, Expansion::Latents), Err(BranchError::Ended { branch: 0 })));
    assert_eq!(branches.step(&tokenizer, |_| true).unwrap(), 0);
    assert_eq!(branches.session(0).unwrap().tokens(), PROMPT);
}

/// As many as a pass takes, and more.
#[test]
fn passes_are_counted_one_by_one() {
    let (origin, tokenizer) = session(false);
    let options = branch_options(None, Hold::All, &tokenizer);
    let mut branches = Branches::new(&origin, options).unwrap();
    branches.expand(0, Expansion::Sample { count: 600, temperature: 50.0 }).unwrap();
    let mut expected = 0;
    for _ in 0..3 {
        let open = branches.open().map(|(_, branch)| &branch.tokens);
        let texts = open.filter(|tokens| !tokens.is_empty()).collect::<HashSet<_>>().len();
        expected += texts.div_ceil(256);
        branches.step(&tokenizer, |_| true).unwrap();
        assert_eq!(branches.passes(), expected, "{texts} texts");
    }
    assert!(expected > 3);
}
