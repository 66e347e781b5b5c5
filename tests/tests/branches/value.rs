//! Values of branches.

use std::ops::ControlFlow;
use std::sync::Arc;

use ollm_runtime::branches::{
    Branch, BranchEnd, BranchError, BranchOptions, Branches, Expansion, Score, SearchOptions, Strategy, Weight, search,
    vote,
};
use ollm_runtime::gguf::{Gguf, TensorType};
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use ollm_runtime::plugin::{LatentMode, Plugin};
use ollm_runtime::sampler::SamplerOptions;
use ollm_runtime::session::Session;
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::plugins;

use crate::search::search_options;
use crate::{OPTIONS, PROMPT, branch_options, options, session, tokens};

/// A session whose plugin has a value head; `change` changes the plugin's file.
fn valued(dtype: TensorType, change: impl Fn(&mut [u8])) -> (Session, Tokenizer) {
    let (plain, tokenizer) = session(true);
    let model = plain.model();
    let spec = PluginConfig {
        value_width: Some(32),
        ..plugins::spec(model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS)
    };
    let mut bytes = plugins::plugin_file(&spec, dtype, 0.5).to_bytes();
    change(&mut bytes);
    let plugin = Arc::new(Plugin::from_storage(Storage::from(bytes), model).unwrap());
    let mut origin = Session::new(Arc::clone(model), Some(plugin), &options(1)).unwrap();
    origin.feed(&PROMPT).unwrap();
    (origin, tokenizer)
}

#[test]
fn values_are_those_of_the_last_token_of_a_line_or_an_answer() {
    let (origin, tokenizer) = valued(TensorType::Q8_0, |_| {});
    let (plain, _) = session(true);
    let value = |tokens: &[u32]| {
        let mut session = origin.fork().unwrap();
        session.feed(tokens).unwrap();
        session.value().unwrap().to_bits()
    };
    let mut ends = 0;
    for seed in 0..6 {
        let mut branch_options = branch_options(Some(LatentMode::Uniform), tokens(4), &tokenizer);
        branch_options.sampling = SamplerOptions { temperature: 1.5, seed, ..SamplerOptions::default() };
        let mut branches = Branches::new(&origin, branch_options).unwrap();
        branches.compute_values().unwrap();
        branches.expand(0, Expansion::Sample { count: 6, temperature: 1.5 }).unwrap();
        let mut going = 1;
        while going > 0 {
            going = branches.step(&tokenizer, |_| true).unwrap();
            branches.evaluate().unwrap();
            for branch in branches.all().iter().filter(|branch| branch.at_boundary || branch.is_complete()) {
                assert_eq!(branch.value.map(f32::to_bits), Some(value(&branch.tokens)), "{:?}", branch.end);
            }
        }
        ends += branches.all().iter().filter(|branch| matches!(branch.end, Some(BranchEnd::End))).count();
    }
    assert!(ends > 0, "no branch met an end token");
    let branches = branch_options(Some(LatentMode::Policy), tokens(4), &tokenizer);
    let by_value = |strategy| SearchOptions {
        score: Score::Value,
        weight: Weight::Value,
        ..search_options(strategy, Expansion::Latents, branches.clone())
    };
    for strategy in Strategy::ALL {
        let options = by_value(strategy);
        let (all, found) = search(&origin, &tokenizer, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(all.all()[found.branch].value.is_some());
        let refused = search(&plain, &tokenizer, &options, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(refused, Err(BranchError::NoValue)));
    }
}

/// A value head whose weights are no numbers: the search ends all the same, and says so by values
/// that are not known.
#[test]
fn a_value_that_is_no_number_ends_no_search() {
    let (mut origin, tokenizer) = valued(TensorType::F32, |bytes| {
        let gguf = Gguf::parse(bytes).unwrap();
        let bias = gguf.tensor("ollm.value.out.bias").unwrap().bytes(bytes);
        let at = bias.as_ptr().addr() - bytes.as_ptr().addr();
        bytes[at..at + 4].fill(0xff);
    });
    assert!(origin.value().is_err());
    let branches = BranchOptions { limit: 12, ..branch_options(Some(LatentMode::Policy), tokens(3), &tokenizer) };
    for strategy in Strategy::ALL {
        let options = SearchOptions {
            score: Score::Value,
            weight: Weight::Value,
            ..search_options(strategy, Expansion::Latents, branches.clone())
        };
        let (all, found) = search(&origin, &tokenizer, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(all.all().iter().all(|branch| branch.value.is_none()) && all.all()[found.branch].is_complete());
    }
}

/// As its branches are stepped, or at the end of all.
#[test]
fn a_value_is_the_same_whenever_it_is_asked_for() {
    let (origin, tokenizer) = valued(TensorType::Q8_0, |_| {});
    let mut ends = 0;
    for seed in 0..4 {
        let values = |at_once: bool| {
            let mut options = branch_options(Some(LatentMode::Uniform), tokens(4), &tokenizer);
            options.sampling = SamplerOptions { temperature: 1.5, seed, ..SamplerOptions::default() };
            let mut branches = Branches::new(&origin, options.clone()).unwrap();
            if at_once {
                branches.compute_values().unwrap();
            }
            branches.expand(0, Expansion::Sample { count: 8, temperature: 1.5 }).unwrap();
            while branches.step(&tokenizer, |_| true).unwrap() > 0 {}
            let by_value =
                SearchOptions { weight: Weight::Value, ..search_options(Strategy::Vote, Expansion::Latents, options) };
            let found = vote(&mut branches, &by_value).unwrap();
            let values = |branch: &Branch| branch.value.map(f32::to_bits).filter(|_| branch.is_complete());
            let ends = branches.all().iter().filter(|branch| matches!(branch.end, Some(BranchEnd::End))).count();
            (branches.all().iter().map(values).collect::<Vec<_>>(), found, ends)
        };
        let (early, late) = (values(true), values(false));
        assert_eq!(early, late);
        ends += early.2;
    }
    assert!(ends > 0, "no branch met an end token");
}
