//! The wire format of protocol buffers: a message is fields, each with its number, its wire type
//! and its value (<https://protobuf.dev/programming-guides/encoding>).

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    /// An integer or a boolean.
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(super) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn float(self) -> Option<f32> {
        if let Self::Fixed32(bytes) = self { Some(f32::from_le_bytes(bytes)) } else { None }
    }

    /// A number of 32 bits with a sign: negative ones are written with 64 bits.
    pub(super) fn int(self) -> Option<i32> {
        if let Self::Varint(value) = self { i32::try_from(value as i64).ok() } else { None }
    }

    pub(super) fn bool(self) -> Option<bool> {
        if let Self::Varint(value) = self { Some(value != 0) } else { None }
    }
}

/// The fields of a message in their order, each with its number; `None` if the bytes are no
/// message.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => Field::Varint(varint(&mut message)?),
            1 => Field::Fixed64(array(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Field::Bytes(take(&mut message, length)?)
            }
            5 => Field::Fixed32(array(&mut message)?),
            // Groups, which `proto3` and this format's users do not write.
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    message.split_off(..length)
}

fn array<const N: usize>(message: &mut &[u8]) -> Option<[u8; N]> {
    take(message, N)?.try_into().ok()
}

/// Seven bits in each byte, the lowest first; the highest bit says that more follow.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let &byte = message.split_off_first()?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_its_fields() {
        let message =
            b"\x08\x96\x01\x12\x02hi\x1d\0\0\x80\x3f\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x29\x01\0\0\0\0\0\0\0";
        let fields = fields(message).unwrap();
        assert_eq!(fields[0], (1, Field::Varint(150)));
        assert_eq!((fields[1].0, fields[1].1.text()), (2, Some("hi")));
        assert_eq!((fields[2].0, fields[2].1.float()), (3, Some(1.0)));
        assert_eq!((fields[3].0, fields[3].1.int(), fields[3].1.bool()), (4, Some(-1), Some(true)));
        assert_eq!(fields[4], (5, Field::Fixed64([1, 0, 0, 0, 0, 0, 0, 0])));
        assert_eq!(fields[1].1.int(), None);
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_no_message() {
        for bad in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x12\x05hi",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x1d\0",
            b"\x0b",
        ] {
            assert_eq!(fields(bad), None, "{bad:?}");
        }
        assert_eq!(fields(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), None);
    }
}
