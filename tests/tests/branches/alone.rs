//! Branches against generation: what a branch says is what a session of its own generates, however
//! its tokens are chosen, constrained and stopped, and whatever the layers are.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ollm_runtime::branches::{BranchEnd, BranchOptions, Branches, Expansion};
use ollm_runtime::constraint::{Constraint, GrammarCompiler, GrammarKind};
use ollm_runtime::generate::{GenerateOptions, Reason, Token, generate};
use ollm_runtime::model::Model;
use ollm_runtime::ops::KvType;
use ollm_runtime::plugin::{Callback, Hold, HoldUntil, LatentMode, LatentState, Selector, TokenEnds};
use ollm_runtime::sampler::{Dry, Mirostat, Sampler, SamplerOptions};
use ollm_runtime::session::{ContextShift, Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

use crate::{OPTIONS, PROMPT, branch_options, model, options, session_with, tokenizer, tokens, unmerged};

/// Layers of every kind: sliding windows, recurrent ones, shared keys and values, experts.
const FAMILIES: [&str; 8] = ["llama", "gemma3", "qwen35", "lfm2", "granitehybrid", "falcon-h1", "gemma3n", "gpt-oss"];

/// Samplers that remember, and one that does not.
fn samplers(seed: u64) -> [SamplerOptions; 3] {
    let plain = SamplerOptions { temperature: 1.2, seed, ..SamplerOptions::default() };
    let dry = Dry { multiplier: 0.8, base: 1.75, allowed_length: 1, last_n: usize::MAX, breakers: [].into() };
    [
        SamplerOptions::default(),
        SamplerOptions { mirostat: Some(Mirostat { tau: 4.0, eta: 0.2 }), ..plain.clone() },
        SamplerOptions { repeat_penalty: 1.3, frequency_penalty: 0.2, dry: Some(dry), ..plain },
    ]
}

/// The first latent is this one; then the policy selects.
fn first(latent: usize) -> LatentMode {
    let begun = AtomicBool::new(false);
    LatentMode::Callback(Callback::new(move |_, policy| {
        if begun.swap(true, Ordering::Relaxed) {
            (0..policy.len()).rev().max_by(|&a, &b| policy[a].total_cmp(&policy[b])).unwrap()
        } else {
            latent
        }
    }))
}

/// The latent that is held, for how many tokens, and how many were selected.
fn held(session: &Session) -> (Option<(usize, u32)>, u32) {
    let LatentState { held, held_tokens, selected } = session.latent_state();
    (held.map(|latent| (latent, held_tokens)), selected)
}

/// Every branch of an expansion against a fork of the session that generates.
fn check(origin: &Session, tokenizer: &Tokenizer, branch_options: &BranchOptions, hold: Hold, expansion: Expansion) {
    let mut branches = Branches::new(origin, branch_options.clone()).unwrap();
    let indices = branches.expand(0, expansion).unwrap();
    while branches.step(tokenizer, |_| true).unwrap() > 0 {}
    let options = GenerateOptions {
        limit: branch_options.limit,
        stops: branch_options.stops.clone(),
        show: None,
        reasoning: None,
    };
    for (latent, index) in indices.into_iter().enumerate() {
        let branch = unmerged(&branches, index);
        let mut alone = origin.fork().unwrap();
        let selector = expansion.needs_plugin().then(|| {
            let until = HoldUntil::new(hold, TokenEnds::new(tokenizer));
            Selector::new(first(latent), until, OPTIONS, branch_options.sampling.seed).unwrap()
        });
        let mut sampler = Sampler::new(branches.sampling(index).unwrap().clone()).unwrap();
        let each = &mut |_: &Token<'_>| ControlFlow::Continue(());
        let said = generate(&mut alone, tokenizer, selector.as_ref(), &mut sampler, &options, each).unwrap();
        let end = match said.reason {
            Reason::Limit | Reason::ContextFull => "length",
            reason => reason.name(),
        };
        assert_eq!(branch.text, said.text, "{expansion} {index}");
        assert_eq!(branch.tokens, said.tokens, "{expansion} {index}");
        assert_eq!(branch.end.as_ref().map(BranchEnd::name), Some(end), "{expansion} {index} {:?}", said.text);
        // Adopted, it continues as the session does.
        let mut adopted = origin.fork().unwrap();
        let kept = branches.all().iter().position(|other| std::ptr::eq(other, branch)).unwrap();
        branches.adopt(kept, &mut adopted).unwrap();
        assert_eq!(adopted.tokens(), alone.tokens());
        // What was merged into another branch has the latent of that one.
        if kept == index {
            assert_eq!(held(&adopted), held(&alone), "{expansion} {index}");
        }
        if adopted.position() < adopted.context() {
            adopted.feed(&[7]).unwrap();
            alone.feed(&[7]).unwrap();
            let bits =
                |session: &mut Session| session.hidden().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&mut adopted) == bits(&mut alone), "{expansion} {index}");
        }
    }
}

/// With latents and without, each sampler, and stop strings; after `prepare`.
fn check_all(model: &Arc<Model>, session_options: &SessionOptions, prepare: impl Fn(&mut Session)) {
    let tokenizer = tokenizer(model);
    for (seed, latents) in [(1, true), (2, false)] {
        let mut origin = session_with(model, latents, session_options);
        prepare(&mut origin);
        for (i, (sampling, hold)) in samplers(seed).into_iter().zip([Hold::All, tokens(3), Hold::Token]).enumerate() {
            let stops = [vec![], vec!["e".to_owned(), "ab".to_owned()], vec!["s t".to_owned()]][i].clone();
            let mode = latents.then_some(LatentMode::Policy);
            let options = BranchOptions { sampling, stops, limit: 24, ..branch_options(mode, hold, &tokenizer) };
            let expansion = if latents { Expansion::Latents } else { Expansion::Sample { count: 4, temperature: 1.3 } };
            check(&origin, &tokenizer, &options, hold, expansion);
        }
    }
}

#[test]
fn of_every_kind_of_layers_and_of_keys_and_values() {
    for family in FAMILIES {
        let model = model(family);
        for kv_type in KvType::ALL {
            check_all(&model, &SessionOptions { kv_type, ..options(1) }, |_| {});
        }
    }
}

#[test]
fn under_a_grammar() {
    for (kind, text) in [
        (GrammarKind::Regex, "[a-e]{3,9} is (one|two|three)"),
        (GrammarKind::JsonSchema, r#"{"type": "array", "items": {"type": "boolean"}, "maxItems": 3}"#),
    ] {
        for family in ["llama", "qwen35"] {
            let model = model(family);
            let compiler = GrammarCompiler::new(&Arc::new(tokenizer(&model)), model.config().vocab).unwrap();
            let constraint = Constraint::new(&compiler.compile(kind, text).unwrap());
            check_all(&model, &options(1), |session| {
                session.set_constraint(Some(constraint.clone())).unwrap();
            });
        }
    }
}

#[test]
fn at_the_end_of_the_context_and_where_it_is_shifted() {
    for family in ["llama", "gemma3", "qwen35"] {
        let model = model(family);
        let context = PROMPT.len() + 7;
        check_all(&model, &SessionOptions { context, ..options(1) }, |_| {});
        let context_shift = Some(ContextShift { keep: 2 });
        check_all(&model, &SessionOptions { context, context_shift, ..options(1) }, |_| {});
    }
}

/// Whatever was done with the session before: fed, stepped, rewound, forked, in the middle of an
/// answer that holds a latent.
#[test]
fn from_any_history() {
    for family in ["llama", "qwen35"] {
        let model = model(family);
        check_all(&model, &options(2), |session| {
            session.feed(&[40, 41, 42, 43]).unwrap();
            let selector =
                session.plugin().map(|_| Selector::new(LatentMode::Fixed(3), Hold::All, OPTIONS, 0).unwrap());
            let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
            (0..3).for_each(|_| {
                session.step(selector.as_ref(), &mut sampler).unwrap();
            });
            *session = session.fork().unwrap().fork().unwrap();
            session.rewind(session.position() - 2).unwrap();
            session.append(&[50, 51]).unwrap();
        });
    }
}
