#!/usr/bin/env python3
"""Make random tokenizers of every published kind, import them, and compare the ids of hostile texts with those of Hugging Face's tokenizers.

usage: OLLM_CONVERT=path/to/ollm-convert OLLM_RUN=path/to/ollm-run import_check.py [SEED [TEXTS]]

Prints what each became: the name of its pre-tokenizer, or `carried` where no lists do the same. It writes nothing, and fails where ids
differ. Needs: pip install tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from splits import NFC, SPLITS, text

HIDDEN, HEADS, LAYERS, INNER = 32, 2, 1, 32
SEPARATOR = "<|separator|>"


def by_expressions(expressions, source):
    kept = [("isolated", False), ("removed", True)]

    def split(expression):
        # What is removed where it does not match must be all: the last alternatives of these take
        # every character.
        behavior, invert = source.choice(kept if expression.endswith(r"|\s+") else kept[:1])
        return pre_tokenizers.Split(Regex(expression), behavior, invert)

    return [*map(split, expressions), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def bytes_of_gpt2(*before):
    return [*before, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]


def kinds(source):
    """A name, the steps of the pre-tokenizer, the normalizer."""
    for name, expressions in SPLITS.items():
        yield name, by_expressions(expressions, source), normalizers.NFC() if name in NFC else None
    digits = pre_tokenizers.Digits(individual_digits=True)
    yield "published gpt-2", bytes_of_gpt2(), None
    yield "published smollm", bytes_of_gpt2(digits), None
    yield "published command-r", bytes_of_gpt2(digits), normalizers.NFC()
    falcon = [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]
    yield "published falcon", [*bytes_of_gpt2(pre_tokenizers.Punctuation("contiguous")), *falcon], None
    bloom = pre_tokenizers.Split(Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+"), "isolated")
    yield "published bloom", [bloom, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], None
    yield "a space before", [pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)], None
    yield "lower case", bytes_of_gpt2(), normalizers.Lowercase()
    yield "nfkc", by_expressions(SPLITS["llama-bpe"], source), normalizers.NFKC()
    yield "a replacement", bytes_of_gpt2(), normalizers.Sequence([normalizers.NFC(), normalizers.Replace("~", "-")])
    yield "white space", [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], None


def corpus(source):
    words = ["".join(source.choice("abcdefgh") for _ in range(source.randint(1, 6))) for _ in range(60)]
    plain = (" ".join(source.choice(words) for _ in range(9)) for _ in range(200))
    return [*plain, *(text(source) for _ in range(300))]


def added(source):
    flags = lambda: {flag: True for flag in ["lstrip", "rstrip", "single_word"] if source.random() < 0.05}  # noqa: E731
    tokens = [AddedToken(content, special=True, normalized=False, **flags()) for content in ["<s>", "</s>", "<|x|>", "<|x|><|y|>"]]
    tokens += [AddedToken(content, special=False, normalized=False, **flags()) for content in ["<tool>", "  ", "\n\n"] if source.random() < 0.3]
    return [AddedToken(SEPARATOR, special=True, normalized=False), *tokens]


def bytes_tokenizer(source, steps, normalizer, lines):
    made = Tokenizer(models.BPE(ignore_merges=source.random() < 0.3))
    made.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    made.decoder = decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=source.randint(400, 1200), initial_alphabet=alphabet, show_progress=False))
    made.add_tokens(added(source))
    return made


def characters_tokenizer(source, lines, prefix, merged_spaces):
    """As Llama 2 and Gemma have it: characters are merged, what has no token becomes bytes."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [normalizers.Prepend("▁")] if prefix else []
    made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    if not merged_spaces:
        made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    specials = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=source.randint(500, 900), special_tokens=specials, show_progress=False, limit_alphabet=80)
    made.train_from_iterator(lines, trainer)
    value = json.loads(made.to_str())
    value["added_tokens"] = [token for token in value["added_tokens"] if not token["content"].startswith("<0x")]
    made = Tokenizer.from_str(json.dumps(value))
    made.add_tokens(added(source))
    return made


def write_model(folder, tokenizer):
    vocab = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1 + 3
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "vocab_size": vocab,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save(str(folder / "tokenizer.json"))
    shapes = {"model.embed_tokens.weight": [vocab, HIDDEN], "model.norm.weight": [HIDDEN]}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": [HIDDEN, HIDDEN] for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": [INNER, HIDDEN] for part in ["gate", "up", "down"]}
        shapes |= {f"{at}{norm}.weight": [HIDDEN] for norm in ["input_layernorm", "post_attention_layernorm"]}
    save_file({name: np.ones(shape, np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


def check(name, tokenizer, texts):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_model(folder, tokenizer)
        model, case = folder / "model.gguf", folder / "case.txt"
        run(os.environ["OLLM_CONVERT"], "import", folder, "-o", model, "--type", "F32")
        whole = SEPARATOR.join(texts)
        case.write_bytes(whole.encode())
        ours = json.loads(run(os.environ["OLLM_RUN"], "-m", model, "--json", "tokenize", "--special", "-f", case))["tokens"]
        theirs = tokenizer.encode(whole, add_special_tokens=False).ids
        became = json.loads(run(os.environ["OLLM_CONVERT"], "inspect", model, "--json"))
    keys = became["metadata"]
    carried = "tokenizer.huggingface.json" in keys
    print(f"{name:24} {'carried' if carried else keys['tokenizer.ggml.pre']}", flush=True)
    if ours != theirs:
        place = next(i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1])
        print(f"  differ at token {place} of {len(theirs)}: {ours[place : place + 8]} for {theirs[place : place + 8]}")
    return ours == theirs


def main():
    source = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    texts = [text(source) for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 300)]
    lines = corpus(source)
    good = [check(name, bytes_tokenizer(source, steps, normalizer, lines), texts) for name, steps, normalizer in kinds(source)]
    for prefix in [False, True]:
        for merged_spaces in [False, True]:
            name = f"characters {'with' if prefix else 'without'} prefix"
            good.append(check(name, characters_tokenizer(source, lines, prefix, merged_spaces), texts))
    print(f"{sum(good)} of {len(good)} give the same ids")
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
