//! Checked reading of little-endian values, and the one place that knows how each is laid out.

use super::error::GgufError;

type Result<T> = std::result::Result<T, GgufError>;

/// How deep arrays may nest. The specification sets no limit and ggml allows none to nest at all.
const MAX_DEPTH: usize = 2;

/// A position in the bytes of a file, which only moves forward and never past the end.
pub(super) struct ByteReader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> ByteReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, wanted: u64) -> Result<&'a [u8]> {
        let truncated = GgufError::Truncated { offset: self.at, wanted, left: self.left() };
        let wanted = usize::try_from(wanted).ok().filter(|&n| n <= self.left()).ok_or(truncated)?;
        let taken = &self.bytes[self.at..][..wanted];
        self.at += wanted;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// Reads how many `what` follow, of at least `min_bytes` each: more than the file can hold is
    /// an error, so that no count is believed before something is allocated for it.
    pub(super) fn count(&mut self, what: &'static str, min_bytes: usize) -> Result<u64> {
        let offset = self.at;
        let count = u64::read(self)?;
        let limit = (self.left() / min_bytes) as u64;
        if count > limit {
            return Err(GgufError::TooMany { what, count, limit, offset });
        }
        Ok(count)
    }

    /// Reads a string that must not be empty, the name of `what`.
    pub(super) fn name(&mut self, what: &'static str) -> Result<String> {
        let offset = self.at;
        let name = String::read(self)?;
        if name.is_empty() {
            return Err(GgufError::EmptyName { what, offset });
        }
        Ok(name)
    }

    /// Reads what is one level deeper.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(GgufError::TooDeep { offset: self.at, limit: MAX_DEPTH });
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }
}

/// Something with a layout in the file.
pub(super) trait Element: Sized {
    /// The fewest bytes that one takes.
    const MIN_BYTES: usize;

    fn read(reader: &mut ByteReader<'_>) -> Result<Self>;

    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Element for $ty {
            const MIN_BYTES: usize = size_of::<$ty>();

            fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
                reader.array().map(Self::from_le_bytes)
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )*};
}

numbers!(u8, i8, u16, i16, u32, i32, f32, u64, i64, f64);

impl Element for bool {
    const MIN_BYTES: usize = 1;

    fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
        let offset = reader.at;
        match u8::read(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(GgufError::BadBool { value, offset }),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Element for String {
    const MIN_BYTES: usize = 8;

    fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
        let length = u64::read(reader)?;
        let offset = reader.at;
        let bytes = reader.take(length)?;
        std::str::from_utf8(bytes).map(Self::from).map_err(|_| GgufError::BadUtf8 { offset })
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_str(self, out);
    }
}

/// Reads a string; its bytes, if they are not UTF-8.
pub(super) fn read_text(reader: &mut ByteReader<'_>) -> Result<std::result::Result<String, Vec<u8>>> {
    let length = u64::read(reader)?;
    let bytes = reader.take(length)?;
    Ok(std::str::from_utf8(bytes).map(String::from).map_err(|_| bytes.to_vec()))
}

/// Writes the bytes of a string.
pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    (bytes.len() as u64).write(out);
    out.extend(bytes);
}

pub(super) fn write_str(text: &str, out: &mut Vec<u8>) {
    write_bytes(text.as_bytes(), out);
}

impl<T: Element> Element for Vec<T> {
    const MIN_BYTES: usize = 8;

    fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
        let count = reader.count("array elements", T::MIN_BYTES)?;
        (0..count).map(|_| T::read(reader)).collect()
    }

    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        for item in self {
            item.write(out);
        }
    }
}
