//! No file makes the GGUF parser panic, and every tensor it accepts lies inside the file.

use ollm_runtime::gguf::{Gguf, TensorInfo};
use ollm_tests::badfiles::{corpus, good};

#[test]
fn the_good_file_is_good() {
    let bytes = good();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!((gguf.metadata().len(), gguf.tensors().len()), (5, 2));
}

#[test]
fn each_bad_file_is_refused_for_the_right_reason() {
    for file in corpus() {
        let error = Gguf::parse(&file.bytes).expect_err(file.name);
        assert!((file.expect)(&error), "{}: {error:?}", file.name);
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn mutations_never_panic_and_tensors_stay_inside_the_file() {
    let good = good();
    let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        if let Ok(gguf) = Gguf::parse(&bytes) {
            check(&gguf, &bytes);
        }
    }
}

fn check(gguf: &Gguf, bytes: &[u8]) {
    let mut spans: Vec<(usize, usize)> = gguf.tensors().iter().map(|t| (t.offset, t.offset + t.size)).collect();
    spans.sort_unstable();
    assert!(spans.iter().all(|&(start, end)| start < end && end <= bytes.len()));
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    for tensor in gguf.tensors() {
        check_tensor(tensor, bytes);
    }
}

fn check_tensor(tensor: &TensorInfo, bytes: &[u8]) {
    assert_eq!(tensor.bytes(bytes).len(), tensor.size);
    assert_eq!(tensor.layout.size(tensor.dtype, tensor.rows(), tensor.cols()).unwrap(), tensor.size);
}

/// Flips a bit, sets a byte or a word to an extreme value, cuts the end off, removes or inserts a
/// byte.
fn mutate(bytes: &mut Vec<u8>, random: &mut Xorshift) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
        2 => bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xFF),
        3 => bytes.truncate(at),
        4 => drop(bytes.remove(at)),
        _ => bytes.insert(at, random.below(256) as u8),
    }
}

/// Marsaglia's xorshift: enough for tests, and the same everywhere.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
