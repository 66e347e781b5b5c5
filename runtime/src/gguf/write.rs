//! The writer: metadata and tensors in, a file out, whole or not at all.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hasher;
use std::io::{self, Cursor, Seek, Write};
use std::path::Path;

use crate::atomic;

use super::codec::{Element, write_str};
use super::layout::type_id;
use super::packed::{check_allowed, check_known};
use super::parse::{alignment, size};
use super::{
    ALIGNMENT_KEY, GgufError, LAYOUT_KEY, LAYOUT_VERSION_KEY, Layout, MAGIC, Metadata, Result, TensorType, VERSION,
    Value, align_up,
};

/// The longest tensor name that ggml loads (`GGML_MAX_NAME` less its terminating zero).
const MAX_NAME: usize = 63;

/// Collects metadata and tensors and writes them as GGUF v3. Tensors may borrow their bytes from a
/// mapped file, so that a merge of large files needs little memory.
///
/// Whatever it accepts, [`super::Gguf::parse`] reads back; what it reads from a file of this
/// writer, it writes again byte for byte.
#[derive(Debug, Default)]
pub struct Writer<'a> {
    metadata: Metadata,
    tensors: Vec<QueuedTensor<'a>>,
    names: HashSet<String>,
    checksums: Option<Checksums>,
}

/// The key that holds a hash of each tensor, and what makes one.
struct Checksums {
    key: String,
    hasher: fn() -> Box<dyn Hasher>,
}

#[derive(Debug)]
struct QueuedTensor<'a> {
    name: String,
    dims: Vec<u64>,
    dtype: TensorType,
    layout: Layout,
    size: usize,
    data: TensorData<'a>,
}

/// What writes the bytes of a tensor.
type Emit<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'a;

/// The bytes of a tensor, there already or made when they are written.
enum TensorData<'a> {
    Bytes(Cow<'a, [u8]>),
    Stream(Box<Emit<'a>>),
}

impl<'a> Writer<'a> {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata pair. `general.alignment` is obeyed.
    ///
    /// # Errors
    /// If the key is empty or was set before, or the alignment is not one.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<&mut Self> {
        if key.is_empty() {
            return Err(GgufError::EmptyName { what: "metadata key", offset: 0 });
        }
        self.metadata.insert(key.to_owned(), value.into())?;
        match key {
            ALIGNMENT_KEY => alignment(&self.metadata).map(drop)?,
            LAYOUT_KEY | LAYOUT_VERSION_KEY => check_known(&self.metadata)?,
            _ => {}
        }
        Ok(self)
    }

    /// Adds a metadata pair whose value is made while the tensors are written: an array of u64, the
    /// hash of each tensor's bytes in the order in which they were added. There is at most one such
    /// pair.
    ///
    /// # Errors
    /// As [`Writer::set`].
    pub fn checksums(&mut self, key: &str, hasher: fn() -> Box<dyn Hasher>) -> Result<&mut Self> {
        self.set(key, Vec::<u64>::new())?;
        self.checksums = Some(Checksums { key: key.to_owned(), hasher });
        Ok(self)
    }

    /// Adds a tensor; `dims` are innermost first, as in [`super::TensorInfo`].
    ///
    /// # Errors
    /// If the name is empty, too long or taken, the shape is not one that the parser accepts, or
    /// `data` has another size than it says.
    pub fn tensor(
        &mut self,
        name: &str,
        dims: &[u64],
        dtype: TensorType,
        data: impl Into<Cow<'a, [u8]>>,
    ) -> Result<&mut Self> {
        let data = data.into();
        let found = data.len();
        let tensor = QueuedTensor::new(name, dims, dtype, Layout::Rows, TensorData::Bytes(data))?;
        if found != tensor.size {
            return Err(GgufError::WrongSize { tensor: tensor.name, expected: tensor.size, found });
        }
        self.push(tensor)
    }

    /// Adds a tensor in any layout, whose bytes `emit` writes each time the file is written, so
    /// that not all of them are in memory at once.
    ///
    /// # Errors
    /// As [`Writer::tensor`]; and if the keys and the alignment that the layout needs were not set
    /// before. Writing the file fails if `emit` does, or writes another number of bytes than the
    /// shape and the layout need.
    pub fn streamed(
        &mut self,
        name: &str,
        dims: &[u64],
        dtype: TensorType,
        layout: Layout,
        emit: impl Fn(&mut dyn Write) -> io::Result<()> + 'a,
    ) -> Result<&mut Self> {
        check_allowed(layout, &self.metadata, alignment(&self.metadata)?)?;
        self.push(QueuedTensor::new(name, dims, dtype, layout, TensorData::Stream(Box::new(emit)))?)
    }

    fn push(&mut self, tensor: QueuedTensor<'a>) -> Result<&mut Self> {
        if !self.names.insert(tensor.name.clone()) {
            return Err(GgufError::DuplicateTensor { tensor: tensor.name });
        }
        self.tensors.push(tensor);
        Ok(self)
    }

    /// Writes the file: to a temporary one in the same folder, which takes the name `path` only
    /// once all of it is on the disk. Whatever happens, `path` is either as before or complete.
    ///
    /// # Errors
    /// [`GgufError::Io`]; the temporary file is removed.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        Self::write_all([(self, path)])
    }

    /// Writes several files that belong together, as [`Writer::write_to`] writes one: none of them
    /// takes its name before all are on the disk.
    ///
    /// # Errors
    /// [`GgufError::Io`], of the file that it names. Then all paths are as before; only if a
    /// complete file cannot be renamed, those before it may be replaced (see [`atomic::commit`]).
    pub fn write_all<'b>(files: impl IntoIterator<Item = (&'b Self, &'b Path)>) -> Result<()>
    where
        'a: 'b,
    {
        let io = |(path, source)| GgufError::Io { path, source };
        let stage = |(writer, path): (&Self, &Path)| {
            atomic::stage(path, |out| writer.write_into(out)).map_err(|source| io((path.to_owned(), source)))
        };
        let staged = files.into_iter().map(stage).collect::<Result<Vec<_>>>()?;
        atomic::commit(staged).map_err(io)
    }

    /// The file as bytes, for tests and small files.
    ///
    /// # Panics
    /// If what writes a streamed tensor fails, or writes another number of bytes than the tensor
    /// has.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        self.write_into(&mut bytes).expect("memory takes all that is written");
        bytes.into_inner()
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        let padded = |tensor: &QueuedTensor<'_>| tensor.size + self.padding(tensor.size);
        self.head(&vec![0; self.tensors.len()]).len() + self.tensors.iter().map(padded).sum::<usize>()
    }

    /// Writes the file from the beginning of `out` on.
    ///
    /// # Errors
    /// That of `out`, or of what writes a streamed tensor.
    pub fn write_into<W: Write + Seek>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(&self.head(&vec![0; self.tensors.len()]))?;
        let mut hashes = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let hasher = self.checksums.as_ref().map(|checksums| (checksums.hasher)());
            hashes.push(tensor.emit(out, hasher)?);
            out.write_all(&vec![0; self.padding(tensor.size)])?;
        }
        if self.checksums.is_some() {
            out.rewind()?;
            out.write_all(&self.head(&hashes))?;
        }
        Ok(())
    }

    /// Everything up to the data section.
    fn head(&self, hashes: &[u64]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        VERSION.write(&mut out);
        (self.tensors.len() as u64).write(&mut out);
        (self.metadata.len() as u64).write(&mut out);
        self.write_metadata(hashes, &mut out);
        self.write_tensors(&mut out);
        out.resize(out.len() + self.padding(out.len()), 0);
        out
    }

    fn write_metadata(&self, hashes: &[u64], out: &mut Vec<u8>) {
        let hashes = Value::from(hashes.to_vec());
        let late = self.checksums.as_ref().map(|checksums| checksums.key.as_str());
        for (key, value) in self.metadata.iter() {
            let value = if late == Some(key) { &hashes } else { value };
            write_str(key, out);
            value.value_type().id().write(out);
            value.write(out);
        }
    }

    fn write_tensors(&self, out: &mut Vec<u8>) {
        let mut offset = 0;
        for QueuedTensor { name, dims, dtype, layout, size, .. } in &self.tensors {
            name.write(out);
            (dims.len() as u32).write(out);
            for dim in dims {
                dim.write(out);
            }
            type_id(*dtype, *layout).write(out);
            (offset as u64).write(out);
            offset += size + self.padding(*size);
        }
    }

    /// Bytes between the end of something `length` bytes long and the next aligned position.
    fn padding(&self, length: usize) -> usize {
        let alignment = alignment(&self.metadata).expect("checked by `set`");
        align_up(length as u64, alignment).expect("lengths of slices are below isize::MAX") as usize - length
    }
}

impl<'a> QueuedTensor<'a> {
    fn new(name: &str, dims: &[u64], dtype: TensorType, layout: Layout, data: TensorData<'a>) -> Result<Self> {
        if name.is_empty() {
            return Err(GgufError::EmptyName { what: "tensor name", offset: 0 });
        }
        if name.len() > MAX_NAME {
            return Err(GgufError::LongName { tensor: name.to_owned(), limit: MAX_NAME });
        }
        let size = size(name, dims, dtype, layout)?;
        Ok(Self { name: name.to_owned(), dims: dims.to_owned(), dtype, layout, size, data })
    }

    /// Writes the tensor, and gives what `hasher` makes of its bytes, 0 if there is none.
    fn emit(&self, out: &mut dyn Write, hasher: Option<Box<dyn Hasher>>) -> io::Result<u64> {
        let mut watched = Watched { out, hasher, bytes: 0 };
        match &self.data {
            TensorData::Bytes(bytes) => watched.write_all(bytes)?,
            TensorData::Stream(emit) => emit(&mut watched)?,
        }
        let (name, found, needed) = (&self.name, watched.bytes, self.size);
        if found != needed {
            return Err(io::Error::other(format!("tensor {name:?} was to have {needed} bytes, not {found}")));
        }
        Ok(watched.hasher.map_or(0, |hasher| hasher.finish()))
    }
}

/// Writes, counts and hashes.
struct Watched<'a> {
    out: &'a mut dyn Write,
    hasher: Option<Box<dyn Hasher>>,
    bytes: usize,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written;
        if let Some(hasher) = &mut self.hasher {
            hasher.write(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl fmt::Debug for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checksums").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for TensorData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Bytes(_)) { "Bytes" } else { "Stream" })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::gguf::{Array, Gguf};

    fn sample() -> Writer<'static> {
        let mut writer = Writer::new();
        let values: [(&str, Value); 15] = [
            ("general.name", "sample".into()),
            ("u8", 1u8.into()),
            ("i8", (-1i8).into()),
            ("u16", 2u16.into()),
            ("i16", (-2i16).into()),
            ("u32", 3u32.into()),
            ("i32", (-3i32).into()),
            ("u64", 4u64.into()),
            ("i64", (-4i64).into()),
            ("f32", 1.5f32.into()),
            ("f64", 2.5f64.into()),
            ("bool", true.into()),
            ("strings", vec![String::new(), "é".to_owned()].into()),
            ("nested", vec![Array::I32(vec![1, -1]), Array::Bool(vec![false])].into()),
            ("empty", Vec::<u64>::new().into()),
        ];
        for (key, value) in values {
            writer.set(key, value).unwrap();
        }
        writer.tensor("odd", &[3, 1, 1, 2], TensorType::F16, vec![7; 12]).unwrap();
        writer.tensor("blocks", &[64], TensorType::Q4_0, vec![9; 36]).unwrap();
        writer
    }

    fn rewrite(bytes: &[u8]) -> Vec<u8> {
        let gguf = Gguf::parse(bytes).unwrap();
        let mut writer = Writer::new();
        for (key, value) in gguf.metadata().iter() {
            writer.set(key, value.clone()).unwrap();
        }
        for tensor in gguf.tensors() {
            writer.tensor(&tensor.name, &tensor.dims, tensor.dtype, tensor.bytes(bytes)).unwrap();
        }
        writer.to_bytes()
    }

    #[test]
    fn parsing_and_rewriting_gives_the_same_bytes() {
        let bytes = sample().to_bytes();
        assert_eq!(rewrite(&bytes), bytes);
        let nothing = Writer::new().to_bytes();
        assert_eq!(rewrite(&nothing), nothing);
    }

    #[test]
    fn checksums_are_of_the_bytes_of_each_tensor() {
        let hasher = || -> Box<dyn Hasher> { Box::new(std::hash::DefaultHasher::new()) };
        let mut writer = sample();
        writer.checksums("sums", hasher).unwrap();
        assert!(matches!(writer.set("sums", 1u8), Err(GgufError::DuplicateKey { .. })));
        writer
            .streamed("late", &[2], TensorType::F32, Layout::Rows, |out| (0..8).try_for_each(|i| out.write_all(&[i])))
            .unwrap();
        let bytes = writer.to_bytes();
        let gguf = Gguf::parse(&bytes).unwrap();
        let hash = |tensor: &crate::gguf::TensorInfo| {
            let mut hasher = hasher();
            hasher.write(tensor.bytes(&bytes));
            hasher.finish()
        };
        let sums: Vec<u64> = gguf.tensors().iter().map(hash).collect();
        assert_eq!(gguf.metadata().get("sums"), Some(&Value::from(sums)));
        assert_eq!(gguf.tensor("late").unwrap().bytes(&bytes), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(writer.size(), bytes.len());
    }

    #[test]
    fn another_alignment_is_obeyed() {
        let mut writer = sample();
        writer.set(ALIGNMENT_KEY, 4096u32).unwrap();
        let bytes = writer.to_bytes();
        let gguf = Gguf::parse(&bytes).unwrap();
        assert!(gguf.tensors().iter().all(|tensor| tensor.offset.is_multiple_of(4096)));
        assert_eq!(rewrite(&bytes), bytes);
    }

    #[test]
    fn what_the_parser_would_refuse_is_refused() {
        let mut w = sample();
        assert!(matches!(w.set("u8", 1u8), Err(GgufError::DuplicateKey { .. })));
        assert!(matches!(w.set("", 1u8), Err(GgufError::EmptyName { .. })));
        assert!(matches!(w.set(ALIGNMENT_KEY, 24u32), Err(GgufError::BadAlignment { alignment: 24 })));
        let f32 = TensorType::F32;
        assert!(matches!(w.tensor("odd", &[1], f32, vec![0; 4]), Err(GgufError::DuplicateTensor { .. })));
        assert!(matches!(w.tensor("", &[1], f32, vec![0; 4]), Err(GgufError::EmptyName { .. })));
        assert!(matches!(w.tensor(&"x".repeat(64), &[1], f32, vec![0; 4]), Err(GgufError::LongName { .. })));
        assert!(matches!(w.tensor("t", &[], f32, vec![]), Err(GgufError::BadRank { rank: 0, .. })));
        assert!(matches!(w.tensor("t", &[1; 5], f32, vec![0; 4]), Err(GgufError::BadRank { rank: 5, .. })));
        assert!(matches!(w.tensor("t", &[2, 0], f32, vec![]), Err(GgufError::ZeroDimension { .. })));
        assert!(matches!(w.tensor("t", &[2], f32, vec![0; 4]), Err(GgufError::WrongSize { expected: 8, .. })));
        let ragged = w.tensor("t", &[33], TensorType::Q8_0, vec![0; 34]);
        assert!(matches!(ragged, Err(GgufError::RaggedRow { cols: 33, .. })));
    }

    #[test]
    fn files_appear_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("ollm-write-{}", std::process::id()));
        let path = folder.join("sample.gguf");
        assert!(matches!(sample().write_to(&path), Err(GgufError::Io { .. })));
        assert!(!folder.exists());

        fs::create_dir(&folder).unwrap();
        fs::write(&path, "old").unwrap();
        sample().write_to(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), sample().to_bytes());
        // A folder in the way makes the last step fail.
        let taken = folder.join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(sample().write_to(&taken).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "a temporary file was left");
        fs::remove_dir_all(&folder).unwrap();
    }
}
