//! Files that are good, and all the ways in which they are not.

use std::path::Path;

use crate::common::{Checkpoint, Folder, LOWRANK, SWIGLU, model, read, rewrite, spec_of};
use indicatif::ProgressBar;
use ollm_convert::quantize::{Options, RECIPES, quantize};
use ollm_convert::verify::{Finding, Verification, verify};
use ollm_convert::{checksum, merge, pack, plugin, split};
use ollm_runtime::gguf::{TensorType, Value};

/// A folder with a model, `in.gguf`, and what our tools make of it: `q.gguf` (`Q4_K_M`),
/// `plugin.gguf`, `merged.gguf`.
fn folder() -> Folder {
    let folder = Folder::new();
    let input = folder.write("in.gguf", model(|_, _| ()));
    let recipe = RECIPES.iter().find(|recipe| recipe.name == "Q4_K_M").unwrap();
    let options = Options { recipe, imatrix: None, tensor_types: &[], force: false };
    let [quantized, merged, plugin] = ["q.gguf", "merged.gguf", "plugin.gguf"].map(|name| folder.join(name));
    quantize(&input, &quantized, &options, &ProgressBar::hidden()).unwrap();
    let checkpoint = Checkpoint::new(&spec_of(&read(&input).0, SWIGLU));
    let checkpoint = folder.write("plugin.safetensors", checkpoint.bytes());
    plugin::convert(&checkpoint, &plugin, TensorType::F16, false).unwrap();
    merge::merge(&quantized, &plugin, &merged, false).unwrap();
    folder
}

/// The findings about a file of these bytes.
fn findings(folder: &Folder, bytes: impl AsRef<[u8]>) -> Vec<Finding> {
    let Verification { findings, .. } = verify(&folder.write("bad.gguf", bytes)).unwrap();
    findings
}

/// The rules that are broken, each once.
fn rules(findings: &[Finding]) -> Vec<&'static str> {
    let mut rules: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
    rules.dedup();
    rules
}

#[test]
fn what_our_tools_write_is_good() {
    let folder = folder();
    let join = |name: &str| folder.join(name);
    pack::pack(&join("merged.gguf"), &join("packed.gguf"), false).unwrap();
    pack::unpack(&join("packed.gguf"), &join("unpacked.gguf"), false).unwrap();
    split::split(&join("merged.gguf"), &join("p.gguf"), Some(&join("b.gguf")), false).unwrap();
    let lowrank = Checkpoint::new(&spec_of(&read(&join("in.gguf")).0, LOWRANK));
    plugin::convert(&folder.write("l", lowrank.bytes()), &join("lowrank.gguf"), TensorType::Q8_0, false).unwrap();
    for name in ["q", "plugin", "merged", "packed", "unpacked", "p", "b", "lowrank"] {
        let report = verify(&join(&format!("{name}.gguf"))).unwrap();
        assert!(report.is_good() && report.notes.is_empty(), "{name}: {report}");
    }
    let plain = verify(&join("in.gguf")).unwrap();
    assert!(plain.is_good() && plain.notes == ["no checksums: damage to the tensors cannot be seen"], "{plain}");
    assert!(verify(Path::new("no such file")).is_err());
}

#[test]
fn every_bit_of_a_tensor_counts() {
    let folder = folder();
    let (bytes, gguf) = read(&folder.join("q.gguf"));
    for tensor in gguf.tensors() {
        let mut bytes = bytes.clone();
        bytes[tensor.offset + tensor.size / 2] ^= 1;
        let found = findings(&folder, bytes);
        let damaged = found.iter().find(|finding| finding.rule == "checksum").unwrap();
        assert_eq!(damaged.tensor.as_ref(), Some(&tensor.name));
    }
}

#[test]
fn numbers_that_are_none_are_named_with_tensor_and_row() {
    let folder = folder();
    for (file, name, row) in [("q.gguf", "blk.1.ffn_up.weight", 7), ("in.gguf", "blk.0.attn_k.weight", 255)] {
        let (mut bytes, gguf) = read(&folder.join(file));
        let tensor = gguf.tensor(name).unwrap();
        // In Q4_K the scale stands first; in F32 this is a number.
        let at = tensor.offset + row * tensor.size / tensor.rows();
        let nan: &[u8] = if tensor.dtype == TensorType::F32 { &[0, 0, 0xC0, 0x7F] } else { &[0, 0x7E] };
        bytes[at..at + nan.len()].copy_from_slice(nan);
        let found = findings(&folder, &bytes);
        let values: Vec<_> = found.iter().filter(|finding| finding.rule == "values").collect();
        assert!(matches!(values[..], [Finding { row: Some(found), .. }] if *found == row), "{found:?}");
        assert_eq!(values[0].tensor.as_deref(), Some(name));
        assert!(values[0].message.contains(&format!("row {row}: value 0 is NaN")), "{}", values[0].message);
    }
}

#[test]
fn panels_are_read_and_what_fills_them_up_is_zero() {
    let folder = folder();
    let packed = folder.join("packed.gguf");
    pack::pack(&folder.join("q.gguf"), &packed, false).unwrap();
    let (bytes, gguf) = read(&packed);
    // 257 rows: 15 of the last panel are none. Q6_K has its scales at the end of the block.
    let tensor = gguf.tensor("token_embd.weight").unwrap();
    let last_panel = tensor.offset + tensor.size / 17 * 16;
    let mut spoilt = bytes.clone();
    spoilt[last_panel + 2..last_panel + 4].copy_from_slice(&[0x00, 0x3C]);
    let at = last_panel + 32;
    spoilt[at..at + 3300].fill(0x55);
    let found = findings(&folder, &spoilt);
    assert!(found.iter().any(|f| f.rule == "values" && f.message.contains("fill up its last panel")), "{found:?}");
    let mut spoilt = bytes;
    spoilt[tensor.offset + 4..tensor.offset + 6].copy_from_slice(&[0, 0x7C]);
    let found = findings(&folder, &spoilt);
    let row = found.iter().find(|finding| finding.rule == "values").unwrap().row;
    assert_eq!(row, Some(2), "the third of the 16 scales that stand side by side");
}

#[test]
fn bytes_that_belong_to_nothing_are_found() {
    let folder = folder();
    let (good, gguf) = read(&folder.join("in.gguf"));
    let longer = [&good[..], &[0; 40]].concat();
    let found = findings(&folder, &longer);
    assert_eq!(rules(&found), ["bytes"]);
    assert!(found[0].message.starts_with("40 bytes after the last tensor"), "{}", found[0].message);
    let head = gguf.head_size();
    assert!(!head.is_multiple_of(32), "there is padding to spoil");
    let mut spoilt = good;
    spoilt[head] = 1;
    assert!(findings(&folder, &spoilt)[0].message.starts_with("the padding from byte"));
}

#[test]
fn keys_and_tokenizers_that_contradict_themselves_are_found() {
    let folder = folder();
    let good = read(&folder.join("in.gguf")).0;
    let more = |key: &str, value: Value| rewrite(&good, |_, old| Some(old.clone()), &[(key, value)]);
    let changed = |name: &str, value: Value| {
        rewrite(&good, |key, old| Some(if key == name { value.clone() } else { old.clone() }), &[])
    };
    let without = |name: &str| rewrite(&good, |key, value| (key != name).then(|| value.clone()), &[]);
    for (bytes, rule, message) in [
        (more("general.näme", 1_u32.into()), "keys", "is not ASCII"),
        (more("general.name", 1_u32.into()), "keys", "expected string, found u32 1"),
        (more("ollm.decoder.widht", 1_u32.into()), "keys", "is none that OLLM files have"),
        (more(checksum::KEY, vec![1_u64; 3].into()), "checksum", "is not one u64 for each tensor"),
        (more("tokenizer.ggml.scores", vec![0.5_f32; 9].into()), "tokenizer", "an array of 9 f32 for 257 tokens"),
        (more("tokenizer.ggml.bos_token_id", 257_u32.into()), "tokenizer", "u32 257, but there are 257 tokens"),
        (changed("tokenizer.ggml.eos_token_id", (-1_i32).into()), "tokenizer", "i32 -1, but there are 257 tokens"),
        (changed("tokenizer.ggml.token_type", vec![1_i32; 256].into()), "tokenizer", "an array of 256 i32"),
        (changed("tokenizer.ggml.token_type", vec![7_i32; 257].into()), "tokenizer", "token 0 has type 7"),
        (changed("tokenizer.ggml.merges", vec!["ab".to_owned()].into()), "tokenizer", "merge 0 is \"ab\""),
        (changed("llama.attention.head_count", 3_u32.into()), "backbone", "llama.attention.head_count"),
        (changed("llama.block_count", 3_u32.into()), "backbone", "blk.2."),
        (changed("llama.block_count", 1_u32.into()), "backbone", "tensor blk.1."),
        (without("llama.attention.layer_norm_rms_epsilon"), "backbone", "is missing"),
    ] {
        let found = findings(&folder, &bytes);
        assert_eq!(rules(&found), [rule], "{message}: {found:?}");
        assert!(found[0].message.contains(message), "{message}: {}", found[0].message);
    }
    let found = findings(&folder, without("general.architecture"));
    assert!(rules(&found).starts_with(&["keys"]), "{found:?}");
    let Verification { findings, notes, .. } =
        verify(&folder.write("bad.gguf", changed("general.architecture", "mamba".into()))).unwrap();
    assert!(findings.is_empty() && notes.iter().any(|note| note.contains("mamba")), "{findings:?} {notes:?}");
}

#[test]
fn all_faults_of_a_plugin_are_listed() {
    let folder = folder();
    for file in ["plugin.gguf", "merged.gguf"] {
        let good = read(&folder.join(file)).0;
        let changed = |name: &str, value: Value| {
            let new = |key: &str, old: &Value| match key {
                checksum::KEY => None,
                key if key == name => Some(value.clone()),
                _ => Some(old.clone()),
            };
            rewrite(&good, new, &[])
        };
        let found = findings(&folder, changed("ollm.option_count", 4_u32.into()));
        let tensors: Vec<_> = found.iter().filter_map(|finding| finding.tensor.as_deref()).collect();
        let expected =
            ["decoder.embed.weight", "encoder.out.weight", "encoder.out.bias", "policy.out.weight", "policy.out.bias"];
        assert_eq!(tensors, expected.map(|name| format!("ollm.{name}")), "{file}");
        assert_eq!(rules(&found), ["plugin"]);
        let found = findings(&folder, changed("ollm.version", 2_u32.into()));
        assert_eq!((rules(&found), found.len()), (vec!["plugin"], 1), "{file}");
        let found = findings(&folder, changed("ollm.backbone.fingerprint", "norms-fnv1a64:1".into()));
        // A plugin alone has no backbone to compare with.
        assert_eq!(found.len(), usize::from(file == "merged.gguf"), "{found:?}");
    }
}

#[test]
fn faults_of_many_kinds_are_listed_together() {
    let folder = folder();
    let (mut bytes, gguf) = read(&folder.join("in.gguf"));
    let after =
        |name: &str| bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() + name.len();
    // Rank, dimensions, then the type; and the offset of a vector, which is a dimension shorter.
    let (dtype, offset) = (after("blk.0.attn_q.weight") + 4 + 16, after("output_norm.weight") + 4 + 8 + 4);
    let nan = gguf.tensor("blk.0.ffn_up.weight").unwrap().offset;
    bytes[dtype] = 77;
    bytes[offset..offset + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    bytes[nan..nan + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let found = findings(&folder, &bytes);
    let names: Vec<_> = found.iter().map(|finding| (finding.rule, finding.tensor.as_deref().unwrap())).collect();
    let hole = gguf.tensor("blk.0.attn_k.weight").unwrap();
    assert_eq!(
        names,
        [
            ("gguf", "blk.0.attn_q.weight"),
            ("gguf", "output_norm.weight"),
            ("gguf", hole.name.as_str()),
            ("values", "blk.0.ffn_up.weight")
        ]
    );
    let cut = findings(&folder, &bytes[..300]);
    assert_eq!((rules(&cut), cut.len()), (vec!["gguf"], 1));
    let report = verify(&folder.join("bad.gguf")).unwrap();
    assert_eq!(report.json()["good"], false);
    assert_eq!(report.json()["findings"][0]["rule"], "gguf");
}

#[test]
fn a_name_that_says_another_type_is_a_note() {
    let folder = folder();
    let named = folder.write("model-Q8_0.gguf", read(&folder.join("q.gguf")).0);
    let report = verify(&named).unwrap();
    assert!(report.is_good());
    assert_eq!(report.notes, ["the name says Q8_0, the file is Q4_K_M"]);
}
