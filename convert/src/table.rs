//! Tensors as a table of text.

use std::fmt::{self, Write};

use ollm_runtime::gguf::{Layout, TensorInfo, TensorType};

/// A tensor of a file.
#[derive(Debug, Clone)]
pub struct Row {
    /// The name.
    pub name: String,
    /// The row-major shape.
    pub shape: Vec<usize>,
    /// How the elements are stored.
    pub dtype: TensorType,
    /// How the rows lie.
    pub layout: Layout,
    /// The size.
    pub bytes: usize,
}

impl From<&TensorInfo> for Row {
    fn from(tensor: &TensorInfo) -> Self {
        let &TensorInfo { ref name, dtype, layout, size, .. } = tensor;
        Self { name: name.clone(), shape: tensor.shape(), dtype, layout, bytes: size }
    }
}

/// How many tensors of a type there are, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeTotal {
    /// The type.
    pub dtype: TensorType,
    /// How many tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// How many tensors there are, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TensorTotal {
    /// How many tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl TensorTotal {
    /// The total of tensors of these sizes.
    pub(crate) fn of(sizes: impl Iterator<Item = usize>) -> Self {
        let mut total = Self::default();
        sizes.for_each(|bytes| total.add(bytes));
        total
    }

    /// Counts another tensor.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.tensors += 1;
        self.bytes += bytes;
    }

    /// A line, which begins with `name`.
    pub(crate) fn line(self, out: &mut impl Write, name: impl fmt::Display) -> fmt::Result {
        writeln!(out, "{name} {:>6} tensors {:>16} bytes", self.tensors, grouped(self.bytes))
    }
}

/// The types that are there, with their totals.
pub(crate) fn by_type(rows: &[Row]) -> Vec<TypeTotal> {
    let total = |&dtype: &TensorType| {
        let TensorTotal { tensors, bytes } =
            TensorTotal::of(rows.iter().filter(|row| row.dtype == dtype).map(|row| row.bytes));
        TypeTotal { dtype, tensors, bytes }
    };
    TensorType::ALL.iter().map(total).filter(|total| total.tensors > 0).collect()
}

/// One line for each tensor.
pub(crate) fn tensors(out: &mut impl Write, rows: &[Row]) -> fmt::Result {
    // Names come from files: `escape_debug` keeps them from moving the cursor.
    let name = |row: &Row| row.name.escape_debug().to_string();
    let width = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).max(6);
    writeln!(out, "{:width$}  {:>16}  {:6}  {:8}  {:>14}", "tensor", "shape", "type", "layout", "bytes")?;
    for row in rows {
        let (shape, bytes) = (shape(&row.shape), grouped(row.bytes));
        writeln!(out, "{:width$}  {shape:>16}  {:6}  {:8}  {bytes:>14}", name(row), row.dtype, row.layout)?;
    }
    Ok(())
}

/// One line for each type, and one for all.
pub(crate) fn totals(out: &mut impl Write, rows: &[Row]) -> fmt::Result {
    for TypeTotal { dtype, tensors, bytes } in by_type(rows) {
        writeln!(out, "{dtype:6} {tensors:>6} tensors {:>16} bytes", grouped(bytes))?;
    }
    let bytes = rows.iter().map(|row| row.bytes).sum();
    writeln!(out, "all    {:>6} tensors {:>16} bytes", rows.len(), grouped(bytes))
}

fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// A number with a comma after each three digits.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    String::from_utf8(groups.join(&b',')).expect("digits and commas")
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
