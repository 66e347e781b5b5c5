//! The alphabet of byte-level BPE: each of the 256 bytes has one printable character.
//!
//! Source: `bytes_to_unicode` of GPT-2's encoder. Bytes that Latin-1 prints stand for themselves; the others take the
//! characters from U+0100 on, in their order. So a space is `Ġ` and a newline is `Ċ`.

/// The highest character of the alphabet is U+0143.
const LIMIT: usize = 0x144;

static CHARS: [char; 256] = chars();
static BYTES: [Option<u8>; LIMIT] = bytes();

/// The character that stands for a byte.
pub(super) fn to_char(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The bytes that the characters of a token stand for; `None` if one of them stands for none.
pub(super) fn decode(token: &str) -> Option<Vec<u8>> {
    token.chars().map(|c| BYTES.get(c as usize).copied().flatten()).collect()
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
        let all: Vec<u8> = (0..=255).collect();
        let text: String = all.iter().map(|&b| to_char(b)).collect();
        assert_eq!(decode(&text), Some(all));
        assert_eq!(decode("no space"), None);
        assert_eq!(decode("中"), None);
    }
}
