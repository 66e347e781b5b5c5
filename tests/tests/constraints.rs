//! Constrained output: the same tokens whichever way a session comes to them, and no other tokens
//! than those that a grammar allows, in steps, batches, branches, suggestions and option sets.

use std::ops::ControlFlow;
use std::sync::Arc;

use ollm_runtime::branches::{BranchEnd, BranchOptions, Branches, Expansion, SuggestOptions, Until, suggest};
use ollm_runtime::chat::{ChatTemplate, Reasoning, Variables};
use ollm_runtime::constraint::{Allowed, Constraint, ConstraintError, Grammar, GrammarCompiler, GrammarKind};
use ollm_runtime::generate::{GenerateOptions, Generated, Reason, ReasoningBudget, Token, generate};
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, Plugin, Selector, TokenEnds};
use ollm_runtime::random::Random;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Batch, ContextShift, Session, SessionError, SessionOptions, Step, Turn};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::{golden, plugins};
use serde_json::json;

const PROMPT: [u32; 9] = [10, 200, 31, 47, 5, 99, 12, 13, 77];

/// Forces some tokens and leaves others free.
const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "identifier": { "type": "integer", "minimum": 10, "maximum": 999 },
        "kind": { "enum": ["first", "second", "sector"] },
        "children": { "type": "array", "items": { "type": "boolean" }, "minItems": 1, "maxItems": 4 }
    },
    "required": ["identifier", "kind", "children"],
    "additionalProperties": false,
    "x-guidance": { "whitespace_flexible": false }
}"#;

struct Fixture {
    model: Arc<Model>,
    plugin: Arc<Plugin>,
    tokenizer: Arc<Tokenizer>,
    compiler: GrammarCompiler,
}

impl Fixture {
    fn new() -> Self {
        let model = Arc::new(Model::open(&golden("tiny/llama.gguf")).unwrap());
        let tokenizer = Arc::new(Tokenizer::from_metadata(model.gguf().metadata()).unwrap());
        let spec = plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, 5);
        let plugin = Storage::from(plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes());
        let plugin = Arc::new(Plugin::from_storage(plugin, &model).unwrap());
        let compiler = GrammarCompiler::new(&tokenizer, model.config().vocab).unwrap();
        Self { model, plugin, tokenizer, compiler }
    }

    fn grammar(&self, kind: GrammarKind, text: &str) -> Arc<Grammar> {
        self.compiler.compile(kind, text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn constraint(&self, kind: GrammarKind, text: &str) -> Constraint {
        Constraint::new(&self.grammar(kind, text))
    }

    /// A session under a constraint.
    fn session(&self, constraint: &Constraint, with_plugin: bool, threads: usize) -> Session {
        let options = SessionOptions { threads, context: 256, ..SessionOptions::default() };
        let plugin = with_plugin.then(|| Arc::clone(&self.plugin));
        let mut session = Session::new(Arc::clone(&self.model), plugin, &options).unwrap();
        session.feed(&PROMPT).unwrap();
        session.set_constraint(Some(constraint.clone())).unwrap();
        session
    }

    fn selector(&self, hold: Hold) -> Selector {
        Selector::new(
            LatentMode::Sample { temperature: 2.0 },
            HoldUntil::new(hold, TokenEnds::new(&self.tokenizer)),
            5,
            3,
        )
        .unwrap()
    }

    /// All steps to the end.
    fn steps(&self, session: &mut Session, selector: Option<&Selector>, seed: u64) -> Vec<Step> {
        let mut sampler = sampler(seed);
        let mut steps = Vec::new();
        while steps.last().is_none_or(|step: &Step| !self.tokenizer.is_end(step.token)) {
            steps.push(session.step(selector, &mut sampler).unwrap());
            assert!(steps.len() < 200, "no end");
        }
        steps
    }

    fn text(&self, steps: &[Step]) -> String {
        let text: Vec<u32> =
            steps.iter().map(|step| step.token).filter(|&token| !self.tokenizer.is_end(token)).collect();
        self.tokenizer.decode(&text)
    }

    fn generate(&self, session: &mut Session, limit: usize, seed: u64) -> Generated {
        let options = GenerateOptions { limit, stops: Vec::new(), show: None, reasoning: None };
        generate(session, &self.tokenizer, None, &mut sampler(seed), &options, &mut |_| ControlFlow::Continue(()))
            .unwrap()
    }

    fn branch_options(&self, latents: Option<LatentMode>, limit: usize) -> BranchOptions {
        BranchOptions {
            latents,
            hold: HoldUntil::new(Hold::Tokens(3.try_into().unwrap()), TokenEnds::new(&self.tokenizer)),
            sampling: sampler(5).options().clone(),
            stops: Vec::new(),
            limit,
        }
    }
}

fn sampler(seed: u64) -> Sampler {
    Sampler::new(SamplerOptions { temperature: 1.0, seed, ..SamplerOptions::default() }).unwrap()
}

/// Steps with their bits.
fn bits(steps: &[Step]) -> Vec<(u32, Option<usize>, u32, bool)> {
    steps.iter().map(|step| (step.token, step.latent, step.logprob.to_bits(), step.forced)).collect()
}

#[test]
fn the_same_bits_for_any_threads_cut_of_the_prompt_batch_and_rewind() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::JsonSchema, SCHEMA);
    for (seed, with_plugin) in (0..12).zip([true, false].into_iter().cycle()) {
        let selector = with_plugin.then(|| fixture.selector([Hold::Token, Hold::All][seed as usize / 2 % 2]));
        let selector = selector.as_ref();
        let mut session = fixture.session(&constraint, with_plugin, 1);
        let steps = fixture.steps(&mut session, selector, seed);
        assert!(steps.iter().any(|step| step.forced) && steps.iter().any(|step| !step.forced));
        let value: serde_json::Value = serde_json::from_str(&fixture.text(&steps)).unwrap();
        assert!(value["identifier"].as_u64().is_some_and(|id| (10..1000).contains(&id)), "{value}");
        let hidden = session.hidden().unwrap().to_vec();

        // Other threads, and a prompt in other pieces.
        let mut random = Random::new(seed);
        let mut other = fixture.session(&constraint, with_plugin, 3);
        let cut = 1 + random.below(PROMPT.len() - 1);
        other.rewind(cut).unwrap();
        other.feed(&PROMPT[cut..]).unwrap();
        assert_eq!(bits(&fixture.steps(&mut other, selector, seed)), bits(&steps));
        assert_eq!(other.hidden().unwrap(), hidden);

        // A fork in the middle; a rewind over generated tokens, forced ones among them.
        let mut forked = fixture.session(&constraint, with_plugin, 1);
        let place = random.below(steps.len());
        let mut same = sampler(seed);
        for _ in 0..place {
            forked.step(selector, &mut same).unwrap();
        }
        let mut fork = forked.fork().unwrap();
        assert_eq!(bits(&fixture.steps(&mut fork, selector, seed)), bits(&steps[place..]));
        if !with_plugin {
            let back = random.below(place + 1);
            forked.rewind(PROMPT.len() + back).unwrap();
            assert_eq!(bits(&fixture.steps(&mut forked, selector, seed)), bits(&steps[back..]));
        }

        // Beside other sessions, which are constrained otherwise or not at all.
        let yes = fixture.constraint(GrammarKind::Regex, "(yes|no)+");
        let mut one = fixture.session(&constraint, with_plugin, 1);
        let mut two = fixture.session(&yes, with_plugin, 1);
        let mut three = fixture.session(&yes, with_plugin, 1);
        three.set_constraint(None).unwrap();
        let (mut samplers, mut batch, mut batched) = ([seed, 77, 78].map(sampler), Batch::default(), Vec::new());
        for _ in 0..steps.len() {
            let [first, second, third] = &mut samplers;
            let mut outcomes = batch.step(&mut [
                Turn { session: &mut two, selector, sampler: second },
                Turn { session: &mut one, selector, sampler: first },
                Turn { session: &mut three, selector, sampler: third },
            ]);
            batched.push(outcomes.remove(1).unwrap());
        }
        assert_eq!(bits(&batched), bits(&steps));
        assert_eq!(one.hidden().unwrap(), hidden);
    }
}

#[test]
fn forced_tokens_go_through_the_network_in_one_pass() {
    let fixture = Fixture::new();
    let text = "a text that nobody chooses";
    let mut session = fixture.session(&fixture.constraint(GrammarKind::Regex, text), false, 1);
    let steps = fixture.steps(&mut session, None, 1);
    assert!(steps.iter().all(|step| step.forced && step.logprob.to_bits() == 0 && step.latent.is_none()));
    assert_eq!(fixture.text(&steps), text);
    let mut fed = Session::new(Arc::clone(&fixture.model), None, &SessionOptions::default()).unwrap();
    fed.feed(session.tokens()).unwrap();
    assert_eq!(fed.hidden().unwrap(), session.hidden().unwrap());
}

#[test]
fn a_limit_that_cuts_a_text_is_told() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::JsonSchema, SCHEMA);
    let mut session = fixture.session(&constraint, false, 1);
    let cut = fixture.generate(&mut session, 7, 1);
    assert_eq!((cut.reason, cut.tokens.len()), (Reason::Limit, 7));
    assert!(!session.constraint().unwrap().clone().is_complete());
    let whole = fixture.generate(&mut session, 200, 1);
    assert_eq!(whole.reason, Reason::End);
    serde_json::from_str::<serde_json::Value>(&(cut.text + &whole.text)).unwrap();
    assert!(session.constraint().unwrap().clone().is_complete());
    // A feed begins another answer.
    session.feed(&PROMPT).unwrap();
    let again = fixture.generate(&mut session, 200, 2);
    serde_json::from_str::<serde_json::Value>(&again.text).unwrap();
}

#[test]
fn each_branch_has_a_state_of_its_own() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::JsonSchema, SCHEMA);
    for (seed, latents) in (0..8_u64).zip([None, Some(LatentMode::Policy)].into_iter().cycle()) {
        let origin = fixture.session(&constraint, latents.is_some(), 1 + seed as usize % 2);
        let mut branches = Branches::new(&origin, fixture.branch_options(latents, 150)).unwrap();
        let mut random = Random::new(seed);
        while branches.open().next().is_some() {
            let open: Vec<usize> = branches.open().filter(|(_, branch)| branch.at_boundary).map(|(i, _)| i).collect();
            if branches.all().len() < 12 && !open.is_empty() {
                let expansion = match random.below(3) {
                    0 => Expansion::Tokens(3),
                    1 if origin.plugin().is_some() => Expansion::Latents,
                    _ => Expansion::Sample { count: 2, temperature: 1.5 },
                };
                branches.expand(open[random.below(open.len())], expansion).unwrap();
            }
            branches.step(&fixture.tokenizer, |_| true).unwrap();
        }
        assert!(branches.all().len() > 4);
        for (i, branch) in branches.all().iter().enumerate().filter(|(_, branch)| branch.is_complete()) {
            assert!(matches!(branch.end, Some(BranchEnd::End)), "{i} {:?}: {}", branch.end, branch.text);
            serde_json::from_str::<serde_json::Value>(&branch.text).unwrap();
            // What the grammar forces is what it forces a session of its own, and nothing else.
            let mut alone = constraint.clone();
            let mut free = 0;
            for (&token, &logprob) in branch.tokens.iter().zip(&branch.logprobs) {
                match alone.allowed().unwrap() {
                    Allowed::Only(only) => assert_eq!((only, logprob.to_bits()), (token, 0)),
                    Allowed::Set(set) => {
                        assert!(set.contains(token) && logprob < 0.0);
                        free += 1;
                    }
                    other => panic!("{other:?}"),
                }
                alone.accept(token).unwrap();
            }
            assert_eq!(branch.scored, free);
            let mut session = branches.session(i).unwrap();
            let mut other = Session::new(Arc::clone(&fixture.model), None, &SessionOptions::default()).unwrap();
            other.feed(session.tokens()).unwrap();
            assert_eq!(session.hidden().unwrap(), other.hidden().unwrap());
        }
    }
}

#[test]
fn an_adopted_branch_goes_on_in_its_grammar() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::JsonSchema, SCHEMA);
    let mut session = fixture.session(&constraint, false, 1);
    let mut branches = Branches::new(&session, fixture.branch_options(None, 150)).unwrap();
    for _ in 0..30 {
        branches.step(&fixture.tokenizer, |_| true).unwrap();
    }
    branches.adopt(0, &mut session).unwrap();
    assert_eq!(session.constraint().unwrap().tokens(), branches.all()[0].tokens);
    let rest = fixture.generate(&mut session, 200, 9);
    serde_json::from_str::<serde_json::Value>(&(branches.all()[0].text.clone() + &rest.text)).unwrap();
}

#[test]
fn option_sets_and_suggestions_have_what_is_allowed() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::Regex, "[ab]{4}|cat");
    let mut session = fixture.session(&constraint, true, 2);
    let mut free = session.fork().unwrap();
    free.set_constraint(None).unwrap();
    let all = free.option_set(320).unwrap();
    for (option, all) in session.option_set(5).unwrap().iter().zip(&all) {
        assert_eq!(option.policy.to_bits(), all.policy.to_bits());
        assert!(!option.top.is_empty() && option.top.len() <= 5);
        // The allowed ones of all tokens, in their order, with their probabilities.
        let allowed = |token: u32| constraint.clone().accept(token).is_ok();
        let expected: Vec<_> = all.top.iter().copied().filter(|&(token, _)| allowed(token)).take(5).collect();
        assert_eq!(option.top, expected);
    }
    let options = SuggestOptions { count: 4, tokens: 8, until: Until::Tokens };
    for with_plugin in [true, false] {
        let session = fixture.session(&constraint, with_plugin, 1);
        let found = suggest(&session, &fixture.tokenizer, &options).unwrap();
        assert!(!found.is_empty());
        for suggestion in found {
            let is_ab = suggestion.text.len() == 4 && suggestion.text.chars().all(|c| "ab".contains(c));
            assert!(is_ab || suggestion.text == "cat", "{suggestion:?}");
        }
    }
}

#[test]
fn a_constraint_waits_for_its_trigger() {
    let fixture = Fixture::new();
    let grammar = fixture.grammar(GrammarKind::Regex, "[0-9]{3}!");
    let mut seen = 0;
    for seed in 0..40 {
        let mut session = fixture.session(&Constraint::after(&grammar, "e"), false, 1);
        let done = fixture.generate(&mut session, 200, seed);
        if let (Reason::End, Some((_, rest))) = (done.reason, done.text.split_once('e')) {
            seen += 1;
            let text = &done.text;
            assert!(
                rest.len() == 4 && rest.ends_with('!') && rest[..3].bytes().all(|b| b.is_ascii_digit()),
                "{text:?}"
            );
        }
    }
    assert!(seen > 10, "{seen}");
}

/// The end of a thought that a budget writes is the model's own to the trigger, and to a held
/// latent, and its white space is left out where the grammar has begun; without a trigger it comes
/// before the text that the grammar begins.
#[test]
fn a_budget_for_thoughts_ends_before_the_grammar() {
    let fixture = Fixture::new();
    let grammar = fixture.grammar(GrammarKind::Regex, "[0-9]{3}!");
    let marks = Reasoning::new("<think>", "</think>", "\n</think>\n\n");
    let prompt = ChatTemplate::new("<think>").unwrap().render(&[], &Variables::new(), true, &fixture.tokenizer);
    let budget = ReasoningBudget::new(4, marks, &prompt.unwrap(), &fixture.tokenizer).unwrap();
    assert!(budget.in_reasoning);
    for triggered in [true, false] {
        let constraint = if triggered { Constraint::after(&grammar, "</think>") } else { Constraint::new(&grammar) };
        let selector = fixture.selector(Hold::All);
        let mut latents = Vec::new();
        let mut session = fixture.session(&constraint, true, 1);
        let options = GenerateOptions { limit: 200, stops: Vec::new(), show: None, reasoning: Some(budget.clone()) };
        let each = &mut |token: &Token<'_>| {
            latents.extend(token.step.latent);
            assert!(!token.step.forced || token.top.is_empty());
            ControlFlow::Continue(())
        };
        let mut sampler = Sampler::new(SamplerOptions { logprobs: 2, ..sampler(1).options().clone() }).unwrap();
        let done = generate(&mut session, &fixture.tokenizer, Some(&selector), &mut sampler, &options, each).unwrap();
        let (_, said) = done.text.split_once("</think>").unwrap();
        assert_eq!(done.reason, Reason::End, "{}", done.text);
        let said = if triggered { said } else { said.strip_prefix("\n\n").unwrap() };
        assert!(said.len() == 4 && said.ends_with('!') && said[..3].bytes().all(|b| b.is_ascii_digit()), "{said}");
        assert!(!triggered || latents.iter().all(|latent| *latent == latents[0]), "{latents:?}");
    }
}

/// A feed or a step that fails leaves what an answer has come to: its place in the grammar, the
/// latent that is held.
#[test]
fn what_fails_changes_no_answer() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::Regex, "(ab|ba){40}");
    let (selector, mut sampler) = (fixture.selector(Hold::All), sampler(2));
    let mut session = fixture.session(&constraint, true, 1);
    for _ in 0..5 {
        session.step(Some(&selector), &mut sampler).unwrap();
    }
    let seen = |session: &Session| {
        (session.latent_state(), session.constraint().unwrap().tokens().to_vec(), session.tokens().to_vec())
    };
    let before = seen(&session);
    assert!(matches!(session.feed(&[5; 300]), Err(SessionError::ContextFull { .. })));
    assert!(matches!(session.feed(&[5, 99_999]), Err(SessionError::TokenOutOfRange { .. })));
    assert!(session.score(&[5; 300], None, &mut |_| ()).is_err());
    let refused = session.step_to(5, None);
    assert!(matches!(refused, Err(SessionError::Constraint(ConstraintError::Refused { token: 5 }))), "{refused:?}");
    assert_eq!(seen(&session), before);
    // A step that has selected, and finds no token.
    let mut fresh = fixture.session(&constraint, true, 1);
    let all = (0..fixture.model.config().vocab as u32).map(|token| (token, f32::NEG_INFINITY)).collect();
    let mut banned = Sampler::new(SamplerOptions { logit_bias: all, ..SamplerOptions::default() }).unwrap();
    let before = seen(&fresh);
    assert!(fresh.step(Some(&selector), &mut banned).is_err());
    assert_eq!(seen(&fresh), before);
}

#[test]
fn a_trigger_is_a_text_and_a_rewind_goes_back_before_it() {
    let fixture = Fixture::new();
    let grammar = fixture.grammar(GrammarKind::Regex, "yes|no");
    let mut constraint = Constraint::after(&grammar, "</think>");
    assert!(constraint.is_waiting() && constraint.is_complete());
    for token in fixture.tokenizer.encode("so </think", false).unwrap() {
        constraint.accept(token).unwrap();
    }
    let before = constraint.tokens().len();
    let closing = fixture.tokenizer.encode(">", false).unwrap();
    assert!(matches!(constraint.allowed().unwrap(), Allowed::Any | Allowed::Set(_)));
    constraint.accept(closing[0]).unwrap();
    assert!(!constraint.is_waiting() && !constraint.is_complete());
    let [x] = fixture.tokenizer.encode("x", false).unwrap()[..] else { panic!("x is one token") };
    assert_eq!(constraint.accept(x), Err(ConstraintError::Refused { token: x }));
    constraint.rewind(before).unwrap();
    assert!(constraint.is_waiting());
    constraint.accept(x).unwrap();
    constraint.reset();
    assert!(constraint.tokens().is_empty() && constraint.is_waiting());
}

#[test]
fn a_begun_or_restored_answer_is_constrained_from_where_it_is() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::JsonSchema, SCHEMA);
    let mut session = fixture.session(&constraint, false, 1);
    let mut whole = fixture.session(&constraint, false, 1);
    let steps = fixture.steps(&mut whole, None, 4);
    let mut same = sampler(4);
    for _ in 0..11 {
        session.step(None, &mut same).unwrap();
    }
    let mut bytes = Vec::new();
    session.save(&mut bytes).unwrap();
    let mut restored = fixture.session(&constraint, false, 1);
    restored.restore(&mut &bytes[..]).unwrap();
    assert!(restored.constraint().unwrap().tokens().is_empty());
    let mut begun = constraint.clone();
    restored.tokens()[PROMPT.len()..].iter().for_each(|&token| begun.accept(token).unwrap());
    restored.set_constraint(Some(begun)).unwrap();
    let rest: Vec<u32> = fixture.steps(&mut restored, None, 4).iter().map(|step| step.token).collect();
    assert_eq!(rest, steps[11..].iter().map(|step| step.token).collect::<Vec<_>>());
}

#[test]
fn a_shifted_context_changes_nothing_in_the_grammar() {
    let fixture = Fixture::new();
    let constraint = fixture.constraint(GrammarKind::Regex, "(abcdefgh [0-9] ){20}");
    let options =
        SessionOptions { context: 40, context_shift: Some(ContextShift { keep: 4 }), ..SessionOptions::default() };
    let mut session = Session::new(Arc::clone(&fixture.model), None, &options).unwrap();
    session.feed(&PROMPT).unwrap();
    session.set_constraint(Some(constraint)).unwrap();
    let done = fixture.generate(&mut session, 1000, 3);
    assert_eq!((done.reason, done.text.len()), (Reason::End, 220));
    assert!(session.position() <= 40);
}

#[test]
fn annotations_demand_nothing() {
    let fixture = Fixture::new();
    for text in [
        r#"{"type": "string", "format": "color"}"#,
        r#"{"type": "string", "format": "uri-reference"}"#,
        r#"{"type": "array", "uniqueItems": false, "minContains": 1}"#,
        r#"{"$anchor": "x", "$dynamicAnchor": "x", "if": true, "type": "null"}"#,
    ] {
        fixture.compiler.compile(GrammarKind::JsonSchema, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_schema_is_widened_where_it_cannot_be_expressed() {
    let fixture = Fixture::new();
    let schema = json!({
        "type": "object", "required": ["tags", "id"], "additionalProperties": false,
        "properties": {
            "tags": { "type": "array", "uniqueItems": true, "items": { "type": "string", "pattern": "\\bx" } },
            "id": { "oneOf": [{ "type": "integer" }, { "type": "number", "minimum": 2 }] },
        },
    });
    let (wider, left_out) = fixture.compiler.widen(&schema, &mut || true).unwrap();
    let mut expected = schema.clone();
    expected["properties"] = json!({
        "tags": { "type": "array", "items": { "type": "string" } },
        "id": { "anyOf": [{ "type": "integer" }, { "type": "number", "minimum": 2 }] },
    });
    assert_eq!((wider, left_out.len()), (expected.clone(), 3));
    assert_eq!(fixture.compiler.widen(&expected, &mut || true).unwrap(), (expected, Vec::new()));
    assert!(fixture.compiler.widen(&schema, &mut || false).is_err());
}

#[test]
fn what_cannot_be_is_an_error_that_says_so() {
    let fixture = Fixture::new();
    let wrong = |kind, text: &str| match fixture.compiler.compile(kind, text).unwrap_err() {
        ConstraintError::Grammar { reason, .. } => reason,
        other => panic!("{other}"),
    };
    wrong(GrammarKind::JsonSchema, "{");
    for (text, told) in [
        (r#"{"not": {}}"#, "`not` at #: it is not supported"),
        (
            r#"{"properties": {"a/b": {"items": {"type": "array", "uniqueItems": true}}}}"#,
            "`uniqueItems` at #/properties/a~1b/items: it is not supported",
        ),
        (
            r##"{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"type": "null"}, {"pattern": "(?=x)"}]}}}"##,
            "`pattern` at #/$defs/a/anyOf/1: look-around, including look-ahead and look-behind, is not supported",
        ),
        (r#"{"items": {"pattern": "\\bx"}}"#, "`pattern` at #/items: word boundaries"),
        (r#"{"patternProperties": {"(": {}}}"#, "`patternProperties` at #: unclosed group, in \"(\""),
        (r#"{"oneOf": [{"type": "integer"}, {"minimum": 2}]}"#, "`oneOf` at #: more than one of its schemas"),
        (r##"{"$ref": "#/$defs/none"}"##, "`$ref` at #: "),
        (r##"{"$ref": "#"}"##, "`$ref` at #: it allows no text"),
        (r#"{"allOf": [{"type": "string"}, {"type": "null"}]}"#, "`allOf` at #: no JSON satisfies it"),
        ("false", "#: no JSON satisfies it"),
        ("7", "#: schema must be an object or boolean"),
    ] {
        let error = fixture.compiler.compile(GrammarKind::JsonSchema, text).unwrap_err();
        assert!(matches!(error, ConstraintError::Schema { .. }), "{text}: {error}");
        let error = error.to_string();
        assert!(error.starts_with(&format!("the JSON schema cannot be used: {told}")), "{text}: {error}");
    }
    for (text, told) in [
        ("(a", "unclosed group, in \"(a\""),
        (r"\bfoo", r"word boundaries (\b, \B) are not supported"),
        ("(?=a)b", "look-around, including look-ahead and look-behind, is not supported, in \"(?=a)b\""),
        ("a$b", "^ and $ are supported at the ends alone"),
    ] {
        assert_eq!(wrong(GrammarKind::Regex, text), told);
    }
    wrong(GrammarKind::Lark, "start: nothing");
    wrong(GrammarKind::Lark, "");
    wrong(GrammarKind::Gbnf, "root ::= nothing");
    let deep = |text: String| fixture.compiler.compile(GrammarKind::Lark, &text).unwrap_err();
    assert!(matches!(deep(format!("start: {}", "(".repeat(100_000))), ConstraintError::TooDeep { .. }));
    assert!(matches!(deep("x".repeat(2_000_000)), ConstraintError::TooLong { .. }));
    // Long without being deep.
    let long = |text: String, kind| {
        let grammar = fixture.compiler.compile(kind, &text)?;
        Constraint::new(&grammar).allowed().map(drop)
    };
    let chain = |rule: &dyn Fn(usize) -> String| (0..3000).map(rule).collect::<String>();
    let lark = "start: r0\nr3000: \"b\"\n".to_owned() + &chain(&|i| format!("r{i}: r{} \"a\"\n", i + 1));
    long(lark, GrammarKind::Lark).unwrap();
    let definitions = chain(&|i| format!(r##""d{i}": {{"$ref": "#/$defs/d{}"}}, "##, i + 1));
    let schema = format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{definitions} "d3000": {{"type": "null"}}}}}}"##);
    long(schema, GrammarKind::JsonSchema).unwrap();
    let rules = |count| {
        "root ::= r0\n".to_owned()
            + &(0..count).map(|i| format!("r{i} ::= r{} \"a\"\n", i + 1)).collect::<Vec<_>>().concat()
            + &format!("r{count} ::= \"b\"\n")
    };
    long(rules(300), GrammarKind::Gbnf).unwrap();
    long(rules(3000), GrammarKind::Gbnf).unwrap_err();
    long("ab".repeat(100_000), GrammarKind::Regex).unwrap();
    long("a|".repeat(100_000) + "b", GrammarKind::Regex).unwrap();
    long("a".to_owned() + &"*".repeat(20_000), GrammarKind::Regex).unwrap_err();
    long("root ::= \"a\"".to_owned() + &"?".repeat(20_000), GrammarKind::Gbnf).unwrap_err();

    let other = Model::open(&golden("tiny/qwen2.gguf")).unwrap();
    let smaller = GrammarCompiler::new(&fixture.tokenizer, other.config().vocab - 20).unwrap();
    let grammar = smaller.compile(GrammarKind::Regex, "a").unwrap();
    let mut session = fixture.session(&fixture.constraint(GrammarKind::Regex, "b"), false, 1);
    let error = session.set_constraint(Some(Constraint::new(&grammar))).unwrap_err();
    assert!(matches!(error, SessionError::Constraint(ConstraintError::Mismatch { .. })), "{error}");
    assert_eq!(fixture.generate(&mut session, 9, 0).text, "b");
}
