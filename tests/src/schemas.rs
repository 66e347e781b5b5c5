//! Random JSON schemas, of the kinds that the public JSON Schema Test Suite and `JSONSchemaBench`
//! have.

use ollm_runtime::random::Random;
use serde_json::{Map, Value, json};

/// How deep schemas are inside of schemas at most.
const DEPTH: usize = 3;

/// A schema; the same `seed` makes the same one. Strings and lists are bounded, so that a model of
/// random weights comes to their ends.
pub fn random(seed: u64) -> Value {
    let mut maker = Maker { random: Random::new(seed), definitions: Map::new() };
    let mut schema = maker.object(DEPTH);
    if !maker.definitions.is_empty() {
        schema["$defs"] = Value::Object(maker.definitions);
    }
    schema
}

struct Maker {
    random: Random,
    definitions: Map<String, Value>,
}

const NAMES: [&str; 12] =
    ["id", "name", "tags", "type", "format", "größe", "a b", "x-y", "0", "enum", "\"q\"", "created_at"];

const FORMATS: [&str; 9] = ["date", "date-time", "time", "email", "hostname", "ipv4", "ipv6", "uuid", "duration"];

const PATTERNS: [&str; 7] = [
    "^[A-Z]{2,4}$",
    "^\\d{3}-\\d{4}$",
    "^(red|green|blue)$",
    "^[a-z]+(_[a-z]+){0,2}$",
    "^$|^x",
    "^\\w{1,8}$",
    "^[^/]{1,6}/[^/]{1,6}$",
];

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        self.random.below(n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn schema(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 8 } else { 13 }) {
            0 | 1 => self.string(),
            2 => self.integer(),
            3 => self.number(),
            4 => json!({ "type": if self.one_in(2) { "boolean" } else { "null" } }),
            5 => self.enumeration(),
            6 => json!({ "const": self.value() }),
            7 => json!({ "type": (["integer", "null"]), "minimum": -5, "maximum": 99 }),
            8 | 9 => self.object(depth - 1),
            10 => self.list(depth - 1),
            11 => {
                let count = 2 + self.below(2);
                json!({ "anyOf": (0..count).map(|_| self.schema(depth - 1)).collect::<Vec<_>>() })
            }
            _ => self.reference(depth - 1),
        }
    }

    fn string(&mut self) -> Value {
        let mut schema = json!({ "type": "string" });
        match self.below(4) {
            0 => schema["format"] = FORMATS[self.below(FORMATS.len())].into(),
            1 => schema["pattern"] = PATTERNS[self.below(PATTERNS.len())].into(),
            _ => {
                let least = self.below(4);
                schema["minLength"] = least.into();
                schema["maxLength"] = (least + self.below(12)).into();
            }
        }
        schema
    }

    fn integer(&mut self) -> Value {
        let least = self.below(2000) as i64 - 1000;
        let most = least + self.below(3000) as i64;
        let mut schema = json!({ "type": "integer" });
        if !self.one_in(3) {
            schema["minimum"] = least.into();
        }
        if !self.one_in(3) {
            schema["exclusiveMaximum"] = (most + 1).into();
        }
        if self.one_in(6) {
            schema = json!({ "type": "integer", "multipleOf": 2 + self.below(9), "minimum": 0, "maximum": 500 });
        }
        schema
    }

    fn number(&mut self) -> Value {
        let least = (self.below(400) as f64 - 200.0) / 4.0;
        let most = least + self.below(100) as f64 / 8.0;
        json!({ "type": "number", "minimum": least, "maximum": most })
    }

    fn value(&mut self) -> Value {
        match self.below(6) {
            0 => Value::Null,
            1 => true.into(),
            2 => (self.below(100) as i64 - 50).into(),
            3 => json!([1, "a"]),
            4 => json!({ "k": [] }),
            _ => NAMES[self.below(NAMES.len())].into(),
        }
    }

    fn enumeration(&mut self) -> Value {
        let count = 1 + self.below(4);
        let mut values: Vec<Value> = (0..count).map(|_| self.value()).collect();
        values.dedup();
        json!({ "enum": values })
    }

    fn object(&mut self, depth: usize) -> Value {
        let count = self.below(5);
        let mut properties = Map::new();
        for _ in 0..count {
            let name = NAMES[self.below(NAMES.len())];
            properties.insert(name.to_owned(), self.schema(depth));
        }
        let mut schema = json!({ "type": "object" });
        let required: Vec<&String> = properties.keys().filter(|_| !self.one_in(3)).collect();
        schema["required"] = json!(required);
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
        schema["additionalProperties"] = match self.below(5) {
            0 => self.string(),
            _ => false.into(),
        };
        if schema["additionalProperties"] == false && self.one_in(5) {
            schema["patternProperties"] = json!({ "^p[0-9]$": self.integer() });
        }
        schema
    }

    fn list(&mut self, depth: usize) -> Value {
        let least = self.below(3);
        let mut schema = json!({ "type": "array", "items": self.schema(depth), "minItems": least });
        schema["maxItems"] = (least + self.below(4)).into();
        if self.one_in(4) {
            schema["prefixItems"] = json!([self.schema(0)]);
        }
        schema
    }

    /// A reference to a definition, which may refer to itself.
    fn reference(&mut self, depth: usize) -> Value {
        let name = format!("d{}", self.definitions.len());
        let target = json!({ "$ref": format!("#/$defs/{name}") });
        // The place is taken before the schema inside makes definitions of its own.
        self.definitions.insert(name.clone(), Value::Null);
        let mut schema = self.object(depth);
        if self.one_in(2) {
            schema["properties"]["next"] = json!({ "anyOf": [{ "type": "null" }, target] });
        }
        self.definitions.insert(name, schema);
        target
    }
}
