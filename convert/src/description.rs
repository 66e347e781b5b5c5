//! What a checkpoint says about itself: the string map of a safetensors file, typed and checked.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ollm_runtime::gguf::{GgufError, Metadata, Value, Writer};
use ollm_runtime::plugin::schema::{FILE_TYPE, Key, KeyKind, PluginConfig, TRAINING_PREFIX, keys};

use crate::{ConvertError, Result};

/// Keys of the GGUF specification that a checkpoint may set, all of them text.
const GENERAL: [&str; 8] = [
    "general.name",
    "general.author",
    "general.version",
    "general.organization",
    "general.description",
    "general.license",
    "general.url",
    "general.source.url",
];

const NAME: &str = "general.name";
const ARCHITECTURE: &str = "general.architecture";

/// Written by safetensors itself, and meaningless here.
const FORMAT: &str = "format";

/// The keys of a plugin.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) spec: PluginConfig,
    /// `general.*` and `ollm.training.*`, by name.
    texts: BTreeMap<String, String>,
}

impl Description {
    /// Reads the string map of the checkpoint at `path`, whose folder gives the plugin its name if
    /// the map does not.
    pub(crate) fn new(path: &Path, map: &HashMap<String, String>) -> Result<Self> {
        let plugin = |source| ConvertError::Plugin { path: path.to_owned(), source };
        let spec = PluginConfig::from_metadata(&typed(map)?).map_err(plugin)?;
        let texts = map.iter().filter(|(key, _)| is_text(key)).map(|(key, text)| (key.clone(), text.clone()));
        let mut texts: BTreeMap<String, String> = texts.collect();
        texts.entry(NAME.to_owned()).or_insert_with(|| folder_name(path));
        let description = Self { spec, texts };
        map.iter().try_for_each(|(key, text)| description.check(key, text))?;
        Ok(description)
    }

    /// Every key of a plugin file.
    pub(crate) fn metadata(&self) -> std::result::Result<Metadata, GgufError> {
        let mut metadata = Metadata::default();
        let fixed = self.fixed().into_iter().map(|(key, text)| (key, Value::from(text)));
        let texts = self.texts.iter().map(|(key, text)| (key.as_str(), Value::from(text.as_str())));
        for (key, value) in fixed.chain(texts).chain(self.spec.to_metadata()) {
            metadata.insert(key.to_owned(), value)?;
        }
        Ok(metadata)
    }

    /// Sets every key of a plugin file.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> std::result::Result<(), GgufError> {
        self.metadata()?.iter().try_for_each(|(key, value)| writer.set(key, value.clone()).map(drop))
    }

    /// The keys whose values the format fixes.
    fn fixed(&self) -> [(&'static str, &str); 3] {
        [(ARCHITECTURE, &self.spec.backbone.architecture), FILE_TYPE[0], FILE_TYPE[1]]
    }

    fn check(&self, key: &str, text: &str) -> Result<()> {
        let known = is_text(key) || key == FORMAT || keys::ALL.iter().any(|known| known.name == key);
        match self.fixed().into_iter().find(|(name, _)| *name == key) {
            Some((key, expected)) if text != expected => {
                Err(ConvertError::Contradiction { key, expected: expected.to_owned(), found: text.to_owned() })
            }
            None if !known => Err(ConvertError::UnknownKey { key: key.to_owned() }),
            _ => Ok(()),
        }
    }
}

fn is_text(key: &str) -> bool {
    GENERAL.contains(&key) || key.starts_with(TRAINING_PREFIX)
}

/// The keys of the schema that are there, each with its type.
fn typed(map: &HashMap<String, String>) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for &key in keys::ALL {
        if let Some(text) = map.get(key.name) {
            metadata.insert(key.name.to_owned(), value(key, text)?).expect("each key is in the table once");
        }
    }
    Ok(metadata)
}

fn value(key: Key, text: &str) -> Result<Value> {
    let value = match key.kind {
        KeyKind::U32 => text.parse().ok().map(Value::U32),
        KeyKind::F32 => text.parse().ok().map(Value::F32),
        KeyKind::Str => Some(text.into()),
    };
    value.ok_or_else(|| ConvertError::BadNumber { key: key.name, text: text.to_owned() })
}

fn folder_name(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name);
    folder.map_or_else(|| "ollm plugin".to_owned(), |name| name.to_string_lossy().into_owned())
}
