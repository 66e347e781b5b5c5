#!/usr/bin/env python3
"""Record what transformers computes on the checkpoints of tiny.py when `config.json` says other things.

Writes configs.json beside this file: for each case the checkpoint, what is set and removed in its `config.json`, how many tokens run at
once, and the log-probability of each next token. The weights are those of tiny.py, which draws them anew, so nothing else is stored.
"""

import copy
import json

import numpy as np
import torch

from common import HERE, write_manifest
from tiny import DEFAULT, MODELS, SHAPE, randomize

TOKENS = 48
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
LONG = {"rope_type": "longrope", "rope_theta": 1000.0, "original_max_position_embeddings": 32,
        "short_factor": [1.0, 1.0, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0], "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 3.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FULL, SLIDING = "full_attention", "sliding_attention"


def rope(**parameters):
    return {"rope_parameters": parameters}


# checkpoint, what the case is of, keys that are set, keys that are removed, tokens
CASES = [
    ("llama", "keys that no Llama reads", {
        "sliding_window": 4, "use_sliding_window": True, "layer_types": [SLIDING, SLIDING], "query_pre_attn_scalar": 5,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.0, "partial_rotary_factor": 0.5, "hidden_activation": "relu",
        "use_bidirectional_attention": True, "sliding_window_pattern": 2, "rope_local_base_freq": 5.0}, [], 24),
    ("llama", "defaults", {}, ["rms_norm_eps", "rope_parameters", "max_position_embeddings", "hidden_act", "tie_word_embeddings",
                               "head_dim", "attention_bias", "mlp_bias"], 24),
    ("llama", "yarn", rope(**YARN), [], 48),
    ("llama", "yarn, its attention factor", rope(**YARN, attention_factor=0.7), [], 24),
    ("llama", "yarn, mscale", rope(**YARN, mscale=0.7, mscale_all_dim=1.9), [], 24),
    ("llama", "yarn, half of mscale", rope(**YARN, mscale=0.7, mscale_all_dim=0.0), [], 24),
    ("llama", "yarn, its ramp", rope(**YARN, beta_fast=8, beta_slow=0.5), [], 24),
    ("llama", "yarn, not truncated", rope(**YARN, truncate=False), [], 24),
    ("llama", "yarn, original length outside", {**rope(**YARN), "original_max_position_embeddings": 128}, [], 24),
    ("llama", "yarn, original length missing", rope(rope_type="yarn", rope_theta=1000.0, factor=4.0), [], 24),
    ("llama", "yarn, base above 10000", rope(**{**YARN, "rope_theta": 5e5, "factor": 16.0}), [], 48),
    ("llama", "longrope, short", rope(**LONG), [], 32),
    ("llama", "longrope, long", rope(**LONG), [], 48),
    ("llama", "longrope, its factor", rope(**LONG, factor=6.0), [], 24),
    ("llama", "longrope, its attention factor", rope(**LONG, attention_factor=1.4), [], 48),
    ("llama", "dynamic, within", rope(**DYNAMIC), [], 48),
    ("llama", "dynamic, beyond", {**rope(**DYNAMIC), "max_position_embeddings": 32}, [], 48),
    ("llama", "linear, old spelling", {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 4.0}}, ["rope_parameters"], 24),
    ("llama", "both spellings, both there", {
        **rope(rope_type="linear", factor=2.0, rope_theta=100.0), "rope_theta": 500.0,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, [], 24),
    ("llama", "rope_scaling that is null or empty", {**rope(**DEFAULT), "rope_scaling": {}}, [], 24),
    ("llama", "two names of the type", rope(type="linear", rope_type="default", rope_theta=1000.0, factor=4.0), [], 24),
    ("llama", "llama3, original length outside", {
        "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 16}, "rope_theta": 100.0,
        "original_max_position_embeddings": 32}, ["rope_parameters"], 48),
    ("llama", "base outside", {**rope(rope_type="default"), "rope_theta": 300.0}, [], 24),
    ("mistral", "keys that no Mistral reads", {
        "attention_bias": True, "mlp_bias": True, "layer_types": [FULL, FULL], "use_sliding_window": False, "max_window_layers": 9},
     [], 24),
    ("mistral", "no window", {"sliding_window": None}, [], 24),
    ("mistral", "defaults", {}, ["sliding_window", "rope_parameters", "rms_norm_eps", "max_position_embeddings", "head_dim"], 24),
    ("qwen2", "keys that no Qwen2 reads", {"attention_bias": True, "mlp_bias": True, "sliding_window": 4, "head_dim": 16}, ["layer_types"], 24),
    ("qwen2", "a window in the last layer", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, ["layer_types"], 24),
    ("qwen2", "a window in the first layer", {
        "use_sliding_window": True, "sliding_window": 8, "layer_types": [SLIDING, FULL], "max_window_layers": 28}, [], 24),
    ("qwen2", "yarn, old spelling", {
        "rope_theta": 1000.0, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
     ["rope_parameters"], 24),
    ("qwen3", "defaults", {}, ["rope_parameters", "rms_norm_eps", "max_position_embeddings", "use_sliding_window", "layer_types"], 24),
    ("qwen3", "longrope, long", rope(**{**LONG, "short_factor": LONG["short_factor"] * 2, "long_factor": LONG["long_factor"] * 2}), [], 48),
    ("gemma2", "keys that no Gemma 2 reads", {"hidden_act": "gelu", "sliding_window_pattern": 3, "mlp_bias": True}, ["layer_types"], 24),
    ("gemma2", "defaults", {}, ["query_pre_attn_scalar", "sliding_window", "attn_logit_softcapping", "final_logit_softcapping",
                                "rope_parameters", "rms_norm_eps", "layer_types", "hidden_activation", "tie_word_embeddings"], 24),
    ("gemma2", "yarn", rope(**YARN), [], 48),
    ("gemma3", "keys that no Gemma 3 reads", {
        "hidden_act": "gelu", "_sliding_window_pattern": 2, "mlp_bias": True, "rope_theta": 7.0, "rope_local_base_freq": 7.0},
     ["layer_types"], 24),
    ("gemma3", "defaults", {}, ["query_pre_attn_scalar", "sliding_window", "rope_parameters", "rms_norm_eps", "hidden_activation"], 24),
    ("gemma3", "bases outside", {"rope_theta": 500.0, "rope_local_base_freq": 50.0}, ["rope_parameters"], 24),
    ("gemma3", "old spelling", {
        "rope_theta": 500.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window_pattern": 2},
     ["rope_parameters", "layer_types"], 24),
    ("gemma3", "older spelling", {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 8.0}}, ["rope_parameters"], 24),
    ("gemma3", "both there", {
        **rope(**{FULL: {"rope_type": "default", "rope_theta": 900.0}, SLIDING: {"rope_type": "default", "rope_theta": 90.0}}),
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, [], 24),
    ("gemma3", "one rope for all is none", rope(rope_type="linear", factor=8.0, rope_theta=300.0), [], 24),
    ("gemma3", "a scaling for each kind", rope(**{
        FULL: YARN, SLIDING: {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}}), [], 48),
    ("gemma3", "yarn in layers with a window", rope(**{
        FULL: {"rope_type": "default"}, SLIDING: {**YARN, "rope_theta": 300.0, "mscale": 2.0, "mscale_all_dim": 0.5}}), [], 24),
    ("gemma3", "dynamic, beyond", {**rope(**{FULL: DYNAMIC, SLIDING: {"rope_type": "default"}}), "max_position_embeddings": 32}, [], 48),
    ("gemma3", "soft-caps", {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0}, [], 24),
]


def logprobs(kind, saved, weights, ids):
    config = kind.config_class.from_dict(copy.deepcopy(saved), attn_implementation="eager")
    model = kind(config).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    rows = torch.log_softmax(logits, -1)
    return [round(rows[i, after].item(), 6) for i, after in enumerate(ids[1:])]


if __name__ == "__main__":
    checkpoints = {}
    for name, seed, _, _, kind, config in MODELS:
        model = kind(config).eval()
        randomize(model, np.random.RandomState(seed))
        saved = json.loads((HERE / "tiny" / f"{name}.config.json").read_text())
        checkpoints[name] = kind, saved, model.state_dict()
    ids = np.random.RandomState(9).randint(0, SHAPE["vocab_size"], TOKENS).tolist()
    cases = []
    for name, what, changes, gone, tokens in CASES:
        kind, saved, weights = checkpoints[name]
        saved = {**{key: value for key, value in saved.items() if key not in gone}, **changes}
        cases.append({"checkpoint": name, "case": what, "set": changes, "remove": gone, "tokens": tokens,
                      "logprobs": logprobs(kind, saved, weights, ids[:tokens])})
    write_manifest("configs.json", {"ids": ids, "cases": cases})
