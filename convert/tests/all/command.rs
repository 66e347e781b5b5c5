//! The command: exit statuses, and what goes to which stream.

use std::process::{Command, Output};

use crate::common::{Checkpoint, Folder, SWIGLU, backbone, model, read, spec, spec_of};
use ollm_runtime::gguf::TensorType::{
    self, Bf16, F16, F32, Iq4Nl, Iq4Xs, Mxfp4, Q2_0, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0,
};
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

/// An input behind a pipe is read once; it has no name that an output could be called after.
#[cfg(unix)]
#[test]
fn inputs_are_read_from_pipes() {
    let folder = Folder::new();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/tiny/llama.gguf");
    folder.write("model.gguf", std::fs::read(golden).unwrap());
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.current_dir(folder.join("")).env("CONVERT", env!("CARGO_BIN_EXE_ollm-convert"));
        command.args(["-c", script]).output().unwrap()
    };
    for script in [
        "$CONVERT quantize model.gguf a.gguf --type Q8_0",
        "cat model.gguf | $CONVERT quantize /dev/stdin b.gguf --type Q8_0",
        "cat model.gguf | $CONVERT verify /dev/stdin",
        "cat model.gguf | $CONVERT inspect /dev/stdin",
        "cat a.gguf | $CONVERT diff /dev/stdin b.gguf",
    ] {
        let done = shell(script);
        assert!(done.status.success(), "{script}: {}", stderr(&done));
    }
    assert_eq!(std::fs::read(folder.join("a.gguf")).unwrap(), std::fs::read(folder.join("b.gguf")).unwrap());
    let nameless = shell("cat model.gguf | $CONVERT quantize /dev/stdin --type Q8_0");
    assert_eq!(nameless.status.code(), Some(1));
    assert!(stderr(&nameless).contains("a pipe has no name"), "{}", stderr(&nameless));
}

#[test]
fn types_that_cannot_be_read_are_listed() {
    let folder = Folder::new();
    // The type of the first tensor, 4 bytes behind its name, its rank and its two dimensions.
    let mut strange = backbone("llama", TensorType::F16);
    let name = b"token_embd.weight";
    let at = strange.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len() + 4 + 2 * 8;
    strange[at..at + 4].copy_from_slice(&24_u32.to_le_bytes());
    folder.write("strange.gguf", strange);
    let shown = ollm_convert(&folder, &["inspect", "strange.gguf"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("not read: tensor \"token_embd.weight\" has type I8"), "{text}");
    assert!(text.contains("output_norm.weight"), "{text}");
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

    let (shape, dtype) = (synth("qwen3-9b", "Q4_0", "x"), synth("qwen3-0.6b", "Q9_K", "x"));
    let plugin = ["plugin", ".", "-o", "x", "--type", "q2"];
    for arguments in [&[][..], &["plugin"], &plugin, &["inspect"], &["split", "x"], &["diff", "x"], &shape, &dtype] {
        assert_eq!(ollm_convert(&folder, arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(folder.list(), ["cut.gguf"]);
}

#[test]
fn verify_lists_all_faults_and_says_so_with_its_status() {
    let folder = with_model();
    let good = ollm_convert(&folder, &["verify", "in.gguf"]);
    assert_eq!((good.status.code(), stderr(&good)), (Some(0), ""));
    assert!(stdout(&good).ends_with("good: 20 tensors, 3,943,616 bytes\n"), "{}", stdout(&good));
    let spoil = |_: &str, values: &mut [f32]| values[300] = f32::NAN;
    folder.write("bad.gguf", [model(spoil), vec![0; 33]].concat());
    let bad = ollm_convert(&folder, &["verify", "bad.gguf"]);
    assert_eq!((bad.status.code(), stderr(&bad)), (Some(1), ""));
    let lines: Vec<&str> = stdout(&bad).lines().collect();
    assert_eq!(lines.len(), 15 + 1 + 1 + 1, "15 matrices, the end, a note, the sum: {lines:?}");
    assert_eq!(lines[1], "values: tensor \"token_embd.weight\", row 1: value 44 is NaN");
    let json = ollm_convert(&folder, &["verify", "bad.gguf", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["good"], json["findings"].as_array().unwrap().len()), (&false.into(), 16));
    assert_eq!(json["findings"][1]["row"], 1);
    let missing = ollm_convert(&folder, &["verify", "nothing.gguf"]);
    assert!(stderr(&missing).starts_with("error: nothing.gguf: ") && missing.status.code() == Some(1));
}

#[test]
fn diff_tells_what_differs_with_its_status() {
    let folder = with_model();
    folder.write("same.gguf", model(|_, _| ()));
    folder.write("other.gguf", model(|name, values| values[0] += f32::from(name == "blk.1.attn_k.weight")));
    let same = ollm_convert(&folder, &["diff", "in.gguf", "same.gguf"]);
    assert_eq!((same.status.code(), stdout(&same)), (Some(0), "same\n"));
    let other = ollm_convert(&folder, &["diff", "in.gguf", "other.gguf"]);
    assert_eq!((other.status.code(), stdout(&other).lines().count()), (Some(1), 1));
    assert!(
        stdout(&other).contains("~ blk.1.attn_k.weight: F32 [256, 256], max 1.000e0, rms 3.906e-3"),
        "{}",
        stdout(&other)
    );
    let json = ollm_convert(&folder, &["diff", "in.gguf", "other.gguf", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &document["tensors"][0]["max"]), (Some(1), &1.0.into()));
    for files in [["in.gguf", "nothing.gguf"], ["nothing.gguf", "in.gguf"]] {
        let trouble = ollm_convert(&folder, &["diff", files[0], files[1]]);
        assert_eq!((trouble.status.code(), stdout(&trouble)), (Some(2), ""));
    }
}

#[test]
fn outputs_without_a_name_are_called_by_the_convention() {
    let folder = with_model();
    std::fs::create_dir(folder.join("out")).unwrap();
    folder.write("plugin.safetensors", Checkpoint::new(&spec(SWIGLU)).set("general.name", "tiny thing").bytes());
    for (arguments, name) in [
        (&["quantize", "in.gguf", "--type", "Q4_0"][..], "in-985K-v1.0-Q4_0.gguf"),
        (&["quantize", "in.gguf", "out", "--type", "q8_0"], "out/in-985K-v1.0-Q8_0.gguf"),
        (&["pack", "out/in-985K-v1.0-Q8_0.gguf"], "in-985K-v1.0-Q8_0_packed.gguf"),
        (&["unpack", "in-985K-v1.0-Q8_0_packed.gguf"], "in-985K-v1.0-Q8_0.gguf"),
        (&["plugin", ".", "-o", "out"], "out/tiny-thing-12K-v1.0-F16-OLLM.gguf"),
    ] {
        let made = ollm_convert(&folder, arguments);
        assert!(made.status.success(), "{arguments:?}: {}", stderr(&made));
        assert!(stdout(&made).ends_with(&format!("wrote {name}\n")), "{arguments:?}: {}", stdout(&made));
        assert!(folder.join(name).is_file() && !stdout(&made).contains("the name says"));
        // What is there stays, unless it is said otherwise.
        let again = ollm_convert(&folder, arguments);
        assert_eq!(stderr(&again), format!("error: {name} exists: --force replaces it\n"));
        assert!(ollm_convert(&folder, &[arguments, &["--force"]].concat()).status.success());
    }
    let lie = ollm_convert(&folder, &["quantize", "in.gguf", "model-Q4_0.gguf", "--type", "Q8_0"]);
    assert!(stdout(&lie).contains("note: the name says Q4_0, the file is Q8_0\n"), "{}", stdout(&lie));
}

#[test]
fn several_types_are_written_or_none() {
    let folder = with_model();
    let quantize = |types: &str, more: &[&str]| {
        ollm_convert(&folder, &[&["quantize", "in.gguf", "-o", ".", "--type", types], more].concat())
    };
    let [q8, q4] = ["Q8_0", "Q4_0"].map(|name| format!("in-985K-v1.0-{name}.gguf"));
    assert!(quantize("Q4_0", &[]).status.success());
    let late = quantize("Q8_0,Q4_0", &[]);
    assert_eq!(
        (late.status.code(), stderr(&late)),
        (Some(1), &*format!("error: ./{q4} exists: --force replaces it\n"))
    );
    let twice = quantize("Q8_0,q8_0", &["--force"]);
    assert!(twice.status.code() == Some(1) && stderr(&twice).contains("cannot be two outputs"), "{}", stderr(&twice));
    assert_eq!(folder.list(), [&*q4, "in.gguf"]);
    assert!(quantize("Q8_0,Q4_0", &["--force"]).status.success());
    assert_eq!(folder.list(), [&*q4, &q8, "in.gguf"]);
}

#[test]
fn a_merged_file_is_split_again() {
    let folder = with_model();
    let bytes = std::fs::read(folder.join("in.gguf")).unwrap();
    folder.write("plugin.safetensors", Checkpoint::new(&spec_of(&bytes, SWIGLU)).bytes());
    for arguments in [
        &["plugin", ".", "-o", "plugin.gguf"][..],
        &["merge", "in.gguf", "plugin.gguf", "-o", "merged.gguf"],
        &["verify", "merged.gguf"],
        &["split", "merged.gguf", "-o", "p.gguf", "--backbone", "b.gguf"],
        &["diff", "p.gguf", "plugin.gguf"],
        &["diff", "b.gguf", "in.gguf"],
    ] {
        let output = ollm_convert(&folder, arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    }
    for arguments in [
        &["merge", "in.gguf", "plugin.gguf", "-o", "merged.gguf"][..],
        &["split", "merged.gguf", "-o", "p.gguf"],
        &["split", "merged.gguf", "-o", "new.gguf", "--backbone", "b.gguf"],
        &["synth", "--shape", "qwen3-0.6b", "--type", "Q4_0", "-o", "b.gguf"],
    ] {
        let output = ollm_convert(&folder, arguments);
        assert!(stderr(&output).ends_with(" exists: --force replaces it\n"), "{arguments:?}: {}", stderr(&output));
    }
    let tensors = ollm_convert(&folder, &["inspect", "p.gguf", "--tensors", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&tensors.stdout).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["name"]), (16, &"ollm.decoder.norm.weight".into()));
    let table = ollm_convert(&folder, &["inspect", "p.gguf", "--tensors"]);
    assert_eq!(stdout(&table).lines().count(), 17);
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
        Q4_0 | Q4_1 | Q4K | Iq4Nl | Iq4Xs => 0.08,
        Mxfp4 => 0.12,
        Q3K => 0.16,
        Q2K => 0.3,
        _ => 0.6,
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
        ("Q2_K", [Q6K, Q2K, Q3K, Q3K]),
        ("Q3_K_S", [Q6K, Q3K, Q3K, Q3K]),
        ("Q3_K_M", [Q6K, Q3K, Q5K, Q4K]),
        ("Q3_K_L", [Q6K, Q3K, Q5K, Q5K]),
        ("IQ4_NL", [Q6K, Iq4Nl, Iq4Nl, Iq4Nl]),
        ("IQ4_XS", [Q6K, Iq4Xs, Iq4Xs, Iq4Xs]),
        ("MXFP4", [Q8_0, Mxfp4, Mxfp4, Mxfp4]),
        ("MXFP4_MOE", [Q8_0; 4]),
        ("Q2_0", [Q6K, Q2_0, Q2_0, Q2_0]),
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
        ollm_convert(&folder, &[&["imatrix", "in.gguf", "-f", "text.txt", "-o", "importance.gguf"], extra].concat())
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
    quantize("weighted.gguf", &["--imatrix", "importance.gguf"]);
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
fn files_of_another_kind_are_refused_for_what_they_are() {
    let folder = with_model();
    folder.write("text.txt", "How many eggs are left? ".repeat(20));
    folder.write("some.safetensors", Checkpoint::new(&spec(SWIGLU)).bytes());
    for made in [
        &["imatrix", "in.gguf", "-f", "text.txt", "-o", "imatrix.gguf"][..],
        &["plugin", "some.safetensors", "-o", "plugin.gguf"],
    ] {
        assert!(ollm_convert(&folder, made).status.success());
    }
    let before = folder.list();
    for (arguments, message) in [
        (
            &["quantize", "imatrix.gguf", "out.gguf", "--type", "Q8_0"][..],
            "imatrix.gguf: is an importance matrix; expected a backbone or a backbone merged with a plugin",
        ),
        (&["quantize", "plugin.gguf", "out.gguf", "--type", "Q8_0"], "plugin.gguf: is an OLLM plugin; expected a back"),
        (&["quantize", "in.gguf", "out.gguf", "--type", "Q8_0", "--imatrix", "plugin.gguf"], "is an OLLM plugin; exp"),
        (
            &["quantize", "in.gguf", "out.gguf", "--type", "F16", "--imatrix", "imatrix.gguf"],
            "imatrix.gguf: the importance matrix has no effect",
        ),
        (&["imatrix", "plugin.gguf", "-f", "text.txt", "-o", "out.gguf"], "plugin.gguf: is an OLLM plugin; expected a"),
        (&["merge", "in.gguf", "imatrix.gguf", "-o", "out.gguf"], "is an importance matrix; expected an OLLM plugin"),
        (&["merge", "plugin.gguf", "in.gguf", "-o", "out.gguf"], "plugin.gguf: is an OLLM plugin; expected a backbone"),
        (&["split", "imatrix.gguf", "-o", "out.gguf"], "expected a backbone merged with a plugin"),
        (&["pack", "imatrix.gguf", "-o", "out.gguf"], "imatrix.gguf: is an importance matrix; expected a backbone"),
        (&["plugin", "plugin.gguf", "-o", "out.gguf"], "plugin.gguf: is a GGUF file; expected a trainer's checkpoint"),
    ] {
        let output = ollm_convert(&folder, arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""), "{arguments:?}");
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(folder.list(), before);
    // A model that cannot be run is named too.
    folder.write("bare.gguf", ollm_runtime::gguf::Writer::new().to_bytes());
    let output = ollm_convert(&folder, &["imatrix", "bare.gguf", "-f", "text.txt", "-o", "out.gguf"]);
    assert!(stderr(&output).starts_with("error: bare.gguf: "), "{}", stderr(&output));
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
            &["in.gguf", "out.gguf", "--type", "Q8_0", "--tensor-type", "blk.2.=F16"],
            1,
            "no matrix that can be quantized has a name like \"blk.2.\"",
        ),
        (&["in.gguf", "out.gguf", "--type", "Q8_0", "--tensor-type", "norm=F16"], 1, "no matrix that can be quantized"),
        (&["in.gguf", "none/out.gguf", "--type", "Q8_0"], 1, "none/out.gguf: no place for a file"),
        (&["in.gguf", "/dev/null", "--type", "Q8_0", "--force"], 1, "/dev/null: no place for a file"),
        (
            &["in.gguf", "out.gguf", "--type", "Q8_0", "--imatrix", "in.gguf"],
            1,
            "in.gguf: is a backbone; expected an importance matrix",
        ),
        (&["in.gguf", "in.gguf", "--type", "Q8_0", "--force"], 1, "the output would replace the input in.gguf"),
        (&["in.gguf", "out.gguf", "--type", "IQ2_XXS"], 2, "known types: F32, F16, BF16, Q8_0, Q4_0, "),
        (&["in.gguf", "out.gguf", "--type", "Q8_0", "--tensor-type", "blk.0."], 2, "PATTERN=TYPE is needed"),
    ] {
        let output = ollm_convert(&folder, &[&["quantize"], arguments].concat());
        assert_eq!((output.status.code(), stdout(&output)), (Some(status), ""), "{arguments:?}");
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(std::fs::read(folder.join("old.gguf")).unwrap(), b"precious");
    assert_eq!(folder.list(), ["in.gguf", "nan.gguf", "old.gguf"]);
}

/// Files may have few kilobytes, as on a full disk; `trap` is what the shell does about the signal
/// of that.
#[cfg(unix)]
fn with_little_room(folder: &Folder, trap: &str, arguments: &[&str]) -> Output {
    let script = format!("{trap} ulimit -f 8; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.current_dir(folder.join("")).args(["-c", &script, env!("CARGO_BIN_EXE_ollm-convert")]);
    command.args(arguments).output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_full_disk_and_a_killed_run_leave_the_output_as_it_was() {
    let folder = with_model();
    folder.write("old.gguf", "precious");
    let arguments = ["quantize", "in.gguf", "old.gguf", "--type", "F16", "--force"];
    let full = with_little_room(&folder, "trap '' XFSZ;", &arguments);
    assert_eq!((full.status.code(), stdout(&full)), (Some(1), ""));
    assert!(stderr(&full).contains("error: "), "{}", stderr(&full));
    assert_eq!(folder.list(), ["in.gguf", "old.gguf"]);
    // Without the trap, the signal kills in the middle of writing.
    let killed = with_little_room(&folder, "", &arguments);
    assert_eq!(killed.status.code(), None);
    assert_eq!(std::fs::read(folder.join("old.gguf")).unwrap(), b"precious");
    // Elsewhere, a file may be left that does not bear the output's name.
    if cfg!(target_os = "linux") {
        assert_eq!(folder.list(), ["in.gguf", "old.gguf"]);
    }
    let again = ollm_convert(&folder, &arguments);
    assert!(again.status.success(), "{}", stderr(&again));
    let sound = ollm_convert(&folder, &["verify", "old.gguf"]);
    assert!(sound.status.success(), "{}", stdout(&sound));
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_an_output_that_is_there() {
    let folder = with_model();
    std::os::unix::fs::symlink("nowhere.gguf", folder.join("link.gguf")).unwrap();
    let output = ollm_convert(&folder, &["quantize", "in.gguf", "link.gguf", "--type", "Q8_0"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), "error: link.gguf exists: --force replaces it\n"));
}

#[test]
fn types_are_chosen_for_a_size_or_for_a_divergence() {
    let folder = with_model();
    let text: Vec<String> = (0..400).map(|i| format!("{i} eggs and {} hens make {}.", i % 7, i + i % 7)).collect();
    folder.write("text.txt", text.join(" "));
    let run = |arguments: &[&str]| {
        ollm_convert(&folder, &[&["quantize", "in.gguf"], arguments, &["-f", "text.txt"]].concat())
    };
    let measured = |output: &Output| -> f64 {
        let line = stdout(output).lines().find(|line| line.starts_with("KL ")).unwrap().to_owned();
        line.split_whitespace().nth(3).unwrap().parse().unwrap()
    };
    let bytes = |name: &str| std::fs::metadata(folder.join(name)).unwrap().len();

    let mut last: Option<(u64, f64)> = None;
    for (most, name) in [("0.3", "a.gguf"), ("0.03", "b.gguf"), ("0.003", "c.gguf")] {
        let made = run(&[name, "--max-kl", most]);
        assert!(made.status.success(), "{most}: {}{}", stdout(&made), stderr(&made));
        let (bytes, found) = (bytes(name), measured(&made));
        assert!(found <= most.parse().unwrap(), "{most}: {}", stdout(&made));
        assert!(last.is_none_or(|(less, more)| bytes > less && found < more), "{most}: {}", stdout(&made));
        assert!(ollm_convert(&folder, &["verify", name]).status.success());
        last = Some((bytes, found));
    }

    let limit = bytes("b.gguf");
    let made = run(&["d.gguf", "--target-size", &limit.to_string(), "--tensor-type", "blk.0.attn_q.weight=F16"]);
    assert!(made.status.success(), "{}{}", stdout(&made), stderr(&made));
    assert!(bytes("d.gguf") <= limit && bytes("d.gguf") > limit * 9 / 10, "{} of {limit}", bytes("d.gguf"));
    assert_eq!(read(&folder.join("d.gguf")).1.tensor("blk.0.attn_q.weight").unwrap().dtype, F16);
    // A uniform file that is no smaller does no less damage.
    let uniform = ollm_convert(&folder, &["quantize", "in.gguf", "u.gguf", "--type", "Q5_0"]);
    assert!(uniform.status.success());
    let made = run(&["--target-size", &bytes("u.gguf").to_string()]);
    assert!(made.status.success() && stdout(&made).contains("_MIX.gguf"), "{}{}", stdout(&made), stderr(&made));

    for (arguments, status, message) in [
        (
            &["x.gguf", "--target-size", "100k"][..],
            1,
            "no choice of types makes a file of 100000 bytes: the smallest has ",
        ),
        (
            &["x.gguf", "--max-kl", "1e-9", "--tensor-type", "attn_v=Q4_0"],
            1,
            "no choice of types was found with a KL of 0.000000001 or less: the best has ",
        ),
        (&["a.gguf", "--max-kl", "0.1"], 1, "a.gguf exists: --force replaces it"),
        (&["text.txt", "--max-kl", "0.1", "--force"], 1, "the output would replace the input text.txt"),
        (&["in.gguf", "--max-kl", "0.1", "--force"], 1, "the output would replace the input in.gguf"),
        (&["x.gguf", "--max-kl", "0"], 2, "a positive number is needed"),
        (&["x.gguf", "--target-size", "many"], 2, "a number of bytes is needed"),
        (&["x.gguf", "--max-kl", "0.1", "--target-size", "1M"], 2, "cannot be used with"),
        (&["x.gguf", "--type", "Q8_0"], 2, "cannot be used with"),
        (&["x.gguf"], 2, "required"),
    ] {
        let output = run(arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(status), ""), "{arguments:?}");
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
    }
    // Values that only wide floats hold: such a type is what is left to choose from.
    let wide = |name: &str, values: &mut [f32]| {
        if name == "blk.0.attn_q.weight" {
            values[..256].fill(1e9);
        }
    };
    folder.write("wide.gguf", model(wide));
    let made = ollm_convert(&folder, &["quantize", "wide.gguf", "w.gguf", "--max-kl", "0.3", "-f", "text.txt"]);
    assert!(made.status.success(), "{}{}", stdout(&made), stderr(&made));
    assert_eq!(read(&folder.join("w.gguf")).1.tensor("blk.0.attn_q.weight").unwrap().dtype, Bf16);
    let textless = ollm_convert(&folder, &["quantize", "in.gguf", "x.gguf", "--max-kl", "0.1"]);
    assert_eq!(textless.status.code(), Some(2));
    assert!(!folder.join("x.gguf").exists());
}
