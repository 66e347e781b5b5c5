//! What `$ref` names, as the engine takes it: a path of plain names from the root of the schema.
//! Identifiers (`$id`), anchors and escapes are resolved here, by JSON Schema Core 2020-12,
//! sections 8.2 and 9, and RFC 6901, and are gone then. Other documents are not fetched.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Keywords whose value has a schema for each name.
pub(super) const NAMED_SCHEMAS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Keywords whose value is no schema, whatever it looks like.
const PLAIN_VALUES: [&str; 4] = ["const", "enum", "default", "examples"];

/// What makes a name one that the engine does not take, or that is an escape.
const NOT_PLAIN: [char; 3] = ['/', '~', '%'];

/// What the definitions that are made here are called, with a number behind it, where no other is
/// called so.
const MADE: &str = "ollm-";

/// The names of a part from the root on.
type Path = Vec<String>;

/// Writes each `$ref` as a path of plain names from the root.
///
/// # Errors
/// A reference that names no part of the schema.
pub(super) fn resolve(schema: &mut Value) -> Result<(), String> {
    let identifier = match schema.get("$schema").and_then(Value::as_str) {
        Some(draft) if draft.contains("draft-03") || draft.contains("draft-04") => "id",
        _ => "$id",
    };
    let mut index = Index { identifier, documents: HashMap::new(), anchors: HashMap::new() };
    index.documents.insert(String::new(), Path::new());
    index.read(schema, &mut Path::new(), "");
    let mut prefix = MADE.to_owned();
    let definitions = schema.get("$defs").and_then(Value::as_object);
    while definitions.is_some_and(|definitions| definitions.keys().any(|name| name.starts_with(&prefix))) {
        prefix.push('-');
    }
    let mut references = References { whole: schema.clone(), index, prefix, made: Vec::new() };
    references.rewrite(schema, "")?;
    let References { prefix, made, .. } = references;
    let made = made.iter().enumerate().map(|(i, path)| (format!("{prefix}{i}"), part(schema, path)));
    let made: Map<String, Value> = made.filter_map(|(name, part)| Some((name, part?.clone()))).collect();
    if let (false, Some(keywords)) = (made.is_empty(), schema.as_object_mut()) {
        let definitions = keywords.entry("$defs").or_insert_with(|| Map::new().into());
        definitions.as_object_mut().ok_or("$defs is no object")?.extend(made);
    }
    Ok(())
}

/// Where identifiers and anchors are.
struct Index {
    /// The keyword of identifiers.
    identifier: &'static str,
    /// Schemas that have an identifier, by it; the root also by none.
    documents: HashMap<String, Path>,
    /// Anchors, by the identifier that they are under.
    anchors: HashMap<(String, String), Path>,
}

impl Index {
    /// Reads the schema at `path`, which is in the document `base`.
    fn read(&mut self, schema: &Value, path: &mut Path, base: &str) {
        let base = self.base(schema, base);
        if let Some(keywords) = schema.as_object() {
            let fragment = keywords.get(self.identifier).and_then(Value::as_str).and_then(|id| id.strip_prefix('#'));
            let anchor = |name: &str| keywords.get(name).and_then(Value::as_str);
            if fragment.is_none() && keywords.get(self.identifier).is_some_and(Value::is_string) {
                self.documents.entry(base.clone()).or_insert_with(|| path.clone());
            }
            for name in [fragment, anchor("$anchor"), anchor("$dynamicAnchor")].into_iter().flatten() {
                self.anchors.entry((base.clone(), name.to_owned())).or_insert_with(|| path.clone());
            }
        }
        for (names, inner) in inner(schema) {
            let depth = path.len();
            path.extend(names);
            self.read(inner, path, &base);
            path.truncate(depth);
        }
    }

    /// The document that a schema in `base` is of.
    fn base(&self, schema: &Value, base: &str) -> String {
        match schema.get(self.identifier).and_then(Value::as_str) {
            Some(id) if !id.starts_with('#') => join(base, id.split('#').next().unwrap_or_default()),
            _ => base.to_owned(),
        }
    }
}

struct References {
    whole: Value,
    index: Index,
    /// What definitions are called that are made for them.
    prefix: String,
    /// The parts that need a definition, since the engine does not take their names.
    made: Vec<Path>,
}

impl References {
    fn rewrite(&mut self, schema: &mut Value, base: &str) -> Result<(), String> {
        let base = self.index.base(schema, base);
        if let Some(Value::String(reference)) = schema.get_mut("$ref") {
            *reference = self.plain(reference, &base)?;
        }
        if let Some(keywords) = schema.as_object_mut() {
            for name in [self.index.identifier, "$anchor", "$dynamicAnchor"] {
                if keywords.get(name).is_some_and(Value::is_string) {
                    keywords.shift_remove(name);
                }
            }
        }
        let places: Vec<Path> = inner(schema).into_iter().map(|(names, _)| names).collect();
        places.iter().filter_map(|names| part_mut(schema, names).map(|inner| self.rewrite(inner, &base))).collect()
    }

    /// What `reference`, in the document `base`, is to the engine.
    fn plain(&mut self, reference: &str, base: &str) -> Result<String, String> {
        let path = self.path(reference, base).filter(|path| part(&self.whole, path).is_some());
        let path = path.ok_or_else(|| {
            format!("$ref {reference:?} names no part of this schema, and other documents are not fetched")
        })?;
        if path.is_empty() {
            return Ok("#".to_owned());
        }
        let is_plain = path.iter().all(|name| !name.contains(NOT_PLAIN)) && path != [""];
        if is_plain {
            return Ok(format!("#/{}", path.join("/")));
        }
        let known = self.made.iter().position(|made| *made == path).unwrap_or_else(|| {
            self.made.push(path);
            self.made.len() - 1
        });
        Ok(format!("#/$defs/{}{known}", self.prefix))
    }

    fn path(&self, reference: &str, base: &str) -> Option<Path> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let document = join(base, document);
        let fragment = percent_decoded(fragment)?;
        let root = self.index.documents.get(&document);
        let Some(pointer) = fragment.strip_prefix('/') else {
            return if fragment.is_empty() {
                root.cloned()
            } else {
                self.index.anchors.get(&(document, fragment)).cloned()
            };
        };
        let names = pointer.split('/').map(|name| name.replace("~1", "/").replace("~0", "~"));
        Some(root?.iter().cloned().chain(names).collect())
    }
}

/// The part at a path.
fn part<'s>(schema: &'s Value, path: &[String]) -> Option<&'s Value> {
    path.iter().try_fold(schema, |at, name| match at {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => at.get(name),
    })
}

/// The same, to be changed.
fn part_mut<'s>(schema: &'s mut Value, path: &[String]) -> Option<&'s mut Value> {
    path.iter().try_fold(schema, |at, name| match at {
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => at.get_mut(name),
    })
}

/// Whether what a keyword says may be, or contain, schemas.
fn has_schemas(keyword: &str) -> bool {
    !PLAIN_VALUES.contains(&keyword)
}

/// The values inside of one that may be schemas, with their names from it.
fn inner(schema: &Value) -> Vec<(Path, &Value)> {
    match schema {
        Value::Array(items) => items.iter().enumerate().map(|(i, item)| (vec![i.to_string()], item)).collect(),
        Value::Object(keywords) => {
            let values = keywords.iter().filter(|(keyword, _)| has_schemas(keyword));
            let inner = values.flat_map(|(keyword, value)| match value {
                Value::Object(named) if NAMED_SCHEMAS.contains(&keyword.as_str()) => {
                    named.iter().map(|(name, value)| (vec![keyword.clone(), name.clone()], value)).collect()
                }
                value => vec![(vec![keyword.clone()], value)],
            });
            inner.collect()
        }
        _ => Vec::new(),
    }
}

/// The identifier that `reference` is in the document `base`: RFC 3986, section 5.2, without
/// queries.
fn join(base: &str, reference: &str) -> String {
    let is_scheme = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
    };
    if reference.is_empty() {
        return base.to_owned();
    }
    if reference.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme)) {
        return reference.to_owned();
    }
    // The authority ends at the first slash behind `//`.
    let path = base.find("//").map_or(0, |at| base[at + 2..].find('/').map_or(base.len(), |slash| at + 2 + slash));
    let (authority, folder) = base.split_at(path);
    if reference.starts_with("//") {
        return format!("{}{reference}", &authority[..authority.find("//").unwrap_or(0)]);
    }
    let folder = if reference.starts_with('/') { "" } else { folder.rsplit_once('/').map_or("", |(folder, _)| folder) };
    let mut names: Vec<&str> = folder.split('/').skip(1).collect();
    for name in reference.strip_prefix('/').unwrap_or(reference).split('/') {
        match name {
            "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("{authority}/{}", names.join("/"))
}

/// A text whose `%xx` are bytes.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut pieces = text.split('%');
    bytes.extend(pieces.next()?.bytes());
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend(piece[2..].bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolved(schema: &Value) -> Result<Value, String> {
        let mut schema = schema.clone();
        resolve(&mut schema).map(|()| schema)
    }

    #[test]
    fn escapes_anchors_and_identifiers_become_paths() {
        let schema = json!({
            "$id": "https://example.org/schemas/root.json",
            "$defs": {
                "tilde~name": { "type": "string" }, "per%cent": {}, "two words": {},
                "tree": { "$anchor": "node", "properties": { "left": { "$ref": "#node" } } },
                "item": { "$id": "item.json", "$defs": { "inner": {} }, "items": { "$ref": "#/$defs/inner" } },
                "old": { "$id": "#old" },
            },
            "properties": {
                "const": { "$ref": "#/$defs/tilde~0name" },
                "b": { "$ref": "#/%24defs/per%25cent" },
                "c": { "$ref": "#/$defs/two%20words" },
                "d": { "$ref": "#node" },
                "e": { "$ref": "item.json" },
                "f": { "$ref": "/schemas/item.json#/$defs/inner" },
                "g": { "$ref": "https://example.org/schemas/root.json#/properties/const" },
                "h": { "$ref": "../schemas/./root.json" },
                "i": { "$ref": "#old" },
                "j": { "anyOf": [{ "$ref": "#" }, { "$ref": "#/properties/j/anyOf/0" }] },
                "$ref": { "const": { "$ref": "#nowhere" } },
            },
        });
        let made = resolved(&schema).unwrap();
        let reference = |pointer: &str| made.pointer(pointer).unwrap()["$ref"].as_str().unwrap();
        for (pointer, expected) in [
            ("/properties/const", "#/$defs/ollm-0"),
            ("/properties/b", "#/$defs/ollm-1"),
            ("/properties/c", "#/$defs/two words"),
            ("/properties/d", "#/$defs/tree"),
            ("/properties/e", "#/$defs/item"),
            ("/properties/f", "#/$defs/item/$defs/inner"),
            ("/properties/g", "#/properties/const"),
            ("/properties/h", "#"),
            ("/properties/i", "#/$defs/old"),
            ("/properties/j/anyOf/0", "#"),
            ("/properties/j/anyOf/1", "#/properties/j/anyOf/0"),
            ("/$defs/tree/properties/left", "#/$defs/tree"),
            ("/$defs/item/items", "#/$defs/item/$defs/inner"),
        ] {
            assert_eq!(reference(pointer), expected, "{pointer}");
        }
        assert_eq!(made["properties"]["$ref"], schema["properties"]["$ref"]);
        assert_eq!(made["$defs"]["ollm-0"], json!({ "type": "string" }));
        assert_eq!((made.get("$id"), made["$defs"]["tree"].get("$anchor")), (None, None));
        assert_eq!(resolved(&made).unwrap(), made);
    }

    #[test]
    fn names_that_the_engine_does_not_take_are_defined_anew() {
        let schema = json!({
            "items": { "$ref": "#/$defs/a~1b" }, "prefixItems": [{ "$ref": "#/$defs/a~1b" }, { "$ref": "#/" }],
            "$defs": { "a/b": { "items": { "$ref": "#/$defs/a~1b" } } }, "": { "type": "null" },
        });
        let made = resolved(&schema).unwrap();
        assert_eq!(made["items"], json!({ "$ref": "#/$defs/ollm-0" }));
        assert_eq!(made["prefixItems"], json!([{ "$ref": "#/$defs/ollm-0" }, { "$ref": "#/$defs/ollm-1" }]));
        assert_eq!(made["$defs"]["ollm-0"], json!({ "items": { "$ref": "#/$defs/ollm-0" } }));
        assert_eq!(made["$defs"]["ollm-1"], json!({ "type": "null" }));
        let mut taken = schema;
        taken["$defs"]["ollm-0"] = json!({ "type": "string" });
        let made = resolved(&taken).unwrap();
        assert_eq!(made["items"], json!({ "$ref": "#/$defs/ollm--0" }));
        assert_eq!(made["$defs"]["ollm-0"], json!({ "type": "string" }));
        let error = resolved(&json!({ "$defs": 3, "a/b": {}, "items": { "$ref": "#/a~1b" } })).unwrap_err();
        assert!(error.contains("$defs is no object"), "{error}");
    }

    #[test]
    fn a_reference_to_nowhere_is_told() {
        for reference in ["#/$defs/x", "#x", "x.json", "https://json-schema.org/draft/2020-12/schema", "#/%zz", "#/a/0"]
        {
            let error = resolved(&json!({ "a": {}, "items": { "$ref": reference } })).unwrap_err();
            assert!(error.contains(reference) && error.contains("names no part"), "{error}");
        }
    }

    #[test]
    fn identifiers_are_joined_as_addresses_are() {
        for (base, reference, joined) in [
            ("", "a.json", "/a.json"),
            ("/a.json", "b.json", "/b.json"),
            ("https://a.org/x/y.json", "z.json", "https://a.org/x/z.json"),
            ("https://a.org/x/y.json", "/z.json", "https://a.org/z.json"),
            ("https://a.org/x/y.json", "../z.json", "https://a.org/z.json"),
            ("https://a.org", "z.json", "https://a.org/z.json"),
            ("https://a.org/x", "//b.org/z", "https://b.org/z"),
            ("https://a.org/x", "urn:b", "urn:b"),
            ("urn:a", "", "urn:a"),
        ] {
            assert_eq!(join(base, reference), joined, "{base} {reference}");
        }
    }
}
