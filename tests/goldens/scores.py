#!/usr/bin/env python3
"""Make vocabularies whose tokens have scores, and ask llama.cpp what it does with them.

usage: LLAMA_TOKENIZE=path/to/llama-tokenize scores.py

Tokens are the bytes, two of three characters of tokenizer-cases.json, and runs of two to four neighbouring characters of it with random
scores, many of them equal: what is merged first decides almost everything. Writes scores/NAME.gguf (vocabulary only) and scores.json, in
the form of tokenizer.json. The long cases are left out.
"""

import random
from functools import partial

import gguf

from common import HERE, SPECIALS
from tokenizer import record_all, short_cases, text_of

OUT = HERE / "scores"
SPACE = "\u2581"
# name, whether a text gets a space before it
NAMES = [("prefix", True), ("no-prefix", False)]
USER_DEFINED = ["  ", "\n\n", "<tool>"]


def vocabulary(cases):
    """Tokens, scores, types."""
    rng = random.Random(1)
    texts = [text_of(case).replace(" ", SPACE) for case in cases]
    characters = sorted(set("".join(texts)))
    normal = {c: -1000.0 for c in characters if rng.random() < 2 / 3 or c == SPACE}
    for text in texts:
        for length in 2, 3, 4:
            for start in range(len(text) - length + 1):
                if rng.random() < 0.5 / (length - 1):
                    normal.setdefault(text[start : start + length], float(rng.randint(-40, 0)))
    kinds = gguf.TokenType
    tokens = [("<unk>", -1000.0, kinds.UNKNOWN), ("<s>", -1000.0, kinds.CONTROL), ("</s>", -1000.0, kinds.CONTROL)]
    tokens += [(text, -1000.0, kinds.CONTROL) for text in SPECIALS]
    tokens += [(text, -1000.0, kinds.USER_DEFINED) for text in USER_DEFINED]
    tokens += [(f"<0x{byte:02X}>", 0.0, kinds.BYTE) for byte in range(256)]
    taken = {token[0] for token in tokens}
    # llama.cpp ends a token at a zero byte.
    return tokens + [(text, score, kinds.NORMAL) for text, score in normal.items() if text not in taken and "\0" not in text]


def write_vocabulary(path, prefix, tokens):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"scores {path.stem}")
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token[0] for token in tokens])
    writer.add_token_scores([token[1] for token in tokens])
    writer.add_token_types([token[2] for token in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    tokens = vocabulary(short_cases())
    record_all(OUT, "scores.json", {name: partial(write_vocabulary, prefix=prefix, tokens=tokens) for name, prefix in NAMES})


if __name__ == "__main__":
    main()
