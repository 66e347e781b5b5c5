#!/usr/bin/env python3
"""Make tiny random rerankers with transformers, and record the logits that they give pairs of texts.

Writes for each model the folder rerankers/NAME, as transformers would save it, of the first one rerankers/NAME.gguf too, and rerankers.json
beside this file, with the tokens of the pairs, the segments of those tokens and the logits of the labels.
"""

import json
import shutil

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from common import HERE, SPECIALS, write_manifest
from encoders import ARCH, BYTES, MODERN, PAIRS, SHAPE, WORDS, byte_tokenizer, word_tokenizer, write_gguf
from tiny import DEFAULT, randomize

OUT = HERE / "rerankers"
QUERY = "Who read the naïve pilgrims of 1204?"
DOCUMENTS = ["Ælfric's abbey,  1210: a reading", "of the", "pilgrims\n\tread \u4e2d\u6587 \U0001f389 and ﬁve Å"]
UNIGRAMS = "unigrams"
# Places of both texts, as llama.cpp has them.
TEMPLATE = f"{SPECIALS[1]}judge\n<Query>: {{query}}\n<Document>: {{document}}{SPECIALS[2]}\n{SPECIALS[1]}yes or no\n"
ROBERTA = {"type_vocab_size": 1, "max_position_embeddings": 322, "pad_token_id": 1}
QWEN = {"num_key_value_heads": 2, "head_dim": 16, "rope_parameters": DEFAULT, "tie_word_embeddings": False}
YES = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}

# name, seed, what the class is called, its keys, tokenizer
MODELS = [
    ("bert", 61, "Bert", {"type_vocab_size": 2, "num_labels": 1}, WORDS),
    ("xlm-roberta", 62, "XLMRoberta", {**ROBERTA, "num_labels": 1}, UNIGRAMS),
    ("modern-bert", 63, "ModernBert", {**MODERN, "classifier_pooling": "mean", "num_labels": 1}, PAIRS),
    ("modern-bert-cls", 64, "ModernBert", {**MODERN, "classifier_pooling": "cls", "num_labels": 3}, PAIRS),
    ("qwen3", 65, "Qwen3", {**QWEN, **YES}, BYTES),
]


def unigram_tokenizer():
    """As XLM-RoBERTa's: characters of text.txt, its first words, and what begins words."""
    text = (HERE / "text.txt").read_text(encoding="utf-8")
    letters = sorted({letter for letter in text if not letter.isspace()})
    words = list(dict.fromkeys(word for word in text.split() if len(word) > 1))[:80]
    pieces = ["\u2581", *letters, *(f"\u2581{word}" for word in words), "ing", "ed", "th", "\u2581th"]
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab = [(token, 0.0) for token in specials] + [(piece, -2.0 - 0.01 * i) for i, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocab, 3, False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(specials)
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ends)
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "cls_token": "<s>",
                       "pad_token": "<pad>"}


def save_folder(name, model, tokenizer, settings):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    save_file({key: value.half() if value.ndim > 1 else value for key, value in load_file(file).items()}, file, {"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    if name == "qwen3":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "rerank.jinja").write_text(TEMPLATE)


def parameters(model):
    """Those of BERT, under names that gguf has for a head of RoBERTa, which is the same."""
    heads = {"pooler.dense": "classifier.dense", "classifier": "classifier.out_proj"}
    named = ((name.removeprefix("bert.").rpartition("."), value) for name, value in model.named_parameters())
    return {f"{heads.get(module, module)}.{end}": value.detach().numpy() for (module, _, end), value in named}


def score(name, model, tokenizer, document):
    if name == "qwen3":
        encoding = tokenizer.encode(TEMPLATE.replace("{query}", QUERY).replace("{document}", document), add_special_tokens=False)
        ids, segments = encoding.ids, [0] * len(encoding.ids)
    else:
        encoding = tokenizer.encode(QUERY, document)
        ids, segments = encoding.ids, encoding.type_ids if name == "bert" else [0] * len(encoding.ids)
    extra = {"token_type_ids": torch.tensor([segments])} if name == "bert" else {}
    with torch.no_grad():
        logits = model(torch.tensor([ids]), **extra).logits[0]
    return {"document": document, "ids": ids, "segments": segments, "logits": [round(x, 7) for x in logits.tolist()]}


def make(name, seed, kind, keys, tokens):
    tokenizer, settings = {WORDS: word_tokenizer, UNIGRAMS: unigram_tokenizer}.get(tokens, lambda: byte_tokenizer(tokens))()
    if name == "qwen3":
        tokenizer.post_processor = None
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    config = getattr(transformers, f"{kind}Config")(
        **{**SHAPE, "pad_token_id": 0, **keys}, vocab_size=tokenizer.get_vocab_size(), bos_token_id=None, eos_token_id=None)
    rng = np.random.RandomState(seed)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    randomize(model, rng, True)
    for key, value in model.named_parameters():
        if "LayerNorm.weight" in key:
            value.data = torch.from_numpy(rng.uniform(0.5, 1.5, value.shape).astype(np.float32))
    save_folder(name, model, tokenizer, settings)
    if name == "bert":
        write_gguf(OUT / f"{name}.gguf", ARCH.BERT, parameters(model), config, WORDS, "rank", [], ["LABEL_0"])
    return {"name": name, "pairs": [score(name, model, tokenizer, document) for document in DOCUMENTS]}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    write_manifest("rerankers.json", {"query": QUERY, "models": [make(*model) for model in MODELS]})
