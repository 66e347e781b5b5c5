#!/usr/bin/env python3
"""Make tiny random checkpoints with transformers, write them as GGUF, and record what transformers computes on them.

usage: tiny.py [NAME...]: those models alone; the others stay as they are.

Writes tiny/NAME.gguf, tiny/NAME.hidden.f32, tiny/NAME.logits.f32, tiny/NAME.config.json (what transformers saves) and tiny.json beside
this file. The weights are drawn large enough for
every part to matter: a forgotten bias, norm weight or rotation moves the logits by far more than rounding does.
"""

import copy
import json
import statistics
import sys

import gguf
import numpy as np
import torch
import transformers
from transformers import Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from common import HERE, SPECIALS, byte_letters, gguf_names, interleave_rope_rows, rotary_heads, write_manifest, write_tokenizer

OUT = HERE / "tiny"
TOKENS = 24
MERGES = 60
SHAPE = {
    "vocab_size": len(SPECIALS) + 256 + MERGES,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "attn_implementation": "eager",
}
# With 8 frequencies over base 100, this scaling leaves the first alone, blends the next two, and divides the others by 8: all three cases
# of the llama3 rule take part, and within 24 positions they show.
LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}
DEFAULT = {"rope_type": "default", "rope_theta": 1000.0}
# A short window, one layer that has it and one that has not, ropes that differ.
LOCAL = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
TWO_ROPES = {"full_attention": {**LINEAR, "factor": 8.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}

# name, seed, GGUF architecture, pre-tokenizer, model class, configuration
MODELS = [
    ("llama", 1, gguf.MODEL_ARCH.LLAMA, "smollm", LlamaForCausalLM,
     LlamaConfig(**SHAPE, rope_parameters=DEFAULT, tie_word_embeddings=False)),
    ("qwen2", 2, gguf.MODEL_ARCH.QWEN2, "qwen2", Qwen2ForCausalLM,
     Qwen2Config(**SHAPE, rope_parameters=DEFAULT, tie_word_embeddings=True)),
    ("qwen3", 3, gguf.MODEL_ARCH.QWEN3, "qwen2", Qwen3ForCausalLM,
     Qwen3Config(**SHAPE, rope_parameters=DEFAULT, tie_word_embeddings=True, head_dim=32)),
    ("llama-rope-llama3", 4, gguf.MODEL_ARCH.LLAMA, "smollm", LlamaForCausalLM,
     LlamaConfig(**SHAPE, rope_parameters=LLAMA3, tie_word_embeddings=True)),
    ("llama-rope-linear", 5, gguf.MODEL_ARCH.LLAMA, "smollm", LlamaForCausalLM,
     LlamaConfig(**SHAPE, rope_parameters=LINEAR, tie_word_embeddings=True)),
    ("mistral", 6, gguf.MODEL_ARCH.LLAMA, "smollm", MistralForCausalLM,
     MistralConfig(**SHAPE, rope_parameters=DEFAULT, tie_word_embeddings=False, sliding_window=8)),
    ("gemma3", 7, gguf.MODEL_ARCH.GEMMA3, "qwen2", Gemma3ForCausalLM,
     Gemma3TextConfig(**SHAPE, **LOCAL, rope_parameters=TWO_ROPES, head_dim=32, query_pre_attn_scalar=32)),
    # Caps low enough to bend what there is.
    ("gemma2", 8, gguf.MODEL_ARCH.GEMMA2, "qwen2", Gemma2ForCausalLM,
     Gemma2Config(**SHAPE, **LOCAL, rope_parameters=DEFAULT, head_dim=32, query_pre_attn_scalar=24, attn_logit_softcapping=5.0,
                  final_logit_softcapping=10.0)),
]

# The other families: smaller, and with matrices that half floats hold exactly, in which they are
# stored.
SMALL_TOKENS = 12
SMALL = {**SHAPE, "hidden_size": 32, "intermediate_size": 48, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
         "rope_parameters": DEFAULT, "tie_word_embeddings": True}
LAYER_NORM = {key: value for key, value in SMALL.items() if key != "rms_norm_eps"}
HALF_ROPE = {**DEFAULT, "partial_rotary_factor": 0.5}
WINDOW = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
# Ministral 3 without YaRN: queries grow every 4 positions.
TEMPERATURE = {**DEFAULT, "llama_4_scaling_beta": 0.5, "original_max_position_embeddings": 4}
MROPE = {**DEFAULT, "mrope_section": [1, 1, 2]}
# Interleaved sections that leave none of four pairs out.
HALF_MROPE = {**HALF_ROPE, "mrope_section": [2, 1, 1]}
# Few enough experts for files to stay small, narrow ones, and more than a token has.
FEW = {"num_experts": 5, "num_local_experts": 5, "num_experts_per_tok": 2}
NARROW = {**FEW, "moe_intermediate_size": 16}
# Granite 4: Mamba 2 with two groups of heads, whose rows are no whole panels, and no rope.
GRANITE_HYBRID = {"num_hidden_layers": 4, "layer_types": ["mamba", "mamba", "attention", "mamba"], "mamba_n_heads": 4,
                  "mamba_n_groups": 2, "mamba_d_state": 10, "embedding_multiplier": 6.0, "attention_multiplier": 0.2,
                  "residual_multiplier": 0.4, "logits_scaling": 3.0, "position_embedding_type": "nope"}
# Falcon H1: attention and Mamba 2 in parallel, and powers of two as multipliers, which GGUF has in
# the weights.
FALCON_H1 = {"head_dim": 8, "mamba_d_ssm": 48, "mamba_n_heads": 4, "mamba_n_groups": 2, "mamba_d_state": 10,
             "mamba_norm_before_gate": False, "tie_word_embeddings": False, "embedding_multiplier": 4.0, "lm_head_multiplier": 0.5,
             "key_multiplier": 0.5, "attention_in_multiplier": 2.0, "attention_out_multiplier": 4.0, "ssm_in_multiplier": 0.5,
             "ssm_out_multiplier": 2.0, "mlp_multipliers": [2.0, 4.0], "ssm_multipliers": [4.0, 2.0, 8.0, 4.0, 2.0]}
VISION = {"depth": 1, "hidden_size": 32, "embed_dim": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32}


# Gemma 4: heads of two sizes, a rope that turns a quarter of the larger ones, and layers that have
# the keys and values of others.
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
PROPORTIONAL = {"full_attention": {"rope_type": "proportional", "rope_theta": 1000.0, "partial_rotary_factor": 0.25},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
GEMMA4 = {**WINDOW, "rope_parameters": PROPORTIONAL, "num_hidden_layers": 4, "layer_types": 2 * WINDOW["layer_types"], "head_dim": 8,
          "global_head_dim": 16, "final_logit_softcapping": 10.0}

# Gemma 3n: fewer per-layer embeddings than tokens, and two layers whose gates are sparse.
GEMMA3N = {**WINDOW, "num_hidden_layers": 4, "layer_types": 2 * WINDOW["layer_types"], "head_dim": 16, "num_kv_shared_layers": 2,
           "intermediate_size": [48, 48, 64, 64], "activation_sparsity_pattern": [0.75, 0.95, 0.0, 0.0], "final_logit_softcapping": 10.0,
           "hidden_size_per_layer_input": 32, "vocab_size_per_layer_input": SMALL["vocab_size"] - 64,
           "rope_parameters": {"full_attention": DEFAULT, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}}


def small(name, seed, arch, kind, **keys):
    """As a row of MODELS. `kind` is the name of the configuration in transformers, which gives that of the model."""
    make_config = getattr(transformers, f"{kind}TextConfig" if kind == "Qwen3_5" else f"{kind}Config")
    base = LAYER_NORM if kind in ("StableLm", "Starcoder2", "Cohere2", "Nemotron", "Lfm2", "Lfm2Moe") else SMALL
    keys = {key: value for key, value in keys.items() if not key.endswith("experts") or hasattr(make_config(), key)}
    model = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")
    return name, seed, arch, "qwen2", model, make_config(**copy.deepcopy({**base, **keys}))


def multimodal(name, seed, arch, kind, **keys):
    """The text part of a model that sees."""
    text = copy.deepcopy({**SMALL, "rope_parameters": MROPE, **keys})
    vision = {**VISION, "deepstack_visual_indexes": [0]}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision, tie_word_embeddings=True)
    return name, seed, arch, "qwen2", getattr(transformers, f"{kind}ForConditionalGeneration"), config


ARCH = gguf.MODEL_ARCH
SMALL_MODELS = [
    small("smollm3", 9, ARCH.SMOLLM3, "SmolLM3", num_hidden_layers=4),
    small("granite", 10, ARCH.GRANITE, "Granite", embedding_multiplier=6.0, attention_multiplier=0.2, residual_multiplier=0.4,
          logits_scaling=3.0),
    small("phi3", 11, ARCH.PHI3, "Phi3", rope_parameters=HALF_ROPE, original_max_position_embeddings=256),
    small("mistral3", 12, ARCH.MISTRAL3, "Ministral3", rope_parameters=TEMPERATURE, head_dim=16),
    small("olmo2", 13, ARCH.OLMO2, "Olmo2", tie_word_embeddings=False),
    small("olmo3", 14, ARCH.OLMO2, "Olmo3", tie_word_embeddings=False, rope_parameters=TWO_ROPES, **WINDOW),
    small("gemma", 15, ARCH.GEMMA, "Gemma", head_dim=16),
    small("exaone4", 16, ARCH.EXAONE4, "Exaone4", **WINDOW),
    small("glm4", 17, ARCH.GLM4, "Glm4", rope_parameters=HALF_ROPE, attention_bias=True, head_dim=8),
    small("seed_oss", 18, ARCH.SEED_OSS, "SeedOss", head_dim=16),
    small("hunyuan-dense", 19, ARCH.HUNYUAN_DENSE, "HunYuanDenseV1", head_dim=8),
    small("ernie4_5", 20, ARCH.ERNIE4_5, "Ernie4_5", head_dim=16),
    # Its code is not in transformers: the network is Llama's.
    small("internlm2", 21, ARCH.INTERNLM2, "Llama", tie_word_embeddings=False),
    # Its code is not in transformers: the network is Granite's.
    small("minicpm", 22, ARCH.MINICPM, "Granite", embedding_multiplier=6.0, attention_multiplier=8**-0.5,
          residual_multiplier=0.8 / 2**0.5, logits_scaling=2.0),
    small("stablelm", 23, ARCH.STABLELM, "StableLm", rope_parameters=HALF_ROPE, use_qkv_bias=True, tie_word_embeddings=False),
    small("starcoder2", 24, ARCH.STARCODER2, "Starcoder2", sliding_window=None),
    small("cohere2", 25, ARCH.COHERE2, "Cohere2", logit_scale=0.5, head_dim=8, **WINDOW),
    small("nemotron", 26, ARCH.NEMOTRON, "Nemotron", rope_parameters=HALF_ROPE, head_dim=8, attention_bias=True, mlp_bias=True,
          tie_word_embeddings=False),
    # Widths are two thirds, rounded up: 48.
    small("lfm2", 29, ARCH.LFM2, "Lfm2", num_hidden_layers=4, layer_types=["conv", "full_attention", "conv", "full_attention"],
          intermediate_size=64, block_multiple_of=16, norm_eps=1e-5, num_key_value_heads=2),
    # Value heads that share keys, which GGUF has in another order.
    small("qwen35", 35, ARCH.QWEN35, "Qwen3_5", num_hidden_layers=4, head_dim=16, rms_norm_eps=1e-6, rope_parameters=HALF_MROPE,
          layer_types=["linear_attention", "linear_attention", "full_attention", "linear_attention"], linear_key_head_dim=8,
          linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=6),
    multimodal("qwen2vl", 27, ARCH.QWEN2VL, "Qwen2VL"),
    multimodal("qwen3vl", 28, ARCH.QWEN3VL, "Qwen3VL", head_dim=8),
    small("mixtral", 29, ARCH.LLAMA, "Mixtral", intermediate_size=16, **FEW),
    # A dense layer, then two with experts.
    small("qwen2moe", 30, ARCH.QWEN2MOE, "Qwen2Moe", num_hidden_layers=3, mlp_only_layers=[0], shared_expert_intermediate_size=24,
          **NARROW),
    # Its second layer alone has experts.
    small("qwen3moe", 31, ARCH.QWEN3MOE, "Qwen3Moe", num_hidden_layers=3, decoder_sparse_step=2, norm_topk_prob=True, **NARROW),
    small("olmoe", 32, ARCH.OLMOE, "Olmoe", intermediate_size=16, **FEW),
    # Rows of an expert that are no whole panels.
    small("granitemoe", 33, ARCH.GRANITE_MOE, "GraniteMoe", intermediate_size=24, embedding_multiplier=6.0, attention_multiplier=0.2,
          residual_multiplier=0.4, logits_scaling=3.0, **FEW),
    small("granitemoeshared", 34, ARCH.GRANITE_MOE, "GraniteMoeShared", intermediate_size=16, shared_intermediate_size=24,
          embedding_multiplier=6.0, attention_multiplier=0.2, residual_multiplier=0.4, logits_scaling=3.0, **FEW),
    # The last two layers have the keys and values of the first two.
    small("gemma4", 35, ARCH.GEMMA4, "Gemma4Text", num_kv_shared_layers=2, use_double_wide_mlp=True, hidden_size_per_layer_input=32,
          vocab_size_per_layer_input=SMALL["vocab_size"], **GEMMA4),
    # Layers with full attention have one key head, and no values but the keys.
    small("gemma4_unified", 36, ARCH.GEMMA4, "Gemma4UnifiedText", attention_k_eq_v=True, num_global_key_value_heads=1, **GEMMA4),
    # Rows of experts that are whole blocks of MXFP4.
    small("gpt-oss", 37, ARCH.GPT_OSS, "GptOss", intermediate_size=32, rope_parameters=YARN, head_dim=16, tie_word_embeddings=False,
          **WINDOW, **FEW),
    # Its first layer is dense.
    small("lfm2moe", 38, ARCH.LFM2MOE, "Lfm2Moe", num_hidden_layers=4, layer_types=["conv", "full_attention", "conv", "full_attention"],
          norm_eps=1e-5, num_dense_layers=1, **NARROW),
    # Attention and the feed-forward network side by side, and a norm for each head.
    small("stablelm-parallel", 39, ARCH.STABLELM, "StableLm", rope_parameters=HALF_ROPE, use_parallel_residual=True, qk_layernorm=True,
          tie_word_embeddings=False),
    small("granitehybrid", 40, ARCH.GRANITE_HYBRID, "GraniteMoeHybrid", shared_intermediate_size=48, num_local_experts=0,
          num_experts_per_tok=0, **GRANITE_HYBRID),
    small("granitehybridmoe", 41, ARCH.GRANITE_HYBRID, "GraniteMoeHybrid", intermediate_size=16, shared_intermediate_size=24,
          **GRANITE_HYBRID, **FEW),
    small("falcon-h1", 42, ARCH.FALCON_H1, "FalconH1", **FALCON_H1),
    small("falcon-h1-norm", 43, ARCH.FALCON_H1, "FalconH1", mamba_rms_norm=True, **FALCON_H1),
    small("gemma3n", 39, ARCH.GEMMA3N, "Gemma3nText", **GEMMA3N),
]
# Models whose norms multiply by 1 more than their weights.
FROM_ONE = ["gemma", "gemma2", "gemma3_text", "nemotron", "qwen3_5_text"]
# Models whose rows of queries and keys GGUF has in another order.
INTERLEAVED = [ARCH.LLAMA, ARCH.SMOLLM3, ARCH.GRANITE, ARCH.MISTRAL3, ARCH.INTERNLM2, ARCH.MINICPM, ARCH.GRANITE_MOE,
               ARCH.GRANITE_HYBRID]


def randomize(model, rng, half=False):
    """Fill every parameter; numpy's RandomState is used because its stream is frozen across versions."""
    for name, value in model.named_parameters():
        if "norm" in name:
            fresh = rng.uniform(0.5, 1.5, value.shape)
        elif name.endswith((".bias", "_bias")):
            fresh = rng.normal(0, 0.5, value.shape)
        elif name.endswith("mamba.D"):
            fresh = rng.normal(0, 1, value.shape)
        else:
            fresh = rng.normal(0, 1.5 / np.sqrt(value.shape[-1]), value.shape)
        if "modality_router" in name:
            # Its inputs are divided by twice as much: what it gives is bent.
            fresh *= value.shape[-1] / 2
        if "q_norm" in name and type(model).__name__.startswith(("Gemma3n", "Gemma4")):
            # It has the scale of scores, which would else be as sharp as no trained model's.
            fresh /= np.sqrt(value.shape[-1])
        if half and fresh.ndim > 1:
            fresh = fresh.astype(np.float16)
        value.data = torch.from_numpy(fresh.astype(np.float32))
    for name, value in model.named_buffers():
        if name.endswith("layer_scalar"):
            value.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, value.shape)))
        if name.endswith("expert_bias"):
            value.copy_(torch.from_numpy(rng.normal(0, 0.3, value.shape)))
    model.tie_weights()


def vocabulary():
    """Specials, the 256 bytes, then one token per merge, learnt from text.txt in the plainest way: the commonest pair first."""
    letters = byte_letters()
    words = [[letters[b] for b in (" " + word).encode()] for word in (HERE / "text.txt").read_text(encoding="utf-8").split()]
    merges = []
    while len(merges) < MERGES:
        counts = {}
        for word in words:
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        words = [join(word, best) for word in words]
    return SPECIALS + [letters[b] for b in range(256)] + ["".join(pair) for pair in merges], [" ".join(pair) for pair in merges]


def join(word, pair):
    result = []
    for letter in word:
        if result and (result[-1], letter) == pair:
            result[-1] += letter
        else:
            result.append(letter)
    return result


def key_heads(config):
    """One number, or one for each layer where some are recurrent or have fewer."""
    if config.model_type == "gemma4_unified_text":
        return [config.per_layer_config[layer].num_key_value_heads for layer in range(config.num_hidden_layers)]
    heads = config.num_key_value_heads
    if config.model_type == "granitemoehybrid":
        return [heads * (kind == "full_attention") for kind in config.layer_types]
    return [heads * (kind != "conv") for kind in config.layer_types] if "lfm2" in config.model_type else heads


def ffn_widths(config):
    """One number, or one for each layer where those that share keys and values are wider."""
    if config.model_type == "lfm2":
        return 48
    width, layers = config.intermediate_size, config.num_hidden_layers
    if getattr(config, "use_double_wide_mlp", False):
        return [width * (2 if layer >= layers - config.num_kv_shared_layers else 1) for layer in range(layers)]
    return width


def head_dims(config):
    """Of layers with full attention, and of those with a window."""
    if "gemma4" in config.model_type:
        return [config.per_layer_config[kind].head_dim for kind in ("full_attention", "sliding_attention")]
    return 2 * [getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads]


def write_config(writer, config):
    head, sliding_head = head_dims(config)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(ffn_widths(config))
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(key_heads(config))
    writer.add_key_length(head)
    writer.add_value_length(head)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rotated = 1 if rope["rope_type"] == "proportional" else rope.get("partial_rotary_factor", 1)
    writer.add_rope_dimension_count(int(head * rotated))
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if getattr(config, "sliding_window", None) and "qwen" not in config.model_type:
        writer.add_sliding_window(config.sliding_window)
        if config.model_type in ("gemma3_text", "olmo3", "exaone4", "cohere2"):
            writer.add_uint32(f"{writer.arch}.attention.sliding_window_pattern", 2)
        if writer.arch in ("gemma3n", "gemma4"):
            writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])
        if config.model_type in ("gemma3_text", "olmo3") or writer.arch in ("gemma3n", "gemma4"):
            writer.add_float32(f"{writer.arch}.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"])
    write_family(writer, config, rope, sliding_head)
    if getattr(config, "num_experts_per_tok", None):
        write_experts(writer, config)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def write_family(writer, config, rope, sliding_head):
    """The keys that one family alone has."""
    match writer.arch:
        case "gemma2":
            writer.add_float32("gemma2.attention.scale", config.query_pre_attn_scalar**-0.5)
            writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
            writer.add_final_logit_softcapping(config.final_logit_softcapping)
        case "gemma3n":
            writer.add_shared_kv_layers(config.num_kv_shared_layers)
            writer.add_embedding_length_per_layer_input(config.hidden_size_per_layer_input)
            writer.add_final_logit_softcapping(config.final_logit_softcapping)
            writer.add_altup_active_idx(config.altup_active_idx)
            writer.add_altup_num_inputs(config.altup_num_inputs)
            quantile = statistics.NormalDist().inv_cdf
            writer.add_activation_sparsity_scale([quantile(share) if share else float("-inf") for share in config.activation_sparsity_pattern])
        case "gemma4":
            writer.add_key_length_swa(sliding_head)
            writer.add_value_length_swa(sliding_head)
            writer.add_rope_dimension_count_swa(sliding_head)
            writer.add_shared_kv_layers(config.num_kv_shared_layers)
            writer.add_embedding_length_per_layer_input(getattr(config, "hidden_size_per_layer_input", 0))
            writer.add_final_logit_softcapping(config.final_logit_softcapping)
        case "granite" | "granitemoe" | "granitehybrid" | "minicpm":
            if writer.arch != "minicpm":
                writer.add_attention_scale(config.attention_multiplier)
            writer.add_embedding_scale(config.embedding_multiplier)
            writer.add_residual_scale(config.residual_multiplier)
            writer.add_logit_scale(config.logits_scaling)
            if writer.arch == "granitehybrid":
                writer.add_rope_scaling_finetuned(config.position_embedding_type == "rope")
                writer.add_ssm_conv_kernel(config.mamba_d_conv)
                writer.add_ssm_state_size(config.mamba_d_state)
                writer.add_ssm_group_count(config.mamba_n_groups)
                writer.add_ssm_time_step_rank(config.mamba_n_heads)
                writer.add_ssm_inner_size(config.mamba_n_heads * config.mamba_d_head)
        case "falcon-h1":
            writer.add_ssm_conv_kernel(config.mamba_d_conv)
            writer.add_ssm_state_size(config.mamba_d_state)
            writer.add_ssm_group_count(config.mamba_n_groups)
            writer.add_ssm_time_step_rank(config.mamba_n_heads)
            writer.add_ssm_inner_size(config.mamba_d_ssm)
        case "phi3":
            writer.add_sliding_window(0)
            writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        case "mistral3":
            writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        case "stablelm":
            writer.add_layer_norm_eps(config.layer_norm_eps)
            writer.add_parallel_residual(config.use_parallel_residual)
        case "starcoder2":
            writer.add_layer_norm_eps(config.norm_epsilon)
        case "cohere2":
            writer.add_layer_norm_eps(config.layer_norm_eps)
            writer.add_logit_scale(config.logit_scale)
        case "nemotron":
            writer.add_layer_norm_eps(config.norm_eps)
        case "lfm2" | "lfm2moe":
            writer.add_layer_norm_rms_eps(config.norm_eps)
            writer.add_shortconv_l_cache(config.conv_L_cache)
        case "qwen35":
            writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
            writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
            writer.add_ssm_state_size(config.linear_key_head_dim)
            writer.add_ssm_group_count(config.linear_num_key_heads)
            writer.add_ssm_time_step_rank(config.linear_num_value_heads)
            writer.add_ssm_inner_size(config.linear_num_value_heads * config.linear_value_head_dim)
            writer.add_array("qwen35.attention.recurrent_layers", [kind == "linear_attention" for kind in config.layer_types])
            writer.add_full_attention_interval(4)
        case "qwen2vl" | "qwen3vl":
            writer.add_rope_dimension_sections([*rope["mrope_section"], 0])


def write_experts(writer, config):
    """The keys of mixtures of experts."""
    writer.add_expert_count(config.num_experts if hasattr(config, "num_experts") else config.num_local_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    if hasattr(config, "moe_intermediate_size") or writer.arch == "gpt-oss":
        writer.add_expert_feed_forward_length(getattr(config, "moe_intermediate_size", config.intermediate_size))
    if writer.arch == "lfm2moe":
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_leading_dense_block_count(config.num_dense_layers)
    shared = getattr(config, "shared_expert_intermediate_size", 0) or getattr(config, "shared_intermediate_size", 0)
    if shared:
        writer.add_expert_shared_feed_forward_length(shared)
    if getattr(config, "mlp_only_layers", None):
        writer.add_leading_dense_block_count(len(config.mlp_only_layers))
    if getattr(config, "decoder_sparse_step", 1) > 1:
        writer.add_interleave_moe_layer_step(config.decoder_sparse_step)


def expert_tensors(name, value, config):
    """The tensors of GGUF that a parameter of experts is: stacked gates apart from what they multiply."""
    block = f"blk.{name.split('layers.')[1].split('.')[0]}."
    part = name.split("layers.")[1].split(".", 1)[1].removesuffix(".weight")
    # Without experts, what is shared is the feed-forward network.
    shared = "_shexp" if config.num_experts_per_tok else ""
    both = lambda gate, up, end="weight": {f"{block}ffn_gate_exps.{end}": gate, f"{block}ffn_up_exps.{end}": up}  # noqa: E731
    match part.removeprefix("mlp.").removeprefix("block_sparse_moe.").removeprefix("feed_forward."):
        case "router.bias":
            return {f"{block}ffn_gate_inp.bias": value}
        case "expert_bias":
            return {f"{block}exp_probs_b.bias": value}
        case "experts.gate_up_proj" if config.model_type == "gpt_oss":
            # Inputs by outputs, gate and up by turns.
            return both(value[:, :, ::2].swapaxes(1, 2), value[:, :, 1::2].swapaxes(1, 2))
        case "experts.down_proj" if config.model_type == "gpt_oss":
            return {f"{block}ffn_down_exps.weight": value.swapaxes(1, 2)}
        case "experts.gate_up_proj_bias":
            return both(value[:, ::2], value[:, 1::2], "bias")
        case "experts.down_proj_bias":
            return {f"{block}ffn_down_exps.bias": value}
        case "gate" | "router" | "router.layer":
            return {f"{block}ffn_gate_inp.weight": value}
        case "experts.gate_up_proj" | "input_linear":
            return both(*np.split(value, 2, axis=1))
        case "experts.down_proj" | "output_linear":
            return {f"{block}ffn_down_exps.weight": value}
        case "gate_proj" | "up_proj" | "down_proj":
            # Of a dense layer, which gguf has no names for in these families.
            return {f"{block}ffn_{part.split('.')[-1].removesuffix('_proj')}.weight": value}
        case "shared_expert_gate":
            return {f"{block}ffn_gate_inp_shexp.weight": value.reshape(config.hidden_size)}
        case "shared_expert.gate_proj" | "shared_expert.up_proj" | "shared_expert.down_proj":
            return {f"{block}ffn_{part.split('.')[-1].removesuffix('_proj')}_shexp.weight": value}
        case "shared_mlp.input_linear":
            gate, up = np.split(value, 2)
            return {f"{block}ffn_gate{shared}.weight": gate, f"{block}ffn_up{shared}.weight": up}
        case "shared_mlp.output_linear":
            return {f"{block}ffn_down{shared}.weight": value}
    return {}


def tiled_heads(name, value, config):
    """A parameter of a gated delta net as GGUF has it: value heads that share a key lie apart, one group after the other."""
    keys, heads, size = config.linear_num_key_heads, config.linear_num_value_heads, config.linear_value_head_dim
    tiled = lambda rows: rows.reshape(keys, heads // keys, -1, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)  # noqa: E731
    first = 2 * keys * config.linear_key_head_dim
    match name.split("linear_attn.")[1].removesuffix(".weight"):
        case "in_proj_qkv" | "conv1d":
            return np.concatenate([value[:first], tiled(value[first:])])
        case "out_proj":
            return tiled(value.T).T
        case "A_log":
            return -np.exp(tiled(value))
        case "norm":
            return value
    return tiled(value)


def mamba_shape(name, value, config):
    """A parameter of Mamba 2 in the shape of llama.cpp's converter."""
    match name.split("mamba.")[1]:
        case "A_log":
            return -np.exp(value).reshape(-1, 1)
        case "D":
            return value.reshape(-1, 1)
        case "norm.weight":
            return value.reshape(config.mamba_n_groups, -1)
    return value


def multiplied(name, value, config):
    """A parameter of Falcon H1 with its multipliers."""
    match name.removesuffix(".weight").split(".")[-1]:
        case "embed_tokens":
            return value * np.float32(config.embedding_multiplier)
        case "lm_head":
            return value * np.float32(config.lm_head_multiplier)
        case "gate_proj":
            return value * np.float32(config.mlp_multipliers[0])
        case "down_proj":
            return value * np.float32(config.mlp_multipliers[1])
        case "q_proj" | "v_proj":
            return value * np.float32(config.attention_in_multiplier)
        case "k_proj":
            return value * np.float32(config.attention_in_multiplier * config.key_multiplier)
        case "o_proj":
            return value * np.float32(config.attention_out_multiplier)
        case "out_proj":
            return value * np.float32(config.ssm_out_multiplier)
        case "in_proj":
            group = config.mamba_n_groups * config.mamba_d_state
            rows = np.repeat(config.ssm_multipliers, [config.mamba_d_ssm, config.mamba_d_ssm, group, group, config.mamba_n_heads])
            return value * (rows[:, None] * config.ssm_in_multiplier).astype(np.float32)
    return value


def rope_factors(model, config):
    """GGUF stores llama3 scaling as divisors of the plain frequencies; they follow from what transformers computed."""
    scaled = model.model.rotary_emb.inv_freq.double().numpy()
    plain = config.rope_parameters["rope_theta"] ** (-np.arange(len(scaled)) / len(scaled))
    return (plain / scaled).astype(np.float32)


def proportional_factors(model):
    """Pairs that are not rotated have a divisor that leaves no frequency."""
    scaled = model.model.rotary_emb.full_attention_inv_freq.numpy()
    return np.where(scaled > 0, 1.0, 1e30).astype(np.float32)


def stacked_norms(parameters):
    """The norms of single heads as one tensor."""
    stacked = {}
    for name, value in parameters.items():
        module, _, rest = name.partition(".norms.")
        if rest:
            stacked.setdefault(f"{module}.weight", []).append(value)
    whole = {name: value for name, value in parameters.items() if ".norms." not in name}
    return whole | {name: torch.stack(values) for name, values in stacked.items()}


def gemma3n_parameters(parameters, config):
    """As GGUF has them: the projections of streams in one tensor, a per-layer embedding of each token (unknown ones have the first)."""
    stacks = {}
    for name in [name for name in parameters if "altup_" in name]:
        stacks.setdefault(name.rsplit(".", 2)[0], []).append(parameters.pop(name))
    table = parameters["model.embed_tokens_per_layer.weight"]
    rest = table[:1].expand(config.vocab_size - len(table), -1)
    parameters["model.embed_tokens_per_layer.weight"] = torch.cat([table, rest])
    parameters |= {f"{module}.weight": torch.stack(parts) for module, parts in stacks.items()}
    return {f"{name}.weight" if name.endswith("correct_output_scale") else name: value for name, value in parameters.items()}


def write_gguf(path, arch, pre, model, config, half=False):
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(f"tiny {path.stem}")
    write_config(writer, config)
    write_tokenizer(writer, pre, *vocabulary())
    text = ((name.replace("language_model.", ""), value) for name, value in model.named_parameters())
    parameters = {name: value for name, value in text if ".visual." not in name}
    parameters |= {f"{name}.weight": value for name, value in model.named_buffers() if name.endswith("layer_scalar")}
    parameters |= {name: value for name, value in model.named_buffers() if name.endswith("expert_bias")}
    parameters = {f"{name}.weight" if name.endswith("sinks") else name: value for name, value in parameters.items()}
    if arch == ARCH.GEMMA3N:
        parameters = gemma3n_parameters(parameters, config)
    has_experts = getattr(config, "num_experts_per_tok", None)
    parameters = {name.replace("dt_bias", "dt_proj.bias"): value for name, value in parameters.items()}
    parameters = stacked_norms(parameters)
    for name, target in gguf_names(arch, config.num_hidden_layers, parameters).items():
        value = parameters[name].detach().numpy()
        is_expert = has_experts and "layers." in name or "shared_mlp" in name
        experts = expert_tensors(name, value, config) if is_expert else {}
        for target, value in experts.items():
            # Routers stay whole, and vectors.
            halved = half and value.ndim > 1 and "gate_inp" not in target and not target.endswith("bias")
            writer.add_tensor(target, np.ascontiguousarray(value.astype(np.float16) if halved else value))
        if experts:
            continue
        if arch in INTERLEAVED and (heads := rotary_heads(name, config)):
            value = interleave_rope_rows(value, heads)
        if arch == ARCH.FALCON_H1:
            value = multiplied(name, value, config)
        if "linear_attn" in name:
            value = tiled_heads(name, value, config)
        elif ".mamba." in name:
            value = mamba_shape(name, value, config)
        elif config.model_type in FROM_ONE and name.endswith("norm.weight"):
            value = value + np.float32(1)
        if ".conv." in target or target.endswith("ssm_conv1d.weight"):
            # llama.cpp has these in F32, without the dimension of the one input channel.
            value = value.reshape(len(value), -1)
        elif half and value.ndim > 1 and not target.endswith(("_norm.weight", "ssm_a", "ssm_d")):
            value = value.astype(np.float16)
        writer.add_tensor(target, np.ascontiguousarray(value))
    if config.rope_parameters.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(model, config))
    if writer.arch == "gemma4":
        writer.add_tensor("rope_freqs.weight", proportional_factors(model))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def record(name, model, ids):
    """The final normed hidden state and the logits, one row per position, little-endian f32."""
    with torch.no_grad():
        hidden = model.model(torch.tensor([ids])).last_hidden_state
        logits = model(torch.tensor([ids])).logits
    for kind, value in ("hidden", hidden[0]), ("logits", logits[0]):
        (OUT / f"{name}.{kind}.f32").write_bytes(value.numpy().astype("<f4").tobytes())
    return {"hidden_shape": list(hidden[0].shape), "logits_shape": list(logits[0].shape)}


def stranger(name, config):
    """`config.json` of what is not in transformers, as its own code reads it."""
    if name == "internlm2":
        return {"architectures": ["InternLM2ForCausalLM"], "model_type": name, "bias": False}
    if name == "minicpm":
        layers, hidden = config["num_hidden_layers"], config["hidden_size"]
        scales = {"scale_emb": config["embedding_multiplier"], "scale_depth": config["residual_multiplier"] * layers**0.5,
                  "dim_model_base": int(hidden / config["logits_scaling"])}
        return {"architectures": ["MiniCPMForCausalLM"], "model_type": name, **scales, "attention_multiplier": None,
                "embedding_multiplier": None, "residual_multiplier": None, "logits_scaling": None}
    return {}


def make(name, seed, arch, pre, kind, config, half):
    rng = np.random.RandomState(seed)
    model = kind(config).eval()
    randomize(model, rng, half)
    text = config.get_text_config()
    ids = rng.randint(0, text.vocab_size, SMALL_TOKENS if half else TOKENS).tolist()
    write_gguf(OUT / f"{name}.gguf", arch, pre, model, text, half)
    config.architectures = [kind.__name__]
    path = OUT / f"{name}.config.json"
    config.to_json_file(path, use_diff=False)
    if changes := stranger(name, saved := json.loads(path.read_text())):
        path.write_text(json.dumps({**saved, **changes}, indent=2) + "\n")
    return {"name": name, "ids": ids, **record(name, model, ids)}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    manifest = HERE / "tiny.json"
    known = {model["name"]: model for model in json.loads(manifest.read_text())["models"]} if manifest.exists() else {}
    models = [(*model, False) for model in MODELS] + [(*model, True) for model in SMALL_MODELS]
    made = [known[model[0]] if sys.argv[1:] and model[0] not in sys.argv[1:] else make(*model) for model in models]
    write_manifest("tiny.json", {"dtype": "f32 little-endian, one row per position", "models": made})
