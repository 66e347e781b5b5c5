//! What files differ in.

use crate::common::{Folder, bytes_of, model, read, rewrite};
use ollm_convert::diff::{Change, Distance, diff};
use ollm_convert::pack;
use ollm_runtime::gguf::{TensorType, Value, Writer};

/// A file of one matrix of 2 rows.
fn file(values: [f32; 4], dtype: TensorType) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.set("general.architecture", "none").unwrap();
    let bytes = ollm_runtime::quant::encode(dtype, &values).unwrap();
    writer.tensor("matrix", &[2, 2], dtype, bytes).unwrap();
    writer.to_bytes()
}

fn distance(a: &[u8], b: &[u8]) -> Option<Distance> {
    let folder = Folder::new();
    let report = diff(&folder.write("a", a), &folder.write("b", b)).unwrap();
    match &report.tensors[..] {
        [] => None,
        [change] => match &change.how {
            Change::Changed(change) => change.distance,
            how => panic!("{how:?}"),
        },
        more => panic!("{more:?}"),
    }
}

#[test]
fn the_numbers_are_those_of_the_differences() {
    let a = file([3.0, 0.0, 0.0, 4.0], TensorType::F32);
    assert_eq!(distance(&a, &a), None);
    let found = distance(&a, &file([3.0, 1.0, 0.0, 2.0], TensorType::F32)).unwrap();
    assert_eq!((found.max, found.rms), (2.0, (5.0_f64 / 4.0).sqrt()));
    assert!((found.relative - (5.0_f64 / 25.0).sqrt()).abs() < 1e-12);
    // Another type that holds the same numbers is a change all the same.
    let same = distance(&a, &file([3.0, 0.0, 0.0, 4.0], TensorType::F16));
    assert_eq!(same, Some(Distance { max: 0.0, rms: 0.0, relative: 0.0 }));
}

#[test]
fn numbers_that_are_none_are_not_passed_over() {
    let folder = Folder::new();
    let written = |name: &str, values: [f32; 3]| {
        let mut writer = Writer::new();
        writer.tensor("t", &[3], TensorType::F32, bytes_of(values.into_iter())).unwrap();
        folder.write(name, writer.to_bytes())
    };
    let (a, b) = (written("a", [1.0, 2.0, 3.0]), written("b", [1.0, f32::NAN, 3.5]));
    let report = diff(&a, &b).unwrap();
    let Change::Changed(change) = &report.tensors[0].how else { panic!("{report:?}") };
    let found = change.distance.unwrap();
    assert!(found.max.is_nan() && found.rms.is_nan() && found.relative.is_nan(), "{found:?}");
    assert!(report.json()["tensors"][0]["max"].is_null());
}

#[test]
fn keys_and_tensors_of_one_file_alone_are_told() {
    let folder = Folder::new();
    let good = model(|_, _| ());
    let edit = |key: &str, value: &Value| match key {
        "llama.context_length" => None,
        "tokenizer.ggml.token_type" => {
            let mut kinds = vec![1_i32; 257];
            kinds[200] = 3;
            Some(kinds.into())
        }
        _ => Some(value.clone()),
    };
    let (a, b) = (folder.write("a", &good), folder.write("b", rewrite(&good, edit, &[("new", true.into())])));
    let report = diff(&a, &b).unwrap();
    assert!(!report.is_same() && report.tensors.is_empty());
    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "key    - llama.context_length",
            "key    ~ tokenizer.ggml.token_type: an array of 257 i32, item 200 1 -> an array of 257 i32, item 200 3",
            "key    + new",
        ]
    );
    let json = report.json();
    assert_eq!((&json["same"], &json["keys"][2]["change"]), (&false.into(), &"added".into()));
}

#[test]
fn packing_changes_layouts_and_no_number() {
    let folder = Folder::new();
    let plain = folder.write("plain", model(|_, _| ()));
    let (quantized, packed) = (folder.join("q"), folder.join("packed"));
    let recipe = ollm_convert::quantize::RECIPES.iter().find(|recipe| recipe.name == "Q5_K_M").unwrap();
    let options = ollm_convert::quantize::Options { recipe, imatrix: None, tensor_types: &[], force: false };
    ollm_convert::quantize::quantize(&plain, &quantized, &options, &indicatif::ProgressBar::hidden()).unwrap();
    pack::pack(&quantized, &packed, false).unwrap();
    let report = diff(&quantized, &packed).unwrap();
    assert_eq!(report.tensors.len(), 15);
    for change in &report.tensors {
        let Change::Changed(change) = &change.how else { panic!("{change:?}") };
        assert_eq!(change.distance, Some(Distance { max: 0.0, rms: 0.0, relative: 0.0 }));
        assert_ne!(change.before.layout, change.after.layout);
    }
    let far = diff(&plain, &quantized).unwrap();
    for change in &far.tensors {
        let Change::Changed(change) = &change.how else { panic!("{change:?}") };
        let Distance { max, rms, relative } = change.distance.unwrap();
        assert!(0.0 < rms && rms < max && (0.001..0.1).contains(&relative), "{rms} {max} {relative}");
    }
    assert_eq!(read(&plain).1.tensors().len() - far.tensors.len(), 5, "norms are as they were");
}
