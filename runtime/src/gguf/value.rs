//! The values of metadata: the thirteen types of the specification, and arrays of each.

use std::fmt;

use super::codec::{ByteReader, Element, read_text, write_bytes};
use super::error::GgufError;

type Result<T> = std::result::Result<T, GgufError>;

macro_rules! value_types {
    ($($id:literal $name:literal $variant:ident($ty:ty);)*) => {
        /// The type of a metadata value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum ValueType {
            $(#[doc = concat!("`", $name, "`")] $variant = $id,)*
        }

        /// A metadata value.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Value {
            $(#[doc = concat!("`", $name, "`")] $variant($ty),)*
            /// `string` whose bytes are not UTF-8, as they are: harmless where nobody needs it.
            RawString(Vec<u8>),
        }

        /// An array of metadata values, which all have the same type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Array {
            $(#[doc = concat!("of `", $name, "`")] $variant(Vec<$ty>),)*
            /// of `string`, some of which are not UTF-8.
            RawString(Vec<Vec<u8>>),
        }

        impl ValueType {
            /// The type with this number.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name of the type.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl Value {
            /// The type of the value.
            pub const fn value_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)*
                    Self::RawString(_) => ValueType::String,
                }
            }

            pub(super) fn read(kind: ValueType, reader: &mut ByteReader<'_>) -> Result<Self> {
                if kind == ValueType::String {
                    return Ok(read_text(reader)?.map_or_else(Self::RawString, Self::String));
                }
                match kind {
                    $(ValueType::$variant => Element::read(reader).map(Self::$variant),)*
                }
            }

            pub(super) fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => value.write(out),)*
                    Self::RawString(bytes) => write_bytes(bytes, out),
                }
            }
        }

        impl Array {
            /// The type of the elements.
            pub const fn element_type(&self) -> ValueType {
                match self {
                    $(Self::$variant(_) => ValueType::$variant,)*
                    Self::RawString(_) => ValueType::String,
                }
            }

            /// How many elements there are.
            pub const fn len(&self) -> usize {
                match self {
                    $(Self::$variant(items) => items.len(),)*
                    Self::RawString(items) => items.len(),
                }
            }

            pub(super) fn read_items(kind: ValueType, reader: &mut ByteReader<'_>) -> Result<Self> {
                if kind == ValueType::String {
                    return read_strings(reader);
                }
                match kind {
                    $(ValueType::$variant => Element::read(reader).map(Self::$variant),)*
                }
            }

            pub(super) fn write_items(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(items) => items.write(out),)*
                    Self::RawString(items) => {
                        (items.len() as u64).write(out);
                        for bytes in items {
                            write_bytes(bytes, out);
                        }
                    }
                }
            }

            /// The element at `index`, as a value of its own.
            pub fn get(&self, index: usize) -> Option<Value> {
                match self {
                    $(Self::$variant(items) => items.get(index).cloned().map(Value::from),)*
                    Self::RawString(items) => {
                        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes);
                        items.get(index).cloned().map(text).map(|text| text.map_or_else(Value::RawString, Value::String))
                    }
                }
            }
        }

        $(
            impl From<$ty> for Value {
                fn from(value: $ty) -> Self {
                    Self::$variant(value)
                }
            }

            impl From<Vec<$ty>> for Value {
                fn from(items: Vec<$ty>) -> Self {
                    Self::Array(Array::$variant(items))
                }
            }
        )*
    };
}

// Numbers: `enum gguf_metadata_value_type` in the specification.
value_types! {
    0  "u8"     U8(u8);
    1  "i8"     I8(i8);
    2  "u16"    U16(u16);
    3  "i16"    I16(i16);
    4  "u32"    U32(u32);
    5  "i32"    I32(i32);
    6  "f32"    F32(f32);
    7  "bool"   Bool(bool);
    8  "string" String(String);
    9  "array"  Array(Array);
    10 "u64"    U64(u64);
    11 "i64"    I64(i64);
    12 "f64"    F64(f64);
}

fn read_strings(reader: &mut ByteReader<'_>) -> Result<Array> {
    let count = reader.count("array elements", String::MIN_BYTES)?;
    let mut texts = Vec::new();
    for _ in 0..count {
        match read_text(reader)? {
            Ok(text) => texts.push(text),
            Err(bytes) => {
                let mut raw: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
                raw.push(bytes);
                while (raw.len() as u64) < count {
                    raw.push(read_text(reader)?.map_or_else(|bytes| bytes, String::into_bytes));
                }
                return Ok(Array::RawString(raw));
            }
        }
    }
    Ok(Array::String(texts))
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl ValueType {
    /// The number that stands for the type in a file.
    pub const fn id(self) -> u32 {
        self as u32
    }
}

impl Value {
    /// The value of an integer of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// The value of an integer of any width that fits 32 bits without a sign.
    pub fn as_u32(&self) -> Option<u32> {
        self.as_u64()?.try_into().ok()
    }

    /// The value of a float; 64 bits are rounded to 32.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// The value of a float, or of an integer of any width, to the nearest float.
    pub(crate) fn number(&self) -> Option<f32> {
        match *self {
            Self::I8(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::I32(v) => Some(v as f32),
            Self::I64(v) => Some(v as f32),
            _ => self.as_f32().or_else(|| self.as_u64().map(|v| v as f32)),
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(v) = *self { Some(v) } else { None }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }

    /// The elements of an array of strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        if let Self::Array(Array::String(items)) = self { Some(items) } else { None }
    }

    /// The elements of an array of 32-bit floats.
    pub fn as_f32s(&self) -> Option<&[f32]> {
        if let Self::Array(Array::F32(items)) = self { Some(items) } else { None }
    }

    /// The elements of an array of signed 32-bit integers.
    pub fn as_i32s(&self) -> Option<&[i32]> {
        if let Self::Array(Array::I32(items)) = self { Some(items) } else { None }
    }

    /// Type and value in a few words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Array(Array::RawString(items)) => {
                format!("an array of {} string, of which some are not UTF-8", items.len())
            }
            Self::Array(array) => format!("an array of {} {}", array.len(), array.element_type()),
            Self::RawString(bytes) => format!("a string of {} bytes that are not UTF-8", bytes.len()),
            _ => format!("{} {self}", self.value_type()),
        }
    }
}

impl Array {
    /// The elements one by one, as values of their own.
    pub fn iter(&self) -> impl Iterator<Item = Value> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Characters of a string, and elements of an array, that are shown before `…`.
const SHOWN_CHARS: usize = 200;
const SHOWN_ITEMS: usize = 4;

/// Short and on one line: strings are quoted with their control characters escaped, what is long is
/// cut.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::F32(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
            Self::Array(array) => array.fmt(f),
            Self::RawString(bytes) => Self::String(bytes.escape_ascii().to_string()).fmt(f),
            Self::String(text) => match text.char_indices().nth(SHOWN_CHARS) {
                Some((end, _)) => write!(f, "{:?}…", &text[..end]),
                None => write!(f, "{text:?}"),
            },
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<String> = self.iter().take(SHOWN_ITEMS).map(|item| item.to_string()).collect();
        write!(f, "[{}", items.join(", "))?;
        if self.len() > SHOWN_ITEMS { write!(f, ", … {} in all]", self.len()) } else { f.write_str("]") }
    }
}

impl ValueType {
    /// Reads the number of a type.
    pub(super) fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
        let offset = reader.position();
        let id = u32::read(reader)?;
        Self::from_id(id).ok_or(GgufError::UnknownValueType { id, offset })
    }
}

impl Element for Array {
    const MIN_BYTES: usize = 12;

    fn read(reader: &mut ByteReader<'_>) -> Result<Self> {
        reader.nested(|reader| {
            let kind = ValueType::read(reader)?;
            Self::read_items(kind, reader)
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.element_type().id().write(out);
        self.write_items(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_width_are_accepted_when_they_fit() {
        for value in [Value::U8(7), Value::I16(7), Value::U32(7), Value::I64(7)] {
            assert_eq!(value.as_u32(), Some(7));
        }
        assert_eq!(Value::I8(-1).as_u64(), None);
        assert_eq!(Value::U64(1 << 32).as_u32(), None);
        assert_eq!(Value::F32(7.0).as_u32(), None);
    }

    #[test]
    fn display_is_short_and_escapes_control_characters() {
        assert_eq!(Value::from("a\u{1b}[31m\n").to_string(), r#""a\u{1b}[31m\n""#);
        assert_eq!(Value::from("é".repeat(300)).to_string(), format!("\"{}\"…", "é".repeat(200)));
        assert_eq!(Value::from(vec![1u32, 2]).to_string(), "[1, 2]");
        assert_eq!(Value::from((0..9).collect::<Vec<i32>>()).to_string(), "[0, 1, 2, 3, … 9 in all]");
        assert_eq!(Value::from(Vec::<String>::new()).to_string(), "[]");
    }
}
