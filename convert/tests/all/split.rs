//! Splitting of merged files: what was merged comes back.

use std::fs;

use crate::common::{Checkpoint, Folder, SWIGLU, backbone, read, rewrite, spec};
use indicatif::ProgressBar;
use ollm_convert::plugin::convert;
use ollm_convert::quantize::{Options, RECIPES, quantize};
use ollm_convert::{ConvertError, FileKind, checksum, merge, pack, split};
use ollm_runtime::gguf::{TensorType, Value};
use ollm_runtime::plugin::PluginError;

/// A folder with `backbone.gguf`, `plugin.gguf` and both in `merged.gguf`.
fn merged() -> Folder {
    let folder = Folder::new();
    let checkpoint = Checkpoint::new(&spec(SWIGLU)).set("general.name", "tiny").set("general.license", "mit");
    let checkpoint = folder.write("plugin.safetensors", checkpoint.bytes());
    let [base, plugin, merged] = ["backbone.gguf", "plugin.gguf", "merged.gguf"].map(|name| folder.join(name));
    convert(&checkpoint, &plugin, TensorType::Q8_0, false).unwrap();
    fs::write(&base, backbone("llama", TensorType::Q4_0)).unwrap();
    merge::merge(&base, &plugin, &merged, false).unwrap();
    folder
}

#[test]
fn what_was_merged_comes_back() {
    let folder = merged();
    let [merged, plugin, base] = ["merged.gguf", "p.gguf", "b.gguf"].map(|name| folder.join(name));
    split::split(&merged, &plugin, Some(&base), false).unwrap();
    assert_eq!(read(&plugin).0, read(&folder.join("plugin.gguf")).0);
    // The backbone had no checksums, and has them now; all else is as it was.
    let plain = rewrite(&read(&base).0, |key, value| (key != checksum::KEY).then(|| value.clone()), &[]);
    assert_eq!(plain, read(&folder.join("backbone.gguf")).0);
    // Once they are there, they come back too.
    merge::merge(&base, &plugin, &merged, true).unwrap();
    let [plugin_again, base_again] = ["p2.gguf", "b2.gguf"].map(|name| folder.join(name));
    split::split(&merged, &plugin_again, Some(&base_again), false).unwrap();
    assert_eq!(read(&base).0, read(&base_again).0);
    assert_eq!(read(&plugin).0, read(&plugin_again).0);
}

#[test]
fn a_file_that_was_merged_without_the_plugins_keys_gives_a_plugin_all_the_same() {
    let folder = merged();
    let old = |key: &str, value: &Value| (!key.starts_with(merge::KEPT_PREFIX)).then(|| value.clone());
    let bytes = rewrite(&read(&folder.join("merged.gguf")).0, old, &[]);
    let [merged, plugin] = ["old.gguf", "p.gguf"].map(|name| folder.join(name));
    fs::write(&merged, bytes).unwrap();
    split::split(&merged, &plugin, None, false).unwrap();
    let (_, gguf) = read(&plugin);
    for (key, value) in [("general.architecture", "llama"), ("general.type", "adapter"), ("adapter.type", "ollm")] {
        assert_eq!(gguf.metadata().str(key).unwrap(), value);
    }
    merge::merge(&folder.join("backbone.gguf"), &plugin, &folder.join("again.gguf"), false).unwrap();
}

#[test]
fn quantizing_a_merged_file_leaves_its_plugin_and_its_norms_and_refuses_a_plugin_alone() {
    let folder = merged();
    let [plugin, merged, small, again] =
        ["plugin.gguf", "merged.gguf", "small.gguf", "p.gguf"].map(|name| folder.join(name));
    let recipe = RECIPES.iter().find(|recipe| recipe.name == "Q8_0").unwrap();
    let keep = [".=Q5_0".parse().unwrap()];
    let options = Options { recipe, imatrix: None, tensor_types: &keep, force: false };
    quantize(&merged, &small, &options, &ProgressBar::hidden()).unwrap();
    split::split(&small, &again, None, false).unwrap();
    assert_eq!(read(&plugin).0, read(&again).0);
    let alone = quantize(&plugin, &folder.join("q.gguf"), &options, &ProgressBar::hidden());
    assert!(
        matches!(alone, Err(ConvertError::OtherKind { found: FileKind::Plugin, .. }))
            && !folder.join("q.gguf").exists()
    );
}

#[test]
fn what_cannot_be_split_is_refused_and_nothing_is_written() {
    let folder = merged();
    let [base, plugin, merged, out] =
        ["backbone.gguf", "plugin.gguf", "merged.gguf", "out.gguf"].map(|name| folder.join(name));
    let before = folder.list();
    for file in [&base, &plugin] {
        let refused = split::split(file, &out, None, false);
        assert!(matches!(&refused, Err(ConvertError::OtherKind { path, .. }) if path == file), "{refused:?}");
    }
    for (plugin, base) in [(&merged, None), (&out, Some(merged.as_path()))] {
        assert!(matches!(split::split(&merged, plugin, base, true), Err(ConvertError::OverwritesInput { .. })));
    }
    for (plugin, base) in [(&plugin, None), (&out, Some(base.as_path()))] {
        assert!(matches!(split::split(&merged, plugin, base, false), Err(ConvertError::OutputExists { .. })));
    }
    let spelled = folder.join("./out.gguf");
    for same in [&out, &spelled] {
        assert!(matches!(split::split(&merged, &out, Some(same), false), Err(ConvertError::SameOutput { .. })));
    }
    assert_eq!(folder.list(), before);

    // A plugin that is not that of the backbone beside it.
    let other = |key: &str, value: &Value| match key {
        "ollm.backbone.fingerprint" => Some("norms-fnv1a64:0".into()),
        _ => Some(value.clone()),
    };
    let strange = folder.write("strange.gguf", rewrite(&read(&merged).0, other, &[]));
    let refused = split::split(&strange, &out, None, false);
    assert!(matches!(refused, Err(ConvertError::Plugin { source: PluginError::OtherBackbone { .. }, .. })));
    let packed = folder.join("packed.gguf");
    pack::pack(&merged, &packed, false).unwrap();
    assert!(matches!(split::split(&packed, &out, None, false), Err(ConvertError::Packed { .. })));
    // A key that would be there twice.
    let twice = [("ollm.plugin.ollm.version", Value::U32(1))];
    let twice = folder.write("twice.gguf", rewrite(&read(&merged).0, |_, value| Some(value.clone()), &twice));
    assert!(matches!(split::split(&twice, &out, None, false), Err(ConvertError::Output(_))));
    assert!(!out.exists());
}

#[cfg(unix)]
#[test]
fn where_the_backbone_cannot_be_written_the_plugin_stays() {
    let folder = merged();
    let [merged, plugin, base] = ["merged.gguf", "old.gguf", "link.gguf"].map(|name| folder.join(name));
    fs::write(&plugin, "old").unwrap();
    std::os::unix::fs::symlink("missing/backbone", &base).unwrap();
    let before = folder.list();
    split::split(&merged, &plugin, Some(&base), true).unwrap_err();
    assert_eq!(folder.list(), before);
    assert_eq!(fs::read(&plugin).unwrap(), b"old");
}
