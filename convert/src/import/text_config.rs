//! `config.json`: which architecture it is of, and where its text model is.

use super::architecture::{Architecture, HeadKind};
use super::document::Document;
use super::error::ImportError;
use crate::Result;

/// What tells the labels of a classifier: those of a multimodal one are of the whole model,
/// whatever is said of its text model.
const LABEL_KEYS: [&str; 2] = ["id2label", "num_labels"];

/// The configuration of the text model, whole or a part of that of a multimodal one.
pub(super) struct TextConfig {
    pub(super) architecture: &'static Architecture,
    pub(super) head: HeadKind,
    pub(super) json: Document,
    pub(super) is_part: bool,
    /// What was guessed.
    pub(super) note: Option<String>,
}

impl TextConfig {
    /// Finds it in `config.json`.
    pub(super) fn find(json: &Document) -> Result<Self> {
        let names = json.opt_list("architectures")?.map_or(&[][..], Vec::as_slice);
        let model_type = json.opt_str("model_type")?.unwrap_or_default();
        let whole = |architecture, head, note| Self { architecture, head, json: json.clone(), is_part: false, note };
        let name = match names {
            [] if model_type.is_empty() => return Err(json.missing("architectures").into()),
            [] => None,
            [name, ..] => Some(name.as_str().unwrap_or_default()),
        };
        let found = name.and_then(|name| Architecture::named(name, &json.value));
        // Of a multimodal model without its head, or with another, the class tells the head alone.
        let head_of_class = |name: &str| name.ends_with("Model").then_some(HeadKind::None);
        let head = found.map(|(_, head)| head).or_else(|| name.and_then(head_of_class));
        let other_head = head.filter(|&head| head != HeadKind::Own);
        let is_outer = other_head.is_some() && json.get("text_config").is_some();
        if let Some((architecture, head)) = found.filter(|_| !is_outer) {
            return Ok(whole(architecture, head, None));
        }
        // As transformers' AutoConfig does it.
        let known = Architecture::of_type(model_type, &json.value).filter(|known| known.name.is_some());
        if let Some(known) = known.filter(|_| json.get("text_config").is_none()) {
            let class =
                name.map_or_else(|| "no class".to_owned(), |name| format!("the class {name:?}, which is not known"));
            let known_as = known.name.unwrap_or_default();
            let note = format!("config.json names {class}: read as {known_as}, by its model_type {model_type:?}");
            // Any class may be called a model, and have a head.
            let is_text_model = name.is_some_and(|name| name.ends_with("TextModel"));
            let head = other_head.filter(|_| is_text_model).unwrap_or(HeadKind::Own);
            return Ok(whole(known, head, Some(note)));
        }
        let name = name.unwrap_or(model_type);
        let unknown = || ImportError::UnknownArchitecture { path: json.path.clone(), name: name.to_owned() };
        // Old files have the keys of the text model beside the others.
        let part = json.part("text_config")?;
        let own_type = part.as_ref().map(|text| text.opt_str("model_type")).transpose()?.flatten().map(str::to_owned);
        let text = part.map_or_else(|| json.clone(), |part| part.with_keys_of(json, &LABEL_KEYS));
        let architecture = match own_type {
            Some(own_type) => Architecture::of_type(&own_type, &text.value),
            // Such a text model may also be there alone.
            None => Architecture::text_of(model_type, &text.value)
                .or_else(|| Architecture::of_type(model_type, &text.value)),
        };
        let (architecture, head) = (architecture.ok_or_else(unknown)?, other_head.unwrap_or(HeadKind::Own));
        let is_guess = found.is_none() && head == HeadKind::None;
        let note = is_guess.then(|| format!("the class {name:?} is read as one without a head, by its name"));
        Ok(Self { architecture, head, json: text, is_part: true, note })
    }
}
