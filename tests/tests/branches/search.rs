//! Votes, the best of N, beam searches.

use std::ops::ControlFlow;

use ollm_runtime::branches::{
    AnswerRule, Branch, BranchEnd, BranchError, BranchOptions, Branches, Expansion, Found, Score, SearchOptions,
    Strategy, Weight, search, search_in,
};
use ollm_runtime::plugin::{Callback, Hold, LatentMode};
use ollm_runtime::sampler::SamplerOptions;
use ollm_runtime::session::{SessionError, SessionOptions};

use crate::{OPTIONS, PROMPT, branch_options, model, options, session, session_with, tokenizer, tokens};

pub(crate) fn search_options(strategy: Strategy, expansion: Expansion, branches: BranchOptions) -> SearchOptions {
    SearchOptions {
        strategy,
        expansion,
        width: 3,
        score: Score::LogProb,
        weight: Weight::One,
        answer: AnswerRule::Text,
        branches,
    }
}

#[test]
fn a_search_gives_the_best_of_what_it_saw_on_any_number_of_threads() {
    let model = model("llama");
    let tokenizer = tokenizer(&model);
    for strategy in Strategy::ALL {
        for (latents, expansion) in [
            (true, Expansion::Latents),
            (false, Expansion::Tokens(3)),
            (false, Expansion::Sample { count: 4, temperature: 0.8 }),
        ] {
            let run = |threads| {
                let origin = session_with(&model, latents, &options(threads));
                let mode = latents.then_some(LatentMode::Policy);
                let branches = BranchOptions { limit: 15, ..branch_options(mode, tokens(3), &tokenizer) };
                let options = search_options(strategy, expansion, branches);
                let (branches, found) =
                    search(&origin, &tokenizer, &options, &mut |_| ControlFlow::Continue(())).unwrap();
                let best = &branches.all()[found.branch];
                assert!(best.is_complete() && (0.0..=1.0).contains(&found.confidence));
                assert_eq!(found.answer.as_deref(), Some(best.text.trim()).filter(|text| !text.is_empty()));
                if strategy != Strategy::Vote {
                    let better =
                        |branch: &Branch| branch.is_complete() && Score::LogProb.of(branch) > Score::LogProb.of(best);
                    assert!(!branches.all().iter().any(better));
                }
                (best.tokens.clone(), best.logprob.to_bits(), found)
            };
            assert_eq!(run(1), run(2), "{strategy} {expansion}");
        }
    }
}

#[test]
fn a_search_continues_in_branches_that_are_there() {
    let (origin, tokenizer) = session(true);
    for strategy in [Strategy::Vote, Strategy::Best] {
        let branches = BranchOptions { limit: 15, ..branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer) };
        let options = SearchOptions { width: OPTIONS, ..search_options(strategy, Expansion::Latents, branches) };
        let each = &mut |_: &Branches| ControlFlow::Continue(());
        let (whole, found) = search(&origin, &tokenizer, &options, each).unwrap();
        let mut begun = Branches::new(&origin, options.branches.clone()).unwrap();
        begun.expand(0, Expansion::Latents).unwrap();
        (0..3).for_each(|_| assert!(begun.step(&tokenizer, |_| true).unwrap() > 0));
        assert_eq!(search_in(&mut begun, &tokenizer, &options, each).unwrap(), found);
        assert_eq!(begun.all().len(), whole.all().len());
        // Nothing is left to search.
        assert_eq!(search_in(&mut begun, &tokenizer, &options, each).unwrap(), found);
        assert_eq!(begun.passes(), whole.passes());
    }
}

#[test]
fn a_search_that_is_ended_from_outside_gives_what_there_is() {
    let (origin, tokenizer) = session(true);
    let branches = branch_options(Some(LatentMode::Policy), Hold::All, &tokenizer);
    let options = search_options(Strategy::Best, Expansion::Latents, branches);
    let mut steps = 0;
    let (branches, found) = search(&origin, &tokenizer, &options, &mut |branches| {
        steps += 1;
        // The prompt was evaluated before.
        assert_eq!(branches.passes(), steps - 1);
        if steps == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(branches.open().count(), 0);
    assert!(branches.all()[found.branch].tokens.len() <= 4);
    let none = SearchOptions { width: 0, ..options };
    assert!(matches!(
        search(&origin, &tokenizer, &none, &mut |_| ControlFlow::Continue(())),
        Err(BranchError::Count { .. })
    ));
}

#[test]
fn a_full_context_ends_a_beam_of_tokens_with_what_there_is() {
    let model = model("llama");
    let tokenizer = tokenizer(&model);
    let origin = session_with(&model, false, &SessionOptions { context: PROMPT.len() + 5, ..options(1) });
    for hold in [Hold::Token, tokens(2)] {
        let branches = branch_options(None, hold, &tokenizer);
        let options = search_options(Strategy::Beam, Expansion::Tokens(3), branches);
        let (all, found) = search(&origin, &tokenizer, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        let best = &all.all()[found.branch];
        assert!(best.is_complete() && best.tokens.len() <= 6, "{:?}", best.end);
    }
}

/// Searches to the end: all that is known of the branches, what was found, passes and tokens. Where
/// `cut`, each step is cancelled before it is taken, and the search called again.
fn searched(options: &SearchOptions, latents: bool, cut: bool) -> (String, Found, [usize; 2]) {
    let (origin, tokenizer) = session(latents);
    let mut branches = Branches::new(&origin, options.branches.clone()).unwrap();
    let canceller = branches.canceller();
    let cancel = || {
        if cut {
            canceller.cancel();
        }
    };
    let mut cuts = 0;
    cancel();
    let found = loop {
        let outcome = search_in(&mut branches, &tokenizer, options, &mut |_| {
            cancel();
            ControlFlow::Continue(())
        });
        match outcome {
            Err(BranchError::Session(SessionError::Cancelled)) => cuts += 1,
            outcome => break outcome.unwrap(),
        }
        assert!(cuts < 1000, "no end");
    };
    assert_eq!(cut, cuts > 0);
    (format!("{:?}", branches.all()), found, [branches.passes(), branches.generated()])
}

/// Lines that end at different places, so that some branches wait at their boundary for others.
#[test]
fn a_search_that_is_cancelled_again_and_again_finds_the_same() {
    let (origin, tokenizer) = session(true);
    let feeds = (0..origin.model().config().vocab as u32)
        .filter(|&token| tokenizer.token_bytes(token).is_some_and(|bytes| bytes.contains(&b'\n')));
    let sampling = SamplerOptions {
        temperature: 1.0,
        seed: 3,
        logit_bias: feeds.map(|token| (token, 4.0)).collect(),
        ..SamplerOptions::default()
    };
    for (latents, expansion) in [
        (true, Expansion::Latents),
        (true, Expansion::Draw(1)),
        (false, Expansion::Tokens(3)),
        (false, Expansion::Sample { count: 3, temperature: 1.0 }),
        (false, Expansion::Sample { count: 1, temperature: 1.0 }),
    ] {
        for strategy in Strategy::ALL {
            let mode = latents.then_some(LatentMode::Policy);
            let branches =
                BranchOptions { sampling: sampling.clone(), limit: 30, ..branch_options(mode, Hold::Line, &tokenizer) };
            let options = search_options(strategy, expansion, branches);
            let whole = searched(&options, latents, false);
            let cut = searched(&options, latents, true);
            assert_eq!(cut, whole, "{strategy} {expansion}");
        }
    }
}

/// Where the application chooses a latent that is none, that branch fails, and no other.
#[test]
fn a_branch_that_cannot_be_expanded_ends_alone() {
    let (origin, tokenizer) = session(true);
    let choose = |hidden: &[f32], _: &[f32]| if hidden[0].to_bits().is_multiple_of(5) { OPTIONS } else { 1 };
    let branches = BranchOptions {
        sampling: SamplerOptions::default(),
        limit: 12,
        ..branch_options(Some(LatentMode::Callback(Callback::new(choose))), Hold::Token, &tokenizer)
    };
    let options = search_options(Strategy::Beam, Expansion::Tokens(4), branches);
    let (all, found) = search(&origin, &tokenizer, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(all.all()[found.branch].is_complete());
    let failed = all.all().iter().filter(|branch| matches!(branch.end, Some(BranchEnd::Failed(_))));
    assert!(failed.count() > 0, "no branch failed: the test shows nothing");
}
