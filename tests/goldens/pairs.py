#!/usr/bin/env python3
"""Make a vocabulary that shows where a pre-tokenizer cuts, and ask llama.cpp what it does with it.

usage: LLAMA_TOKENIZE=path/to/llama-tokenize pairs.py

Few merges of a real vocabulary cross the places where pre-tokenizers differ, so a wrong rule mostly goes unseen. Here each pair of bytes
that stands side by side in a case is a merge: any cut that moves lets other pairs join. Writes pairs/PRE.gguf (vocabulary only) and
pairs.json, in the form of tokenizer.json. The long cases are left out.
"""

from functools import partial

import gguf

from common import HERE, SPECIALS, byte_letters, write_tokenizer
from tokenizer import PRES, record_all, short_cases, text_of

OUT = HERE / "pairs"
# No merge leads to these, so they come out only where merges are ignored for whole pre-tokens (llama-bpe).
UNREACHABLE = ["Hello", "Ġworld", "supercalifragilisticexpialidocious"]


def vocabulary(cases):
    letters = byte_letters()
    pairs = {}  # a dict keeps the order of appearance, which becomes the rank
    for case in cases:
        text = [letters[byte] for byte in text_of(case).encode()]
        pairs.update(dict.fromkeys(zip(text, text[1:])))
    tokens = SPECIALS + [letters[byte] for byte in range(256)] + ["".join(pair) for pair in pairs] + UNREACHABLE
    return tokens, [" ".join(pair) for pair in pairs]


def write_vocabulary(path, pre, tokens, merges):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"pairs {pre}")
    writer.add_vocab_size(len(tokens))
    write_tokenizer(writer, pre, tokens, merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def main():
    tokens, merges = vocabulary(short_cases())
    record_all(OUT, "pairs.json", {pre: partial(write_vocabulary, pre=pre, tokens=tokens, merges=merges) for pre in PRES})


if __name__ == "__main__":
    main()
