//! The alphabet of byte-level BPE: each of the 256 bytes has one printable character.
//!
//! Source: `bytes_to_unicode` of GPT-2's encoder. Bytes that Latin-1 prints stand for themselves;
//! the others take the characters from U+0100 on, in their order. So a space is `Ġ` and a newline
//! is `Ċ`.

/// The highest character of the alphabet is U+0143.
const LIMIT: usize = 0x144;

static CHARS: [char; 256] = chars();
static BYTES: [Option<u8>; LIMIT] = bytes();

/// The character that stands for a byte in the vocabularies of byte-level BPE.
pub fn to_char(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The byte that a character stands for, if it stands for one.
pub(super) fn to_byte(c: char) -> Option<u8> {
    BYTES.get(c as usize).copied().flatten()
}

const fn chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let mut others = 0;
    let mut byte = 0;
    while byte < 256 {
        let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if printable { byte } else { 0x100 + others };
        others += !printable as u32;
        chars[byte as usize] = match char::from_u32(code) {
            Some(c) => c,
            None => '\0',
        };
        byte += 1;
    }
    chars
}

const fn bytes() -> [Option<u8>; LIMIT] {
    let mut bytes = [None; LIMIT];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_gpt2s() {
        for (byte, c) in [(b'A', 'A'), (b' ', 'Ġ'), (b'\n', 'Ċ'), (0, 'Ā'), (0xad, 'Ń'), (0xff, 'ÿ'), (0x7f, 'ġ')]
        {
            assert_eq!(to_char(byte), c);
        }
    }

    #[test]
    fn every_byte_comes_back() {
        assert!((0..=255).all(|byte| to_byte(to_char(byte)) == Some(byte)));
        assert!([' ', '中', '\u{ad}', '\u{144}'].into_iter().all(|c| to_byte(c).is_none()));
    }
}
