#!/usr/bin/env python3
"""Compare the tokens of hostile texts with those of llama.cpp, for every name of tokenizer.ggml.pre that is known here.

usage: LLAMA_TOKENIZE=path/to/llama-tokenize OLLM_RUN=path/to/ollm-run peer_tokens.py [SEED [TEXTS [NAME...]]]

Each name gets a vocabulary of all pairs of neighbouring bytes of the texts, so that a cut that moves shows. Prints in how many texts the
tokens are unlike llama.cpp's (and llama.cpp's of the texts in NFC, which it does not make itself), and unlike those of the published
expression (splits.py). It writes nothing, and fails where the latter differ. Needs: pip install tokenizers==0.23.3 gguf==0.19.0
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import gguf
from tokenizers import normalizers

from splits import HERE, RARE, SPLITS, byte_letters, text, tokenizer

SEPARATOR = "<|separator|>"
SPACES = [" ", "  ", "\n", "\r\n", "\t", " \n", "\u3000", "\u2028", "\x85", "\x0b", "\x1c", "\u200b", "\ufeff"]
WORDS = ["'s", "'LL", "'ſ", "’s", "don't", "4444", "12345678901", "٣٤٥", "½", "e\u0301", "a\u0300\u0323", "👩‍👩‍👧", "🇩🇪", "ﬁ", "\u1100\u1161", "\u0344"]


def any_character(source):
    characters = (chr(source.choice([source.randint(0x20, 0x24F), source.randint(0x250, 0xD7FF), source.randint(0xE000, 0x2A6DF)])) for _ in iter(int, 1))
    return next(character for character in characters if unicodedata.category(character) not in ("Cn", "Co"))


def wide(source):
    kinds = [lambda: source.choice(SPACES), lambda: source.choice(WORDS), lambda: any_character(source), lambda: any_character(source)]
    return "".join(source.choice(kinds)() for _ in range(source.randint(3, 40)))


def names():
    """The groups of names in pre.rs, and the one where none is given."""
    table = (HERE.parents[1] / "runtime/src/tokenizer/pre.rs").read_text().split("static KNOWN")[1].split("const fn pre(")[0]
    groups = re.findall(r"pre\(\s*&\[(.*?)\].*?\)([^,]*),", table, re.S)
    return [re.findall(r'"([^"]+)"', group) for group, more in groups if "of_characters" not in more] + [["default"]]


def write_vocabulary(path, name, tokens, merges):
    writer = gguf.GGUFWriter(path, "llama")
    sizes = {"context_length": 512, "embedding_length": 32, "block_count": 1, "head_count": 1, "feed_forward_length": 32}
    for key, value in sizes.items():
        getattr(writer, f"add_{key}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list([*tokens, SEPARATOR])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(*command):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def cut(ids, separator):
    parts = [[]]
    for token in ids or []:
        parts.append([]) if token == separator else parts[-1].append(token)
    return parts


def main():
    source = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    texts = [text(source) for _ in range(count)] + [wide(source) for _ in range(count)] + RARE
    texts += [run * length for run in [" ", "\n", "a", "1", "中", "'s", "\u0301", "🎉", "\r\n"] for length in (7, 513, 3000)]
    composed = [normalizers.NFC().normalize_str(one) for one in texts]
    written = [form.encode() for both in zip(texts, composed) for form in both]
    letters = byte_letters()
    pairs = [(letters[a], letters[b]) for a, b in dict.fromkeys(pair for line in written for pair in zip(line, line[1:]))]
    tokens = [letters[byte] for byte in range(256)] + ["".join(pair) for pair in pairs]
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        model, plain, nfc = (Path(folder) / name for name in ("model.gguf", "plain.txt", "nfc.txt"))
        plain.write_bytes(SEPARATOR.join(texts).encode())
        nfc.write_bytes(SEPARATOR.join(composed).encode())
        for group in names():
            made = tokenizer(group[0], letters, pairs) if group[0] in SPLITS else None
            published = made and [made.encode(one).ids for one in texts]
            for name in group:
                if sys.argv[3:] and name not in sys.argv[3:]:
                    continue
                write_vocabulary(model, name, tokens, [" ".join(pair) for pair in pairs])
                ours = cut(run(os.environ["OLLM_RUN"], "-m", model, "--json", "tokenize", "--special", "-f", plain)["tokens"], len(tokens))
                peer = [cut(run(os.environ["LLAMA_TOKENIZE"], "-m", model, "--ids", "--no-escape", "-f", file), len(tokens)) for file in (plain, nfc)]
                unlike = lambda theirs: sum(one != two for one, two in zip(ours, theirs, strict=True)) if len(theirs) > 1 else "-"  # noqa: B023, E731
                worst = max(worst, unlike(published) if published else 0)
                print(f"{name:24} unlike llama.cpp {unlike(peer[0]):>5} (in NFC {unlike(peer[1]):>5}), the published {unlike(published) if published else '-':>5}", flush=True)
    sys.exit(worst > 0)


if __name__ == "__main__":
    main()
