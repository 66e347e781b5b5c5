//! Models in parts, files that other programs write, and edited keys.

use std::process::Command;

use indicatif::ProgressBar;
use ollm_convert::ConvertError;
use ollm_convert::edit::edit;
use ollm_convert::parts::{Cut, join, shard};
use ollm_convert::quantize::{Options, RECIPES, quantize};
use ollm_convert::verify::verify;
use ollm_runtime::gguf::{Array, Gguf, GgufError, Value};
use ollm_runtime::model::{Model, ModelError};
use ollm_runtime::storage::{Storage, StorageError, StorageOptions};

use crate::common::{Folder, model, read, rewrite};

const NAMES: [&str; 3] = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"];

/// A model, whole and in three parts.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("whole.gguf", model(|_, _| ()));
    shard(&folder.join("whole.gguf"), &folder.join("m"), Cut::Tensors(8), false).unwrap();
    folder
}

#[test]
fn parts_have_the_keys_and_tensors_of_the_whole() {
    let folder = folder();
    let (whole_bytes, whole) = read(&folder.join("whole.gguf"));
    assert_eq!(folder.list(), [&NAMES[..], &["whole.gguf"]].concat());
    for copy in [false, true] {
        let options = StorageOptions { copy, ..StorageOptions::default() };
        let storage = options.open(&folder.join(NAMES[0])).unwrap();
        assert_eq!((storage.starts().len(), storage.owned_bytes() > 0), (3, copy));
        let gguf = Gguf::of(&storage).unwrap();
        assert_eq!(gguf.metadata().len(), whole.metadata().len());
        assert!(whole.metadata().iter().all(|(key, value)| gguf.metadata().get(key) == Some(value)));
        for tensor in whole.tensors() {
            let found = gguf.tensor(&tensor.name).unwrap();
            assert_eq!((found.dtype, &found.dims), (tensor.dtype, &tensor.dims));
            assert!(found.bytes(&storage) == tensor.bytes(&whole_bytes), "{}", tensor.name);
        }
        // What was read comes back.
        let before: Vec<u8> = storage.to_vec();
        storage.discard(0..storage.len());
        assert!(before == storage[..]);
    }
    let fingerprint = |name: &str| Model::open(&folder.join(name)).unwrap().weights_fingerprint();
    assert_eq!(fingerprint(NAMES[0]), fingerprint("whole.gguf"));

    let summary = join(&folder.join(NAMES[0]), &folder.join("joined.gguf"), false).unwrap();
    assert_eq!((summary.parts, summary.tensors.tensors), (3, whole.tensors().len()));
    let (joined_bytes, joined) = read(&folder.join("joined.gguf"));
    assert!(joined.metadata().iter().all(|(key, _)| !key.starts_with("split.")));
    for (one, two) in whole.tensors().iter().zip(joined.tensors()) {
        assert!(one.name == two.name && one.bytes(&whole_bytes) == two.bytes(&joined_bytes));
    }
    assert!(verify(&folder.join("joined.gguf")).unwrap().is_good());

    let by_size = shard(&folder.join("whole.gguf"), &folder.join("s.gguf"), Cut::Bytes(600_000), false).unwrap();
    assert!(by_size.parts.len() > 2 && by_size.parts.iter().all(|(_, total)| total.bytes <= 600_000));
    join(&by_size.parts[0].0, &folder.join("again.gguf"), false).unwrap();
    let bytes = std::fs::read(folder.join("again.gguf")).unwrap();
    assert!(bytes == joined_bytes);
}

#[test]
fn a_part_alone_is_refused_and_a_missing_one_is_named() {
    let folder = folder();
    for name in &NAMES[1..] {
        let path = folder.join(name);
        let model = Model::open(&path);
        assert!(matches!(&model, Err(ModelError::Gguf(GgufError::Part { count: 3, .. }))), "{:?}", model.err());
        let recipe = &RECIPES[0];
        let options = Options { recipe, imatrix: None, tensor_types: &[], force: false };
        let error = quantize(&path, &folder.join("out.gguf"), &options, &ProgressBar::hidden()).unwrap_err();
        let first = folder.join(NAMES[0]).display().to_string();
        assert!(error.to_string().contains("name the first part"), "{error}");
        assert!(error.to_string().ends_with(&format!("(the first part here is {first})")), "{error}");
        let error = join(&path, &folder.join("out.gguf"), false).unwrap_err();
        assert!(matches!(error, ConvertError::Gguf { source: GgufError::Part { .. }, .. }), "{error}");
    }
    for name in NAMES {
        // Alone in memory the first part is one too.
        let bytes = std::fs::read(folder.join(name)).unwrap();
        assert!(matches!(Gguf::parse(&bytes), Err(GgufError::Part { count: 3, .. })), "{name}");
    }
    let verified = verify(&folder.join(NAMES[0])).unwrap();
    let tensors = read(&folder.join("whole.gguf")).1.tensors().len();
    assert!(verified.is_good() && verified.tensors == tensors, "{verified:?}");
    assert!(!verify(&folder.join(NAMES[1])).unwrap().is_good());
    let error = join(&folder.join("whole.gguf"), &folder.join("out.gguf"), false).unwrap_err();
    assert!(matches!(error, ConvertError::NotAPart { .. }));

    // Parts in each other's place, or of another model.
    std::fs::copy(folder.join(NAMES[1]), folder.join(NAMES[2])).unwrap();
    assert!(!verify(&folder.join(NAMES[0])).unwrap().is_good());
    let swapped = Model::open(&folder.join(NAMES[0])).unwrap_err();
    assert!(matches!(swapped, ModelError::Gguf(GgufError::OtherPart { number: 3, .. })), "{swapped}");
    std::fs::copy(folder.join("whole.gguf"), folder.join(NAMES[2])).unwrap();
    let other = Model::open(&folder.join(NAMES[0])).unwrap_err();
    assert!(matches!(other, ModelError::Gguf(GgufError::OtherPart { number: 3, .. })), "{other}");
    std::fs::remove_file(folder.join(NAMES[2])).unwrap();
    let missing = Model::open(&folder.join(NAMES[0])).unwrap_err();
    assert!(matches!(&missing, ModelError::Storage(StorageError::Open { path, .. }) if path.ends_with(NAMES[2])));
}

#[test]
fn quantizing_the_first_part_quantizes_the_whole() {
    let folder = folder();
    let recipe = RECIPES.iter().find(|recipe| recipe.name == "Q8_0").unwrap();
    let options = Options { recipe, imatrix: None, tensor_types: &[], force: false };
    for (input, output) in [(NAMES[0], "parts.gguf"), ("whole.gguf", "q8.gguf")] {
        quantize(&folder.join(input), &folder.join(output), &options, &ProgressBar::hidden()).unwrap();
    }
    assert!(std::fs::read(folder.join("parts.gguf")).unwrap() == std::fs::read(folder.join("q8.gguf")).unwrap());
}

#[test]
fn the_command_cuts_joins_and_edits() {
    let folder = folder();
    let run = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_ollm-convert")).current_dir(folder.join("")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (status, text) = run(&["shard", "whole.gguf", "-o", "c", "--max-size", "1M"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(folder.join("c-00001-of-00005.gguf").exists(), "{text}");
    let (status, text) = run(&["shard", "whole.gguf", "-o", "c", "--max-size", "1M"]);
    assert!(status == Some(1) && text.contains("c-00001-of-00005.gguf exists"), "{text}");
    assert_eq!(run(&["join", "c-00001-of-00005.gguf", "-o", "joined.gguf"]).0, Some(0));

    let (status, text) = run(&[
        "set-metadata",
        "whole.gguf",
        "general.name=Mine",
        "llama.context_length=128",
        "-o",
        "named.gguf",
        "--remove",
        "tokenizer.ggml.merges",
    ]);
    assert!(status == Some(0) && text.contains("llama.context_length: 64 -> 128"), "{text}");
    let (_, gguf) = read(&folder.join("named.gguf"));
    assert_eq!(gguf.metadata().get("llama.context_length"), Some(&Value::U32(128)));
    assert_eq!(gguf.metadata().str("general.name").unwrap(), "Mine");
    assert!(gguf.metadata().get("tokenizer.ggml.merges").is_none());
    for (args, part) in [
        (&["general.alignment=48"][..], "power of two"),
        (&["llama.context_length=many"], "is no u32"),
        (&["general.file_type:string=x"], "expected u32"),
        (&["ollm.nonsense=1"], "none that OLLM files have"),
        (&["split.count=3"], "which `ollm-convert shard` makes"),
        (&["--remove", "nothing"], "is not there"),
    ] {
        let (status, text) = run(&[&["set-metadata", "whole.gguf", "-o", "bad.gguf"], args].concat());
        assert!(status == Some(1) && text.contains(part), "{text}");
        assert!(!folder.join("bad.gguf").exists());
    }
}

#[test]
fn one_part_is_a_whole_model() {
    let folder = folder();
    let parts = shard(&folder.join("whole.gguf"), &folder.join("one"), Cut::Tensors(1000), false).unwrap().parts;
    let only = folder.join("one-00001-of-00001.gguf");
    assert!(parts.len() == 1 && parts[0].0 == only);
    assert_eq!(join(&only, &folder.join("joined.gguf"), false).unwrap().parts, 1);
    edit(&only, &folder.join("named.gguf"), &["general.name=a".parse().unwrap()], &[], false).unwrap();
    for name in ["joined.gguf", "named.gguf"] {
        assert!(read(&folder.join(name)).1.metadata().iter().all(|(key, _)| !key.starts_with("split.")), "{name}");
    }
    assert_eq!(shard(&only, &folder.join("m2"), Cut::Tensors(8), false).unwrap().parts.len(), 3);
    join(&folder.join("m2-00001-of-00003.gguf"), &folder.join("again.gguf"), false).unwrap();
    assert!(std::fs::read(folder.join("again.gguf")).unwrap() == std::fs::read(folder.join("joined.gguf")).unwrap());
}

#[test]
fn parts_in_a_folder_are_called_by_the_convention() {
    let folder = folder();
    std::fs::create_dir(folder.join("cut")).unwrap();
    let run = |output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ollm-convert"));
        command.current_dir(folder.join("")).args(["shard", "whole.gguf", "--max-tensors", "12", "-o", output]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    for output in ["cut/", "."] {
        let (status, text) = run(output);
        let first = folder.join(output).join("whole-985K-v1.0-F32-00001-of-00002.gguf");
        assert!(status == Some(0) && first.is_file(), "{text}");
    }
    let (status, text) = run("cut");
    assert!(status == Some(1) && text.contains("exists"), "{text}");
    let (status, text) = run("missing/");
    assert!(status == Some(1) && text.contains("no place for a file"), "{text}");
    assert!(matches!(
        shard(&folder.join("whole.gguf"), &folder.join(".."), Cut::Tensors(8), false),
        Err(ConvertError::NoPlace { .. })
    ));
}

#[test]
fn version_2_is_read_and_a_string_that_nobody_needs_may_be_anything() {
    let mut bytes = rewrite(
        &model(|_, _| ()),
        |_, value| Some(value.clone()),
        &[
            ("general.author", Value::RawString(vec![0xff, 0xfe, b'x'])),
            ("general.tags", Value::Array(Array::RawString(vec![b"fine".to_vec(), vec![0xc0, 0x80]]))),
        ],
    );
    bytes[4] = 2;
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.metadata().get("general.author"), Some(&Value::RawString(vec![0xff, 0xfe, b'x'])));
    assert!(gguf.metadata().str("general.author").is_err());
    assert_eq!(gguf.metadata().get("general.author").unwrap().to_string(), r#""\\xff\\xfex""#);
    Model::from_storage(Storage::from(bytes.clone())).unwrap();
    // What is written again is the same.
    bytes[4] = 3;
    assert!(rewrite(&bytes, |_, value| Some(value.clone()), &[]) == bytes);
    // Where it is needed, it is an error.
    let name = rewrite(
        &bytes,
        |key, value| Some(if key == "general.architecture" { Value::RawString(vec![0xff]) } else { value.clone() }),
        &[],
    );
    let error = Model::from_storage(Storage::from(name)).unwrap_err().to_string();
    assert!(error.contains("general.architecture") && error.contains("not UTF-8"), "{error}");
}

#[test]
fn a_writer_leaves_no_lock() {
    let folder = folder();
    edit(&folder.join("whole.gguf"), &folder.join("x.gguf"), &["general.name=a".parse().unwrap()], &[], false).unwrap();
    assert!(folder.list().iter().all(|name| name.rsplit_once('.').is_some_and(|(_, end)| end == "gguf")));
}

/// Of outputs that belong together, the last cannot be written: it is in a folder that is missing.
#[cfg(unix)]
#[test]
fn where_one_part_cannot_be_written_the_model_that_was_there_stays() {
    let folder = folder();
    let first = std::fs::read(folder.join(NAMES[0])).unwrap();
    std::fs::remove_file(folder.join(NAMES[2])).unwrap();
    std::os::unix::fs::symlink("missing/part", folder.join(NAMES[2])).unwrap();
    let before = folder.list();
    let whole = std::fs::read(folder.join("whole.gguf")).unwrap();
    folder.write("other.gguf", rewrite(&whole, |_, value| Some(value.clone()), &[("a", 1_u32.into())]));
    let error = shard(&folder.join("other.gguf"), &folder.join("m"), Cut::Tensors(8), true).unwrap_err();
    assert!(error.to_string().contains(NAMES[2]), "{error}");
    std::fs::remove_file(folder.join("other.gguf")).unwrap();
    assert_eq!(folder.list(), before);
    assert!(std::fs::read(folder.join(NAMES[0])).unwrap() == first);
}

#[test]
fn no_part_of_the_input_is_an_output() {
    let folder = folder();
    let before = std::fs::read(folder.join(NAMES[1])).unwrap();
    let recipe = &RECIPES[0];
    let options = Options { recipe, imatrix: None, tensor_types: &[], force: true };
    let (first, second) = (folder.join(NAMES[0]), folder.join(NAMES[1]));
    let refused = [
        join(&first, &second, true).map(drop),
        quantize(&first, &second, &options, &ProgressBar::hidden()).map(drop),
        edit(&first, &second, &["general.name=a".parse().unwrap()], &[], true).map(drop),
    ];
    for outcome in refused {
        assert!(matches!(&outcome, Err(ConvertError::OverwritesInput { path }) if *path == second), "{outcome:?}");
    }
    assert!(std::fs::read(&second).unwrap() == before);
}
