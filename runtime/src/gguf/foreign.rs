//! What a file is that is none of those that are read.

/// What `bytes`, the beginning of a file, are where a model, its weights or its configuration is
/// expected, with what to do about it; `None` if they are nothing that is known here.
pub fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes[..bytes.len().min(256)].trim_ascii_start().to_ascii_lowercase();
    let starts = |start: &[u8]| bytes.starts_with(start);
    // The size of the header of a safetensors file may look like that, too; then there is JSON.
    let is_pickle = (starts(b"\x80\x02") || starts(b"\x80\x04")) && bytes.get(8) != Some(&b'{');
    if starts(b"version https://git-lfs") {
        Some("a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
    } else if text.starts_with(b"<!doctype html") || text.starts_with(b"<html") {
        Some("an HTML page: the download failed, log in or use another address")
    } else if starts(b"PK\x03\x04") || is_pickle {
        Some("a PyTorch checkpoint: save the model as safetensors and import the folder")
    } else if [&b"lmgg"[..], b"tjgg", b"fmgg", b"algg"].iter().any(|magic| starts(magic)) {
        Some("a model file from before GGUF: convert the original model again")
    } else if starts(b"\x1f\x8b") {
        Some("compressed with gzip: unpack it first")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn files_of_other_kinds_are_named() {
        for (bytes, part) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..], "LFS"),
            (b"\n <!DOCTYPE HTML>\n<title>Sign in</title>", "HTML"),
            (b"PK\x03\x04archive/data.pkl", "PyTorch"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "PyTorch"),
            (b"tjgg\x03\0\0\0", "before GGUF"),
        ] {
            assert!(foreign(bytes).unwrap().contains(part), "{part}");
        }
        for bytes in
            [&b"GGUF\x03\0\0\0"[..], b"", b"{}", b"<", b"\x40\0\0\0\0\0\0\0{\"a\":1}", b"\x80\x02\0\0\0\0\0\0{\"a\""]
        {
            assert_eq!(foreign(bytes), None);
        }
    }
}
