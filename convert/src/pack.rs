//! Packing: quantized matrices become packed weights (panels of 16 interleaved rows, which the
//! runtime's kernels read), and rows again.
//!
//! Every key, the order of keys and tensors, and the bytes of all other tensors stay. So unpacking
//! restores the plain file.

use std::fmt;
use std::io::Write;
use std::path::Path;

use ollm_runtime::gguf::{
    ALIGNMENT_KEY, GgufError, LAYOUT_KEY, LAYOUT_VERSION, LAYOUT_VERSION_KEY, Layout, PANEL_ALIGNMENT,
    PLAIN_ALIGNMENT_KEY, TensorInfo, Writer,
};
use ollm_runtime::ops::Matrix;

use crate::table::TensorTotal;
use crate::{ConvertError, FileKind, Opened, Result, check_absent, check_output, checksum};

/// What was written.
#[derive(Debug, Default)]
pub struct PackSummary {
    /// Tensors whose layout changed, with the bytes that they had.
    pub changed: TensorTotal,
    /// Tensors that stayed as they were.
    pub kept: TensorTotal,
}

/// Packs a file: its quantized matrices become panels. An existing output is replaced only if
/// `force`.
///
/// # Errors
/// [`ConvertError`] if the file is packed already, has no quantized matrix, or one of the two
/// cannot be read or written.
pub fn pack(input: &Path, output: &Path, force: bool) -> Result<PackSummary> {
    check_output(output, &[input])?;
    check_absent(output, force)?;
    let file = Opened::open_plain(input, PACKABLE)?;
    if !file.gguf.tensors().iter().any(has_panels) {
        return Err(ConvertError::NothingToPack { path: input.to_owned() });
    }
    let mut writer = Writer::new();
    set_packed(&file, &mut writer).map_err(ConvertError::Output)?;
    let layout = |tensor: &TensorInfo| if has_panels(tensor) { Layout::Panels } else { Layout::Rows };
    write(&file, writer, layout, output)
}

/// Unpacks a file: writes the plain file again. An existing output is replaced only if `force`.
///
/// # Errors
/// [`ConvertError`] if the file is not packed, or one of the two cannot be read or written.
pub fn unpack(input: &Path, output: &Path, force: bool) -> Result<PackSummary> {
    check_output(output, &[input])?;
    check_absent(output, force)?;
    let file = Opened::open(input)?;
    if !file.is_packed() {
        return Err(ConvertError::NotPacked { path: input.to_owned() });
    }
    let mut writer = Writer::new();
    set_plain(&file, &mut writer).map_err(ConvertError::Output)?;
    write(&file, writer, |_| Layout::Rows, output)
}

/// What the runtime maps.
const PACKABLE: &[FileKind] = &[FileKind::Backbone, FileKind::Plugin, FileKind::Merged];

fn has_panels(tensor: &TensorInfo) -> bool {
    tensor.dtype.is_quantized() && tensor.dims.len() > 1
}

/// The keys of the file, and those of a packed one.
fn set_packed(file: &Opened, writer: &mut Writer<'_>) -> std::result::Result<(), GgufError> {
    let (metadata, alignment) = (file.gguf.metadata(), file.gguf.alignment().max(PANEL_ALIGNMENT));
    for (key, value) in metadata.iter() {
        match key {
            checksum::KEY => checksum::add(writer)?,
            ALIGNMENT_KEY => writer.set(key, alignment).map(drop)?,
            _ => writer.set(key, value.clone()).map(drop)?,
        }
    }
    match metadata.get(ALIGNMENT_KEY) {
        Some(plain) => writer.set(PLAIN_ALIGNMENT_KEY, plain.clone())?,
        None => writer.set(ALIGNMENT_KEY, alignment)?,
    };
    writer.set(LAYOUT_KEY, Layout::Panels.name())?.set(LAYOUT_VERSION_KEY, LAYOUT_VERSION)?;
    if metadata.get(checksum::KEY).is_none() { checksum::add(writer) } else { Ok(()) }
}

/// The keys that the file had before it was packed. Checksums before the keys of a packed file were
/// there; those after them came with them.
fn set_plain(file: &Opened, writer: &mut Writer<'_>) -> std::result::Result<(), GgufError> {
    let metadata = file.gguf.metadata();
    let mut plain = true;
    for (key, value) in metadata.iter() {
        match key {
            LAYOUT_KEY | LAYOUT_VERSION_KEY | PLAIN_ALIGNMENT_KEY => plain = false,
            checksum::KEY if plain => checksum::add(writer)?,
            checksum::KEY => {}
            ALIGNMENT_KEY => {
                if let Some(alignment) = metadata.get(PLAIN_ALIGNMENT_KEY) {
                    writer.set(key, alignment.clone())?;
                }
            }
            _ => writer.set(key, value.clone()).map(drop)?,
        }
    }
    Ok(())
}

/// Writes the file with each tensor in the layout that is wanted for it.
fn write<'a>(
    file: &'a Opened,
    mut writer: Writer<'a>,
    layout: impl Fn(&TensorInfo) -> Layout,
    output: &Path,
) -> Result<PackSummary> {
    let mut summary = PackSummary::default();
    for tensor in file.gguf.tensors() {
        let changes = layout(tensor) != tensor.layout;
        if changes { &mut summary.changed } else { &mut summary.kept }.add(tensor.size);
        let matrix = changes.then(|| matrix(file, tensor));
        let emit = move |out: &mut dyn Write| {
            file.release(tensor, |bytes| match &matrix {
                Some(matrix) => matrix.repack(out),
                None => out.write_all(bytes),
            })
        };
        let added = writer.streamed(&tensor.name, &tensor.dims, tensor.dtype, layout(tensor), emit);
        added.map_err(ConvertError::Output)?;
    }
    crate::write_all(&[(writer, output)])?;
    Ok(summary)
}

fn matrix<'a>(file: &'a Opened, tensor: &TensorInfo) -> Matrix<'a> {
    let bytes = tensor.bytes(&file.bytes);
    Matrix::stored(tensor.layout, tensor.dtype, tensor.rows(), tensor.cols(), bytes)
        .expect("the parser has checked the size, and a mapped file is aligned")
}

impl fmt::Display for PackSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changed.line(f, "repacked ")?;
        self.kept.line(f, "as before")
    }
}
