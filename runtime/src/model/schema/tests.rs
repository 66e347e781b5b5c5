use super::*;
use crate::gguf::{Metadata, Value};
use crate::model::ModelError;

/// A small backbone of this architecture.
fn config(architecture: &str) -> Config {
    with(architecture, &[])
}

/// The same with more keys, or other values of these.
fn with(architecture: &str, own: &[(&str, Value)]) -> Config {
    read(architecture, own).unwrap()
}

fn read(architecture: &str, own: &[(&str, Value)]) -> Result<Config, ModelError> {
    let mut metadata = Metadata::default();
    let mut set = |key: String, value: Value| metadata.insert(key, value).unwrap();
    set("general.architecture".into(), architecture.into());
    let sizes = [("block_count", 2), ("embedding_length", 64), ("context_length", 8), ("feed_forward_length", 96)];
    let heads = [("attention.head_count", 4), ("attention.head_count_kv", 2), ("attention.key_length", 8)];
    let is_other = |key: &str| own.iter().all(|(name, _)| *name != key);
    for (key, size) in sizes.into_iter().chain(heads).filter(|(key, _)| is_other(key)) {
        set(format!("{architecture}.{key}"), Value::U32(size));
    }
    set(format!("{architecture}.attention.layer_norm_rms_epsilon"), Value::F32(1e-6));
    set(format!("{architecture}.attention.layer_norm_epsilon"), Value::F32(1e-6));
    for (key, value) in own {
        metadata.insert(format!("{architecture}.{key}"), value.clone()).unwrap();
    }
    Config::from_metadata(&metadata, 100)
}

/// The shape of the tensor `name`, and whether a file may leave it out.
fn spec(config: &Config, name: &str) -> Option<(Vec<usize>, bool)> {
    let spec = tensors(config).into_iter().find(|spec| spec.name.to_string() == name)?;
    Some((spec.shape, spec.optional))
}

#[test]
fn shapes_follow_from_the_configuration() {
    let llama = config("llama");
    for (name, shape, optional) in [
        ("token_embd.weight", &[100, 64][..], false),
        ("output.weight", &[100, 64], true),
        ("output_norm.weight", &[64], false),
        ("blk.0.attn_q.weight", &[32, 64], false),
        ("blk.1.attn_k.weight", &[16, 64], false),
        ("blk.1.attn_output.weight", &[64, 32], false),
        ("blk.0.attn_q.bias", &[32], true),
        ("blk.0.ffn_down.weight", &[64, 96], false),
    ] {
        assert_eq!(spec(&llama, name), Some((shape.to_vec(), optional)), "{name}");
    }
    assert_eq!(spec(&llama, "blk.2.attn_q.weight"), None);
}

#[test]
fn families_differ_by_rows() {
    assert_eq!(spec(&config("llama"), "blk.0.attn_q_norm.weight"), None);
    assert_eq!(spec(&config("qwen3"), "blk.0.attn_q_norm.weight"), Some((vec![8], false)));
    assert_eq!(spec(&config("qwen2"), "blk.0.attn_k.bias"), Some((vec![16], false)));
    assert_eq!(spec(&config("qwen3"), "blk.0.post_ffw_norm.weight"), None);
    assert_eq!(spec(&config("gemma3"), "blk.1.post_ffw_norm.weight"), Some((vec![64], false)));
    assert_eq!(spec(&config("phi3"), "blk.0.attn_qkv.weight"), Some((vec![64, 64], false)));
    assert_eq!(spec(&config("phi3"), "blk.0.ffn_up.weight"), Some((vec![192, 64], false)));
    assert_eq!(spec(&config("phi3"), "blk.0.ffn_gate.weight"), None);
    assert_eq!(spec(&config("olmo2"), "blk.0.attn_norm.weight"), None);
    assert_eq!(spec(&config("olmo2"), "blk.0.attn_k_norm.weight"), Some((vec![16], false)));
    assert_eq!(spec(&config("seed_oss"), "blk.0.post_attention_norm.weight"), Some((vec![64], false)));
    assert_eq!(spec(&config("stablelm"), "blk.0.attn_q_norm.weight"), Some((vec![4, 8], true)));
    assert_eq!(spec(&config("starcoder2"), "blk.0.ffn_norm.bias"), Some((vec![64], false)));
    assert_eq!(spec(&config("starcoder2"), "blk.0.ffn_gate.weight"), None);
    assert_eq!(spec(&config("cohere2"), "blk.0.ffn_norm.weight"), None);
}

#[test]
fn experts_are_stacked_and_some_layers_may_be_dense() {
    let number = |key, value: u32| (key, Value::U32(value));
    let experts = [number("expert_count", 8), number("expert_used_count", 2)];
    let with = |name, own: &[(&'static str, u32)]| {
        let own = own.iter().map(|&(key, value)| number(key, value));
        with(name, &experts.iter().cloned().chain(own).collect::<Vec<_>>())
    };
    let width = ("expert_feed_forward_length", 48);
    let qwen = with("qwen2moe", &[width, ("expert_shared_feed_forward_length", 24)]);
    for (name, shape) in [
        ("blk.0.ffn_gate_inp.weight", &[8, 64][..]),
        ("blk.0.ffn_gate_exps.weight", &[8, 48, 64]),
        ("blk.1.ffn_down_exps.weight", &[8, 64, 48]),
        ("blk.1.ffn_gate_inp_shexp.weight", &[64]),
        ("blk.1.ffn_down_shexp.weight", &[64, 24]),
    ] {
        assert_eq!(spec(&qwen, name), Some((shape.to_vec(), false)), "{name}");
    }
    assert_eq!(spec(&qwen, "blk.0.ffn_up.weight"), None);
    // Its oldest files name no width: all experts of a token have that of the network.
    let old = with("qwen2moe", &[]);
    assert_eq!(spec(&old, "blk.0.ffn_up_exps.weight"), Some((vec![8, 48, 64], false)));
    assert_eq!(spec(&old, "blk.0.ffn_up_shexp.weight"), Some((vec![96, 64], false)));
    // Mixtral's are as wide as its file says of the network.
    let mixtral = with("llama", &[]);
    assert_eq!(spec(&mixtral, "blk.0.ffn_up_exps.weight"), Some((vec![8, 96, 64], false)));
    assert_eq!(spec(&mixtral, "blk.0.ffn_up_shexp.weight"), None);
    for dense in [("leading_dense_block_count", 1), ("interleave_moe_layer_step", 2)] {
        let (config, key) = (with("qwen3moe", &[width, dense]), dense.0);
        assert_eq!(spec(&config, "blk.0.ffn_up.weight"), Some((vec![96, 64], false)), "{key}");
        assert_eq!(spec(&config, "blk.0.ffn_up_exps.weight"), None, "{key}");
        assert_eq!(spec(&config, "blk.1.ffn_up_exps.weight"), Some((vec![8, 48, 64], false)), "{key}");
    }
    let gpt_oss = with("gpt-oss", &[]);
    for (name, shape) in [
        ("blk.0.attn_sinks.weight", &[4][..]),
        ("blk.0.attn_q.bias", &[32]),
        ("blk.1.ffn_gate_inp.bias", &[8]),
        ("blk.1.ffn_gate_exps.bias", &[8, 96]),
        ("blk.1.ffn_down_exps.bias", &[8, 64]),
    ] {
        assert_eq!(spec(&gpt_oss, name), Some((shape.to_vec(), false)), "{name}");
    }
    assert!(tensors(&gpt_oss).iter().all(|spec| !spec.name.is_bias || !spec.is_matrix()));
    assert_eq!(spec(&mixtral, "blk.0.ffn_gate_exps.bias"), None);
    let lfm2 = with("lfm2moe", &[("shortconv.l_cache", 3), ("leading_dense_block_count", 1)]);
    assert_eq!(spec(&lfm2, "blk.1.exp_probs_b.bias"), Some((vec![8], true)));
    assert_eq!(spec(&lfm2, "blk.0.exp_probs_b.bias"), None);
    assert_eq!(spec(&mixtral, "blk.1.exp_probs_b.bias"), None);
    let granite = |shared| with("granitemoe", &[("expert_shared_feed_forward_length", shared)]);
    assert_eq!(spec(&granite(0), "blk.0.ffn_up_shexp.weight"), None);
    assert_eq!(spec(&granite(16), "blk.0.ffn_up_shexp.weight"), Some((vec![16, 64], false)));
    assert_eq!(spec(&granite(16), "blk.0.ffn_gate_inp_shexp.weight"), None);
}

#[test]
fn layers_without_key_heads_are_recurrent() {
    let own = [("shortconv.l_cache", Value::U32(3)), ("attention.head_count_kv", vec![0_i32, 2].into())];
    let lfm2 = with("lfm2", &own);
    assert_eq!(spec(&lfm2, "blk.0.shortconv.in_proj.weight"), Some((vec![192, 64], false)));
    assert_eq!(spec(&lfm2, "blk.0.shortconv.conv.weight"), Some((vec![64, 3], false)));
    assert_eq!(spec(&lfm2, "blk.0.attn_q.weight"), None);
    assert_eq!(spec(&lfm2, "blk.1.attn_k.weight"), Some((vec![16, 64], false)));
    assert_eq!(spec(&lfm2, "blk.1.shortconv.conv.weight"), None);
    assert_eq!(spec(&lfm2, "token_embd_norm.weight"), Some((vec![64], false)));
    assert_eq!(spec(&lfm2, "output_norm.weight"), None);
}

#[test]
fn layers_may_share_keys_and_have_heads_widths_and_inputs_of_their_own() {
    let number = |key, value: u32| (key, Value::U32(value));
    let own = |shared: u32| {
        [
            ("block_count", Value::U32(4)),
            ("feed_forward_length", vec![96_i32, 96, 192, 192].into()),
            number("attention.key_length", 16),
            number("attention.key_length_swa", 8),
            number("attention.sliding_window", 4),
            ("attention.sliding_window_pattern", vec![true, false, true, false].into()),
            number("attention.shared_kv_layers", shared),
            number("embedding_length_per_layer_input", 24),
        ]
    };
    let gemma4 = with("gemma4", &own(2));
    for (name, shape, optional) in [
        ("per_layer_token_embd.weight", &[100, 96][..], false),
        ("per_layer_model_proj.weight", &[96, 64], false),
        ("blk.0.attn_k.weight", &[16, 64], false),
        ("blk.0.attn_v.weight", &[16, 64], false),
        ("blk.1.attn_k.weight", &[32, 64], false),
        // Its values may be its keys.
        ("blk.1.attn_v.weight", &[32, 64], true),
        ("blk.2.attn_q.weight", &[32, 64], false),
        ("blk.2.attn_k.weight", &[16, 64], true),
        ("blk.3.attn_k_norm.weight", &[16], true),
        ("blk.3.ffn_up.weight", &[192, 64], false),
        ("blk.3.inp_gate.weight", &[24, 64], false),
        ("blk.3.layer_output_scale.weight", &[1], true),
    ] {
        assert_eq!(spec(&gemma4, name), Some((shape.to_vec(), optional)), "{name}");
    }
    let sources = |config: &Config| config.layers.iter().map(|layer| layer.kv_source).collect::<Vec<_>>();
    assert_eq!(sources(&gemma4), [None, None, Some(0), Some(1)]);
    assert_eq!(sources(&with("gemma4", &own(1))), [None, None, None, Some(1)]);
    for shared in [3, 4, 5] {
        assert!(matches!(read("gemma4", &own(shared)), Err(ModelError::InvalidValue { .. })), "{shared}");
    }
}

#[test]
fn streams_and_sparse_gates_are_as_the_file_says() {
    let own = |streams: u32, cutoffs: Vec<f32>| {
        [
            ("altup.num_inputs", Value::U32(streams)),
            ("altup.active_idx", Value::U32(0)),
            ("activation_sparsity_scale", cutoffs.into()),
        ]
    };
    let gemma3n = with("gemma3n", &own(3, vec![1.5, f32::NEG_INFINITY]));
    for (name, shape) in [
        ("altup_proj.weight", &[2, 64, 64][..]),
        ("altup_unembd_proj.weight", &[2, 64, 64]),
        ("blk.0.altup_router.weight", &[3, 64]),
        ("blk.0.altup_router_norm.weight", &[64]),
        ("blk.1.altup_predict_coef.weight", &[9, 3]),
        ("blk.1.altup_correct_coef.weight", &[3, 3]),
        ("blk.1.altup_correct_scale.weight", &[64]),
        ("blk.1.laurel_l.weight", &[64, 64]),
        ("blk.1.laurel_post_norm.weight", &[64]),
    ] {
        assert_eq!(spec(&gemma3n, name), Some((shape.to_vec(), false)), "{name}");
    }
    assert_eq!(gemma3n.layers.iter().map(|layer| layer.gate_cutoff).collect::<Vec<_>>(), [Some(1.5), None]);
    let coefficients = tensors(&gemma3n).into_iter().filter(|spec| spec.name.to_string().contains("_coef."));
    assert_eq!(coefficients.map(|spec| spec.is_matrix()).collect::<Vec<_>>(), [false; 4]);
    assert_eq!(spec(&config("gemma3"), "altup_proj.weight"), None);
    let refused = |own: &[(&str, Value)]| match read("gemma3n", own) {
        Err(ModelError::InvalidValue { key, .. } | ModelError::UnknownKey { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    let none = vec![f32::NEG_INFINITY; 2];
    assert_eq!(refused(&own(1, none.clone())), "gemma3n.altup.num_inputs");
    assert_eq!(refused(&own(9, none.clone())), "gemma3n.altup.num_inputs");
    for wrong in [vec![1.0], vec![f32::NAN, 1.0], vec![1.0, f32::INFINITY]] {
        assert_eq!(refused(&own(4, wrong)), "gemma3n.activation_sparsity_scale");
    }
    let [streams, _, cutoffs] = own(4, none);
    let other_active = [streams, ("altup.active_idx", Value::U32(1)), cutoffs];
    assert_eq!(refused(&other_active), "gemma3n.altup.active_idx");
}

#[test]
fn gated_delta_nets_are_where_the_file_says() {
    let sizes = [("conv_kernel", 4), ("state_size", 16), ("group_count", 2), ("time_step_rank", 6), ("inner_size", 96)];
    let names = sizes.map(|(key, _)| format!("ssm.{key}"));
    let mut own: Vec<_> = names.iter().zip(sizes).map(|(key, (_, size))| (key.as_str(), Value::U32(size))).collect();
    let by_interval = with("qwen35", &[&own[..], &[("full_attention_interval", Value::U32(2))]].concat());
    own.push(("attention.recurrent_layers", vec![true, false, false].into()));
    own.extend([("block_count", Value::U32(3)), ("nextn_predict_layers", Value::U32(1))]);
    for config in [by_interval, with("qwen35", &own)] {
        assert_eq!((config.layers.len(), spec(&config, "blk.2.attn_norm.weight")), (2, None));
        for (name, shape) in [
            ("blk.0.attn_qkv.weight", &[160, 64][..]),
            ("blk.0.attn_gate.weight", &[96, 64]),
            ("blk.0.ssm_alpha.weight", &[6, 64]),
            ("blk.0.ssm_dt.bias", &[6]),
            ("blk.0.ssm_a", &[6]),
            ("blk.0.ssm_conv1d.weight", &[160, 4]),
            ("blk.0.ssm_norm.weight", &[16]),
            ("blk.0.ssm_out.weight", &[64, 96]),
            // The gates of the heads are among the queries.
            ("blk.1.attn_q.weight", &[64, 64]),
            ("blk.1.attn_output.weight", &[64, 32]),
            ("blk.1.post_attention_norm.weight", &[64]),
        ] {
            assert_eq!(spec(&config, name), Some((shape.to_vec(), false)), "{name}");
        }
        assert_eq!(spec(&config, "blk.0.attn_q.weight"), None);
        assert_eq!(spec(&config, "blk.1.ssm_out.weight"), None);
    }
}

#[test]
fn layers_without_key_heads_are_mamba_2_with_or_without_experts() {
    let sizes = [("conv_kernel", 4), ("state_size", 16), ("group_count", 2), ("time_step_rank", 6), ("inner_size", 96)];
    let names = sizes.map(|(key, _)| format!("ssm.{key}"));
    let own = names.iter().zip(sizes).map(|(key, (_, size))| (key.as_str(), Value::U32(size)));
    let mut own: Vec<_> = own.chain([("attention.head_count_kv", vec![0_i32, 2].into())]).collect();
    let dense = with("granitehybrid", &own);
    own.extend([("expert_count", Value::U32(8)), ("expert_used_count", Value::U32(2))]);
    own.push(("expert_shared_feed_forward_length", Value::U32(24)));
    let sparse = with("granitehybrid", &own);
    for (name, shape, optional) in [
        ("blk.0.attn_norm.weight", &[64][..], false),
        ("blk.0.ssm_in.weight", &[262, 64], false),
        ("blk.0.ssm_conv1d.weight", &[160, 4], false),
        ("blk.0.ssm_conv1d.bias", &[160], true),
        ("blk.0.ssm_dt.bias", &[6], false),
        ("blk.0.ssm_a", &[6, 1], false),
        ("blk.0.ssm_d", &[6, 1], false),
        ("blk.0.ssm_norm.weight", &[2, 48], false),
        ("blk.0.ssm_out.weight", &[64, 96], false),
        ("blk.1.attn_k.weight", &[16, 64], false),
    ] {
        for config in [&dense, &sparse] {
            assert_eq!(spec(config, name), Some((shape.to_vec(), optional)), "{name}");
        }
    }
    assert_eq!(spec(&dense, "blk.0.attn_q.weight"), None);
    assert_eq!(spec(&dense, "blk.1.ssm_in.weight"), None);
    assert_eq!(spec(&dense, "blk.0.ffn_up.weight"), Some((vec![96, 64], false)));
    assert_eq!(spec(&sparse, "blk.0.ffn_up_exps.weight"), Some((vec![8, 96, 64], false)));
    assert_eq!(spec(&sparse, "blk.1.ffn_down_shexp.weight"), Some((vec![64, 24], false)));
    let matrices = tensors(&dense).into_iter().filter(|spec| spec.name.layer == Some(0) && spec.is_matrix());
    let matrices: Vec<_> = matrices.map(|spec| spec.name.role).collect();
    assert_eq!(matrices, [Role::SsmInput, Role::SsmOutput, Role::FfnGate, Role::FfnUp, Role::FfnDown]);
}

#[test]
fn mamba_2_may_be_beside_attention() {
    let sizes = [("conv_kernel", 4), ("state_size", 16), ("group_count", 2), ("time_step_rank", 6), ("inner_size", 96)];
    let names = sizes.map(|(key, _)| format!("ssm.{key}"));
    let own: Vec<_> = names.iter().zip(sizes).map(|(key, (_, size))| (key.as_str(), Value::U32(size))).collect();
    let falcon = with("falcon-h1", &own);
    for (name, shape, optional) in [
        ("blk.1.attn_norm.weight", &[64][..], false),
        ("blk.1.attn_q.weight", &[32, 64], false),
        ("blk.1.ssm_in.weight", &[262, 64], false),
        ("blk.1.ssm_norm.weight", &[2, 48], true),
        ("blk.1.ffn_norm", &[64], false),
    ] {
        assert_eq!(spec(&falcon, name), Some((shape.to_vec(), optional)), "{name}");
    }
    assert_eq!(tensors(&falcon).iter().filter(|spec| spec.name.role == Role::AttentionNorm).count(), 2);
    assert_eq!(spec(&falcon, "blk.1.ffn_norm.weight"), None);
    let shared = [&own[..], &[("attention.shared_kv_layers", Value::U32(1))]].concat();
    assert!(matches!(read("falcon-h1", &shared), Err(ModelError::InvalidValue { .. })));
}

#[test]
fn encoders_have_tables_norms_of_sums_and_no_norm_in_the_end() {
    let bert = config("bert");
    assert!(!bert.causal && bert.layers.iter().all(|layer| !layer.has_rope));
    for (name, shape) in [
        ("position_embd.weight", &[8, 64][..]),
        ("token_embd_norm.bias", &[64]),
        ("blk.0.attn_output_norm.weight", &[64]),
        ("blk.1.layer_output_norm.bias", &[64]),
    ] {
        assert_eq!(spec(&bert, name), Some((shape.to_vec(), false)), "{name}");
    }
    assert_eq!(spec(&bert, "blk.0.attn_q.bias"), Some((vec![32], true)));
    for name in ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "blk.0.ffn_gate.weight"] {
        assert_eq!(spec(&bert, name), None, "{name}");
    }
    let nomic = config("nomic-bert");
    assert_eq!(spec(&nomic, "position_embd.weight"), None);
    assert_eq!(spec(&nomic, "blk.0.attn_qkv.weight"), Some((vec![64, 64], false)));
    let modern = with("modern-bert", &[("attention.sliding_window", Value::U32(8)), ("block_count", Value::U32(4))]);
    let slides: Vec<bool> = modern.layers.iter().map(|layer| layer.is_sliding).collect();
    assert_eq!((slides, modern.causal), (vec![false, true, true, false], false));
    assert_eq!(spec(&modern, "blk.0.attn_norm.weight"), None);
    assert_eq!(spec(&modern, "blk.1.attn_norm.weight"), Some((vec![64], false)));
    assert_eq!(spec(&modern, "blk.1.attn_norm.bias"), None);
    assert_eq!(spec(&modern, "blk.0.ffn_up.weight"), Some((vec![192, 64], false)));
    assert_eq!(spec(&modern, "cls.output.weight"), None);
    let labels = ("classifier.output_labels", Value::from(vec!["no".to_owned(), "Yes".to_owned()]));
    let ranking = with("bert", &[labels.clone(), ("pooling_type", Value::U32(4))]);
    assert_eq!(ranking.classifier.as_ref().map(|it| (it.labels, it.relevant)), Some((2, 1)));
    assert_eq!(spec(&ranking, "cls.output.weight"), Some((vec![2, 64], false)));
    assert_eq!(spec(&ranking, "cls.weight"), Some((vec![64, 64], true)));
    let none = ("classifier.output_labels", Value::from(Vec::<String>::new()));
    assert!(matches!(read("bert", &[none]), Err(ModelError::InvalidValue { .. })));
    let other = ("hidden_activation", Value::from("relu"));
    assert!(matches!(read("modern-bert", &[other]), Err(ModelError::Unsupported { .. })));
    let sizes = [("dense_2_feat_in", 64), ("dense_2_feat_out", 32)].map(|(key, size)| (key, Value::U32(size)));
    let gemma = with("gemma-embedding", &sizes);
    assert_eq!((gemma.causal, gemma.embedding_width()), (false, 32));
    assert_eq!(spec(&gemma, "dense_2.weight"), Some((vec![32, 64], false)));
    assert_eq!(spec(&gemma, "dense_3.weight"), None);
}

/// Any family may have it, but for recurrent layers, which see what is before them.
#[test]
fn attention_is_bidirectional_where_the_file_says_so() {
    let bidirectional = [("attention.causal", Value::Bool(false))];
    assert!(config("llama").causal && !with("llama", &bidirectional).causal);
    assert_eq!(with("llama", &bidirectional).pass_tokens(1000), 1000);
    assert_eq!(config("llama").pass_tokens(1000), 256);
    let kernel = ("shortconv.l_cache", Value::U32(3));
    let recurrent = [("attention.head_count_kv", Value::from(vec![0, 2])), kernel, bidirectional[0].clone()];
    assert!(matches!(read("lfm2", &recurrent), Err(ModelError::InvalidValue { .. })));
}

#[test]
fn layers_may_differ() {
    let mut config = config("llama");
    config.layers[1] = LayerConfig { kv_heads: 1, ffn: 32, ..config.layers[1] };
    assert_eq!(spec(&config, "blk.0.attn_v.weight"), Some((vec![16, 64], false)));
    assert_eq!(spec(&config, "blk.1.attn_v.weight"), Some((vec![8, 64], false)));
    assert_eq!(spec(&config, "blk.1.ffn_up.weight"), Some((vec![32, 64], false)));
}

#[test]
fn switches_of_layers_are_a_list_or_one_of_all() {
    let ropes = |value: Value| {
        let layers = read("llama", &[("attention.rope_pattern", value)]).map(|config| config.layers);
        layers.map(|layers| layers.iter().map(|layer| layer.has_rope).collect::<Vec<_>>())
    };
    for value in [Value::from(vec![true, false]), Value::from(vec![1_u32, 0]), Value::from(vec![1_i32, 0])] {
        assert_eq!(ropes(value).unwrap(), [true, false]);
    }
    assert_eq!(ropes(Value::Bool(false)).unwrap(), [false, false]);
    assert_eq!(ropes(Value::U32(1)).unwrap(), [true, true]);
    for value in [Value::from(vec![true]), Value::from(vec![2_u32, 0]), Value::from("x"), Value::F32(1.0)] {
        assert!(ropes(value.clone()).unwrap_err().to_string().contains("llama.attention.rope_pattern"), "{value}");
    }
    let recurrent = |listed: [u32; 2]| {
        let keys = [
            ("shortconv.l_cache", Value::U32(3)),
            ("attention.head_count_kv", vec![0_u32, 2].into()),
            ("attention.recurrent_layers", listed.to_vec().into()),
        ];
        read("lfm2", &keys)
    };
    assert!(recurrent([1, 0]).unwrap().layers[1].kind.has_attention());
    assert!(recurrent([1, 1]).unwrap_err().to_string().contains("the layers without keys"));
}

#[test]
fn what_a_saved_file_has_of_other_families_does_not_count() {
    let saved = [
        ("attn_logit_softcapping", Value::F32(50.0)),
        ("final_logit_softcapping", Value::F32(30.0)),
        ("attention.scale", Value::F32(0.0)),
        ("rope.scaling.finetuned", Value::Bool(false)),
        ("classifier.output_labels", Value::from(Vec::<String>::new())),
    ];
    assert_eq!(with("llama", &saved[..1]).attention_softcap, Some(50.0));
    assert!(read("llama", &saved).is_err());
    let saved: Vec<_> = saved.into_iter().chain([("posnet.block_count", Value::U32(0))]).collect();
    let llama = with("llama", &saved);
    assert_eq!((llama.attention_softcap, llama.logit_softcap, llama.classifier.is_some()), (None, None, false));
    assert_eq!(with("gemma2", &saved).attention_softcap, Some(50.0));
    let experts = [("expert_count", Value::U32(4)), ("expert_used_count", Value::U32(2))];
    let granite: Vec<_> = saved.into_iter().chain(experts).collect();
    assert!(with("granitemoe", &granite).layers.iter().all(|layer| layer.has_rope));
}
