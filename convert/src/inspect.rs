//! What a GGUF file holds, as text for people and as JSON for programs.

use std::fmt;
use std::path::Path;

use ollm_runtime::gguf::{Array, Gguf, GgufError, Value};
use ollm_runtime::plugin::PluginError;
use ollm_runtime::plugin::schema::{self, Backbone, DecoderKind, PluginConfig};
use serde_json::{Value as JsonValue, json};

use crate::opened::FILES;
use crate::table::{self, Row, TypeTotal, by_type, grouped};
use crate::{Opened, Result};

/// Elements of an array that the JSON shows.
const SHOWN: usize = 16;

/// What a file holds.
#[derive(Debug)]
pub struct Inspection {
    gguf: Gguf,
    tensors: Vec<Row>,
    size: usize,
    /// `None` for a plugin alone.
    backbone: Option<Backbone>,
    plugin: Option<std::result::Result<PluginConfig, PluginError>>,
    /// The tensors of types that are not known.
    unknown: Vec<GgufError>,
}

/// Reads the file's keys and the descriptions of its tensors, and of their values only the norms.
///
/// # Errors
/// If the file is damaged. Tensors of types that are not known are listed apart.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let (Opened { bytes, gguf }, unknown) = open(path)?;
    let tensors = gguf.tensors().iter().map(Row::from).collect();
    let plugin = schema::is_present(gguf.metadata()).then(|| plugin(&gguf));
    let backbone = Backbone::of(&gguf, &bytes).ok();
    Ok(Inspection { gguf, tensors, size: bytes.len(), backbone, plugin, unknown })
}

fn open(path: &Path) -> Result<(Opened, Vec<GgufError>)> {
    let bytes = FILES.open(path)?;
    if let [_] = bytes.starts()
        && let (Some(gguf), faults) = Gguf::parse_all(&bytes)
    {
        let is_unknown = |fault: &GgufError| matches!(fault, GgufError::UnknownTensorType { .. });
        let (unknown, others): (Vec<_>, Vec<_>) = faults.into_iter().partition(is_unknown);
        // A tensor that is not read leaves a hole.
        if !unknown.is_empty() && others.iter().all(|fault| matches!(fault, GgufError::Hole { .. })) {
            return Ok((Opened { bytes, gguf }, unknown));
        }
    }
    Ok((Opened::of(path, bytes)?, Vec::new()))
}

fn plugin(gguf: &Gguf) -> std::result::Result<PluginConfig, PluginError> {
    let spec = PluginConfig::from_metadata(gguf.metadata())?;
    spec.check_tensors(gguf)?;
    Ok(spec)
}

impl Inspection {
    /// Everything as JSON: `bytes`, `metadata`, `tensors`, `types`, `backbone`, `plugin` and
    /// `unreadable`, the tensors of types that are not known. Arrays longer than 16 elements are
    /// objects with `type`, `length` and `first`, the first 16.
    pub fn json(&self) -> JsonValue {
        let metadata = self.gguf.metadata().iter().map(|(key, value)| (key.to_owned(), value_json(value)));
        json!({
            "bytes": self.size,
            "metadata": metadata.collect::<serde_json::Map<_, _>>(),
            "tensors": self.tensors.iter().map(row_json).collect::<Vec<_>>(),
            "types": by_type(&self.tensors).iter().map(total_json).collect::<serde_json::Map<_, _>>(),
            "backbone": self.backbone.as_ref().map(backbone_json),
            "plugin": self.plugin.as_ref().map(plugin_json),
            "unreadable": self.unknown.iter().map(GgufError::to_string).collect::<Vec<_>>(),
        })
    }

    /// The tensors alone, as a table.
    pub fn tensors(&self) -> impl fmt::Display {
        fmt::from_fn(|f| table::tensors(f, &self.tensors))
    }

    fn write_metadata(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.gguf.metadata().iter().map(|(key, value)| (key.escape_debug().to_string(), value));
        let pairs: Vec<_> = keys.collect();
        let width = pairs.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
        pairs.iter().try_for_each(|(key, value)| writeln!(f, "{key:width$}  {value}"))
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_metadata(f)?;
        writeln!(f)?;
        table::tensors(f, &self.tensors)?;
        writeln!(f)?;
        table::totals(f, &self.tensors)?;
        writeln!(f, "file   {:>30} bytes", grouped(self.size))?;
        for fault in &self.unknown {
            writeln!(f, "not read: {fault}")?;
        }
        if let Some(backbone) = &self.backbone {
            writeln!(f, "\nbackbone: {}", describe(backbone))?;
        }
        match &self.plugin {
            None => Ok(()),
            Some(Ok(spec)) => write_spec(f, spec),
            Some(Err(error)) => writeln!(f, "\nplugin: cannot be used: {error}"),
        }
    }
}

fn write_spec(f: &mut fmt::Formatter<'_>, spec: &PluginConfig) -> fmt::Result {
    let PluginConfig { options, encoder_width, policy_width, value_width, backbone, .. } = spec;
    writeln!(f, "\nplugin: {options} options")?;
    match spec.decoder {
        DecoderKind::SwiGlu { width } => writeln!(f, "  decoder   swiglu, width {width}")?,
        DecoderKind::LowRank { width, rank } => writeln!(f, "  decoder   lowrank, width {width}, rank {rank}")?,
    }
    writeln!(f, "  encoder   mlp, width {encoder_width}")?;
    writeln!(f, "  policy    mlp, width {policy_width}")?;
    if let Some(width) = value_width {
        writeln!(f, "  value     mlp, width {width}")?;
    }
    writeln!(f, "  hold      {}", spec.hold)?;
    writeln!(f, "  trainable {} parameters", grouped(parameters(spec)))?;
    writeln!(f, "  trained on {}", describe(backbone))
}

fn describe(backbone: &Backbone) -> String {
    let Backbone { architecture, hidden, vocab, fingerprint } = backbone;
    format!("{architecture:?}, hidden size {hidden}, vocabulary {vocab}, {fingerprint:?}")
}

fn parameters(spec: &PluginConfig) -> usize {
    schema::tensors(spec).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

fn plugin_json(plugin: &std::result::Result<PluginConfig, PluginError>) -> JsonValue {
    match plugin {
        Ok(spec) => json!({
            "options": spec.options,
            "decoder": spec.decoder.name(),
            "value_width": spec.value_width,
            "hold": spec.hold.to_string(),
            "parameters": parameters(spec),
            "backbone": backbone_json(&spec.backbone),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn backbone_json(backbone: &Backbone) -> JsonValue {
    json!({
        "architecture": backbone.architecture,
        "hidden": backbone.hidden,
        "vocab": backbone.vocab,
        "fingerprint": backbone.fingerprint,
    })
}

fn row_json(row: &Row) -> JsonValue {
    json!({ "name": row.name, "shape": row.shape, "type": row.dtype.name(), "layout": row.layout.name(), "bytes": row.bytes })
}

fn total_json(total: &TypeTotal) -> (String, JsonValue) {
    (total.dtype.name().to_owned(), json!({ "tensors": total.tensors, "bytes": total.bytes }))
}

fn value_json(value: &Value) -> JsonValue {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        // By way of the shortest text: widened bit for bit, 0.00001 would print as
        // 0.000009999999747378752.
        Value::F32(v) => json!(v.to_string().parse::<f64>().ok()),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(v),
        Value::RawString(v) => json!(v.escape_ascii().to_string()),
        Value::Array(array) => array_json(array),
    }
}

fn array_json(array: &Array) -> JsonValue {
    let items: Vec<JsonValue> = array.iter().take(SHOWN).map(|item| value_json(&item)).collect();
    if array.len() <= SHOWN {
        return JsonValue::Array(items);
    }
    json!({ "type": array.element_type().name(), "length": array.len(), "first": items })
}
