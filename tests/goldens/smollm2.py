#!/usr/bin/env python3
"""Run the real model's exact dequantized weights through transformers in f32, and keep what each position predicts.

usage: smollm2.py MODEL.gguf                            writes smollm2.bin and smollm2.json for text.txt
       smollm2.py MODEL.gguf --text FILE --full OUT     writes every logit of another text to OUT, and OUT.json (too big to commit)

MODEL is the file that ../fetch-model.py fetches. The weights are what its blocks decode to, so the golden shows what a runtime loses to
quantized activations, f16 caches and summation order, and not what the quantization of the weights lost before.
"""

import argparse
import hashlib
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from common import HERE, gguf_names, rotary_heads, split_rope_rows, write_manifest

TOP = 64
WINDOW = 1024  # tokens of a --full text that see each other; it bounds memory, and each window starts at position 0 again


def read_config(reader):
    def field(key):
        return reader.fields[f"llama.{key}"].contents()

    return LlamaConfig(
        vocab_size=field("vocab_size"),
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"),
        max_position_embeddings=field("context_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")},
        tie_word_embeddings=True,
        attn_implementation="eager",
    )


def load_model(reader):
    config = read_config(reader)
    model = LlamaForCausalLM(config).eval()
    stored = {tensor.name: tensor for tensor in reader.tensors}
    parameters = dict(model.named_parameters())
    for name, source in gguf_names(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers, parameters).items():
        tensor = stored.pop(source)
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if heads := rotary_heads(name, config):
            value = split_rope_rows(value, heads)
        assert value.shape == tuple(parameters[name].shape), name
        parameters[name].data = torch.from_numpy(np.array(value, dtype=np.float32))
    assert not stored, f"tensors without a place: {list(stored)}"
    model.tie_weights()
    return model


def load_tokenizer(reader):
    """The model's own tokenizer, rebuilt from the vocabulary in the file: single digits, then GPT-2's byte-level rule."""
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits, letters = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, letters])
    return tokenizer


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def write_compact(model, ids):
    """All but the last position: each has a next token that says how well it was predicted."""
    logprobs = torch.log_softmax(logits_of(model, ids)[:-1].double(), dim=-1)
    actual = logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    ranked, order = logprobs.sort(dim=-1, descending=True, stable=True)
    sections = [
        ("ids", "u32", np.array(ids)),
        ("next_logprob", "f32", actual.numpy()),
        ("top_ids", "u32", order[:, :TOP].numpy()),
        ("top_logprobs", "f32", ranked[:, :TOP].numpy()),
        ("rest_logprob", "f32", ranked[:, TOP:].logsumexp(dim=-1).numpy()),
    ]
    data = b"".join(value.astype({"u32": "<u4", "f32": "<f4"}[kind]).tobytes() for _, kind, value in sections)
    (HERE / "smollm2.bin").write_bytes(data)
    return {
        "layout": "the sections below one after the other, little-endian, rows of the last axis contiguous",
        "sections": [{"name": name, "type": kind, "shape": list(value.shape)} for name, kind, value in sections],
        "mean_next_logprob": float(actual.mean()),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def write_full(model, ids, out):
    with open(out, "wb") as file:
        for start in range(0, len(ids), WINDOW):
            file.write(logits_of(model, ids[start : start + WINDOW]).numpy().astype("<f4").tobytes())
    shape = [len(ids), model.config.vocab_size]
    Path(f"{out}.json").write_text(json.dumps({"type": "f32", "shape": shape, "window": WINDOW, "ids": ids}) + "\n")


def main():
    arguments = argparse.ArgumentParser(description="goldens of the real model; see the top of this file")
    arguments.add_argument("model", type=Path)
    arguments.add_argument("--text", type=Path, default=HERE / "text.txt")
    arguments.add_argument("--full", type=Path, metavar="OUT")
    arguments = arguments.parse_args()

    reader = gguf.GGUFReader(arguments.model)
    ids = load_tokenizer(reader).encode(arguments.text.read_text(encoding="utf-8")).ids
    model = load_model(reader)
    if arguments.full:
        return write_full(model, ids, arguments.full)
    digest = hashlib.sha256(arguments.model.read_bytes()).hexdigest()
    write_manifest("smollm2.json", {"model_sha256": digest, "text": arguments.text.name, **write_compact(model, ids)})


if __name__ == "__main__":
    main()
