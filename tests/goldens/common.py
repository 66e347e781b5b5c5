"""What the golden generators share: where they write, the names of tensors, and how GGUF orders the rows of rotary heads."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import gguf

HERE = Path(__file__).resolve().parent


def interleave_rope_rows(weight, heads):
    """Rows of a q or k projection from transformers' order to that of GGUF `llama` files.

    Transformers rotates row i of a head together with row i + d/2; ggml's "normal" rope rotates neighbours 2i and 2i + 1. Other
    families (qwen2, qwen3) keep transformers' order, which ggml calls "neox".
    """
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def split_rope_rows(weight, heads):
    """The inverse of `interleave_rope_rows`."""
    rows = weight.shape[0]
    return weight.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def gguf_names(arch, blocks, names):
    """Map transformers' parameter names to GGUF tensor names."""
    table = gguf.get_tensor_name_map(arch, blocks)
    return {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in names}


def rotary_heads(name, config):
    """How many rotary heads the rows of this parameter form, or None if it isn't a q or k projection."""
    if ".q_proj." in name:
        return config.num_attention_heads
    return config.num_key_value_heads if ".k_proj." in name else None


def write_manifest(name, content):
    """Write JSON with each list of numbers on one line; the versions say what made the numbers."""
    made_with = {package: version(package) for package in ("torch", "transformers", "numpy", "gguf")}
    text = json.dumps({"made_with": made_with, **content}, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[-\d.,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    (HERE / name).write_text(text + "\n", encoding="utf-8")
