//! The corpus of malicious GGUF files: one small file for each way in which such files broke other
//! readers.
//!
//! The bytes come from [`Raw`], which writes whatever it is told: the library's own writer refuses
//! to make these.

use ollm_runtime::gguf::{GgufError, LAYOUT_KEY, LAYOUT_VERSION_KEY, PANEL_ID};

/// A file that must be refused, and how.
pub struct BadFile {
    /// What is wrong with it.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// Whether this is the error it must give.
    pub expect: fn(&GgufError) -> bool,
}

/// A GGUF file in the making, without a check of any kind.
#[derive(Default)]
pub struct Raw {
    version: Option<u32>,
    tensor_count: Option<u64>,
    pair_count: Option<u64>,
    pairs: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: usize,
}

impl Raw {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    fn tensor_count(mut self, count: u64) -> Self {
        self.tensor_count = Some(count);
        self
    }

    fn pair_count(mut self, count: u64) -> Self {
        self.pair_count = Some(count);
        self
    }

    /// A pair whose value has this type number and these bytes.
    #[must_use]
    pub fn pair(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.pairs.push([string(key), word(kind), value.to_vec()].concat());
        self
    }

    /// A tensor with this type number at this offset in the data section.
    #[must_use]
    pub fn tensor(mut self, name: &str, dims: &[u64], dtype: u32, offset: u64) -> Self {
        let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let tail = [word(dtype), long(offset)].concat();
        self.tensors.push([string(name), word(dims.len() as u32), dims_bytes, tail].concat());
        self
    }

    /// Zero bytes in the data section.
    #[must_use]
    pub fn data(mut self, bytes: usize) -> Self {
        self.data = bytes;
        self
    }

    /// The file, its data section aligned to 32 bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(word(self.version.unwrap_or(3)));
        out.extend(long(self.tensor_count.unwrap_or(self.tensors.len() as u64)));
        out.extend(long(self.pair_count.unwrap_or(self.pairs.len() as u64)));
        out.extend(self.pairs.concat());
        out.extend(self.tensors.concat());
        out.resize(out.len().next_multiple_of(32) + self.data, 0);
        out
    }
}

fn word(value: u32) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn long(value: u64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn string(text: &str) -> Vec<u8> {
    [&long(text.len() as u64), text.as_bytes()].concat()
}

/// An array value: element type, count, elements.
fn array(kind: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&word(kind), &long(count), items].concat()
}

/// Numbers of value types and of tensor types.
const U8: u32 = 0;
const U32: u32 = 4;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const F32: u32 = 0;
const Q8_0: u32 = 8;

/// A small file without faults, with one of everything that the corpus breaks.
pub fn good() -> Vec<u8> {
    Raw::new()
        .pair("general.architecture", STRING, &string("llama"))
        .pair("general.alignment", U32, &word(32))
        .pair("flag", BOOL, &[1])
        .pair("tokens", ARRAY, &array(STRING, 2, &[string("a"), string("é")].concat()))
        .pair("nested", ARRAY, &array(ARRAY, 1, &array(U8, 2, &[1, 2])))
        .tensor("norm", &[3], F32, 0)
        .tensor("matrix", &[32, 2], Q8_0, 32)
        .data(128)
        .bytes()
}

macro_rules! bad {
    ($name:literal, $bytes:expr, $($error:tt)+) => {
        BadFile { name: $name, bytes: $bytes, expect: |error| matches!(error, $($error)+) }
    };
}

/// The corpus.
pub fn corpus() -> Vec<BadFile> {
    [headers(), metadata(), alignments(), shapes(), layouts(), panels()].into_iter().flatten().collect()
}

fn headers() -> Vec<BadFile> {
    use GgufError::{BigEndian, Empty, Foreign, NotGguf, TooMany, Truncated, UnsupportedVersion};
    vec![
        bad!("empty", vec![], Empty),
        bad!("all zero", vec![0; 64], NotGguf { magic: [0, 0, 0, 0] }),
        bad!("another format", b"PK\x03\x04 and so on".to_vec(), Foreign { .. }),
        bad!("text", b"once upon a time".to_vec(), NotGguf { .. }),
        bad!("three bytes", b"GGU".to_vec(), Truncated { offset: 0, wanted: 4, left: 3 }),
        bad!("magic only", b"GGUF".to_vec(), Truncated { offset: 4, .. }),
        bad!("header cut in the counts", good()[..14].to_vec(), Truncated { offset: 8, wanted: 8, left: 6 }),
        bad!("version 0", Raw::new().version(0).bytes(), UnsupportedVersion { version: 0 }),
        bad!("version 1", Raw::new().version(1).bytes(), UnsupportedVersion { version: 1 }),
        bad!("version 4", Raw::new().version(4).bytes(), UnsupportedVersion { version: 4 }),
        bad!("big endian", Raw::new().version(3u32.swap_bytes()).bytes(), BigEndian),
        bad!("2^64-1 tensors", Raw::new().tensor_count(u64::MAX).bytes(), TooMany { what: "tensors", .. }),
        bad!("2^32 tensors", Raw::new().tensor_count(1 << 32).bytes(), TooMany { what: "tensors", .. }),
        bad!("2^64-1 pairs", Raw::new().pair_count(u64::MAX).bytes(), TooMany { what: "metadata pairs", .. }),
        bad!("2^60 pairs", Raw::new().pair_count(1 << 60).bytes(), TooMany { what: "metadata pairs", .. }),
    ]
}

fn metadata() -> Vec<BadFile> {
    use GgufError::{BadBool, DuplicateKey, EmptyName, Part, TooDeep, TooMany, Truncated, UnknownValueType};
    let pair = |kind, value: &[u8]| Raw::new().pair("k", kind, value).bytes();
    let nested = array(ARRAY, 1, &array(ARRAY, 1, &array(U8, 1, &[0])));
    vec![
        bad!("string of 2^64-1 bytes", pair(STRING, &long(u64::MAX)), Truncated { wanted: u64::MAX, .. }),
        bad!("string past the end", pair(STRING, &long(1000)), Truncated { wanted: 1000, .. }),
        bad!("part of a model", Raw::new().pair("split.count", U32, &word(2)).bytes(), Part { number: 1, count: 2 }),
        bad!("value type 13", pair(13, &[0; 16]), UnknownValueType { id: 13, .. }),
        bad!("value type 2^32-1", pair(u32::MAX, &[0; 16]), UnknownValueType { id: u32::MAX, .. }),
        bad!("bool of 2", pair(BOOL, &[2]), BadBool { value: 2, .. }),
        bad!("bool of 2 in an array", pair(ARRAY, &array(BOOL, 2, &[1, 2])), BadBool { value: 2, .. }),
        bad!("array of 2^64-1", pair(ARRAY, &array(U32, u64::MAX, &[])), TooMany { what: "array elements", .. }),
        // 2^62 elements of four bytes: the product is 2^64 and wraps to zero.
        bad!("array whose size wraps", pair(ARRAY, &array(U32, 1 << 62, &[])), TooMany { .. }),
        bad!("array past the end", pair(ARRAY, &array(U8, 1000, &[])), TooMany { count: 1000, .. }),
        bad!("strings past the end", pair(ARRAY, &array(STRING, 9, &[0; 8])), TooMany { count: 9, .. }),
        bad!("element type 13", pair(ARRAY, &array(13, 1, &[0; 8])), UnknownValueType { id: 13, .. }),
        bad!("arrays three deep", pair(ARRAY, &nested), TooDeep { .. }),
        bad!("arrays 9,400 deep", pair(ARRAY, &deep(9_400)), TooDeep { .. }),
        bad!("empty key", Raw::new().pair("", U8, &[0; 8]).bytes(), EmptyName { what: "metadata key", .. }),
        bad!("key past the end", Raw::new().pair_count(1).bytes()[..24].to_vec(), TooMany { .. }),
        bad!("duplicate key", Raw::new().pair("k", U8, &[0]).pair("k", U8, &[1]).bytes(), DuplicateKey { key } if key == "k"),
    ]
}

/// Arrays of one array each, to overflow the stack of a reader that recurses without a limit.
fn deep(levels: usize) -> Vec<u8> {
    [array(ARRAY, 1, &[]).repeat(levels), array(U8, 1, &[0])].concat()
}

fn alignments() -> Vec<BadFile> {
    use GgufError::{BadAlignment, WrongType};
    let alignment = |kind, value: &[u8]| Raw::new().pair("general.alignment", kind, value).bytes();
    vec![
        bad!("alignment 0", alignment(U32, &word(0)), BadAlignment { alignment: 0 }),
        bad!("alignment 1", alignment(U32, &word(1)), BadAlignment { alignment: 1 }),
        bad!("alignment 48", alignment(U32, &word(48)), BadAlignment { alignment: 48 }),
        bad!("alignment 2^31", alignment(U32, &word(0x8000_0000)), BadAlignment { alignment: 0x8000_0000 }),
        bad!("alignment 2^32-1", alignment(U32, &word(u32::MAX)), BadAlignment { .. }),
        bad!("alignment as text", alignment(STRING, &string("32")), WrongType { .. }),
        bad!("alignment as array", alignment(ARRAY, &array(U32, 1, &word(32))), WrongType { .. }),
    ]
}

fn shapes() -> Vec<BadFile> {
    use GgufError::{BadRank, BadUtf8, EmptyName, RaggedRow, TooLarge, UnknownTensorType, ZeroDimension};
    let tensor = |dims: &[u64], dtype| Raw::new().tensor("t", dims, dtype, 0).data(256).bytes();
    let mut huge_rank = tensor(&[1], F32);
    huge_rank[33..37].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut bad_name = tensor(&[1], F32);
    bad_name[32] = 0xFF;
    vec![
        bad!("no dimensions", tensor(&[], F32), BadRank { rank: 0, .. }),
        bad!("five dimensions", tensor(&[1; 5], F32), BadRank { rank: 5, .. }),
        bad!("2^32-1 dimensions", huge_rank, BadRank { rank: 0xFFFF_FFFF, .. }),
        bad!("dimension 0", tensor(&[32, 0], F32), ZeroDimension { .. }),
        bad!("dimensions whose product wraps to 0", tensor(&[1 << 32, 1 << 32], F32), TooLarge { .. }),
        bad!("dimensions whose product wraps to 4", tensor(&[4, (1 << 63) + 1, 2], F32), TooLarge { .. }),
        bad!("size in bytes that wraps", tensor(&[1 << 62], F32), TooLarge { .. }),
        bad!("type 4, removed from ggml", tensor(&[32], 4), UnknownTensorType { id: 4, .. }),
        bad!("type 2^32-1", tensor(&[32], u32::MAX), UnknownTensorType { tensor, id: u32::MAX } if tensor == "t"),
        bad!("rows of 33 in blocks of 32", tensor(&[33], Q8_0), RaggedRow { cols: 33, .. }),
        bad!("rows of 16 that make whole blocks together", tensor(&[16, 2], Q8_0), RaggedRow { cols: 16, .. }),
        bad!("empty tensor name", Raw::new().tensor("", &[1], F32, 0).data(64).bytes(), EmptyName { .. }),
        bad!("tensor name not UTF-8", bad_name, BadUtf8 { offset: 32 }),
    ]
}

fn layouts() -> Vec<BadFile> {
    use GgufError::{DuplicateTensor, Hole, Misaligned, Overlap, PastEnd};
    let one = |dims: &[u64], offset| Raw::new().tensor("t", dims, F32, offset).data(256).bytes();
    let two =
        |first, second| Raw::new().tensor("a", &[16], F32, first).tensor("b", &[16], F32, second).data(256).bytes();
    let same_name = Raw::new().tensor("t", &[8], F32, 0).tensor("t", &[8], F32, 32).data(64);
    // CVE-2025-53630: each size fits, their sum wraps.
    let wrapping_sum = Raw::new().tensor("a", &[1 << 61], F32, 0).tensor("b", &[1 << 61], F32, 1 << 63).data(64);
    vec![
        bad!("duplicate tensor", same_name.bytes(), DuplicateTensor { tensor } if tensor == "t"),
        bad!("offset 4", one(&[8], 4), Misaligned { offset: 4, .. }),
        bad!("offset past the end", one(&[8], 1 << 20), PastEnd { .. }),
        bad!("offset near 2^64", one(&[8], u64::MAX - 31), PastEnd { .. }),
        bad!("size past the end", one(&[1 << 20], 0), PastEnd { .. }),
        bad!("one element past the end", one(&[65], 0), PastEnd { .. }),
        bad!("offset plus size wraps", one(&[1 << 60], 1 << 63), PastEnd { .. }),
        bad!("sum of sizes wraps", wrapping_sum.bytes(), PastEnd { .. }),
        bad!("tensors but no data section", Raw::new().tensor("t", &[8], F32, 0).bytes(), PastEnd { .. }),
        bad!("the same bytes twice", two(0, 0), Overlap { .. }),
        bad!("half overlap", two(0, 32), Overlap { .. }),
        bad!("half overlap, listed backwards", two(32, 0), Overlap { .. }),
        bad!("hole before the first", one(&[8], 32), Hole { bytes: 32, .. }),
        bad!("hole between", two(0, 128), Hole { bytes: 64, .. }),
    ]
}

fn panels() -> Vec<BadFile> {
    use GgufError::{
        MissingKey, PanelAlignment, PastEnd, UnknownLayout, UnknownTensorType, UnsupportedLayout, WrongType,
    };
    let named = |layout, version| {
        Raw::new().pair(LAYOUT_KEY, STRING, &string(layout)).pair(LAYOUT_VERSION_KEY, U32, &word(version))
    };
    let file = |raw: Raw, dims: &[u64], dtype| raw.tensor("t", dims, PANEL_ID + dtype, 0).data(544).bytes();
    let aligned = || named("panels16", 1).pair("general.alignment", U32, &word(64));
    let no_version = Raw::new().pair(LAYOUT_KEY, STRING, &string("panels16"));
    vec![
        bad!("panels in a plain file", file(Raw::new(), &[32, 5], Q8_0), MissingKey { key } if key == LAYOUT_KEY),
        bad!("panels without a version", file(no_version, &[32, 5], Q8_0), MissingKey { key } if key == LAYOUT_VERSION_KEY),
        bad!("panels of a later version", named("panels16", 2).bytes(), UnsupportedLayout { version: 2 }),
        bad!("panels of another kind", named("panels32", 1).bytes(), UnknownLayout { .. }),
        bad!("a layout that is a number", Raw::new().pair(LAYOUT_KEY, U32, &word(16)).bytes(), WrongType { .. }),
        bad!("panels aligned to 32", file(named("panels16", 1), &[32, 5], Q8_0), PanelAlignment { alignment: 32 }),
        bad!("floats in panels", file(aligned(), &[32, 5], F32), UnknownTensorType { id: PANEL_ID, .. }),
        bad!("one panel too many", file(aligned(), &[32, 17], Q8_0), PastEnd { size: 1088, .. }),
        bad!("rows that wrap when rounded up", file(aligned(), &[32, u64::MAX / 32], Q8_0), GgufError::TooLarge { .. }),
    ]
}
