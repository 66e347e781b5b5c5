#!/usr/bin/env python3
"""Train small SentencePiece models, and ask SentencePiece for the ids of texts.

usage: pieces.py [--all]

Writes pieces/NAME.model and pieces.json: the texts and, by the name of the model, their ids. With --all also the models with
SentencePiece's own character maps, which are large, into a folder for `ollm-convert import`. Needs: pip install sentencepiece==0.2.3
"""

import io
import json
import random
import sys
from pathlib import Path

import sentencepiece

HERE = Path(__file__).resolve().parent
OUT = HERE / "pieces"
TEXTS = 24

# Characters that other ones become, some of several: in the form of --normalization_rule_tsv.
RULES = [("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\u200d", ""), ("é", "e\u0301"), ("ﬁ", "fi"), ("½", "1/2"), ("e\u0301\u0323", "ẹ́")]

CLASSES = [" ", "  \u00a0\t\u3000", "\n", "aeiou", "bcdfgst", "AZ", "'’.,!-_", "éß½ﬁ", "e\u0301\u0323", "中あ한", "0123456789", "🎉\u200d\ufe0f"]

MODELS = {
    "bpe-bytes": {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False, "identity": True},
    "bpe-no-prefix": {
        "model_type": "bpe",
        "byte_fallback": True,
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "identity": True,
        "user_defined_symbols": ["\n\n", "<tool>", "\u2581\u2581"],
    },
    "bpe-map": {"model_type": "bpe"},
    "unigram-map": {"model_type": "unigram"},
    "unigram-spaces": {"model_type": "unigram", "remove_extra_whitespaces": False, "identity": True},
    "unigram-bytes": {"model_type": "unigram", "byte_fallback": True, "add_dummy_prefix": False},
}
LARGE = {
    f"{kind}-{rule}": {"model_type": kind, "normalization_rule_name": rule}
    for kind in ["bpe", "unigram"]
    for rule in ["nmt_nfkc", "nfkc", "nmt_nfkc_cf"]
}


def words(source):
    syllables = [a + b for a in "bcdfgst" for b in "aeiou"] + ["é", "中", "ß", "12", "A"]
    return ["".join(source.choice(syllables) for _ in range(source.randint(1, 4))) for _ in range(200)]


def corpus(source):
    known = words(source)
    return [" ".join(source.choice(known) for _ in range(12)) + source.choice([".", "!", " ,", ""]) for _ in range(400)]


def text(source, known):
    parts = []
    for _ in range(source.randint(1, 9)):
        if source.random() < 0.5:
            parts.append(source.choice(known) + source.choice(["", " ", " ", "  "]))
        else:
            characters = source.choice(CLASSES)
            parts.append("".join(source.choice(characters) for _ in range(source.choice([1, 1, 2, 3, 6]))))
    return "".join(parts)


def train(lines, settings, rules):
    settings = dict(settings)
    if settings.pop("identity", False):
        settings["normalization_rule_name"] = "identity"
    elif "normalization_rule_name" not in settings:
        settings["normalization_rule_tsv"] = str(rules)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        vocab_size=340 if settings.get("byte_fallback") else 100,
        num_threads=1,
        minloglevel=2,
        hard_vocab_limit=False,
        **settings,
    )
    return written.getvalue()


def main():
    source = random.Random(23)
    lines = corpus(source)
    known = words(random.Random(23))
    texts = ["", " ", "  ba  "] + [text(source, known) for _ in range(TEXTS)]
    OUT.mkdir(exist_ok=True)
    rules = OUT / "rules.tsv"
    hexadecimal = lambda characters: " ".join(f"{ord(c):X}" for c in characters)  # noqa: E731
    rules.write_text("".join(f"{hexadecimal(old)}\t{hexadecimal(new)}\n" for old, new in RULES))
    models = MODELS | (LARGE if "--all" in sys.argv else {})
    ids = {}
    for name, settings in models.items():
        model = train(lines, settings, rules)
        (OUT / f"{name}.model").write_bytes(model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        ids[name] = [processor.encode(case) for case in texts]
    rules.unlink()
    (HERE / "pieces.json").write_text(json.dumps({"texts": texts, "ids": ids}, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
