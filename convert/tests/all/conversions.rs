//! Conversions of tiny files, good and bad.

use std::path::Path;

use crate::common::{Checkpoint, Folder, LOWRANK, SWIGLU, backbone, floats, model, read, spec, spec_of};
use indicatif::ProgressBar;
use ollm_convert::plugin::convert;
use ollm_convert::quantize::{Options, RECIPES, quantize};
use ollm_convert::verify::verify;
use ollm_convert::{ConvertError, FileKind, checksum, inspect, merge, pack, split};
use ollm_runtime::gguf::{GgufError, TensorType};
use ollm_runtime::plugin::PluginError;
use ollm_runtime::plugin::schema::{self, PluginConfig};
use ollm_runtime::quant;

#[test]
fn a_checkpoint_becomes_a_plugin_file() {
    for decoder in [SWIGLU, LOWRANK] {
        let folder = Folder::new();
        folder.write("plugin.safetensors", Checkpoint::new(&spec(decoder)).set("general.name", "tiny").bytes());
        let output = folder.join("plugin.gguf");
        convert(&folder.join(""), &output, TensorType::F16, false).unwrap();

        let (bytes, gguf) = read(&output);
        let metadata = gguf.metadata();
        assert_eq!(PluginConfig::from_metadata(metadata).unwrap(), spec(decoder));
        spec(decoder).check_tensors(&gguf).unwrap();
        for (key, value) in [
            ("general.type", "adapter"),
            ("adapter.type", "ollm"),
            ("general.architecture", "llama"),
            ("general.name", "tiny"),
            ("ollm.training.steps", "1200"),
        ] {
            assert_eq!(metadata.str(key).unwrap(), value);
        }
        assert!(metadata.get("format").is_none());
        for tensor in gguf.tensors() {
            let expected = if tensor.dims.len() == 1 { TensorType::F32 } else { TensorType::F16 };
            assert_eq!(tensor.dtype, expected, "{}", tensor.name);
            let values: Vec<f32> = floats(tensor.elements()).collect();
            assert_eq!(quant::encode(expected, &values).unwrap(), tensor.bytes(&bytes));
        }
    }
}

#[test]
fn matrices_get_the_type_that_is_asked_for_where_their_rows_allow_it() {
    let folder = Folder::new();
    let checkpoint = folder.write("some.safetensors", Checkpoint::new(&spec(LOWRANK)).bytes());
    let output = folder.join("plugin.gguf");
    let summary = convert(&checkpoint, &output, TensorType::Q8_0, false).unwrap();
    // Rows of 4 (the rank) and 16 (the policy's width).
    assert_eq!(summary.kept_f16, ["ollm.decoder.delta_out.weight", "ollm.policy.out.weight"]);
    let (_, gguf) = read(&output);
    assert_eq!(gguf.tensor("ollm.decoder.gate.weight").unwrap().dtype, TensorType::Q8_0);
    assert_eq!(gguf.tensor("ollm.policy.out.weight").unwrap().dtype, TensorType::F16);
    assert_eq!(gguf.tensor("ollm.encoder.in.bias").unwrap().dtype, TensorType::F32);
    // Without a name of its own the plugin has that of its folder.
    assert!(gguf.metadata().str("general.name").unwrap().starts_with("ollm-convert-"));

    assert!(matches!(convert(&checkpoint, &output, TensorType::F32, false), Err(ConvertError::OutputExists { .. })));
    convert(&checkpoint, &output, TensorType::F32, true).unwrap();
    assert!(read(&output).1.tensors().iter().all(|tensor| tensor.dtype == TensorType::F32));
}

/// Converts `checkpoint`, which must fail and leave no file.
fn refusal(checkpoint: impl AsRef<[u8]>) -> ConvertError {
    let folder = Folder::new();
    let input = folder.write("plugin.safetensors", checkpoint);
    let error = convert(&input, &folder.join("out.gguf"), TensorType::F16, false).unwrap_err();
    assert_eq!(folder.list(), ["plugin.safetensors"]);
    error
}

fn plugin_error(checkpoint: &Checkpoint) -> PluginError {
    match refusal(checkpoint.bytes()) {
        ConvertError::Plugin { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn good() -> Checkpoint {
    Checkpoint::new(&spec(SWIGLU))
}

#[test]
fn checkpoints_that_are_no_safetensors_are_refused() {
    let bytes = good().bytes();
    for length in [0, 7, 100, bytes.len() - 1] {
        assert!(matches!(refusal(&bytes[..length]), ConvertError::SafeTensors { .. }), "{length} bytes");
    }
    let missing = convert(Path::new("no such folder"), Path::new("x.gguf"), TensorType::F16, false);
    assert!(matches!(missing, Err(ConvertError::Runtime(_))));
    let mut silent = good();
    silent.map.clear();
    let error = safetensors::serialize::<String, safetensors::tensor::TensorView<'_>, _>([], None).map(refusal);
    assert!(matches!(error.unwrap(), ConvertError::NoMetadata { .. }));
    assert!(matches!(plugin_error(&silent), PluginError::Metadata(GgufError::MissingKey { .. })));
}

#[test]
fn keys_of_a_checkpoint_are_checked() {
    let error = |key, text| refusal(good().set(key, text).bytes());
    for text in ["", "three", "-1", "3.0", "4294967296"] {
        assert!(matches!(error("ollm.option_count", text), ConvertError::BadNumber { key: "ollm.option_count", .. }));
    }
    assert!(matches!(error("ollm.norm_epsilon", "small"), ConvertError::BadNumber { .. }));
    assert!(
        matches!(error("ollm.decoder.widht", "3"), ConvertError::UnknownKey { key } if key == "ollm.decoder.widht")
    );
    assert!(matches!(error("general.alignment", "32"), ConvertError::UnknownKey { .. }));
    assert!(matches!(error("adapter.type", "lora"), ConvertError::Contradiction { key: "adapter.type", .. }));
    assert!(matches!(error("general.architecture", "qwen2"), ConvertError::Contradiction { .. }));
    let unknown = plugin_error(&good().set("ollm.decoder.kind", "block"));
    assert!(matches!(unknown, PluginError::UnknownKind { key: "ollm.decoder.kind", .. }));
    assert!(matches!(plugin_error(&good().set("ollm.norm_epsilon", "NaN")), PluginError::OutOfRange { .. }));
}

#[test]
fn tensors_of_a_checkpoint_are_checked() {
    let mut missing = good();
    missing.tensors.retain(|tensor| tensor.0 != "ollm.policy.out.bias");
    let error = plugin_error(&missing);
    assert!(matches!(error, PluginError::MissingTensor { tensor } if tensor == "ollm.policy.out.bias"));

    let mut more = good();
    more.tensors[0].0 = "ollm.decoder.norms.weight".to_owned();
    assert!(matches!(plugin_error(&more), PluginError::UnknownTensor { .. }));

    let turned = good().edit("ollm.encoder.in.weight", |_, shape, _| shape.reverse());
    assert!(matches!(plugin_error(&turned), PluginError::WrongShape { tensor: "ollm.encoder.in.weight", .. }));
    // The keys disagree with every tensor that they describe.
    assert!(matches!(plugin_error(&good().set("ollm.option_count", "4")), PluginError::WrongShape { .. }));

    let integers = good().edit("ollm.policy.in.bias", |dtype, _, _| *dtype = safetensors::Dtype::I32);
    assert!(matches!(refusal(integers.bytes()), ConvertError::NotF32 { .. }));
}

/// A plugin with a value head.
fn with_value(spec: PluginConfig) -> PluginConfig {
    PluginConfig { value_width: Some(32), ..spec }
}

#[test]
fn a_value_head_goes_wherever_its_plugin_goes() {
    let folder = Folder::new();
    let join = |name: &str| folder.join(name);
    let base = folder.write("base.gguf", model(|_, _| ()));
    let spec = with_value(spec_of(&read(&base).0, SWIGLU));
    let checkpoint = folder.write("plugin.safetensors", Checkpoint::new(&spec).bytes());
    convert(&checkpoint, &join("plugin.gguf"), TensorType::Q8_0, false).unwrap();
    merge::merge(&base, &join("plugin.gguf"), &join("merged.gguf"), false).unwrap();
    let recipe = RECIPES.iter().find(|recipe| recipe.name == "Q4_K_M").unwrap();
    let options = Options { recipe, imatrix: None, tensor_types: &[], force: false };
    quantize(&join("merged.gguf"), &join("small.gguf"), &options, &ProgressBar::hidden()).unwrap();
    pack::pack(&join("small.gguf"), &join("packed.gguf"), false).unwrap();
    pack::unpack(&join("packed.gguf"), &join("unpacked.gguf"), false).unwrap();
    split::split(&join("unpacked.gguf"), &join("split.gguf"), None, false).unwrap();

    for name in ["plugin", "merged", "small", "packed", "unpacked", "split"] {
        let path = join(&format!("{name}.gguf"));
        let (_, gguf) = read(&path);
        assert_eq!(PluginConfig::from_metadata(gguf.metadata()).unwrap(), spec, "{name}");
        spec.check_tensors(&gguf).unwrap();
        assert_eq!(gguf.tensor("ollm.value.in.weight").unwrap().dtype, TensorType::Q8_0, "{name}");
        let report = verify(&path).unwrap();
        assert!(report.findings.iter().all(|finding| finding.rule != "plugin" && finding.rule != "keys"), "{report}");
        assert!(report.is_good(), "{name}: {report}");
    }
    assert_eq!(read(&join("split.gguf")).0, read(&join("plugin.gguf")).0);
}

#[test]
fn a_value_head_is_inspected_and_a_plugin_without_one_says_nothing_of_it() {
    let folder = Folder::new();
    let inspected = |name: &str, spec: &PluginConfig| {
        let checkpoint = folder.write(&format!("{name}.safetensors"), Checkpoint::new(spec).bytes());
        let output = folder.join(&format!("{name}.gguf"));
        convert(&checkpoint, &output, TensorType::F16, false).unwrap();
        (read(&output).0, inspect::inspect(&output).unwrap())
    };
    let (with, inspection) = inspected("with", &with_value(spec(SWIGLU)));
    assert!(inspection.to_string().contains("\n  value     mlp, width 32\n"), "{inspection}");
    assert_eq!(inspection.json()["plugin"]["value_width"], 32);
    let (without, inspection) = inspected("without", &spec(SWIGLU));
    assert!(!inspection.to_string().contains("value  "), "{inspection}");
    assert!(inspection.json()["plugin"]["value_width"].is_null());
    let names = |bytes: &[u8]| bytes.windows(11).any(|window| window == b"ollm.value.");
    assert!(names(&with) && !names(&without));
}

/// Files that were written before there were value heads.
#[test]
fn shipped_plugins_have_the_keys_and_tensors_that_are_written_without_a_value_head() {
    for name in ["gsm8k", "svamp"] {
        let file = format!("trainer/plugins/smollm2-135m-instruct-{name}.gguf");
        let (_, gguf) = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let spec = PluginConfig::from_metadata(gguf.metadata()).unwrap();
        assert_eq!(spec.value_width, None);
        let keys = gguf.metadata().iter().filter(|(key, _)| schema::keys::ALL.iter().any(|known| known.name == *key));
        assert!(keys.map(|(key, value)| (key, value.clone())).eq(spec.to_metadata()), "{name}");
        let tensors = gguf.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.shape()));
        assert!(tensors.eq(schema::tensors(&spec)), "{name}");
    }
}

#[test]
fn value_heads_of_a_checkpoint_are_checked() {
    let good = || Checkpoint::new(&with_value(spec(SWIGLU)));
    let unknown = plugin_error(&good().set("ollm.value.kind", "linear"));
    assert!(matches!(unknown, PluginError::UnknownKind { key: "ollm.value.kind", .. }));
    let zero = plugin_error(&good().set("ollm.value.width", "0"));
    assert!(matches!(zero, PluginError::OutOfRange { key: "ollm.value.width", .. }));
    for key in ["ollm.value.kind", "ollm.value.width"] {
        let mut half = good();
        half.map.remove(key);
        let error = plugin_error(&half);
        assert!(matches!(&error, PluginError::Metadata(GgufError::MissingKey { key: missing }) if missing == key));
    }
    let mut tensors = good();
    tensors.map.retain(|key, _| !key.starts_with("ollm.value."));
    assert!(matches!(plugin_error(&tensors), PluginError::UnknownTensor { .. }));
    let mut keys = good();
    keys.tensors.retain(|tensor| tensor.0 != "ollm.value.out.bias");
    assert!(matches!(plugin_error(&keys), PluginError::MissingTensor { tensor } if tensor == "ollm.value.out.bias"));
    let turned = good().edit("ollm.value.out.weight", |_, shape, _| shape.reverse());
    assert!(matches!(plugin_error(&turned), PluginError::WrongShape { tensor: "ollm.value.out.weight", .. }));
}

#[test]
fn values_that_cannot_be_stored_are_refused() {
    let with = |value: f32| {
        good().edit("ollm.decoder.up.weight", |_, _, bytes| bytes[40..44].copy_from_slice(&value.to_le_bytes())).bytes()
    };
    for value in [f32::NAN, f32::INFINITY] {
        let error = refusal(with(value));
        assert!(error.to_string().starts_with(r#"tensor "ollm.decoder.up.weight": value 10 is"#), "{error}");
    }
    // Finite, but not as a 16-bit float.
    assert!(matches!(refusal(with(1e6)), ConvertError::Values { source: quant::QuantError::OutOfRange { .. }, .. }));
}

#[test]
fn an_output_in_a_missing_folder_leaves_nothing() {
    let folder = Folder::new();
    folder.write("plugin.safetensors", good().bytes());
    let error = convert(&folder.join(""), &folder.join("missing/plugin.gguf"), TensorType::F16, false);
    assert!(matches!(error, Err(ConvertError::NoPlace { .. })));
    assert_eq!(folder.list(), ["plugin.safetensors"]);
}

/// A folder with `backbone.gguf` and a plugin for it, `plugin.gguf`.
fn pair() -> Folder {
    let folder = Folder::new();
    let checkpoint = folder.write("plugin.safetensors", good().bytes());
    convert(&checkpoint, &folder.join("plugin.gguf"), TensorType::Q8_0, false).unwrap();
    // Another quantization than the one that the plugin's fingerprint comes from.
    folder.write("backbone.gguf", backbone("llama", TensorType::Q4_0));
    folder
}

#[test]
fn a_merged_file_has_everything_of_both() {
    let folder = pair();
    let [base, plugin, output] = ["backbone.gguf", "plugin.gguf", "merged.gguf"].map(|name| folder.join(name));
    merge::merge(&base, &plugin, &output, false).unwrap();

    let (merged_bytes, merged) = read(&output);
    spec(SWIGLU).check_tensors(&merged).unwrap();
    for (path, prefix) in [(base, ""), (plugin, "ollm.")] {
        let (bytes, gguf) = read(&path);
        let keys = gguf.metadata().iter().filter(|(key, _)| key.starts_with(prefix) && *key != checksum::KEY);
        for (key, value) in keys {
            assert_eq!(merged.metadata().get(key), Some(value), "{key}");
        }
        for tensor in gguf.tensors() {
            let same = merged.tensor(&tensor.name).unwrap();
            assert_eq!((&same.dims, same.dtype), (&tensor.dims, tensor.dtype));
            assert_eq!(same.bytes(&merged_bytes), tensor.bytes(&bytes), "{}", tensor.name);
        }
    }
    assert_eq!(merged.alignment(), 64);
    assert!(merged.metadata().get("general.type").is_none(), "a merged file is a model");
}

#[test]
fn a_plugin_for_another_backbone_is_refused() {
    let folder = pair();
    let plugin = folder.join("plugin.gguf");
    let refused = |name: &str, bytes: Vec<u8>| match merge::merge(
        &folder.write(name, bytes),
        &plugin,
        &folder.join("m"),
        false,
    ) {
        Err(ConvertError::Plugin { source: PluginError::OtherBackbone { key, .. }, .. }) => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("a.gguf", backbone("qwen2", TensorType::F16)), "ollm.backbone.architecture");
    let mut other_norms = backbone("llama", TensorType::F16);
    let at = read(&folder.join("backbone.gguf")).1.tensor("output_norm.weight").unwrap().size;
    let end = other_norms.len();
    other_norms[end - at] ^= 1;
    assert_eq!(refused("b.gguf", other_norms), "ollm.backbone.fingerprint");
    assert!(!folder.join("m").exists());
}

#[test]
fn a_merge_of_the_wrong_files_is_refused() {
    let folder = pair();
    let [base, plugin, merged] = ["backbone.gguf", "plugin.gguf", "merged.gguf"].map(|name| folder.join(name));
    let output = folder.join("out.gguf");
    assert!(matches!(
        merge::merge(&base, &base, &output, false),
        Err(ConvertError::OtherKind { found: FileKind::Backbone, .. })
    ));
    assert!(matches!(
        merge::merge(&plugin, &base, &output, false),
        Err(ConvertError::OtherKind { found: FileKind::Plugin, .. })
    ));
    merge::merge(&base, &plugin, &merged, false).unwrap();
    assert!(matches!(merge::merge(&merged, &plugin, &output, false), Err(ConvertError::AlreadyMerged { .. })));
    assert!(matches!(
        merge::merge(&base, &merged, &output, false),
        Err(ConvertError::OtherKind { found: FileKind::Merged, .. })
    ));
    let cut = folder.write("cut.gguf", &read(&plugin).0[..500]);
    assert!(matches!(merge::merge(&base, &cut, &output, false), Err(ConvertError::Gguf { .. })));
    assert!(!output.exists());
}

#[test]
fn inputs_are_never_overwritten() {
    let folder = pair();
    let [base, plugin] = ["backbone.gguf", "plugin.gguf"].map(|name| folder.join(name));
    let before = read(&base).0;
    for output in [&base, &plugin, &folder.join("./plugin.gguf")] {
        assert!(matches!(merge::merge(&base, &plugin, output, false), Err(ConvertError::OverwritesInput { .. })));
    }
    let checkpoint = folder.join("plugin.safetensors");
    let error = convert(&folder.join(""), &checkpoint, TensorType::F16, false);
    assert!(matches!(error, Err(ConvertError::OverwritesInput { .. })));
    assert_eq!(read(&base).0, before);
}

#[test]
fn inspect_shows_what_a_file_holds() {
    let folder = pair();
    let base = inspect::inspect(&folder.join("backbone.gguf")).unwrap();
    let text = base.to_string();
    assert!(text.contains("token_embd.weight") && text.contains("96 x 64"), "{text}");
    assert!(text.contains(r#"["<0>", "<1>", "<2>", "<3>", … 96 in all]"#), "{text}");
    let json = base.json();
    assert_eq!(json["metadata"]["tokenizer.ggml.tokens"]["length"], 96);
    assert_eq!(json["metadata"]["general.alignment"], 64);
    assert_eq!(json["types"]["Q4_0"]["tensors"], 1);
    assert_eq!(json["tensors"][0]["shape"], serde_json::json!([96, 64]));
    assert!(json["plugin"].is_null());
    assert_eq!(json["backbone"]["fingerprint"], spec(SWIGLU).backbone.fingerprint);

    let plugin = inspect::inspect(&folder.join("plugin.gguf")).unwrap();
    let parameters: usize =
        schema::tensors(&spec(SWIGLU)).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(plugin.json()["plugin"]["parameters"], parameters);
    assert_eq!(plugin.json()["metadata"]["ollm.norm_epsilon"], 1e-5);
    assert!(plugin.json()["backbone"].is_null());
    assert!(plugin.to_string().contains("decoder   swiglu, width 32"));
}
