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
use serde_json::{Value, json};

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
            assert_valid(&schema, &done.text);
        }
        assert!(cut * one_in <= count, "{cut} of {count} were cut by the limit of {limit} tokens");
    }
}

fn assert_valid(schema: &Value, text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {schema}\n{text}"));
    let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
    if let Err(error) = validator.validate(&value) {
        panic!("{error}: {schema}\n{text}");
    }
}

#[test]
fn references_of_every_kind_are_followed() {
    let mut writer = Writer::new(&golden("tiny/llama.gguf"), "ab");
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/schemas/whole.json",
        "type": "object",
        "properties": {
            "escaped": { "$ref": "#/$defs/a~1b~0c%25" },
            "anchored": { "$ref": "#word" },
            "beside": { "$ref": "part.json" },
            "within": { "$ref": "/schemas/part.json#/$defs/when" },
            "named": { "$ref": "https://example.org/schemas/whole.json#/properties/anchored" },
        },
        "required": ["escaped", "anchored", "beside", "within", "named"],
        "additionalProperties": false,
        "$defs": {
            "a/b~c%": { "type": "integer", "minimum": 3, "maximum": 40 },
            "word": { "$anchor": "word", "enum": ["yes", "no"] },
            "part": {
                "$id": "part.json",
                "type": "array", "items": { "$ref": "#/$defs/when" }, "minItems": 1, "maxItems": 2,
                "$defs": { "when": { "type": "string", "format": "date" } },
            },
        },
    });
    for seed in 0..8 {
        let done = writer.write(&schema, seed, 1000);
        assert_eq!(done.reason, Reason::End);
        assert_valid(&schema, &done.text);
    }
    let nowhere = json!({ "properties": { "a": { "$ref": "#/$defs/b" } } });
    let error = writer.compiler.compile(GrammarKind::JsonSchema, &nowhere.to_string()).unwrap_err().to_string();
    assert!(error.contains("#/properties/a") && error.contains("names no part"), "{error}");
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
