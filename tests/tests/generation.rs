//! The generation loop of the library, on a tiny backbone: every way in which it ends.

use std::ops::ControlFlow;
use std::sync::Arc;

use ollm_runtime::Result;
use ollm_runtime::branches::{SuggestOptions, Until, suggest};
use ollm_runtime::draft::NgramDrafter;
use ollm_runtime::generate::{GenerateOptions, Generated, Reason, generate};
use ollm_runtime::gguf::{TensorType, Value};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::Plugin;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{ContextShift, Drafter, Session, SessionError, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::{Detokenizer, Tokenizer};
use ollm_tests::{edited, golden, plugins};

struct Fixture {
    session: Session,
    tokenizer: Tokenizer,
    sampler: Sampler,
}

impl Fixture {
    /// A session of 64 positions that was fed 8 tokens. The temperature keeps a random model from
    /// repeating itself.
    fn new(context_shift: Option<ContextShift>) -> Self {
        let model = Arc::new(Model::open(&golden("tiny/llama.gguf")).unwrap());
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
        let options = SessionOptions { context: 64, context_shift, ..SessionOptions::default() };
        let mut session = Session::new(model, None, &options).unwrap();
        session.feed(&[10, 200, 31, 47, 5, 99, 12, 13]).unwrap();
        let sampler = Sampler::new(SamplerOptions { temperature: 1.0, seed: 2, ..SamplerOptions::default() }).unwrap();
        Self { session, tokenizer, sampler }
    }

    /// Generates; a callback that sees `break_at` tokens ends it. The pieces of text must add up.
    fn run(&mut self, limit: usize, stops: &[&str], break_at: usize) -> Result<Generated> {
        let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
        let options = GenerateOptions { limit, stops, show: None, reasoning: None };
        let (mut text, mut tokens) = (String::new(), Vec::new());
        let Self { session, tokenizer, sampler } = self;
        let done = generate(session, tokenizer, None, sampler, &options, &mut |token| {
            text.push_str(token.text);
            tokens.push(token.step.token);
            if tokens.len() == break_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        assert_eq!((text + &done.rest, &tokens), (done.text.clone(), &done.tokens));
        Ok(done)
    }
}

#[test]
fn it_ends_at_the_limit_at_a_break_and_at_the_end_of_the_context() {
    let mut fixture = Fixture::new(None);
    assert_eq!(fixture.run(0, &[], 0).unwrap().reason, Reason::Limit);
    let five = fixture.run(5, &[], 0).unwrap();
    assert_eq!((five.reason, five.tokens.len()), (Reason::Limit, 5));
    let three = fixture.run(5, &[], 3).unwrap();
    assert_eq!((three.reason, three.tokens.len()), (Reason::Callback, 3));
    let rest = fixture.run(1000, &[], 0).unwrap();
    assert_eq!((rest.reason, fixture.session.position()), (Reason::ContextFull, 64));
    assert!(fixture.run(1000, &[], 0).unwrap().tokens.is_empty());
    let mut sliding = Fixture::new(Some(ContextShift { keep: 4 }));
    assert!(sliding.run(200, &[], 0).unwrap().tokens.len() > 64);
}

#[test]
fn the_text_is_that_of_the_tokens_up_to_a_stop_string() {
    let plain = Fixture::new(None).run(50, &[], 0).unwrap();
    let tokenizer = Fixture::new(None).tokenizer;
    let mut stream = Detokenizer::new();
    let pieces: String = plain.tokens.iter().map(|&token| stream.push(&tokenizer, token)).collect();
    assert_eq!(plain.text, pieces + &stream.finish());
    // The middle of the text, cut where no character is.
    let at = (plain.text.len() / 2..plain.text.len()).find(|&at| plain.text.is_char_boundary(at)).unwrap();
    let stop: String = plain.text[at..].chars().take(3).collect();
    let before = &plain.text[..plain.text.find(&stop).unwrap()];
    let stopped = Fixture::new(None).run(50, &[&stop], 0).unwrap();
    assert_eq!((stopped.reason, stopped.text.as_str(), stopped.rest.as_str()), (Reason::Stop, before, ""));
    assert!(plain.tokens.starts_with(&stopped.tokens) && stopped.tokens.len() < 50);
}

#[test]
fn a_cancellation_is_a_reason_and_generation_can_go_on() {
    let whole = Fixture::new(None).run(20, &[], 0).unwrap();
    let mut fixture = Fixture::new(None);
    let canceller = fixture.session.canceller();
    let options = GenerateOptions { limit: 20, stops: Vec::new(), show: None, reasoning: None };
    let Fixture { session, tokenizer, sampler } = &mut fixture;
    let done = generate(session, tokenizer, None, sampler, &options, &mut |token| {
        if token.step.token == whole.tokens[6] {
            canceller.cancel();
        }
        ControlFlow::Continue(())
    });
    let mut done = done.unwrap();
    assert_eq!(done.reason, Reason::Cancelled);
    done.tokens.extend(fixture.run(20 - done.tokens.len(), &[], 0).unwrap().tokens);
    assert_eq!(done.tokens, whole.tokens);
}

#[test]
fn options_cannot_be_shown_without_a_plugin() {
    let Fixture { mut session, tokenizer, mut sampler } = Fixture::new(None);
    let options = GenerateOptions { limit: 20, stops: Vec::new(), show: Some(3), reasoning: None };
    let mut each = |_: &ollm_runtime::generate::Token<'_>| ControlFlow::Continue(());
    assert!(generate(&mut session, &tokenizer, None, &mut sampler, &options, &mut each).is_err());
}

/// The tiny backbone, whose file suppresses these tokens.
fn suppressing(tokens: &[i32]) -> Arc<Model> {
    let key = ("tokenizer.ggml.suppress_tokens", Some(Value::from(tokens.to_vec())));
    Arc::new(Model::from_storage(Storage::from(edited("llama", &[key]))).unwrap())
}

/// The next token and those that are most probable without suppression have their probabilities
/// among all tokens.
#[test]
fn suppressed_tokens_are_never_picked() {
    let steps = |suppressed: &[i32]| {
        let mut session = Session::new(suppressing(suppressed), None, &SessionOptions::default()).unwrap();
        session.feed(&[10, 200, 31]).unwrap();
        let mut sampler = Sampler::new(SamplerOptions { logprobs: 3, ..SamplerOptions::default() }).unwrap();
        let step = session.step(None, &mut sampler)?;
        Ok(((step.token, step.logprob), sampler.top().to_vec()))
    };
    let (picked, top) = steps(&[]).unwrap();
    assert_eq!(picked, top[0]);
    // Negative numbers, and those past the vocabulary, are none of its tokens.
    let [first, second] = [top[0].0 as i32, top[1].0 as i32];
    for (suppressed, expected) in
        [(vec![-1, first, 99_999], top[1]), (vec![second, first], top[2]), (vec![second], top[0])]
    {
        assert_eq!(steps(&suppressed).unwrap(), (expected, top.clone()), "{suppressed:?}");
    }
    let error: SessionError = steps(&(0..320).collect::<Vec<_>>()).unwrap_err();
    assert!(error.to_string().contains("suppresses"), "{error}");
}

#[test]
fn suppressed_tokens_are_in_no_option_suggestion_or_draft() {
    let model = suppressing(&(0..320).step_by(2).collect::<Vec<_>>());
    let spec = plugins::spec(&model, DecoderKind::SwiGlu { width: 32 }, 5);
    let plugin = Storage::from(plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes());
    let plugin = Arc::new(Plugin::from_storage(plugin, &model).unwrap());
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let is_free = |token: u32| token % 2 == 1;
    let session = || {
        let mut session =
            Session::new(Arc::clone(&model), Some(Arc::clone(&plugin)), &SessionOptions::default()).unwrap();
        // A repetition of suppressed tokens, which a drafter goes on with.
        session.feed(&[2, 4, 6, 8].repeat(4)).unwrap();
        session
    };
    for option in session().option_set(320).unwrap() {
        assert_eq!(option.top.len(), 160);
        assert!(option.top.iter().all(|&(token, _)| is_free(token)));
    }
    let options = SuggestOptions { count: 4, tokens: 6, until: Until::Tokens };
    let suggestions = suggest(&session(), &tokenizer, &options).unwrap();
    assert_eq!(suggestions.len(), 4);
    assert!(suggestions.iter().flat_map(|suggestion| &suggestion.tokens).all(|&token| is_free(token)));
    let text = |drafter: Option<Box<dyn Drafter>>| {
        let mut session = session();
        session.set_drafter(drafter);
        session.append(&[2, 4]).unwrap();
        let mut sampler =
            Sampler::new(SamplerOptions { temperature: 0.9, seed: 5, ..SamplerOptions::default() }).unwrap();
        let tokens: Vec<u32> = (0..40).map(|_| session.step(None, &mut sampler).unwrap().token).collect();
        (tokens, session.statistics().drafted)
    };
    let (plain, drafted) = (text(None).0, text(Some(Box::new(NgramDrafter::default()))));
    assert!(plain == drafted.0 && drafted.1 > 0 && plain.iter().all(|&token| is_free(token)), "{drafted:?}");
}
