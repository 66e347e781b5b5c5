//! The parser: bytes in, checked metadata and tensor positions out.

use std::collections::{HashMap, HashSet};

use super::codec::{ByteReader, Element};
use super::layout::from_type_id;
use super::packed::{check_allowed, check_known};
use super::parts::{self, Part};
use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GgufError, Layout, MAGIC, Metadata, OLDEST_VERSION, Result, TensorType, VERSION,
    Value, ValueType, align_up, foreign,
};
use crate::storage::Storage;

/// The fewest bytes of a metadata pair (key of one byte, type, value of one byte) and of a tensor's
/// description.
const MIN_PAIR: usize = 8 + 1 + 4 + 1;
const MIN_TENSOR: usize = 8 + 1 + 4 + 8 + 4 + 8;

/// A parsed file: everything but the tensors' bytes, which stay where they are.
#[derive(Debug, Clone)]
pub struct Gguf {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    alignment: u32,
    head: usize,
}

/// Where a tensor lies and what shape it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// One to four dimensions, none of them 0, innermost (the row length) first.
    pub dims: Vec<u64>,
    /// How the elements are stored.
    pub dtype: TensorType,
    /// How the rows lie.
    pub layout: Layout,
    /// The first byte, from the start of the file.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// Is told of a fault that reading can go on after; what it refuses with ends it.
type FaultSink<'a> = dyn FnMut(GgufError) -> Result<()> + 'a;

impl Gguf {
    /// Parses and checks a whole file.
    ///
    /// Tensors may be listed in any order, but their bytes must follow each other with no more than
    /// padding between them: ggml itself refuses other files, and holes are only good for hiding
    /// something. Bytes after the last tensor are accepted, since some writers pad the end; nothing
    /// ever reads them.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, None, &mut Err)
    }

    /// Parses and checks what a storage holds: a whole file, or all parts of one.
    ///
    /// # Errors
    /// As [`Gguf::parse`]; [`GgufError::OtherPart`] if the parts are not of one model.
    pub fn of(storage: &Storage) -> Result<Self> {
        let starts = storage.starts();
        let count = starts.len() as u32;
        if count == 1 {
            let mut whole = Self::parse(storage)?;
            // A model may be cut in one part.
            if parts::has_keys(&whole.metadata) {
                whole.metadata = parts::without_keys(&whole.metadata)?;
            }
            return Ok(whole);
        }
        let ends = starts.iter().copied().skip(1).chain([storage.len()]);
        let mut whole: Option<Self> = None;
        for (number, (start, end)) in (0..count).zip(starts.iter().copied().zip(ends)) {
            let part = Self::read(&storage[start..end], Some(Part { number, count }), &mut Err)?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.append(part, start)?,
            }
        }
        let mut whole = whole.ok_or(GgufError::Empty)?;
        parts::check_count(&whole.metadata, whole.tensors.len())?;
        whole.metadata = parts::without_keys(&whole.metadata)?;
        Ok(whole)
    }

    /// Adds the tensors of another part, whose bytes begin at `start`.
    fn append(&mut self, part: Self, start: usize) -> Result<()> {
        for mut tensor in part.tensors {
            tensor.offset += start;
            if self.index.insert(tensor.name.clone(), self.tensors.len()).is_some() {
                return Err(GgufError::DuplicateTensor { tensor: tensor.name });
            }
            self.tensors.push(tensor);
        }
        Ok(())
    }

    /// Reads as much of a file as can be read, and tells everything that [`Gguf::parse`] would
    /// refuse it for, in the order of the file. `None` if what follows a fault cannot be found.
    ///
    /// What is read holds no pair and no tensor of a name that was there before, and no tensor
    /// whose type is unknown or whose bytes are not in the file.
    pub fn parse_all(bytes: &[u8]) -> (Option<Self>, Vec<GgufError>) {
        let mut faults = Vec::new();
        let gguf = Self::read(bytes, None, &mut |fault| {
            faults.push(fault);
            Ok(())
        });
        match gguf {
            Ok(gguf) => (Some(gguf), faults),
            Err(fatal) => (None, faults.into_iter().chain([fatal]).collect()),
        }
    }

    /// `part` is which part of a model the file has to be.
    fn read(bytes: &[u8], part: Option<Part>, report: &mut FaultSink<'_>) -> Result<Self> {
        let mut reader = ByteReader::new(bytes);
        read_version(&mut reader, bytes)?;
        let tensor_count = reader.count("tensors", MIN_TENSOR)?;
        let pair_count = reader.count("metadata pairs", MIN_PAIR)?;
        let metadata = read_metadata(&mut reader, pair_count, report)?;
        parts::check(&metadata, part).or_else(&mut *report)?;
        check_known(&metadata).or_else(&mut *report)?;
        let alignment = alignment(&metadata).or_else(|fault| report(fault).map(|()| DEFAULT_ALIGNMENT))?;
        let mut entries = Vec::new();
        for _ in 0..tensor_count {
            keep(Raw::read(&mut reader)?.check(), &mut entries, report)?;
        }
        entries.iter().try_for_each(|entry| check_allowed(entry.layout, &metadata, alignment).or_else(&mut *report))?;
        let entries = distinct(entries, report)?;

        let head = reader.position();
        let data = Data { start: align_up(head as u64, alignment), alignment, file: bytes.len() };
        let mut tensors = Vec::with_capacity(entries.len());
        for entry in entries {
            data.check_alignment(&entry).or_else(&mut *report)?;
            keep(data.place(entry), &mut tensors, report)?;
        }
        data.check_layout(&tensors, report)?;
        let index = tensors.iter().enumerate().map(|(i, tensor)| (tensor.name.clone(), i)).collect();
        Ok(Self { metadata, tensors, index, alignment, head })
    }

    /// The key-value pairs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order in which the file lists them.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }

    /// What the tensors' offsets in the data section are multiples of.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Bytes of everything before the data section and its padding.
    pub fn head_size(&self) -> usize {
        self.head
    }
}

impl TensorInfo {
    /// The bytes of the tensor in the file that it was parsed from.
    ///
    /// # Panics
    /// If `file` is another, shorter one.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        &file[self.offset..][..self.size]
    }

    /// The length of a row.
    pub fn cols(&self) -> usize {
        self.dims[0] as usize
    }

    /// The number of rows: the product of all dimensions but the innermost.
    pub fn rows(&self) -> usize {
        self.elements() / self.cols()
    }

    /// The dimensions as row-major code writes them: outermost first, the row length last.
    pub fn shape(&self) -> Vec<usize> {
        self.dims.iter().rev().map(|&dim| dim as usize).collect()
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.dims.iter().product::<u64>() as usize
    }
}

fn read_version(reader: &mut ByteReader<'_>, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Err(GgufError::Empty);
    }
    let magic = reader.array()?;
    if magic != MAGIC {
        let is_safetensors = bytes.get(8) == Some(&b'{') && bytes[4..8] == [0; 4];
        let safetensors = is_safetensors.then_some("a safetensors file: `ollm-convert import` reads its folder");
        let what = foreign(bytes).or(safetensors);
        return Err(what.map_or(GgufError::NotGguf { magic }, |what| GgufError::Foreign { what }));
    }
    match u32::read(reader)? {
        OLDEST_VERSION..=VERSION => Ok(()),
        // A big-endian file has the same magic; its small version number stands in the other bytes.
        version if matches!(version.swap_bytes(), 1..0x1_0000) => Err(GgufError::BigEndian),
        version => Err(GgufError::UnsupportedVersion { version }),
    }
}

fn read_metadata(reader: &mut ByteReader<'_>, count: u64, report: &mut FaultSink<'_>) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for _ in 0..count {
        let key = reader.name("metadata key")?;
        let kind = ValueType::read(reader)?;
        metadata.insert(key, Value::read(kind, reader)?).or_else(&mut *report)?;
    }
    Ok(metadata)
}

/// The alignment that the metadata names, checked.
pub(super) fn alignment(metadata: &Metadata) -> Result<u32> {
    let alignment = metadata.opt_u32(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    // At least 8 by the specification; at most the largest page in use, since padding costs file
    // space.
    let sensible = alignment.is_power_of_two() && (8..=65536).contains(&alignment);
    if sensible { Ok(alignment) } else { Err(GgufError::BadAlignment { alignment }) }
}

/// Keeps what was read, or reports why it cannot be kept.
fn keep<T>(read: Result<T>, kept: &mut Vec<T>, report: &mut FaultSink<'_>) -> Result<()> {
    match read {
        Ok(read) => kept.push(read),
        Err(fault) => report(fault)?,
    }
    Ok(())
}

/// The first entry of each name.
fn distinct(entries: Vec<TensorEntry>, report: &mut FaultSink<'_>) -> Result<Vec<TensorEntry>> {
    let (mut names, mut kept) = (HashSet::new(), Vec::with_capacity(entries.len()));
    for entry in entries {
        let duplicate = || GgufError::DuplicateTensor { tensor: entry.name.clone() };
        let distinct = if names.insert(entry.name.clone()) { Ok(entry) } else { Err(duplicate()) };
        keep(distinct, &mut kept, report)?;
    }
    Ok(kept)
}

/// A tensor's description as the file has it.
struct Raw {
    name: String,
    dims: Vec<u64>,
    id: u32,
    offset: u64,
}

impl Raw {
    fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
        let name = reader.name("tensor name")?;
        let dims = read_dims(&name, reader)?;
        Ok(Self { name, dims, id: u32::read(reader)?, offset: u64::read(reader)? })
    }

    fn check(self) -> Result<TensorEntry> {
        let Self { name, dims, id, offset } = self;
        let unknown = || GgufError::UnknownTensorType { tensor: name.clone(), id };
        let (dtype, layout) = from_type_id(id).ok_or_else(unknown)?;
        let size = size(&name, &dims, dtype, layout)?;
        Ok(TensorEntry { name, dims, dtype, layout, size, offset })
    }
}

/// A tensor's description, checked but for its offset in the data section.
struct TensorEntry {
    name: String,
    dims: Vec<u64>,
    dtype: TensorType,
    layout: Layout,
    size: usize,
    offset: u64,
}

fn read_dims(tensor: &str, reader: &mut ByteReader<'_>) -> Result<Vec<u64>> {
    let rank = u32::read(reader)?;
    check_rank(tensor, rank.into())?;
    (0..rank).map(|_| u64::read(reader)).collect()
}

fn check_rank(tensor: &str, rank: u64) -> Result<()> {
    if (1..=4).contains(&rank) { Ok(()) } else { Err(GgufError::BadRank { tensor: tensor.to_owned(), rank }) }
}

/// The size in bytes of a tensor, after every check of its shape.
pub(super) fn size(tensor: &str, dims: &[u64], dtype: TensorType, layout: Layout) -> Result<usize> {
    let name = || tensor.to_owned();
    check_rank(tensor, dims.len() as u64)?;
    if dims.contains(&0) {
        return Err(GgufError::ZeroDimension { tensor: name() });
    }
    let too_large = || GgufError::TooLarge { tensor: name() };
    let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim)).ok_or_else(too_large)?;
    let elements = usize::try_from(elements).map_err(|_| too_large())?;
    let cols = dims[0] as usize;
    if !cols.is_multiple_of(dtype.block_len()) {
        return Err(GgufError::RaggedRow { tensor: name(), cols, dtype });
    }
    layout.size(dtype, elements / cols, cols).ok_or_else(too_large)
}

/// The data section: where it starts (`None`: nowhere) and what it is checked against.
struct Data {
    start: Option<u64>,
    alignment: u32,
    file: usize,
}

impl Data {
    fn check_alignment(&self, entry: &TensorEntry) -> Result<()> {
        let (&TensorEntry { offset, .. }, alignment) = (entry, self.alignment);
        let misaligned = || GgufError::Misaligned { tensor: entry.name.clone(), offset, alignment };
        if offset.is_multiple_of(alignment.into()) { Ok(()) } else { Err(misaligned()) }
    }

    fn place(&self, TensorEntry { name, dims, dtype, layout, size, offset }: TensorEntry) -> Result<TensorInfo> {
        match self.absolute(offset, size) {
            Some(offset) => Ok(TensorInfo { name, dims, dtype, layout, offset, size }),
            None => Err(GgufError::PastEnd { tensor: name, offset, size, file: self.file }),
        }
    }

    /// The offset from the start of the file; `None` if not all of the `size` bytes there are
    /// inside it.
    fn absolute(&self, offset: u64, size: usize) -> Option<usize> {
        let start = usize::try_from(self.start?.checked_add(offset)?).ok()?;
        (start.checked_add(size)? <= self.file).then_some(start)
    }

    /// Checks that the tensors, which are inside the file, follow each other. No sum of sizes is
    /// ever computed, so none can wrap.
    fn check_layout(&self, tensors: &[TensorInfo], report: &mut FaultSink<'_>) -> Result<()> {
        let mut sorted: Vec<&TensorInfo> = tensors.iter().collect();
        sorted.sort_by_key(|tensor| tensor.offset);
        let mut previous: Option<&TensorInfo> = None;
        for tensor in sorted {
            self.check_neighbours(previous, tensor).or_else(&mut *report)?;
            previous = Some(tensor);
        }
        Ok(())
    }

    fn check_neighbours(&self, previous: Option<&TensorInfo>, tensor: &TensorInfo) -> Result<()> {
        let end = previous.map_or(self.start, |p| align_up((p.offset + p.size) as u64, self.alignment));
        let end = end.map_or(usize::MAX, |end| end as usize);
        if let Some(previous) = previous.filter(|_| tensor.offset < end) {
            return Err(GgufError::Overlap { first: previous.name.clone(), second: tensor.name.clone() });
        }
        match tensor.offset.saturating_sub(end) {
            0 => Ok(()),
            bytes => Err(GgufError::Hole { tensor: tensor.name.clone(), bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Writer;

    fn two_tensors() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.set("general.name", "x").unwrap();
        writer.tensor("a", &[3], TensorType::F32, vec![1; 12]).unwrap();
        writer.tensor("b", &[32, 2, 2], TensorType::Q8_0, vec![2; 136]).unwrap();
        writer.to_bytes()
    }

    #[test]
    fn tensors_are_found_by_name_with_shape_and_bytes() {
        let bytes = two_tensors();
        let gguf = Gguf::parse(&bytes).unwrap();
        let b = gguf.tensor("b").unwrap();
        assert_eq!((b.cols(), b.rows(), b.elements(), b.size), (32, 4, 128, 136));
        assert_eq!(b.bytes(&bytes), [2; 136]);
        assert_eq!(gguf.tensors()[0].bytes(&bytes), [1; 12]);
        assert!(gguf.tensor("c").is_none());
    }

    #[test]
    fn trailing_bytes_are_ignored_and_missing_padding_at_the_end_is_fine() {
        let mut bytes = two_tensors();
        bytes.extend([0xAA; 100]);
        assert_eq!(Gguf::parse(&bytes).unwrap().tensors().len(), 2);
        let end = Gguf::parse(&bytes).unwrap().tensor("b").map(|b| b.offset + b.size).unwrap();
        assert!(Gguf::parse(&bytes[..end]).is_ok());
        assert!(matches!(Gguf::parse(&bytes[..end - 1]), Err(GgufError::PastEnd { .. })));
    }

    #[test]
    fn every_proper_prefix_up_to_the_data_is_an_error() {
        let bytes = two_tensors();
        let end = Gguf::parse(&bytes).unwrap().tensor("b").map(|b| b.offset + b.size).unwrap();
        for length in 0..end {
            assert!(Gguf::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_survey_finds_all_faults_and_keeps_what_is_whole() {
        let good = two_tensors();
        assert!(matches!(Gguf::parse_all(&good), (Some(_), faults) if faults.is_empty()));
        let mut bytes = good.clone();
        // The type of `b` is unknown, and the offset of `a` is not aligned.
        let entry = |name: u8| good.windows(9).position(|w| w == [1, 0, 0, 0, 0, 0, 0, 0, name]).unwrap() + 9;
        let (a, b) = (entry(b'a') + 4 + 8 + 4, entry(b'b') + 4 + 24);
        bytes[a] = 4;
        bytes[b] = 99;
        let (gguf, faults) = Gguf::parse_all(&bytes);
        let gguf = gguf.unwrap();
        assert_eq!((gguf.tensors().len(), gguf.tensors()[0].name.as_str()), (1, "a"));
        assert!(matches!(
            &faults[..],
            [
                GgufError::UnknownTensorType { id: 99, .. },
                GgufError::Misaligned { .. },
                GgufError::Hole { bytes: 4, .. }
            ]
        ));
        let (cut, faults) = Gguf::parse_all(&good[..40]);
        assert!(cut.is_none() && matches!(faults[..], [GgufError::Truncated { .. } | GgufError::TooMany { .. }]));
    }

    #[test]
    fn sizes_that_wrap_are_refused() {
        let wraps: &[u64] = &[1 << 32, 1 << 32, 2];
        assert!(matches!(size("t", wraps, TensorType::F32, Layout::Rows), Err(GgufError::TooLarge { .. })));
        // Fits as a count, wraps as bytes.
        assert!(matches!(size("t", &[1 << 62, 3], TensorType::F32, Layout::Rows), Err(GgufError::TooLarge { .. })));
    }
}
