//! Generated JSON is of its schema: random schemas, on a model of random weights and on a real one,
//! judged by the crate `jsonschema`.

use std::sync::Arc;

use ollm_runtime::constraint::{Constraint, GrammarCompiler, GrammarKind};
use ollm_runtime::generate::{GenerateOptions, Generated, Reason, generate};
use ollm_runtime::model::Model;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;
use ollm_tests::{golden, schemas, smollm2};
use serde_json::Value;

struct Writer {
    session: Session,
    tokenizer: Arc<Tokenizer>,
    compiler: GrammarCompiler,
    prompt: Vec<u32>,
}

impl Writer {
    fn new(path: &std::path::Path, prompt: &str) -> Self {
        let model = Arc::new(Model::open(path).unwrap());
        let tokenizer = Arc::new(Tokenizer::from_metadata(model.gguf().metadata()).unwrap());
        let compiler = GrammarCompiler::new(&tokenizer, model.config().vocab).unwrap();
        let prompt = tokenizer.encode(prompt, true).unwrap();
        let options = SessionOptions { threads: 2, context: 2048, ..SessionOptions::default() };
        Self { session: Session::new(model, None, &options).unwrap(), tokenizer, compiler, prompt }
    }

    fn write(&mut self, schema: &Value, seed: u64, limit: usize) -> Generated {
        let grammar = self.compiler.compile(GrammarKind::JsonSchema, &schema.to_string());
        let grammar = grammar.unwrap_or_else(|error| panic!("{error}: {schema}"));
        self.session.reset();
        self.session.feed(&self.prompt).unwrap();
        self.session.set_constraint(Some(Constraint::new(&grammar))).unwrap();
        let sampling = SamplerOptions { temperature: 1.0, seed, ..SamplerOptions::default() };
        let options = GenerateOptions { limit, stops: Vec::new(), show: None, reasoning: None };
        let mut sampler = Sampler::new(sampling).unwrap();
        generate(&mut self.session, &self.tokenizer, None, &mut sampler, &options, &mut |_| {
            std::ops::ControlFlow::Continue(())
        })
        .unwrap_or_else(|error| panic!("{error}: {schema}"))
    }

    /// Writes JSON of `count` random schemas: all that ends is of its schema, and of `one_in` at
    /// most one is cut by the limit.
    fn check(&mut self, count: u64, limit: usize, one_in: u64) {
        let mut cut = 0;
        for seed in 0..count {
            let schema = schemas::random(seed);
            let done = self.write(&schema, seed, limit);
            if done.reason == Reason::Limit {
                assert_eq!(done.tokens.len(), limit);
                cut += 1;
                continue;
            }
            assert_eq!(done.reason, Reason::End, "{schema}\n{}", done.text);
            let value: Value = serde_json::from_str(&done.text)
                .unwrap_or_else(|error| panic!("{error}, seed {seed}: {schema}\n{}", done.text));
            let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            if let Err(error) = validator.validate(&value) {
                panic!("{error}, seed {seed}: {schema}\n{}", done.text);
            }
        }
        assert!(cut * one_in <= count, "{cut} of {count} were cut by the limit of {limit} tokens");
    }
}

#[test]
fn a_model_of_random_weights_writes_json_of_every_schema() {
    Writer::new(&golden("tiny/llama.gguf"), "ab").check(1000, 1500, 20);
}

/// `OLLM_SCHEMAS` names another number of schemas. At temperature 1 a text in it may go on for
/// long.
#[test]
fn a_real_model_writes_json_of_every_schema() {
    let count = std::env::var("OLLM_SCHEMAS").ok().map_or(25, |count| count.parse().unwrap());
    Writer::new(&smollm2(), "<|im_start|>user\nWrite JSON.<|im_end|>\n<|im_start|>assistant\n").check(count, 400, 4);
}
