//! The chat templates of a folder. Later places win, name by name:
//! `tokenizer_config.json`, `chat_template.json`, `chat_template.jinja`,
//! `additional_chat_templates/NAME.jinja`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document::{Document, read_text};
use super::metadata::MetadataPairs;
use crate::Result;

const KEY: &str = "chat_template";

/// The name of the template that has none.
const DEFAULT: &str = "default";

/// Templates in JSON, and one in a file of its own.
pub(super) const FILES: [&str; 2] = ["chat_template.json", "chat_template.jinja"];

const ADDITIONAL: &str = "additional_chat_templates";

/// The keys of all templates: `tokenizer.chat_template`, and `.NAME` behind it for others.
pub(super) fn keys(folder: &Path, settings: &Document) -> Result<MetadataPairs> {
    let mut templates = BTreeMap::new();
    read_json(settings, &mut templates)?;
    read_json(&Document::read_if_there(&folder.join(FILES[0]))?, &mut templates)?;
    let file = folder.join(FILES[1]);
    if file.exists() {
        templates.insert(DEFAULT.to_owned(), read_text(&file)?);
    }
    for (name, path) in additional(folder)? {
        templates.insert(name, read_text(&path)?);
    }
    let key = |name: String| match name.as_str() {
        DEFAULT => format!("tokenizer.{KEY}"),
        name => format!("tokenizer.{KEY}.{name}"),
    };
    Ok(templates.into_iter().map(|(name, template)| (key(name), template.into())).collect())
}

/// A template, a list of `{"name": .., "template": ..}`, or an object of templates by their names.
fn read_json(document: &Document, templates: &mut BTreeMap<String, String>) -> Result<()> {
    let wrong = || document.bad(KEY, "a template, or templates with names").into();
    let mut add = |name: &str, template: Option<&str>| match template {
        Some(template) if !name.is_empty() => {
            templates.insert(name.to_owned(), template.to_owned());
            Ok(())
        }
        _ => Err(wrong()),
    };
    match document.get(KEY) {
        None => Ok(()),
        Some(Value::String(template)) => add(DEFAULT, Some(template)),
        Some(Value::Array(list)) => list
            .iter()
            .try_for_each(|entry| add(entry["name"].as_str().unwrap_or_default(), entry["template"].as_str())),
        Some(Value::Object(map)) => map.iter().try_for_each(|(name, template)| add(name, template.as_str())),
        Some(_) => Err(wrong()),
    }
}

fn additional(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let folder = folder.join(ADDITIONAL);
    if !folder.is_dir() {
        return Ok(BTreeMap::new());
    }
    let io = |source| ollm_runtime::Error::Io { path: folder.clone(), source };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|extension| extension == "jinja")) {
            found.insert(name, path);
        }
    }
    Ok(found)
}
