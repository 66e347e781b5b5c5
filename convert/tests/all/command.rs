//! The command: exit statuses, and what goes to which stream.

use std::process::{Command, Output};

use crate::common::{Checkpoint, Folder, SWIGLU, backbone, spec};
use ollm_runtime::gguf::TensorType;

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
