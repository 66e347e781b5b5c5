//! The command: exit statuses, and what goes to which stream.

use std::process::{Command, Output};

use crate::common::{Checkpoint, Folder, SWIGLU, backbone, model, read, spec};
use ollm_runtime::gguf::TensorType::{self, Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use ollm_runtime::quant;

fn ollm_convert(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ollm-convert"));
    command.current_dir(folder.join("")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn from_checkpoint_to_merged_file() {
    let folder = Folder::new();
    folder.write("plugin.safetensors", Checkpoint::new(&spec(SWIGLU)).bytes());
    folder.write("backbone.gguf", backbone("llama", TensorType::F16));

    let made = ollm_convert(&folder, &["plugin", ".", "-o", "plugin.gguf", "--type", "q8_0"]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(stdout(&made).contains("note: ollm.policy.out.weight is F16"));
    assert!(stdout(&made).ends_with("wrote plugin.gguf\n"));

    let merged = ollm_convert(&folder, &["merge", "backbone.gguf", "plugin.gguf", "-o", "merged.gguf"]);
    assert!(merged.status.success(), "{}", stderr(&merged));

    let shown = ollm_convert(&folder, &["inspect", "merged.gguf"]);
    assert!(stdout(&shown).contains("plugin: 3 options"), "{}", stdout(&shown));
    let json: serde_json::Value =
        serde_json::from_slice(&ollm_convert(&folder, &["inspect", "merged.gguf", "--json"]).stdout).unwrap();
    assert_eq!(json["plugin"]["options"], 3);
    for output in [made, merged, shown] {
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn a_bad_file_gives_1_and_a_bad_command_line_2() {
    let folder = Folder::new();
    folder.write("cut.gguf", &backbone("llama", TensorType::F16)[..200]);
    let bad = ollm_convert(&folder, &["inspect", "cut.gguf"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(stderr(&bad).starts_with("error: cut.gguf: "), "{}", stderr(&bad));
    assert_eq!(stdout(&bad), "");

    let missing = ollm_convert(&folder, &["plugin", "nowhere", "-o", "x.gguf"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).starts_with("error: nowhere: "), "{}", stderr(&missing));

    let synth = |shape, dtype, output| ["synth", "--shape", shape, "--type", dtype, "-o", output];
    let nowhere = ollm_convert(&folder, &synth("qwen3-0.6b", "Q4_0", "nowhere/x.gguf"));
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("nowhere/x.gguf"), "{}", stderr(&nowhere));

    let (shape, dtype) = (synth("qwen3-9b", "Q4_0", "x"), synth("qwen3-0.6b", "Q2_K", "x"));
    let plugin = ["plugin", ".", "-o", "x", "--type", "q2"];
    for arguments in [&[][..], &["plugin", "."], &plugin, &["inspect"], &shape, &dtype] {
        assert_eq!(ollm_convert(&folder, arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(folder.list(), ["cut.gguf"]);
}

/// A folder with a whole model, `in.gguf`.
fn with_model() -> Folder {
    let folder = Folder::new();
    folder.write("in.gguf", model(|_, _| ()));
    folder
}

/// The values of a tensor of a file.
fn values(folder: &Folder, file: &str, tensor: &str) -> Vec<f32> {
    let (bytes, gguf) = read(&folder.join(file));
    let tensor = gguf.tensor(tensor).unwrap();
    let mut values = vec![f32::NAN; tensor.elements()];
    quant::decode(tensor.dtype, tensor.bytes(&bytes), &mut values).unwrap();
    values
}

/// The root of the mean square of the differences, over that of the values.
fn distance(values: &[f32], stored: &[f32]) -> f32 {
    let square = |x: f32, y: f32| (x - y) * (x - y);
    let error: f32 = values.iter().zip(stored).map(|(&x, &y)| square(x, y)).sum();
    (error / values.iter().map(|x| x * x).sum::<f32>()).sqrt()
}

#[test]
fn every_recipe_gives_matrices_their_types_and_stays_close() {
    let folder = with_model();
    let bound = |dtype| match dtype {
        F32 => 0.0,
        F16 => 0.0005,
        Bf16 => 0.004,
        Q8_0 => 0.006,
        Q6K => 0.02,
        Q5_0 | Q5_1 | Q5K => 0.04,
        Q4_0 | Q4_1 | Q4K => 0.08,
    };
    for (recipe, [embedding, queries, values_0, down_1]) in [
        ("F32", [F32; 4]),
        ("F16", [F16; 4]),
        ("BF16", [Bf16; 4]),
        ("Q8_0", [Q8_0; 4]),
        ("Q4_0", [Q6K, Q4_0, Q4_0, Q4_0]),
        ("Q4_1", [Q6K, Q4_1, Q4_1, Q4_1]),
        ("Q5_0", [Q6K, Q5_0, Q5_0, Q5_0]),
        ("Q5_1", [Q6K, Q5_1, Q5_1, Q5_1]),
        ("Q4_K_S", [Q6K, Q4K, Q5K, Q4K]),
        ("Q4_K_M", [Q6K, Q4K, Q4K, Q6K]),
        ("Q5_K_S", [Q6K, Q5K, Q5K, Q5K]),
        ("q5_k_m", [Q6K, Q5K, Q5K, Q6K]),
        ("Q6_K", [Q6K; 4]),
    ] {
        let made = ollm_convert(&folder, &["quantize", "in.gguf", "out.gguf", "--type", recipe, "--force"]);
        assert!(made.status.success(), "{recipe}: {}", stderr(&made));
        assert!(stdout(&made).ends_with("wrote out.gguf\n"), "{recipe}: {}", stdout(&made));
        let (_, gguf) = read(&folder.join("out.gguf"));
        for (name, dtype) in [
            ("token_embd.weight", embedding),
            ("blk.1.attn_q.weight", queries),
            ("blk.0.attn_v.weight", values_0),
            ("blk.1.ffn_down.weight", down_1),
            ("blk.0.attn_norm.weight", F32),
        ] {
            assert_eq!(gguf.tensor(name).unwrap().dtype, dtype, "{recipe} {name}");
        }
        for tensor in gguf.tensors() {
            let (name, dtype) = (&tensor.name, tensor.dtype);
            assert_eq!(tensor.size, tensor.rows() * dtype.row_bytes(256).unwrap(), "{recipe} {name}");
            let distance = distance(&values(&folder, "in.gguf", name), &values(&folder, "out.gguf", name));
            assert!(distance <= bound(dtype), "{recipe} {name}: {distance}");
        }
    }
}

#[test]
fn importance_of_a_text_changes_what_is_quantized() {
    let folder = with_model();
    folder.write("text.txt", "How many eggs are left? ".repeat(20));
    let gather = |extra: &[&str]| {
        ollm_convert(&folder, &[&["importance", "in.gguf", "-f", "text.txt", "-o", "importance.gguf"], extra].concat())
    };
    let gathered = gather(&[]);
    assert_eq!(stdout(&gathered), "15 matrices, 480 tokens\nwrote importance.gguf\n", "{}", stderr(&gathered));
    let again = gather(&[]);
    assert_eq!((again.status.code(), stdout(&again)), (Some(1), ""));
    assert_eq!(stderr(&again), "error: importance.gguf exists: --force replaces it\n");
    assert!(gather(&["--force"]).status.success());

    let quantize = |output, extra: &[&str]| {
        let made = ollm_convert(&folder, &[&["quantize", "in.gguf", output, "--type", "Q4_K_M"], extra].concat());
        assert!(made.status.success() && !stdout(&made).contains("note:"), "{}{}", stdout(&made), stderr(&made));
    };
    quantize("plain.gguf", &[]);
    quantize("weighted.gguf", &["--importance", "importance.gguf"]);
    let squares = values(&folder, "importance.gguf", "blk.0.ffn_down.weight.in_sum2");
    let matrix = |file| values(&folder, file, "blk.0.ffn_down.weight");
    let [exact, plain, weighted] = ["in.gguf", "plain.gguf", "weighted.gguf"].map(matrix);
    let error = |stored: &[f32]| {
        let columns = squares.iter().cycle().zip(exact.iter().zip(stored));
        columns.map(|(square, (x, y))| square * (x - y) * (x - y)).sum::<f32>()
    };
    assert!(error(&weighted) < error(&plain), "{} {}", error(&weighted), error(&plain));

    folder.write("text.txt", "");
    let empty = gather(&["--force"]);
    assert_eq!((empty.status.code(), stderr(&empty)), (Some(1), "error: text.txt: no text\n"));
}

#[test]
fn quantize_says_what_is_wrong_and_leaves_no_output() {
    let spoil = |name: &str, values: &mut [f32]| {
        if name == "blk.1.ffn_up.weight" {
            values[7 * 256 + 3] = f32::NAN;
        }
    };
    let folder = with_model();
    folder.write("nan.gguf", model(spoil));
    folder.write("old.gguf", "precious");
    for (arguments, status, message) in [
        (&["in.gguf", "old.gguf", "--type", "Q8_0"][..], 1, "error: old.gguf exists: --force replaces it\n"),
        (&["nan.gguf", "out.gguf", "--type", "Q4_K_M"], 1, "tensor \"blk.1.ffn_up.weight\", row 7: "),
        (&["nan.gguf", "old.gguf", "--type", "BF16", "--force"], 1, "tensor \"blk.1.ffn_up.weight\", row 7: "),
        (
            &["in.gguf", "out.gguf", "--type", "Q8_0", "--keep", "blk.2.*=F16"],
            1,
            "no tensor has a name like \"blk.2.*\"",
        ),
        (&["in.gguf", "out.gguf", "--type", "Q8_0", "--importance", "in.gguf"], 1, "in.gguf: not a file of "),
        (&["in.gguf", "in.gguf", "--type", "Q8_0", "--force"], 1, "the output would replace the input in.gguf"),
        (&["in.gguf", "out.gguf", "--type", "Q3_K_M"], 2, "known types: F32, F16, BF16, Q8_0, Q4_0, "),
        (&["in.gguf", "out.gguf", "--type", "Q8_0", "--keep", "blk.0.*"], 2, "PATTERN=TYPE is needed"),
    ] {
        let output = ollm_convert(&folder, &[&["quantize"], arguments].concat());
        assert_eq!((output.status.code(), stdout(&output)), (Some(status), ""), "{arguments:?}");
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(std::fs::read(folder.join("old.gguf")).unwrap(), b"precious");
    assert_eq!(folder.list(), ["in.gguf", "nan.gguf", "old.gguf"]);
}
