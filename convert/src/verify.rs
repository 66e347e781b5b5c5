//! Validation of a file: its GGUF, its keys, its numbers, its plugin.
//!
//! Each rule is a check that lists what breaks it; all of them are run, whatever the others find,
//! as far as the file can be read. What is no fault but is worth knowing (nothing to check against,
//! a family that is not known here) is a note.

use std::fmt;
use std::path::Path;

use ollm_runtime::gguf::{Gguf, GgufError, Layout, Metadata, PANEL_ROWS, TensorInfo, Value};
use ollm_runtime::model::{Config, ModelError, PLUGIN_PREFIX, Role, TensorName, Weights};
use ollm_runtime::ops::Matrix;
use ollm_runtime::plugin::PluginError;
use ollm_runtime::plugin::schema::{self, Backbone, PluginConfig};
use ollm_runtime::tokenizer::{Tokenizer, TokenizerError};
use rayon::prelude::*;
use serde_json::{Value as JsonValue, json};

use crate::opened::FILES;
use crate::table::grouped;
use crate::{FileKind, Opened, Result, checksum, keys, names};

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The rule that is broken: `gguf`, or the name of a check.
    pub rule: &'static str,
    /// The tensor that it is about.
    pub tensor: Option<String>,
    /// The first row of it.
    pub row: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// What is wrong with a file.
#[derive(Debug)]
pub struct Verification {
    /// All that is wrong.
    pub findings: Vec<Finding>,
    /// What is not wrong, but worth knowing.
    pub notes: Vec<String>,
    /// Tensors that could be read.
    pub tensors: usize,
    /// Bytes of the file.
    pub bytes: usize,
}

/// A rule, and what lists the faults against it.
struct Check {
    rule: &'static str,
    list: fn(&Opened, &mut Faults),
    /// Whether it makes sense of a file only some of whose tensors could be read.
    of_parts: bool,
}

const CHECKS: [Check; 7] = [
    Check { rule: "keys", list: own_keys, of_parts: true },
    Check { rule: "bytes", list: bytes, of_parts: false },
    Check { rule: "values", list: values, of_parts: true },
    Check { rule: "checksum", list: checksums, of_parts: false },
    Check { rule: "tokenizer", list: tokenizer, of_parts: true },
    Check { rule: "plugin", list: plugin, of_parts: false },
    Check { rule: "backbone", list: backbone, of_parts: false },
];

/// Where a check puts what it finds.
struct Faults {
    rule: &'static str,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

impl Faults {
    fn add(&mut self, message: impl fmt::Display) {
        self.push(None, None, message);
    }

    fn tensor(&mut self, tensor: &str, message: impl fmt::Display) {
        self.push(Some(tensor), None, message);
    }

    fn push(&mut self, tensor: Option<&str>, row: Option<usize>, message: impl fmt::Display) {
        let (rule, tensor) = (self.rule, tensor.map(str::to_owned));
        self.findings.push(Finding { rule, tensor, row, message: message.to_string() });
    }
}

/// Checks the file by every rule; of a model in parts, whose first one is named, all of them.
///
/// # Errors
/// If the file cannot be read at all; what is wrong with one that can be is in the report.
pub fn verify(path: &Path) -> Result<Verification> {
    let bytes = FILES.open(path)?;
    let size = bytes.len();
    let (gguf, unreadable) = match bytes.starts() {
        [_] => Gguf::parse_all(&bytes),
        _ => Gguf::of(&bytes).map_or_else(|fault| (None, vec![fault]), |gguf| (Some(gguf), Vec::new())),
    };
    let mut faults = Faults { rule: "gguf", findings: Vec::new(), notes: Vec::new() };
    let whole = unreadable.is_empty();
    for fault in &unreadable {
        faults.push(tensor_of(fault), None, fault);
    }
    let tensors = gguf.as_ref().map_or(0, |gguf| gguf.tensors().len());
    if let Some(gguf) = gguf {
        faults.notes.extend(names::contradiction(path, names::encoding(&gguf)));
        let file = Opened { bytes, gguf };
        for check in CHECKS.iter().filter(|check| whole || check.of_parts) {
            faults.rule = check.rule;
            (check.list)(&file, &mut faults);
        }
    }
    if !whole {
        faults.notes.push("what depends on the tensors as a whole was not checked".to_owned());
    }
    Ok(Verification { findings: faults.findings, notes: faults.notes, tensors, bytes: size })
}

/// The first fault of the keys and of the lists of tokens among them, if there is one.
pub(crate) fn metadata_fault(file: &Opened) -> Option<String> {
    let mut faults = Faults { rule: "keys", findings: Vec::new(), notes: Vec::new() };
    own_keys(file, &mut faults);
    token_lists(file, &mut faults);
    faults.findings.into_iter().next().map(|finding| finding.message)
}

/// The tensor that a fault is about.
fn tensor_of(fault: &GgufError) -> Option<&str> {
    match fault {
        GgufError::BadRank { tensor, .. }
        | GgufError::DuplicateTensor { tensor }
        | GgufError::Hole { tensor, .. }
        | GgufError::Misaligned { tensor, .. }
        | GgufError::Overlap { second: tensor, .. }
        | GgufError::PastEnd { tensor, .. }
        | GgufError::RaggedRow { tensor, .. }
        | GgufError::TooLarge { tensor }
        | GgufError::UnknownTensorType { tensor, .. }
        | GgufError::ZeroDimension { tensor } => Some(tensor),
        _ => None,
    }
}

fn text<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a str> {
    metadata.get(key).and_then(Value::as_str)
}

/// The names and types of the keys.
fn own_keys(file: &Opened, faults: &mut Faults) {
    for fault in keys::faults(file.gguf.metadata()) {
        faults.add(&fault);
    }
}

/// Names are short enough for ggml, padding is zero, and nothing follows the last tensor.
fn bytes(file: &Opened, faults: &mut Faults) {
    /// `GGML_MAX_NAME` less its terminating zero.
    const LONGEST: usize = 63;
    let (gguf, bytes) = (&file.gguf, &file.bytes);
    for TensorInfo { name, .. } in gguf.tensors().iter().filter(|tensor| tensor.name.len() > LONGEST) {
        faults.tensor(name, format_args!("tensor {name:?}: ggml reads no names of more than {LONGEST} bytes"));
    }
    // Between the tensors of a model in parts are the heads of these.
    if file.bytes.starts().len() > 1 {
        return;
    }
    let mut sorted: Vec<&TensorInfo> = gguf.tensors().iter().collect();
    sorted.sort_by_key(|tensor| tensor.offset);
    let starts = sorted.iter().map(|tensor| tensor.offset);
    let ends = [gguf.head_size()].into_iter().chain(sorted.iter().map(|tensor| tensor.offset + tensor.size));
    let last = ends.clone().last().unwrap_or(0).next_multiple_of(gguf.alignment() as usize).min(bytes.len());
    for (end, start) in ends.zip(starts.chain([last])) {
        if bytes[end..start].iter().any(|&byte| byte != 0) {
            faults.add(format_args!("the padding from byte {end} to {start} is not zero"));
        }
    }
    if last < bytes.len() {
        faults.add(format_args!("{} bytes after the last tensor belong to no tensor", bytes.len() - last));
    }
}

/// All numbers are finite, and panels are filled up with zeros.
fn values(file: &Opened, faults: &mut Faults) {
    for tensor in file.gguf.tensors() {
        let Some(matrix) = matrix(tensor, &file.bytes) else { continue };
        let (rows, name) = (tensor.rows(), &tensor.name);
        let bad = wrong_rows(&matrix, 0..rows, |x| !x.is_finite());
        if let Some(&(row, column, value)) = bad.first() {
            let more = if bad.len() > 1 { format!(" ({} rows in all)", bad.len()) } else { String::new() };
            faults.push(
                Some(name),
                Some(row),
                format_args!("tensor {name:?}, row {row}: value {column} is {value}{more}"),
            );
        }
        if !wrong_rows(&matrix, rows..matrix.rows(), |x| x != 0.0).is_empty() {
            faults.tensor(name, format_args!("tensor {name:?}: the rows that fill up its last panel are not zero"));
        }
        file.bytes.discard(tensor.offset..tensor.offset + tensor.size);
    }
}

/// The rows of a tensor and, in panels, those that fill up the last of them.
fn matrix<'a>(tensor: &TensorInfo, file: &'a [u8]) -> Option<Matrix<'a>> {
    let rows = match tensor.layout {
        Layout::Rows => tensor.rows(),
        Layout::Panels => tensor.rows().next_multiple_of(PANEL_ROWS),
    };
    Matrix::stored(tensor.layout, tensor.dtype, rows, tensor.cols(), tensor.bytes(file))
}

/// The rows of which a value is wrong, and the first such value of each.
fn wrong_rows(
    matrix: &Matrix<'_>,
    rows: std::ops::Range<usize>,
    wrong: impl Fn(f32) -> bool + Sync,
) -> Vec<(usize, usize, f32)> {
    let decode = |out: &mut Vec<f32>, row: usize| {
        matrix.slice(row..row + 1).decode(out);
        out.iter().position(|&x| wrong(x)).map(|column| (row, column, out[column]))
    };
    rows.into_par_iter().map_init(|| vec![0.0; matrix.cols()], decode).flatten().collect()
}

/// The bytes of the tensors are those that their checksums are of.
fn checksums(file: &Opened, faults: &mut Faults) {
    let metadata = file.gguf.metadata();
    match checksum::damaged(file) {
        Some(damaged) => {
            for TensorInfo { name, .. } in damaged {
                let why = "it is damaged, or was written by a tool that does not know them";
                faults.tensor(name, format_args!("tensor {name:?} does not match its checksum: {why}"));
            }
        }
        None if metadata.get(checksum::KEY).is_some() => {
            faults.add(format_args!("{} is not one u64 for each tensor", checksum::KEY));
        }
        None => faults.notes.push("no checksums: damage to the tensors cannot be seen".to_owned()),
    }
}

/// Lists have one length, and ids are in the vocabulary.
fn token_lists(file: &Opened, faults: &mut Faults) {
    let metadata = file.gguf.metadata();
    let lists = metadata.opt_strings("tokenizer.ggml.tokens").ok().flatten().map(<[String]>::len);
    if let Some(tokens) = lists {
        for key in ["tokenizer.ggml.token_type", "tokenizer.ggml.scores"] {
            match metadata.get(key) {
                Some(Value::Array(list)) if list.len() == tokens => {}
                Some(other) => faults.add(format_args!("{key} is {} for {tokens} tokens", other.describe())),
                None => {}
            }
        }
        let ids = metadata.iter().filter(|(key, _)| key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id"));
        for (key, value) in ids.filter(|(_, value)| value.as_u64().is_none_or(|id| id >= tokens as u64)) {
            let fault = format!("{key} is {}, but there are {tokens} tokens", value.describe());
            // Many files say -1, and nothing that runs needs these.
            let unneeded = ["unknown", "padding", "seperator", "cls", "mask"];
            if unneeded.iter().any(|name| key == format!("tokenizer.ggml.{name}_token_id")) {
                faults.notes.push(format!("{fault}: it is ignored"));
            } else {
                faults.add(fault);
            }
        }
        let rows = file.gguf.tensor(&TensorName::new(Role::Embedding).to_string()).map(TensorInfo::rows);
        if let Some(rows) = rows.filter(|&rows| rows < tokens) {
            faults.add(format_args!("{tokens} tokens, but the embedding has {rows} rows"));
        }
    }
}

/// Lists of tokens are as they have to be, and the tokenizer can be built, if there is one.
fn tokenizer(file: &Opened, faults: &mut Faults) {
    token_lists(file, faults);
    let metadata = file.gguf.metadata();
    let there =
        metadata.iter().any(|(key, _)| key.starts_with("tokenizer.ggml.") || key == "tokenizer.huggingface.json");
    let listed = faults.findings.iter().any(|finding| finding.rule == faults.rule);
    match Tokenizer::from_metadata(metadata) {
        Err(unknown @ (TokenizerError::UnknownModel { .. } | TokenizerError::UnknownPre { .. })) if there => {
            faults.notes.push(format!("the tokenizer was not checked: {unknown}"));
        }
        // Most likely what is listed already.
        Err(error) if there && !listed => faults.add(error),
        _ => {}
    }
}

/// The plugin has all its keys and tensors, each in its shape, and is one for the backbone beside
/// it.
fn plugin(file: &Opened, faults: &mut Faults) {
    let (gguf, metadata) = (&file.gguf, file.gguf.metadata());
    let alone = FileKind::of(metadata) == FileKind::Plugin;
    let tensors = gguf.tensors().iter().any(|tensor| tensor.name.starts_with(PLUGIN_PREFIX));
    if !alone && !tensors && !schema::is_present(metadata) {
        return;
    }
    let spec = match PluginConfig::from_metadata(metadata) {
        Ok(spec) => spec,
        Err(error) => return faults.add(error),
    };
    for fault in spec.faults(gguf) {
        let tensor = match &fault {
            PluginError::WrongShape { tensor, .. } | PluginError::WrongType { tensor, .. } => Some(*tensor),
            PluginError::MissingTensor { tensor } | PluginError::UnknownTensor { tensor } => Some(tensor.as_str()),
            _ => None,
        };
        faults.push(tensor, None, &fault);
    }
    if !alone && let Err(error) = Backbone::of(gguf, &file.bytes).and_then(|found| spec.backbone.check(&found)) {
        faults.add(error);
    }
}

/// The keys of a model make sense, and it has all its tensors and no others.
fn backbone(file: &Opened, faults: &mut Faults) {
    let (gguf, metadata) = (&file.gguf, file.gguf.metadata());
    if gguf.tensors().is_empty() || text(metadata, "general.type").is_some_and(|kind| kind != "model") {
        return;
    }
    let bound = Config::from_gguf(gguf, &file.bytes).and_then(|config| Weights::bind(gguf, &file.bytes, &config));
    match bound {
        Err(unknown @ (ModelError::UnknownArchitecture(_) | ModelError::Unsupported { .. })) => {
            faults.notes.push(format!("the model was not checked: {unknown}"));
        }
        Err(error) => faults.add(error),
        Ok(_) => {}
    }
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// Everything as JSON: `good`, `bytes`, `tensors`, `findings` (`rule`, `tensor`, `row`,
    /// `message`), `notes`.
    pub fn json(&self) -> JsonValue {
        let finding = |Finding { rule, tensor, row, message }: &Finding| json!({ "rule": rule, "tensor": tensor, "row": row, "message": message });
        json!({
            "good": self.is_good(),
            "bytes": self.bytes,
            "tensors": self.tensors,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { rule, message, .. } in &self.findings {
            writeln!(f, "{rule}: {message}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        let (tensors, bytes) = (grouped(self.tensors), grouped(self.bytes));
        match self.findings.len() {
            0 => writeln!(f, "good: {tensors} tensors, {bytes} bytes"),
            1 => writeln!(f, "1 fault: {tensors} tensors, {bytes} bytes"),
            n => writeln!(f, "{n} faults: {tensors} tensors, {bytes} bytes"),
        }
    }
}
