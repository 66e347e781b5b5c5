"""What the golden generators share: where they write, the names of tensors, the order of
rotary rows in GGUF, and byte-level vocabularies."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import gguf

HERE = Path(__file__).resolve().parent
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]


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


def byte_letters():
    """GPT-2's printable stand-in for each byte: itself where it can be seen, else the next free letter from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {**{b: chr(b) for b in visible}, **{b: chr(0x100 + i) for i, b in enumerate(hidden)}}


def write_tokenizer(writer, pre, tokens, merges, adds_bos=False):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIALS else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(3)
    writer.add_add_bos_token(adds_bos)


def write_manifest(name, content):
    """Write JSON with each list of numbers on one line; the versions say what made the numbers."""
    made_with = {package: version(package) for package in ("torch", "transformers", "numpy", "gguf")}
    text = json.dumps({"made_with": made_with, **content}, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[-\d.,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    (HERE / name).write_text(text + "\n", encoding="utf-8")
