//! The differences of two files: keys, tensors, and the distance of their numbers.

use std::fmt;
use std::path::Path;

use ollm_runtime::gguf::{Layout, TensorInfo, TensorType, Value};
use ollm_runtime::ops::Matrix;
use rayon::prelude::*;
use serde_json::{Value as JsonValue, json};

use crate::{Opened, Result, checksum};

/// What two files, A and B, differ in. Checksums are not compared, nor the order of anything.
#[derive(Debug)]
pub struct DiffReport {
    /// Keys that are not in both with one value.
    pub keys: Vec<Changed<KeyChange>>,
    /// Tensors that are not the same in both.
    pub tensors: Vec<Changed<TensorChange>>,
}

/// How something with a name differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<T> {
    /// The name.
    pub name: String,
    /// How.
    pub how: Change<T>,
}

/// Whether it is in one file alone, or how it differs.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T> {
    /// It is in A alone.
    Removed,
    /// It is in B alone.
    Added,
    /// It is in both.
    Changed(T),
}

/// The values of a key, as text; of long arrays, where they differ first.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyChange {
    /// In A.
    pub before: String,
    /// In B.
    pub after: String,
}

/// What a tensor is in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct DifferenceKind {
    /// How the elements are stored.
    pub dtype: TensorType,
    /// The row-major shape.
    pub shape: Vec<usize>,
    /// How the rows lie.
    pub layout: Layout,
}

/// How a tensor changed.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorChange {
    /// In A.
    pub before: DifferenceKind,
    /// In B.
    pub after: DifferenceKind,
    /// How far the numbers are apart; `None` if they have not one shape.
    pub distance: Option<Distance>,
}

/// How far the numbers of a tensor are apart. Where a number is not finite, neither are these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// The largest difference.
    pub max: f64,
    /// The root of the mean square of the differences.
    pub rms: f64,
    /// That over the root of the mean square of the numbers in A; 0 if nothing differs.
    pub relative: f64,
}

/// Compares the files.
///
/// # Errors
/// If one of them cannot be read.
pub fn diff(before: &Path, after: &Path) -> Result<DiffReport> {
    let (a, b) = (Opened::open(before)?, Opened::open(after)?);
    let keys = changes(
        checksum::other_keys(&a),
        |key| b.gguf.metadata().get(key),
        checksum::other_keys(&b).map(|(key, _)| key).filter(|key| a.gguf.metadata().get(key).is_none()),
        key_change,
    );
    let tensors = changes(
        a.gguf.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)),
        |name| b.gguf.tensor(name),
        b.gguf.tensors().iter().map(|tensor| tensor.name.as_str()).filter(|name| a.gguf.tensor(name).is_none()),
        |before, after| tensor_change(FileTensor { file: &a, info: before }, FileTensor { file: &b, info: after }),
    );
    Ok(DiffReport { keys, tensors })
}

/// What is in `before` and not the same in the other file, then what is `added` there.
fn changes<'a, T, C>(
    before: impl Iterator<Item = (&'a str, T)>,
    after: impl Fn(&str) -> Option<T>,
    added: impl Iterator<Item = &'a str>,
    compare: impl Fn(T, T) -> Option<C>,
) -> Vec<Changed<C>> {
    let change = |name: &str, how| Changed { name: name.to_owned(), how };
    let kept = before.filter_map(|(name, value)| match after(name) {
        None => Some(change(name, Change::Removed)),
        Some(other) => compare(value, other).map(|how| change(name, Change::Changed(how))),
    });
    let kept: Vec<_> = kept.collect();
    kept.into_iter().chain(added.map(|name| change(name, Change::Added))).collect()
}

fn key_change(before: &Value, after: &Value) -> Option<KeyChange> {
    let change = |before: String, after: String| Some(KeyChange { before, after });
    match (before, after) {
        _ if before == after => None,
        (Value::Array(a), Value::Array(b)) if a.element_type() == b.element_type() => {
            let first = (0..a.len().max(b.len())).find(|&i| a.get(i) != b.get(i)).unwrap_or(0);
            let show = |value: &Value, item: Option<Value>| match item {
                Some(item) => format!("{}, item {first} {item}", value.describe()),
                None => value.describe(),
            };
            change(show(before, a.get(first)), show(after, b.get(first)))
        }
        _ => change(before.to_string(), after.to_string()),
    }
}

/// A tensor, and the file that holds it.
#[derive(Clone, Copy)]
struct FileTensor<'a> {
    file: &'a Opened,
    info: &'a TensorInfo,
}

impl<'a> FileTensor<'a> {
    fn kind(self) -> DifferenceKind {
        DifferenceKind { dtype: self.info.dtype, shape: self.info.shape(), layout: self.info.layout }
    }

    fn bytes(self) -> &'a [u8] {
        self.info.bytes(&self.file.bytes)
    }

    fn matrix(self) -> Option<Matrix<'a>> {
        Matrix::stored(self.info.layout, self.info.dtype, self.info.rows(), self.info.cols(), self.bytes())
    }

    /// Has its pages leave memory.
    fn discard(self) {
        self.file.bytes.discard(self.info.offset..self.info.offset + self.info.size);
    }
}

fn tensor_change(before: FileTensor<'_>, after: FileTensor<'_>) -> Option<TensorChange> {
    let (from, to) = (before.kind(), after.kind());
    let same = from == to && before.bytes() == after.bytes();
    let change = || TensorChange { distance: distance(before, after), before: from, after: to };
    let change = (!same).then(change);
    [before, after].into_iter().for_each(FileTensor::discard);
    change
}

/// The distance of two tensors of one shape.
fn distance(before: FileTensor<'_>, after: FileTensor<'_>) -> Option<Distance> {
    (before.info.dims == after.info.dims).then_some(())?;
    let (a, b) = (before.matrix()?, after.matrix()?);
    let buffers = || (vec![0.0; a.cols()], vec![0.0; b.cols()]);
    let row = |(x, y): &mut (Vec<f32>, Vec<f32>), row: usize| {
        a.slice(row..row + 1).decode(x);
        b.slice(row..row + 1).decode(y);
        x.iter()
            .zip(&*y)
            .map(|(&x, &y)| DifferenceSums::of(x.into(), y.into()))
            .fold(DifferenceSums::default(), DifferenceSums::plus)
    };
    let rows: Vec<DifferenceSums> = (0..a.rows()).into_par_iter().map_init(buffers, row).collect();
    let DifferenceSums { max, error, square } = rows.into_iter().fold(DifferenceSums::default(), DifferenceSums::plus);
    let relative = if error == 0.0 { 0.0 } else { (error / square).sqrt() };
    Some(Distance { max, rms: (error / before.info.elements() as f64).sqrt(), relative })
}

/// The largest difference, the sum of the squared differences, and that of the squares in A.
#[derive(Clone, Copy, Default)]
struct DifferenceSums {
    max: f64,
    error: f64,
    square: f64,
}

impl DifferenceSums {
    fn of(x: f64, y: f64) -> Self {
        // Equal infinities do not differ.
        let difference = if x.to_bits() == y.to_bits() { 0.0 } else { (x - y).abs() };
        Self { max: difference, error: difference * difference, square: x * x }
    }

    fn plus(self, other: Self) -> Self {
        // Not `f64::max`, which passes over NaN.
        let max = if other.max > self.max || other.max.is_nan() { other.max } else { self.max };
        Self { max, error: self.error + other.error, square: self.square + other.square }
    }
}

impl DiffReport {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.keys.is_empty() && self.tensors.is_empty()
    }

    /// Everything as JSON: `same`, `keys` and `tensors`, each with `name`, `change` (`removed`,
    /// `added`, `changed`) and, if that is `changed`, `before` and `after`; tensors of one shape
    /// have `max`, `rms` and `relative` too, `null` where they are not finite.
    pub fn json(&self) -> JsonValue {
        let key = |change: &KeyChange| json!({ "before": change.before, "after": change.after });
        let tensor = |change: &TensorChange| {
            let mut json = json!({ "before": kind_json(&change.before), "after": kind_json(&change.after) });
            if let Some(Distance { max, rms, relative }) = change.distance {
                json["max"] = json!(max);
                json["rms"] = json!(rms);
                json["relative"] = json!(relative);
            }
            json
        };
        json!({
            "same": self.is_same(),
            "keys": self.keys.iter().map(|change| change.json(key)).collect::<Vec<_>>(),
            "tensors": self.tensors.iter().map(|change| change.json(tensor)).collect::<Vec<_>>(),
        })
    }
}

fn kind_json(kind: &DifferenceKind) -> JsonValue {
    json!({ "type": kind.dtype.name(), "shape": kind.shape, "layout": kind.layout.name() })
}

impl<T> Changed<T> {
    fn json(&self, changed: impl Fn(&T) -> JsonValue) -> JsonValue {
        let (word, mut json) = match &self.how {
            Change::Removed => ("removed", json!({})),
            Change::Added => ("added", json!({})),
            Change::Changed(change) => ("changed", changed(change)),
        };
        json["name"] = json!(self.name);
        json["change"] = json!(word);
        json
    }
}

impl fmt::Display for DiffReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys.iter().try_for_each(|change| writeln!(f, "key    {change}"))?;
        self.tensors.iter().try_for_each(|change| writeln!(f, "tensor {change}"))?;
        if self.is_same() { writeln!(f, "same") } else { Ok(()) }
    }
}

impl<T: fmt::Display> fmt::Display for Changed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from files: `escape_debug` keeps them from moving the cursor.
        let name = self.name.escape_debug();
        match &self.how {
            Change::Removed => write!(f, "- {name}"),
            Change::Added => write!(f, "+ {name}"),
            Change::Changed(change) => write!(f, "~ {name}: {change}"),
        }
    }
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.before, self.after)
    }
}

impl fmt::Display for TensorChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.before == self.after {
            write!(f, "{}", self.before)?;
        } else {
            write!(f, "{} -> {}", self.before, self.after)?;
        }
        match self.distance {
            Some(Distance { max, rms, relative }) => {
                write!(f, ", max {max:.3e}, rms {rms:.3e}, relative {relative:.3e}")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, shape, layout } = self;
        write!(f, "{dtype} {shape:?}")?;
        if *layout == Layout::Rows { Ok(()) } else { write!(f, " {layout}") }
    }
}
