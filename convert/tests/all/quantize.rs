//! Quantization of tiny files: types, sizes, values, and what is refused.

use std::path::PathBuf;

use indicatif::ProgressBar;
use ollm_convert::ConvertError;
use ollm_convert::quantize::{Options, Pattern, QuantizeSummary, RECIPES, TypeRule, dry_run, quantize};
use ollm_runtime::gguf::{Array, TensorType, Value, Writer};
use ollm_runtime::quant::{self, QuantError};

use crate::common::{Folder, backbone, bytes_of, floats, read, rewrite};

fn options<'a>(name: &str, keep: &'a [TypeRule]) -> Options<'a> {
    let recipe = RECIPES.iter().find(|recipe| recipe.name == name).unwrap();
    Options { recipe, imatrix: None, tensor_types: keep, force: false }
}

fn run(folder: &Folder, options: &Options<'_>) -> Result<QuantizeSummary, ConvertError> {
    quantize(&folder.join("in.gguf"), &folder.join("out.gguf"), options, &ProgressBar::hidden())
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("in.gguf", backbone("llama", TensorType::F16));
    folder
}

#[test]
fn every_recipe_gives_close_values_and_leaves_the_rest_alone() {
    for (name, dtype, file_type) in [
        ("F16", TensorType::F16, 1),
        ("BF16", TensorType::Bf16, 32),
        ("Q8_0", TensorType::Q8_0, 7),
        // The embedding is the head too, and its rows of 64 are no blocks of 256.
        ("Q4_0", TensorType::Q8_0, 2),
        ("Q4_K_M", TensorType::Q8_0, 15),
        ("Q6_K", TensorType::Q8_0, 18),
    ] {
        let folder = folder();
        run(&folder, &options(name, &[])).unwrap();
        let ((before, input), (after, output)) = (read(&folder.join("in.gguf")), read(&folder.join("out.gguf")));
        assert_eq!(output.metadata().u32("general.file_type").unwrap(), file_type);
        assert_eq!(output.metadata().u32("general.quantization_version").unwrap(), 2);
        for (key, value) in input.metadata().iter() {
            assert_eq!(output.metadata().get(key), Some(value), "{key}");
        }
        for (old, new) in input.tensors().iter().zip(output.tensors()) {
            assert_eq!((&old.name, &old.dims), (&new.name, &new.dims));
            if old.dims.len() == 1 {
                assert_eq!((old.dtype, old.bytes(&before)), (new.dtype, new.bytes(&after)));
                continue;
            }
            assert_eq!(new.dtype, dtype, "{name}");
            let mut values = vec![0.0; new.elements()];
            quant::decode(new.dtype, new.bytes(&after), &mut values).unwrap();
            assert!(values.iter().zip(floats(values.len())).all(|(x, y)| (x - y).abs() < 0.01), "{name}");
        }
    }
}

#[test]
fn patterns_choose_types_and_the_last_one_counts() {
    let keep = [".=Q8_0", "^token=Q4_1"].map(|text| text.parse().unwrap());
    let folder = folder();
    run(&folder, &options("F16", &keep)).unwrap();
    let (_, output) = read(&folder.join("out.gguf"));
    assert_eq!(output.tensor("token_embd.weight").unwrap().dtype, TensorType::Q4_1);
    let nothing = ["^blk\\.9=Q8_0".parse().unwrap()];
    let error = quantize(&folder.join("in.gguf"), &folder.join("x"), &options("F16", &nothing), &ProgressBar::hidden());
    assert!(matches!(error, Err(ConvertError::NoSuchTensor { pattern }) if pattern == "^blk\\.9"));
}

/// The importance of the embedding's columns, as `imatrix` files have it.
fn importance(folder: &Folder, sums: impl Iterator<Item = f32>) -> PathBuf {
    let mut writer = Writer::new();
    writer.set("general.type", "imatrix").unwrap();
    let sums = bytes_of(sums);
    let dims = [sums.len() as u64 / 4, 1];
    writer.tensor("token_embd.weight.in_sum2", &dims, TensorType::F32, sums).unwrap();
    writer.tensor("token_embd.weight.counts", &[1, 1], TensorType::F32, bytes_of([2.0].into_iter())).unwrap();
    folder.write("importance.gguf", writer.to_bytes())
}

#[test]
fn importance_changes_what_is_written_and_is_checked() {
    let keep = ["token*=Q4_0".parse().unwrap()];
    let folder = folder();
    run(&folder, &options("F16", &keep)).unwrap();
    let plain = read(&folder.join("out.gguf")).0;
    let with = |path: &PathBuf| run(&folder, &Options { imatrix: Some(path), force: true, ..options("F16", &keep) });
    with(&importance(&folder, (0..64).map(|i| if i % 5 == 0 { 100.0 } else { 0.1 }))).unwrap();
    assert_ne!(read(&folder.join("out.gguf")).0, plain);

    // The form before GGUF: the sums over calls, and the calls.
    let sums = || (0..64).map(|i| if i % 5 == 0 { 100.0 } else { 0.1 });
    let new = read(&folder.join("out.gguf")).0;
    let name = b"token_embd.weight";
    let counts = [1, name.len() as i32].map(i32::to_le_bytes).concat();
    let old = [&counts[..], name, &[2_i32, 64].map(i32::to_le_bytes).concat(), &bytes_of(sums())].concat();
    let trailing = [&old[..], &[2_i32, 4].map(i32::to_le_bytes).concat(), b"text"].concat();
    for bytes in [&old, &trailing] {
        with(&folder.write("imatrix.dat", bytes)).unwrap();
        assert!(read(&folder.join("out.gguf")).0 == new);
    }
    for length in 0..old.len() {
        let error = with(&folder.write("imatrix.dat", &old[..length])).unwrap_err();
        let has_name = length >= 8 + name.len();
        assert_eq!(matches!(error, ConvertError::BadImatrix { .. }), has_name, "{length} bytes: {error}");
    }

    let other = with(&importance(&folder, (0..32).map(|_| 1.0)));
    assert!(matches!(other, Err(ConvertError::OtherImatrix { cols: 64, found: 32, .. })));
    let negative = with(&importance(&folder, (0..64).map(|_| -1.0)));
    assert!(matches!(negative, Err(ConvertError::BadImatrix { .. })));
    assert!(matches!(
        with(&folder.join("in.gguf")),
        Err(ConvertError::OverwritesInput { .. } | ConvertError::OtherKind { .. })
    ));
}

#[test]
fn a_dry_run_tells_the_size_of_the_file() {
    let folder = folder();
    let keep = [TypeRule { pattern: Pattern::Head, dtype: TensorType::Q4_1 }];
    let planned = dry_run(&folder.join("in.gguf"), &options("F16", &keep)).unwrap();
    assert_eq!(folder.list(), ["in.gguf"]);
    let written = run(&folder, &options("F16", &keep)).unwrap();
    let (bytes, output) = read(&folder.join("out.gguf"));
    assert_eq!((planned.bytes, written.bytes), (bytes.len(), bytes.len()));
    // The head is the embedding.
    assert_eq!(output.tensor("token_embd.weight").unwrap().dtype, TensorType::Q4_1);
    assert!(planned.table().to_string().contains("token_embd.weight"));
}

#[test]
fn keys_that_verify_refuses_are_refused() {
    let folder = Folder::new();
    let bytes = backbone("llama", TensorType::F16);
    folder.write("in.gguf", rewrite(&bytes, |_, value| Some(value.clone()), &[("ollm.typo", Value::U32(1))]));
    let error = run(&folder, &options("Q8_0", &[])).unwrap_err();
    assert!(matches!(&error, ConvertError::BadKey { reason, .. } if reason.contains("ollm.typo")), "{error}");
    let types = Value::Array(Array::I32(vec![1; 95]));
    folder.write("in.gguf", rewrite(&bytes, |_, value| Some(value.clone()), &[("tokenizer.ggml.token_type", types)]));
    let error = run(&folder, &options("Q8_0", &[])).unwrap_err();
    assert!(matches!(&error, ConvertError::BadKey { reason, .. } if reason.contains("for 96 tokens")), "{error}");
    assert_eq!(folder.list(), ["in.gguf"]);
}

#[test]
fn an_output_that_exists_or_is_the_input_is_refused() {
    let folder = folder();
    folder.write("out.gguf", "precious");
    assert!(matches!(run(&folder, &options("Q8_0", &[])), Err(ConvertError::OutputExists { .. })));
    let input = folder.join("in.gguf");
    let forced = Options { force: true, ..options("Q8_0", &[]) };
    let same = quantize(&input, &input, &forced, &ProgressBar::hidden());
    assert!(matches!(same, Err(ConvertError::OverwritesInput { .. })));
    run(&folder, &forced).unwrap();
}

#[test]
fn a_value_that_is_not_finite_is_named_and_nothing_is_written() {
    for name in ["Q8_0", "F16"] {
        let folder = Folder::new();
        let mut writer = Writer::new();
        writer.set("general.architecture", "llama").unwrap();
        let values = floats(96 * 64).enumerate().map(|(i, x)| if i == 70 * 64 + 3 { f32::NAN } else { x });
        let bytes: Vec<u8> = values.flat_map(|x| half(x).to_le_bytes()).collect();
        writer.tensor("token_embd.weight", &[64, 96], TensorType::F16, bytes).unwrap();
        folder.write("in.gguf", writer.to_bytes());
        let error = run(&folder, &options(name, &[])).unwrap_err();
        let expected =
            matches!(&error, ConvertError::Row { row: 70, source: QuantError::NotFinite { index: 3, .. }, .. });
        assert!(expected, "{error:?}");
        assert_eq!(folder.list(), ["in.gguf"]);
    }
}

/// The 16-bit float of a number that [`floats`] makes, or NaN.
fn half(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7e00;
    }
    let bytes = quant::encode(TensorType::F16, &[x]).unwrap();
    u16::from_le_bytes([bytes[0], bytes[1]])
}
