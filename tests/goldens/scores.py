#!/usr/bin/env python3
"""Make vocabularies whose tokens have scores, and ask llama.cpp what it does with them.

usage: LLAMA_TOKENIZE=path/to/llama-tokenize scores.py

Tokens are the bytes, two of three characters of tokenizer-cases.json, and runs of two to four neighbouring characters of it with random
scores, many of them equal: what is merged first decides almost everything. Writes scores/NAME.gguf (vocabulary only) and scores.json, in
the form of tokenizer.json. The long cases are left out.
"""

import random
import tempfile
from pathlib import Path

import gguf

from common import HERE, SPECIALS
from tokenizer import read_cases, text_of, tokenize, write_results

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
    OUT.mkdir(exist_ok=True)
    cases = [case for case in read_cases() if "text" in case]
    results = []
    with tempfile.NamedTemporaryFile() as scratch:
        for name, prefix in NAMES:
            path = OUT / f"{name}.gguf"
            write_vocabulary(path, prefix, vocabulary(cases))
            results.append({"pre": name, "cases": [{**case, "ids": tokenize(path, case, Path(scratch.name))} for case in cases]})
    write_results("scores.json", results)


if __name__ == "__main__":
    main()
