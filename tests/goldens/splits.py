#!/usr/bin/env python3
"""Ask Hugging Face's tokenizers where the published expressions cut a text.

usage: splits.py

Each name of tokenizer.ggml.pre has the pre-tokenizer of a published tokenizer.json here: the expressions that llama.cpp's llama-vocab.cpp
quotes from it, and else its own. The texts are runs of characters that expressions tell apart. Each pair of bytes that stands side by side
in one of them is a merge, so that a cut that moves shows in the tokens. Writes splits.json, with the normalizer and the pre-tokenizer that
the tokenizer.json of each has. Needs: pip install tokenizers==0.23.3
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

HERE = Path(__file__).parent
CASES = 20
RUNS = 14
# What random texts hardly have: letters and word boundaries that are rare.
RARE = ["I'ſ X'ſ\u200d'ſ", "1234½ 1234² 1234\u200d 1234‿ 1234ⓐ 1234Ⅷ1234 1234\u0301", "12345＿ 12345\u200c 12345·12345"]

CLASSES = [
    " ",
    " \u00a0\t\u3000",
    "\n\r",
    "sSlLtdvVeRmM",
    "'’",
    ".,(!/_-|$+<`~#。，、।",
    "éДßñÀǅʰ",
    "中あア가龥ㄱㄅก०",
    "0123456789",
    "١Ⅷ²½५",
    "\u0301\u093f\u20dd",
    "🎉\u200d\ufe0f\0\ue000\u0378",
]

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + TAIL
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
WORDS = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+C|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*C|"
GPT4O = WORDS.replace("C", CONTRACTIONS + "?") + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL
TEKKEN = WORDS.replace("C", "") + r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL
CJK, CJK_HANGUL = "[一-龥぀-ゟ゠-ヿ]+", "[一-龥ࠀ-一가-퟿]+"
DEEPSEEK_V3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|""" + TAIL
)
SPARK = DEEPSEEK_V3.replace(r"[\r\n]*|\s*[\r\n]+", r"|[\r\n]")
DEEPSEEK_LETTERS = (Path(__file__).parents[2] / "runtime/src/tokenizer/unicode.py").read_text().split("DEEPSEEK = (")[1].split("\n)")[0]
DEEPSEEK_LETTERS = "".join(line.strip().strip('"') for line in DEEPSEEK_LETTERS.splitlines())
JAIS2 = LLAMA3.replace(r"|\s+(?!\S)|\s+", "".join(rf"|\s{{{2**n}}}(?!\S)" for n in range(9, 1, -1)) + r"|\s{1,2}(?!\S)|\s{1}")
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

SPLITS = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "olmo": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "command-r": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "glm4": [LLAMA3],
    "dbrx": [LLAMA3],
    "qwen2": [QWEN2],
    "deepseek-r1-qwen": [QWEN2],
    "qwen35": [QWEN35],
    "tekken": [TEKKEN],
    "gpt-4o": [GPT4O],
    "deepseek-llm": [
        r"[\r\n]",
        rf"\s?[{DEEPSEEK_LETTERS}]+",
        r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
        r"\s+$",
        CJK_HANGUL,
        r"\p{N}+",
    ],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_HANGUL, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", CJK, DEEPSEEK_V3],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "seed-coder": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + TAIL],
    "exaone-moe": [
        CONTRACTIONS
        + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
    "minicpm5": [r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + CJK, GPT4O.replace("{1,3}", "")],
    "spark2_5": [r"\p{N}{1,3}", CJK, SPARK, r"\p{N}"],
    "jais-2": [JAIS2],
    "ufakzeka": [r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
}
NFC = {"olmo", "command-r", "qwen2", "qwen35"}


def text(source):
    runs = ((source.choice(CLASSES), source.choice([1, 1, 2, 3, 3, 7])) for _ in range(RUNS))
    return "".join(source.choice(characters) for characters, length in runs for _ in range(length))


def tokenizer(name, letters, pairs):
    vocab = {token: index for index, token in enumerate([letters[byte] for byte in range(256)] + ["".join(pair) for pair in pairs])}
    made = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    steps = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in SPLITS[name]]
    made.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    if name in NFC:
        made.normalizer = normalizers.NFC()
    return made


def byte_letters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (chr(0x100 + index) for index in range(256))
    return {byte: chr(byte) if byte in printable else next(others) for byte in range(256)}


def main():
    source = random.Random(19)
    cases = [text(source) for _ in range(CASES)] + RARE
    written = [form.encode() for case in cases for form in (case, normalizers.NFC().normalize_str(case))]
    pairs = list(dict.fromkeys(pair for line in written for pair in zip(line, line[1:])))
    letters = byte_letters()
    lettered = [(letters[left], letters[right]) for left, right in pairs]
    made = {name: tokenizer(name, letters, lettered) for name in SPLITS}
    ids = {name: [one.encode(case).ids for case in cases] for name, one in made.items()}
    parts = {name: {key: json.loads(one.to_str())[key] for key in ["normalizer", "pre_tokenizer"]} for name, one in made.items()}
    document = {"pairs": bytes(byte for pair in pairs for byte in pair).hex(), "cases": cases, "ids": ids, "parts": parts}
    (HERE / "splits.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
