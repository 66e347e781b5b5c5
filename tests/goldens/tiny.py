#!/usr/bin/env python3
"""Make tiny random checkpoints with transformers, write them as F32 GGUF, and record what transformers computes on them.

Writes tiny/NAME.gguf, tiny/NAME.hidden.f32, tiny/NAME.logits.f32, tiny/NAME.config.json (what transformers saves) and tiny.json beside
this file. The weights are drawn large enough for
every part to matter: a forgotten bias, norm weight or rotation moves the logits by far more than rounding does.
"""

import gguf
import numpy as np
import torch
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


def randomize(model, rng):
    """Fill every parameter; numpy's RandomState is used because its stream is frozen across versions."""
    for name, value in model.named_parameters():
        if "norm" in name:
            fresh = rng.uniform(0.5, 1.5, value.shape)
        elif name.endswith(".bias"):
            fresh = rng.normal(0, 0.5, value.shape)
        else:
            fresh = rng.normal(0, 1.5 / np.sqrt(value.shape[-1]), value.shape)
        value.data = torch.from_numpy(fresh.astype(np.float32))
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


def write_config(writer, config):
    head = config.head_dim if getattr(config, "head_dim", None) else config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if getattr(config, "sliding_window", None) and "qwen" not in config.model_type:
        writer.add_sliding_window(config.sliding_window)
        if config.model_type == "gemma3_text":
            writer.add_uint32("gemma3.attention.sliding_window_pattern", 2)
            writer.add_float32("gemma3.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"])
    if config.model_type == "gemma2":
        writer.add_float32("gemma2.attention.scale", config.query_pre_attn_scalar**-0.5)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def rope_factors(model, config):
    """GGUF stores llama3 scaling as divisors of the plain frequencies; they follow from what transformers computed."""
    scaled = model.model.rotary_emb.inv_freq.double().numpy()
    plain = config.rope_parameters["rope_theta"] ** (-np.arange(len(scaled)) / len(scaled))
    return (plain / scaled).astype(np.float32)


def write_gguf(path, arch, pre, model, config):
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(f"tiny {path.stem}")
    write_config(writer, config)
    write_tokenizer(writer, pre, *vocabulary())
    parameters = dict(model.named_parameters())
    for name, target in gguf_names(arch, config.num_hidden_layers, parameters).items():
        value = parameters[name].detach().numpy()
        heads = rotary_heads(name, config)
        if arch == gguf.MODEL_ARCH.LLAMA and heads:
            value = interleave_rope_rows(value, heads)
        if "gemma" in config.model_type and "norm" in name:
            value = value + np.float32(1)
        writer.add_tensor(target, np.ascontiguousarray(value))
    if config.rope_parameters.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(model, config))
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


def make(name, seed, arch, pre, kind, config):
    rng = np.random.RandomState(seed)
    model = kind(config).eval()
    randomize(model, rng)
    ids = rng.randint(0, config.vocab_size, TOKENS).tolist()
    write_gguf(OUT / f"{name}.gguf", arch, pre, model, config)
    config.architectures = [kind.__name__]
    config.to_json_file(OUT / f"{name}.config.json", use_diff=False)
    return {"name": name, "ids": ids, **record(name, model, ids)}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    write_manifest("tiny.json", {"dtype": "f32 little-endian, one row per position", "models": [make(*model) for model in MODELS]})
