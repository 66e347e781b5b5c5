//! Parquet files (feature `parquet`): each row is the object that the same data would be as JSON.
//!
//! Snappy, zstd and gzip are read. Binary columns are text where they are UTF-8, as some writers do
//! not say which of theirs are; other binary values are no field, like `null`.

use std::fs::File;
use std::panic;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The rows of a file, each with its number, counted from 1.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened, [`Error::BadFile`] if it is no Parquet file,
/// [`Error::Line`] if a row cannot be read.
pub(super) fn rows(path: &Path) -> Result<Vec<(usize, Map<String, Value>)>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let bad = |reason: &str| Error::bad_file(path, format!("is no Parquet file that can be read: {reason}"));
    // On some damage the reader panics. It is of no use to anybody then.
    panic::catch_unwind(|| read(path, file, bad)).unwrap_or_else(|_| Err(bad("it is damaged")))
}

fn read(path: &Path, file: File, bad: impl Fn(&str) -> Error) -> Result<Vec<(usize, Map<String, Value>)>> {
    let reader = SerializedFileReader::new(file).map_err(|error| bad(&error.to_string()))?;
    let rows = RowIter::from_file_into(Box::new(reader));
    let object = |(line, row): (usize, std::result::Result<Row, ParquetError>)| {
        let refuse = |error: ParquetError| Error::Line { path: path.to_owned(), line, reason: error.to_string() };
        Ok((line, object(&row.map_err(refuse)?)))
    };
    (1..).zip(rows).map(object).collect()
}

fn object(row: &Row) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        // Their shortest decimal: an f64 of an f32 would have more digits.
        Field::Float16(number) => number.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        Field::Float(number) => number.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        Field::Double(number) => (*number).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => bytes.as_utf8().map_or(Value::Null, Value::from),
        Field::Group(row) => object(row).into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let entry = |(key, of_key): &(Field, Field)| (text(key), value(of_key));
            map.entries().iter().map(entry).collect::<Map<String, Value>>().into()
        }
        // Decimals, dates and times as they are written.
        other => other.to_string().into(),
    }
}

/// The key of a map.
fn text(field: &Field) -> String {
    match value(field) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::{Compression, GzipLevel, ZstdLevel};
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::data::format::{Fields, read};
    use crate::data::problem::{Problem, Turn};
    use crate::testing::{self, TestPath};

    const SCHEMA: &str = "message data {
        OPTIONAL BINARY problem (UTF8);
        OPTIONAL INT64 expected_answer;
        OPTIONAL DOUBLE share;
        OPTIONAL GROUP messages (LIST) {
            REPEATED GROUP list {
                OPTIONAL GROUP element {
                    OPTIONAL BINARY role (UTF8);
                    OPTIONAL BINARY content;
                }
            }
        }
    }";

    /// Two rows: a conversation of four turns, and one of two.
    fn file(name: &str, compression: Compression) -> TestPath {
        let path = testing::folder(&format!("{name}.parquet"));
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut writer = SerializedFileWriter::new(File::create(&*path).unwrap(), schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|text| ByteArray::from(*text)).collect::<Vec<_>>();
        let mut next = |write: &mut dyn FnMut(&mut parquet::file::writer::SerializedColumnWriter<'_>)| {
            let mut column = group.next_column().unwrap().unwrap();
            write(&mut column);
            column.close().unwrap();
        };
        next(&mut |column| {
            column.typed::<ByteArrayType>().write_batch(&texts(&["x?"]), Some(&[1, 0]), None).map(drop).unwrap();
        });
        next(&mut |column| {
            column.typed::<Int64Type>().write_batch(&[7, 8], Some(&[1, 1]), None).map(drop).unwrap();
        });
        next(&mut |column| {
            column.typed::<DoubleType>().write_batch(&[0.5, 0.1], Some(&[1, 1]), None).map(drop).unwrap();
        });
        let repeated = [0, 1, 1, 1, 0, 1];
        for values in
            [["user", "assistant", "user", "assistant", "user", "assistant"], ["a?", "b", "c?", "d", "e?", "f"]]
        {
            next(&mut |column| {
                let typed = column.typed::<ByteArrayType>();
                typed.write_batch(&texts(&values), Some(&[4; 6]), Some(&repeated)).map(drop).unwrap();
            });
        }
        group.close().unwrap();
        writer.close().unwrap();
        path
    }

    #[test]
    fn rows_are_objects_and_conversations_are_read() {
        let path = file("rows", Compression::SNAPPY);
        let objects = rows(&path).unwrap();
        let want = serde_json::json!({
            "problem": "x?", "expected_answer": 7, "share": 0.5,
            "messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c?"}, {"role": "assistant", "content": "d"}],
        });
        assert_eq!((objects.len(), objects[0].0, Value::from(objects[0].1.clone())), (2, 1, want));
        assert_eq!((objects[1].0, &objects[1].1["problem"]), (2, &Value::Null));
        let turn = |role: &str, content: &str| Turn { role: role.into(), content: content.into() };
        let fields = Fields(vec!["expected=expected_answer".parse().unwrap()]);
        let before = vec![turn("user", "a?"), turn("assistant", "b")];
        let last = Problem { before, expected: Some("7".into()), ..Problem::new("c?", "d") };
        let second = Problem { expected: Some("8".into()), ..Problem::new("e?", "f") };
        assert_eq!(read(&path, &fields).unwrap(), [(1, Problem::new("a?", "b")), (1, last), (2, second)]);
        // Named fields come before the conversation, as in any other form.
        let named = ["question=problem", "answer=expected_answer"].map(|field| field.parse().unwrap());
        let refused = read(&path, &Fields(named.to_vec())).unwrap_err();
        assert!(matches!(refused, Error::Line { line: 2, .. }), "{refused}");
    }

    #[test]
    fn compressed_files_are_read_and_damaged_ones_refused() {
        let levels = [Compression::ZSTD(ZstdLevel::default()), Compression::GZIP(GzipLevel::default())];
        for (i, compression) in levels.into_iter().enumerate() {
            assert_eq!(rows(&file(&format!("compressed-{i}"), compression)).unwrap().len(), 2);
        }
        let path = file("damaged", Compression::UNCOMPRESSED);
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(rows(&path).is_err(), "{length} bytes");
        }
        // Whatever a byte becomes, it is read or refused.
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            std::fs::write(&path, &changed).unwrap();
            let _ = rows(&path);
        }
    }
}
