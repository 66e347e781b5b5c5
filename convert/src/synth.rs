//! A synthetic backbone: random weights in a real shape, for benchmarks.
//!
//! The weights are one block of random numbers, over and over; the vocabulary is the 256 bytes, one
//! merge, and fillers.

use std::borrow::Cow;
use std::path::Path;

use ollm_runtime::gguf::{GgufError, Metadata, TensorType, Value, Writer};
use ollm_runtime::model::{Config, Role, TensorSpec, schema};
use ollm_runtime::quant;
use ollm_runtime::random::Random;

use crate::{ConvertError, Result, check_absent};

/// A shape of a backbone.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// As on the command line.
    pub name: &'static str,
    architecture: &'static str,
    layers: u32,
    hidden: u32,
    ffn: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    rope_base: f32,
    tied: bool,
    /// Keys that its family alone has.
    more: &'static [(&'static str, Number)],
}

impl Shape {
    /// The same with so many layers.
    #[must_use]
    pub const fn with_layers(self, layers: u32) -> Self {
        Self { layers, ..self }
    }
}

/// The value of a key.
#[derive(Clone, Copy, Debug)]
enum Number {
    Count(u32),
    /// Of each layer.
    Counts(&'static [i32]),
    /// As it stands.
    List(&'static [i32]),
    /// Of each layer.
    Flags(&'static [bool]),
    Flag(bool),
    Float(f32),
    /// Of each layer.
    Floats(&'static [f32]),
}

/// The shapes that are known: those of Qwen3-1.7B, Qwen3-0.6B, Llama-3.2-1B, SmolLM3-3B,
/// Granite-3.3-2B, Phi-4-mini and Ministral-3-3B, these two without the scaling of their ropes,
/// LFM2-1.2B, Qwen3.5-2B, Granite-4.0-H-Micro, Gemma-3n-E2B, Gemma-4-E2B, Qwen3-30B-A3B,
/// Granite-3.1-1B-A400M, gpt-oss-20b, this one without the scaling of its rope, and LFM2-8B-A1B.
pub const SHAPES: [Shape; 16] = [
    Shape {
        name: "qwen3-1.7b",
        architecture: "qwen3",
        layers: 28,
        hidden: 2048,
        ffn: 6144,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        vocab: 151_936,
        rope_base: 1e6,
        tied: true,
        more: &[],
    },
    Shape {
        name: "qwen3-0.6b",
        architecture: "qwen3",
        layers: 28,
        hidden: 1024,
        ffn: 3072,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        vocab: 151_936,
        rope_base: 1e6,
        tied: true,
        more: &[],
    },
    Shape {
        name: "llama-1b",
        architecture: "llama",
        layers: 16,
        hidden: 2048,
        ffn: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 128_256,
        rope_base: 5e5,
        tied: true,
        more: &[],
    },
    Shape {
        name: "smollm3-3b",
        architecture: "smollm3",
        layers: 36,
        hidden: 2048,
        ffn: 11_008,
        heads: 16,
        kv_heads: 4,
        head_dim: 128,
        vocab: 128_256,
        rope_base: 5e6,
        tied: true,
        more: &[],
    },
    Shape {
        name: "granite-2b",
        architecture: "granite",
        layers: 40,
        hidden: 2048,
        ffn: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 49_159,
        rope_base: 1e7,
        tied: true,
        more: &[
            ("attention.scale", Number::Float(0.015_625)),
            ("embedding_scale", Number::Float(12.0)),
            ("residual_scale", Number::Float(0.22)),
            ("logit_scale", Number::Float(8.0)),
        ],
    },
    Shape {
        name: "phi4-mini",
        architecture: "phi3",
        layers: 32,
        hidden: 3072,
        ffn: 8192,
        heads: 24,
        kv_heads: 8,
        head_dim: 128,
        vocab: 200_064,
        rope_base: 1e4,
        tied: true,
        more: &[
            ("rope.dimension_count", Number::Count(96)),
            ("rope.scaling.original_context_length", Number::Count(4096)),
        ],
    },
    Shape {
        name: "ministral-3b",
        architecture: "mistral3",
        layers: 26,
        hidden: 3072,
        ffn: 9216,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        vocab: 131_072,
        rope_base: 1e6,
        tied: true,
        more: &[
            ("attention.temperature_scale", Number::Float(0.1)),
            ("rope.scaling.original_context_length", Number::Count(16_384)),
        ],
    },
    Shape {
        name: "lfm2-1.2b",
        architecture: "lfm2",
        layers: 16,
        hidden: 2048,
        ffn: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 65_536,
        rope_base: 1e6,
        tied: true,
        more: &[
            ("attention.head_count_kv", Number::Counts(&[0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0])),
            ("shortconv.l_cache", Number::Count(3)),
        ],
    },
    Shape {
        name: "qwen3.5-2b",
        architecture: "qwen35",
        layers: 24,
        hidden: 2048,
        ffn: 6144,
        heads: 8,
        kv_heads: 2,
        head_dim: 256,
        vocab: 248_320,
        rope_base: 1e7,
        tied: true,
        more: &[
            ("rope.dimension_count", Number::Count(64)),
            ("rope.dimension_sections", Number::List(&[11, 11, 10, 0])),
            ("full_attention_interval", Number::Count(4)),
            ("ssm.conv_kernel", Number::Count(4)),
            ("ssm.state_size", Number::Count(128)),
            ("ssm.group_count", Number::Count(16)),
            ("ssm.time_step_rank", Number::Count(16)),
            ("ssm.inner_size", Number::Count(2048)),
        ],
    },
    Shape {
        name: "granite4-h-micro",
        architecture: "granitehybrid",
        layers: 40,
        hidden: 2048,
        ffn: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 100_352,
        rope_base: 1e4,
        tied: true,
        more: &[
            ("attention.head_count_kv", Number::Counts(&[0, 0, 0, 0, 0, 8, 0, 0, 0, 0])),
            ("rope.scaling.finetuned", Number::Flag(false)),
            ("ssm.conv_kernel", Number::Count(4)),
            ("ssm.state_size", Number::Count(128)),
            ("ssm.group_count", Number::Count(1)),
            ("ssm.time_step_rank", Number::Count(64)),
            ("ssm.inner_size", Number::Count(4096)),
            ("attention.scale", Number::Float(0.015_625)),
            ("embedding_scale", Number::Float(12.0)),
            ("residual_scale", Number::Float(0.22)),
            ("logit_scale", Number::Float(8.0)),
        ],
    },
    Shape {
        name: "gemma3n-e2b",
        architecture: "gemma3n",
        layers: 30,
        hidden: 2048,
        ffn: 8192,
        heads: 8,
        kv_heads: 2,
        head_dim: 256,
        vocab: 262_400,
        rope_base: 1e6,
        tied: true,
        more: &[
            ("attention.sliding_window", Number::Count(512)),
            ("attention.sliding_window_pattern", Number::Flags(&[true, true, true, true, false])),
            ("attention.shared_kv_layers", Number::Count(10)),
            ("embedding_length_per_layer_input", Number::Count(256)),
            ("altup.num_inputs", Number::Count(4)),
            ("altup.active_idx", Number::Count(0)),
            ("activation_sparsity_scale", Number::Floats(&GEMMA3N_CUTOFFS)),
            ("rope.freq_base_swa", Number::Float(1e4)),
            ("final_logit_softcapping", Number::Float(30.0)),
        ],
    },
    Shape {
        name: "gemma4-e2b",
        architecture: "gemma4",
        layers: 35,
        hidden: 1536,
        ffn: 6144,
        heads: 8,
        kv_heads: 1,
        head_dim: 512,
        vocab: 262_144,
        rope_base: 1e6,
        tied: true,
        more: &[
            ("feed_forward_length", Number::Counts(&GEMMA4_FFN)),
            ("attention.key_length_swa", Number::Count(256)),
            ("attention.value_length_swa", Number::Count(256)),
            ("attention.sliding_window", Number::Count(512)),
            ("attention.sliding_window_pattern", Number::Flags(&[true, true, true, true, false])),
            ("attention.shared_kv_layers", Number::Count(20)),
            ("embedding_length_per_layer_input", Number::Count(256)),
            ("rope.freq_base_swa", Number::Float(1e4)),
            ("rope.dimension_count_swa", Number::Count(256)),
            ("final_logit_softcapping", Number::Float(30.0)),
        ],
    },
    QWEN3_30B,
    Shape {
        name: "granite-1b-a400m",
        architecture: "granitemoe",
        layers: 24,
        hidden: 1024,
        ffn: 512,
        heads: 16,
        kv_heads: 8,
        head_dim: 64,
        vocab: 49_155,
        rope_base: 1e4,
        tied: true,
        more: &[
            ("expert_count", Number::Count(32)),
            ("expert_used_count", Number::Count(8)),
            ("attention.scale", Number::Float(0.015_625)),
            ("embedding_scale", Number::Float(12.0)),
            ("residual_scale", Number::Float(0.22)),
            ("logit_scale", Number::Float(6.0)),
        ],
    },
    Shape {
        name: "gpt-oss-20b",
        architecture: "gpt-oss",
        layers: 24,
        hidden: 2880,
        ffn: 2880,
        heads: 64,
        kv_heads: 8,
        head_dim: 64,
        vocab: 201_088,
        rope_base: 1.5e5,
        tied: false,
        more: &[
            ("expert_count", Number::Count(32)),
            ("expert_used_count", Number::Count(4)),
            ("expert_feed_forward_length", Number::Count(2880)),
            ("attention.sliding_window", Number::Count(128)),
        ],
    },
    Shape {
        name: "lfm2-8b-a1b",
        architecture: "lfm2moe",
        layers: 24,
        hidden: 2048,
        ffn: 7168,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 65_536,
        rope_base: 1e6,
        tied: true,
        more: &[
            ("attention.head_count_kv", Number::Counts(&LFM2_8B_KEYS)),
            ("shortconv.l_cache", Number::Count(3)),
            ("expert_count", Number::Count(32)),
            ("expert_used_count", Number::Count(4)),
            ("expert_feed_forward_length", Number::Count(1792)),
            ("expert_gating_func", Number::Count(2)),
            ("leading_dense_block_count", Number::Count(2)),
        ],
    },
];

/// Layers with attention have key heads.
const LFM2_8B_KEYS: [i32; 24] = [0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 8, 0, 0];

/// The gates of the first layers are sparse: 5% of normally distributed ones are above this.
const GEMMA3N_CUTOFFS: [f32; 30] = {
    let mut cutoffs = [f32::NEG_INFINITY; 30];
    let mut layer = 0;
    while layer < 10 {
        cutoffs[layer] = 1.644_853_6;
        layer += 1;
    }
    cutoffs
};

/// Layers that have the keys and values of others are twice as wide.
const GEMMA4_FFN: [i32; 35] = {
    let mut widths = [6144; 35];
    let mut layer = 15;
    while layer < widths.len() {
        widths[layer] *= 2;
        layer += 1;
    }
    widths
};

const QWEN3_30B: Shape = Shape {
    name: "qwen3-30b-a3b",
    architecture: "qwen3moe",
    layers: 48,
    hidden: 2048,
    ffn: 6144,
    heads: 32,
    kv_heads: 4,
    head_dim: 128,
    vocab: 151_936,
    rope_base: 1e6,
    tied: false,
    more: &[
        ("expert_count", Number::Count(128)),
        ("expert_used_count", Number::Count(8)),
        ("expert_feed_forward_length", Number::Count(768)),
    ],
};

/// Positions that the file says it was trained for.
const CONTEXT: u32 = 32_768;

/// Random numbers that are encoded; a whole number of blocks of every type.
const BLOCK: usize = 1 << 20;

/// Writes a backbone of this shape, its matrices of type `dtype`.
///
/// # Errors
/// [`ConvertError::OutputExists`] if the file is there and may not be replaced,
/// [`ConvertError::Output`] if it cannot be written.
pub fn synth(shape: &Shape, dtype: TensorType, output: &Path, force: bool) -> Result<()> {
    check_absent(output, force)?;
    let metadata = describe(shape).map_err(ConvertError::Output)?;
    let config = Config::from_metadata(&metadata, shape.vocab as usize)?;
    let mut specs = schema::tensors(&config);
    specs.retain(|spec| !spec.optional || spec.name.role == Role::Head && !shape.tied);
    // Matrices first.
    specs.sort_by_key(|spec| kind(spec) != Kind::Matrix);
    let size = |spec: &TensorSpec| dtype_of(spec, dtype).row_bytes(spec.shape.iter().product()).unwrap_or(0);
    let most = |of: Kind| specs.iter().filter(|spec| kind(spec) == of).map(size).max().unwrap_or(0);
    let weights = weights_of(dtype, most(Kind::Matrix))?;
    let routers = weights_of(TensorType::F32, most(Kind::Router))?;
    let all = |x: f32, of| x.to_le_bytes().into_iter().cycle().take(most(of)).collect::<Vec<u8>>();
    let (ones, decays) = (all(1.0, Kind::Other), all(-1.0, Kind::Decay));
    let mut writer = Writer::new();
    for (key, value) in metadata.iter() {
        writer.set(key, value.clone()).map_err(ConvertError::Output)?;
    }
    for spec in &specs {
        let dims: Vec<u64> = spec.shape.iter().rev().map(|&n| n as u64).collect();
        let bytes = match kind(spec) {
            Kind::Matrix => &weights,
            Kind::Router => &routers,
            Kind::Decay => &decays,
            Kind::Other => &ones,
        };
        let bytes = Cow::Borrowed(&bytes[..size(spec)]);
        let added = writer.tensor(&spec.name.to_string(), &dims, dtype_of(spec, dtype), bytes);
        added.map_err(ConvertError::Output)?;
    }
    crate::write(writer, output)
}

/// What numbers a tensor gets.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Random ones, of the type that was asked for.
    Matrix,
    /// Random ones, in F32: what recipes leave as it is.
    Router,
    /// Minus ones, in F32: states that grow would have no end.
    Decay,
    /// Ones, in F32.
    Other,
}

fn kind(spec: &TensorSpec) -> Kind {
    match spec.name.role {
        _ if spec.name.is_bias => Kind::Other,
        Role::FfnRouter
        | Role::PerLayerProjection
        | Role::AltUpProjections
        | Role::AltUpUnembeddings
        | Role::AltUpRouter
        | Role::AltUpPrediction
        | Role::AltUpCorrection
        | Role::LaurelLeft
        | Role::LaurelRight => Kind::Router,
        Role::SsmScale => Kind::Decay,
        _ if spec.is_matrix() => Kind::Matrix,
        _ => Kind::Other,
    }
}

/// The type of a tensor where matrices are `dtype`.
fn dtype_of(spec: &TensorSpec, dtype: TensorType) -> TensorType {
    if kind(spec) == Kind::Matrix { dtype } else { TensorType::F32 }
}

/// `size` bytes of random weights.
fn weights_of(dtype: TensorType, size: usize) -> Result<Vec<u8>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut random = Random::new(0);
    // As large as the weights of a trained layer.
    let values: Vec<f32> = (0..BLOCK).map(|_| (random.unit() as f32 - 0.5) * 0.1).collect();
    let named = |source| ConvertError::Values { tensor: "random weights".to_owned(), source };
    Ok(quant::encode(dtype, &values).map_err(named)?.into_iter().cycle().take(size).collect())
}

/// The keys of the file.
fn describe(shape: &Shape) -> std::result::Result<Metadata, GgufError> {
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
    let key = |name: &str| format!("{}.{name}", shape.architecture);
    set("general.architecture", shape.architecture.into())?;
    set("general.name", format!("random weights of the shape of {}", shape.name).into())?;
    let numbers = [
        ("context_length", CONTEXT),
        ("block_count", shape.layers),
        ("embedding_length", shape.hidden),
        ("feed_forward_length", shape.ffn),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head_dim),
        ("attention.value_length", shape.head_dim),
        ("rope.dimension_count", shape.head_dim),
        ("vocab_size", shape.vocab),
    ];
    for (name, value) in numbers.into_iter().filter(|(name, _)| shape.more.iter().all(|(other, _)| other != name)) {
        set(&key(name), value.into())?;
    }
    for &(name, value) in shape.more {
        let value = match value {
            Number::Count(count) => count.into(),
            Number::Counts(counts) => {
                counts.iter().copied().cycle().take(shape.layers as usize).collect::<Vec<_>>().into()
            }
            Number::List(list) => list.to_vec().into(),
            Number::Flags(flags) => {
                flags.iter().copied().cycle().take(shape.layers as usize).collect::<Vec<_>>().into()
            }
            Number::Flag(flag) => flag.into(),
            Number::Float(x) => x.into(),
            Number::Floats(list) => list.iter().copied().cycle().take(shape.layers as usize).collect::<Vec<_>>().into(),
        };
        set(&key(name), value)?;
    }
    set(&key("attention.layer_norm_rms_epsilon"), 1e-6_f32.into())?;
    set(&key("rope.freq_base"), shape.rope_base.into())?;
    set("tokenizer.ggml.model", "gpt2".into())?;
    set("tokenizer.ggml.pre", "qwen2".into())?;
    set("tokenizer.ggml.tokens", tokens(shape.vocab).into())?;
    set("tokenizer.ggml.token_type", vec![1_i32; shape.vocab as usize].into())?;
    set("tokenizer.ggml.merges", vec!["a b".to_owned()].into())?;
    set("tokenizer.ggml.eos_token_id", (shape.vocab - 1).into())?;
    Ok(metadata)
}

/// The letters of the 256 bytes, the one merged token, and fillers.
fn tokens(count: u32) -> Vec<String> {
    let visible = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let letters = (0..256).filter(visible).chain((256..).take(256 - (0..256).filter(visible).count()));
    let letters = letters.filter_map(char::from_u32).map(String::from);
    let fillers = (0..).map(|i| format!("filler{i}"));
    letters.chain(["ab".to_owned()]).chain(fillers).take(count as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ollm_runtime::model::Model;
    use ollm_runtime::tokenizer::Tokenizer;

    /// What is as large as the model: small.
    const SMALL: [(&str, Number); 12] = [
        ("expert_count", Number::Count(3)),
        ("expert_used_count", Number::Count(2)),
        ("expert_feed_forward_length", Number::Count(256)),
        ("expert_shared_feed_forward_length", Number::Count(256)),
        ("feed_forward_length", Number::Count(512)),
        ("attention.key_length_swa", Number::Count(64)),
        ("attention.value_length_swa", Number::Count(64)),
        ("attention.sliding_window", Number::Count(4)),
        ("attention.sliding_window_pattern", Number::Flags(&[true, false])),
        ("attention.shared_kv_layers", Number::Count(1)),
        ("embedding_length_per_layer_input", Number::Count(256)),
        ("rope.dimension_count_swa", Number::Count(64)),
    ];

    #[test]
    fn a_shape_of_each_architecture_is_a_model_with_a_tokenizer() {
        let types: Vec<_> = TensorType::ALL.iter().copied().filter(|&dtype| quant::is_writable(dtype)).collect();
        for (i, shape) in SHAPES.iter().enumerate() {
            let name = shape.name;
            let small = |&(key, number)| SMALL.into_iter().find(|(other, _)| *other == key).unwrap_or((key, number));
            let more: Vec<_> = shape.more.iter().map(small).collect();
            let more = more.leak();
            let small = Shape { hidden: 256, ffn: 512, vocab: 300, more, ..shape.with_layers(3) };
            let path = std::env::temp_dir().join(format!("ollm-synth-{}-{name}.gguf", std::process::id()));
            // All types with the first shape, and one with each other, in turn.
            for &dtype in if i == 0 { &types[..] } else { &types[i % types.len()..][..1] } {
                synth(&small, dtype, &path, true).unwrap();
                let model = Model::open(&path).unwrap();
                assert_eq!(model.config().layers.len(), 3, "{dtype:?}");
                let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
                assert_eq!(tokenizer.encode("ab c", false).unwrap().len(), 3);
            }
            std::fs::remove_file(&path).unwrap();
        }
    }
}
