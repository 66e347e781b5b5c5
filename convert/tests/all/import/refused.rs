//! What is refused, rule by rule: each error names file, tensor, key or row, and leaves nothing
//! behind.

use std::path::Path;

use indicatif::ProgressBar;
use ollm_convert::ConvertError;
use ollm_convert::import::{ImportError, import};
use ollm_convert::quantize::Options;
use ollm_runtime::quant::QuantError;
use safetensors::{Dtype, SafeTensorError};
use serde_json::{Value, json};

use super::source::{Source, options, run};
use crate::common::Folder;

/// The weights, with one tensor changed.
fn tensor(name: &str, edit: impl FnOnce(&mut Dtype, &mut Vec<usize>, &mut Vec<u8>)) -> Source {
    Source::of("llama").edit(|source| {
        let (dtype, shape, bytes) = source.tensors.get_mut(name).unwrap();
        edit(dtype, shape, bytes);
    })
}

/// The error of a folder, of which nothing may be written.
fn error(folder: &Folder) -> ConvertError {
    let before = folder.list();
    let error = run(folder, "F16").unwrap_err();
    assert_eq!(folder.list(), before);
    error
}

/// The error of what is written from a source.
fn refused(source: &Source) -> ImportError {
    match error(&source.write(1)) {
        ConvertError::Import(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn folders_and_files_of_another_kind_are_named() {
    let contains = |folder: &Folder, parts: &[&str]| {
        let text = error(folder).to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 34\n";
    let page = "<!DOCTYPE html>\n<html><title>Log in</title></html>";
    for name in ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"] {
        let folder = Source::of("llama").write(1);
        folder.write(name, pointer);
        contains(&folder, &[name, "Git LFS pointer", "git lfs pull"]);
        folder.write(name, page);
        contains(&folder, &[name, "HTML page"]);
    }
    for name in ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"] {
        let folder = Source::of("llama").write(1);
        std::fs::rename(folder.join("model.safetensors"), folder.join(name)).unwrap();
        contains(&folder, &[name, "save_pretrained", "python3 -c"]);
    }
    let folder = Source::of("llama").write(1);
    std::fs::rename(folder.join("model.safetensors"), folder.join("consolidated.safetensors")).unwrap();
    contains(&folder, &["no model.safetensors", "but consolidated.safetensors"]);
    folder.write("adapter_config.json", "{}");
    contains(&folder, &["ollm-convert adapter"]);

    let folder = Folder::new();
    let at = |argument: &str| {
        let out = folder.join("out.gguf");
        import(Path::new(argument), &out, &options("F16"), &ProgressBar::hidden()).unwrap_err().to_string()
    };
    for argument in
        ["owner/Some-Model-1.5B", "https://huggingface.co/owner/Some-Model-1.5B", "hf:owner/Some-Model-1.5B"]
    {
        let text = at(argument);
        assert!(text.contains("is named hf:owner/Some-Model-1.5B, which downloads it"), "{text}");
    }
    for argument in ["no-such-folder", "./a/b", "a/b/c", "/a/b"] {
        assert!(!at(argument).contains("hf:"), "{argument}");
    }
    folder.write("model.gguf", "GGUF");
    let text = at(folder.join("model.gguf").to_str().unwrap());
    assert!(text.contains("this is a file"), "{text}");
}

#[test]
fn json_as_python_writes_it_is_read() {
    let source = Source::of("llama").set("initializer_range", json!("NaN"));
    let folder = source.write(1);
    let text = source.config.to_string().replace("\"NaN\"", "NaN");
    folder.write("config.json", format!("\u{feff}{text}"));
    folder.write("tokenizer.json", format!("\u{feff}{}", source.tokenizer));
    run(&folder, "F16").unwrap();
    let folder = source.write(1);
    folder.write("config.json", text.replace("\"rms_norm_eps\":", "\"rms_norm_eps\": Infinity, \"x\":"));
    let error = error(&folder).to_string();
    assert!(error.contains("rms_norm_eps") && error.contains("Infinity"), "{error}");
}

fn file(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn weights_that_are_not_what_they_should_be_are_named() {
    const UP: &str = "model.layers.1.mlp.up_proj.weight";
    let missing = refused(&Source::of("llama").edit(|source| drop(source.tensors.remove(UP))));
    let named = |path: &Path, tensor: &str| file(path) == "model.safetensors" && tensor == UP;
    assert!(matches!(&missing, ImportError::MissingTensor { path, tensor } if named(path, tensor)), "{missing}");

    let other = "model.layers.2.mlp.up_proj.weight";
    let extra = Source::of("llama").edit(|source| {
        let copy = source.tensors[UP].clone();
        source.tensors.insert(other.to_owned(), copy);
    });
    let extra = refused(&extra);
    assert!(matches!(&extra, ImportError::UnexpectedTensor { tensor, .. } if tensor == other), "{extra}");

    let shape = refused(&tensor(UP, |_, shape, _| shape.reverse()));
    let expected = matches!(&shape, ImportError::Shape { path, tensor, found, expected }
        if named(path, tensor) && found == &[64, 96] && expected == &[96, 64]);
    assert!(expected, "{shape}");

    let dtype = refused(&tensor(UP, |dtype, _, _| *dtype = Dtype::I32));
    let expected = matches!(&dtype, ImportError::Quantized { path, tensor, reason } if named(path, tensor) && reason.contains("packed shape"));
    assert!(expected, "{dtype}");

    for (bad, name, at, row) in [
        (f32::NAN, UP, 7 * 64 + 5, 7),
        (f32::INFINITY, "model.norm.weight", 9, 0),
        // Its rows are in another order in the file that is written.
        (f32::NEG_INFINITY, "model.layers.0.self_attn.q_proj.weight", 25 * 64, 25),
    ] {
        let source = tensor(name, |_, _, bytes| bytes[4 * at..][..4].copy_from_slice(&bad.to_le_bytes()));
        let error = error(&source.write(1));
        let expected = matches!(&error, ConvertError::Row { path, tensor, row: found, source: QuantError::NotFinite { .. } }
            if file(path) == "model.safetensors" && tensor == name && *found == row);
        assert!(expected, "{error}");
    }
}

#[test]
fn files_that_are_cut_missing_or_twice_there_are_named() {
    let source = Source::of("llama");
    let shard = "model-00001-of-00003.safetensors";

    // A whole file counts, whatever an index beside it says.
    let folder = source.write(1);
    folder.write("model.safetensors.index.json", json!({"weight_map": {"a": "missing.safetensors"}}).to_string());
    run(&folder, "F16").unwrap();

    let folder = source.write(3);
    let bytes = std::fs::read(folder.join(shard)).unwrap();
    folder.write(shard, &bytes[..bytes.len() - 1]);
    let cut = error(&folder);
    let expected = matches!(&cut, ConvertError::SafeTensors { path, source: SafeTensorError::MetadataIncompleteBuffer }
        if file(path) == shard);
    assert!(expected, "{cut}");
    folder.write(shard, &bytes[..100]);
    assert!(matches!(error(&folder), ConvertError::SafeTensors { path, .. } if file(&path) == shard));

    let folder = source.write(3);
    std::fs::remove_file(folder.join(shard)).unwrap();
    let missing = error(&folder);
    let expected =
        matches!(&missing, ConvertError::Import(ImportError::MissingShard { shard: name, .. }) if name == shard);
    assert!(expected, "{missing}");

    // The first file twice: then the second one's tensors are missing, and the first one's are
    // there twice.
    let folder = source.write(3);
    std::fs::copy(folder.join("model-00000-of-00003.safetensors"), folder.join(shard)).unwrap();
    let twice = error(&folder);
    assert!(matches!(&twice, ConvertError::Import(ImportError::DuplicateTensor { .. })), "{twice}");
    folder.write(shard, source.weights(|_| false));
    let lacking = error(&folder);
    let expected =
        matches!(&lacking, ConvertError::Import(ImportError::MissingTensor { path, .. }) if file(path) == shard);
    assert!(expected, "{lacking}");

    for map in [json!({"weight_map": {"a": "../x.safetensors"}}), json!({"weight_map": {"a": 3}})] {
        folder.write("model.safetensors.index.json", map.to_string());
        assert!(matches!(error(&folder), ConvertError::Import(ImportError::BadValue { key, .. }) if key == "a"));
    }
    folder.write("model.safetensors.index.json", "{}");
    assert!(matches!(error(&folder), ConvertError::Import(ImportError::MissingKey { key, .. }) if key == "weight_map"));
    folder.write("model.safetensors.index.json", "{");
    assert!(matches!(error(&folder), ConvertError::Import(ImportError::Json { .. })));

    let folder = source.write(1);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    assert!(matches!(error(&folder), ConvertError::Import(ImportError::NoWeights { .. })));
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    folder.write("model.safetensors", source.weights(|_| true));
    let no_tokenizer = error(&folder).to_string();
    assert!(no_tokenizer.contains("tokenizer.json"), "{no_tokenizer}");
}

#[test]
fn a_configuration_that_cannot_be_used_says_which_key_and_why() {
    let gone = |keys: &[&str]| {
        let keep = |key: &String| !keys.contains(&key.as_str());
        Source::of("llama").edit(|source| source.config.as_object_mut().unwrap().retain(|key, _| keep(key)))
    };
    // What is missing is as in the configuration class: then the weights have another shape.
    for (key, expected) in [("hidden_size", 4096), ("intermediate_size", 11_008), ("vocab_size", 32_000)] {
        let error = refused(&gone(&[key]));
        let named = matches!(&error, ImportError::Shape { expected: shape, .. } if shape.contains(&expected));
        assert!(named || matches!(&error, ImportError::BadValue { .. }), "{key}: {error}");
    }
    assert!(run(&gone(&["architectures"]).write(1), "F16").is_ok(), "model_type names it too");
    let nameless = refused(&gone(&["architectures", "model_type"]));
    assert!(matches!(&nameless, ImportError::MissingKey { key, .. } if key == "architectures"), "{nameless}");
    for (key, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!("64")),
        ("num_hidden_layers", json!(-2)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(33)),
        ("rms_norm_eps", json!(0)),
        ("tie_word_embeddings", json!(1)),
        ("vocab_size", json!(1_u64 << 40)),
        // Floats of a file have 32 bits.
        ("rms_norm_eps", json!(1e-60)),
        ("rope_parameters", json!([1])),
    ] {
        let error = refused(&Source::of("llama").set(key, value));
        let expected = matches!(&error, ImportError::BadValue { key: found, .. } if found == key);
        assert!(expected, "{key}: {error}");
    }
    for (name, key, value) in [
        ("llama", "hidden_act", json!("gelu")),
        ("gemma3", "hidden_activation", json!("silu")),
        ("gemma3", "use_bidirectional_attention", json!(true)),
        ("gemma3", "layer_types", json!(["full_attention", "chunked_attention"])),
    ] {
        let error = refused(&Source::of(name).set(key, value));
        let expected = matches!(&error, ImportError::Unsupported { key: found, .. } if found == key);
        assert!(expected, "{key}: {error}");
    }
    for (key, parameters) in [
        ("rope_theta", json!({"rope_type": "default", "rope_theta": 1e300})),
        ("factor", json!({"rope_type": "linear", "rope_theta": 1e4, "factor": 0.5})),
    ] {
        let error = refused(&Source::of("llama").set("rope_parameters", parameters));
        let expected = matches!(&error, ImportError::BadValue { key: found, .. } if found == key);
        assert!(expected, "{key}: {error}");
    }
    let folder = Source::of("llama").write(1);
    folder.write("config.json", "[1]");
    let list = error(&folder).to_string();
    assert!(list.contains("config.json") && list.contains("an object"), "{list}");
    let other = refused(&Source::of("llama").set("rope_parameters", json!({"rope_type": "su", "rope_theta": 1e4})));
    assert_eq!(
        other.to_string().split_once(": ").unwrap().1,
        "\"rope_type\" is \"su\", which is not supported; supported: default, linear, dynamic, yarn, longrope, llama3"
    );
    let odd = json!({"rope_type": "default", "partial_rotary_factor": 0.1});
    let odd = refused(&Source::of("glm4").set("rope_parameters", odd));
    assert!(matches!(&odd, ImportError::BadValue { key, .. } if key == "partial_rotary_factor"), "{odd}");
    for parameters in [
        json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}),
        json!({"rope_type": "longrope", "long_factor": [1.0]}),
        json!({"rope_type": "yarn", "factor": "NaN"}),
        json!({"rope_type": "yarn", "factor": 4.0, "mscale": -100.0, "mscale_all_dim": 1.0}),
        json!({"rope_type": "linear", "factor": 4.0, "partial_rotary_factor": 0.5}),
    ] {
        refused(&Source::of("llama").set("rope_parameters", parameters));
    }
    let long = json!({"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "llama3",
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}});
    let long = refused(&Source::of("gemma3").set("rope_parameters", long));
    assert!(long.to_string().contains("in layers with a window"), "{long}");

    let unknown = Source::of("llama").set("architectures", json!(["DebertaModel"])).set("model_type", json!("deberta"));
    let unknown = refused(&unknown);
    assert!(matches!(&unknown, ImportError::UnknownArchitecture { name, .. } if name == "DebertaModel"));
    let text = unknown.to_string();
    let list = text.split_once("supported: ").unwrap().1;
    assert!(list.starts_with("LlamaForCausalLM, ") && list.contains("Phi3ForCausalLM"), "{unknown}");
    for page in [include_str!("../../../FORMAT.md"), include_str!("../../../../README.md")] {
        assert!(list.split(", ").all(|name| page.contains(&format!("`{name}`"))));
    }
}

#[test]
fn a_tokenizer_that_cannot_be_used_says_why() {
    let edit = |edit: &dyn Fn(&mut Value)| refused(&Source::of("llama").edit(|source| edit(&mut source.tokenizer)));
    let kind = edit(&|json| json["model"]["type"] = Value::Null);
    assert!(matches!(&kind, ImportError::Unsupported { key, .. } if key == "type"), "{kind}");
    let words = edit(&|json| json["model"]["type"] = "WordLevel".into());
    assert!(matches!(words, ImportError::Tokenizer { .. }) && words.to_string().contains("unk_token"), "{words}");
    for (place, clash) in [
        ("vocab", edit(&|json| json["model"]["vocab"]["more"] = 7.into())),
        ("added_tokens", edit(&|json| json["added_tokens"] = json!([{"id": 7, "content": "<more>", "special": true}]))),
    ] {
        assert!(matches!(&clash, ImportError::BadValue { key, .. } if key == place), "{clash}");
    }
    let merge = edit(&|json| json["model"]["merges"][0] = "a nothing".into());
    assert!(matches!(merge, ImportError::Tokenizer { .. }), "{merge}");
    let merge = edit(&|json| json["model"]["merges"][0] = 1.into());
    assert!(matches!(&merge, ImportError::BadValue { key, .. } if key == "merges"), "{merge}");
    let token = refused(&Source::of("llama").edit(|source| source.settings["eos_token"] = "<|nothing|>".into()));
    assert!(
        matches!(&token, ImportError::UnknownToken { key, token, .. } if key == "eos_token" && token == "<|nothing|>")
    );
}

#[test]
fn an_output_that_is_there_or_is_an_input_is_refused() {
    let folder = Source::of("qwen2").write(3);
    let first = "model-00000-of-00003.safetensors";
    for name in ["config.json", first, "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"] {
        let error = import(&folder.join(""), &folder.join(name), &options("F16"), &ProgressBar::hidden());
        assert!(matches!(error, Err(ConvertError::OverwritesInput { .. })), "{name}");
    }
    folder.write("out.gguf", "precious");
    let careful = Options { force: false, ..options("F16") };
    let error = import(&folder.join(""), &folder.join("out.gguf"), &careful, &ProgressBar::hidden());
    assert!(matches!(error, Err(ConvertError::OutputExists { .. })));
    assert_eq!(std::fs::read(folder.join("out.gguf")).unwrap(), b"precious");
}

/// The rows of `yes` and `no` are in the head, which is stored as it is.
#[test]
fn a_reranker_whose_answers_are_not_in_the_head_is_refused() {
    let reranker = |edit: &dyn Fn(&mut Source)| {
        let folder = Source::of("qwen3").edit(|source| edit(source)).write(1);
        folder.write("README.md", "# Qwen3-Reranker-0.6B\n");
        match error(&folder) {
            ConvertError::Import(error) => error,
            other => panic!("{other}"),
        }
    };
    let answers = |yes: u64| {
        move |source: &mut Source| {
            source.tokenizer["model"]["vocab"]["yes"] = yes.into();
            source.tokenizer["model"]["vocab"]["no"] = 1.into();
        }
    };
    let missing = reranker(&|_| ());
    assert!(matches!(&missing, ImportError::MissingKey { key, .. } if key == "yes"), "{missing}");
    for id in [320, u64::MAX] {
        let outside = reranker(&answers(id));
        let is_named =
            matches!(&outside, ImportError::BadValue { key, value, .. } if key == "yes" && *value == id.to_string());
        assert!(is_named, "{outside}");
    }
    let quantized = reranker(&|source| {
        answers(2)(source);
        source.config["quantization_config"] = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
        let (dtype, shape, bytes) = source.tensors.get_mut("model.embed_tokens.weight").unwrap();
        *dtype = Dtype::F8_E4M3;
        *bytes = vec![0x38; bytes.len() / 4];
        let blocks: Vec<usize> = shape.iter().map(|size| size.div_ceil(128)).collect();
        let scales = 1.0_f32.to_le_bytes().repeat(blocks.iter().product());
        source.tensors.insert("model.embed_tokens.weight_scale_inv".to_owned(), (Dtype::F32, blocks, scales));
    });
    assert!(matches!(&quantized, ImportError::Quantized { .. }), "{quantized}");
}

/// A pipe would never come to an end, and neither would a device; a file without end is too large.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_read() {
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"] {
        let folder = Source::of("qwen3").write(1);
        let path = folder.join(name);
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        match error(&folder) {
            ConvertError::Import(ImportError::NotAFile { path: named }) => assert_eq!(named, path),
            other => panic!("{other}"),
        }
        std::fs::remove_file(&path).unwrap();
        let endless = std::fs::File::create(&path).unwrap();
        if endless.set_len(1 << 40).is_ok() {
            let other = error(&folder);
            assert!(matches!(other, ConvertError::Import(ImportError::TooLarge { .. })), "{other}");
        }
    }
}
