#!/usr/bin/env python3
"""Make tiny random embedding models with transformers, write them as GGUF, and record the embeddings that they give.

Writes for each model encoders/NAME.gguf, as llama.cpp's converter would write it; the folder encoders/NAME, as sentence-transformers
would save it; encoders/NAME.hidden.f32, the hidden states of a short text; and encoders.json beside this file, with the tokens of that
text and of a long one, and their embeddings.
"""

import json
import shutil

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, Gemma3TextConfig, Gemma3TextModel, ModernBertConfig, ModernBertModel
from transformers import NomicBertConfig, NomicBertModel, RobertaConfig, RobertaModel

from common import HERE, SPECIALS, write_manifest, write_tokenizer
from tiny import DEFAULT, LINEAR, randomize, vocabulary

OUT = HERE / "encoders"
TEXT = "The pilgrims of Ælfric's abbey, 1204 to 1210: a naïve reading?"
# More than a batch of a causal model, so that a text has to be in one pass.
LONG = 300
CONTEXT = 320
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": CONTEXT,
         "attn_implementation": "eager"}
# A window of 4 positions on either side, in the first layer.
GEMMA = {"num_key_value_heads": 2, "head_dim": 16, "query_pre_attn_scalar": 24, "use_bidirectional_attention": True, "sliding_window": 8,
         "layer_types": ["sliding_attention", "full_attention"],
         "rope_parameters": {"full_attention": DEFAULT, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}}
# Full attention in the first and the last layer; a window of 4 positions on either side in those
# between.
MODERN = {"num_hidden_layers": 4, "local_attention": 8,
          "rope_parameters": {"full_attention": DEFAULT, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}}
# Positions are counted from the one behind the padding token.
PADDING = 3
ROBERTA = {"type_vocab_size": 1, "max_position_embeddings": CONTEXT + PADDING + 1, "pad_token_id": PADDING}
BYTES, WORDS, PAIRS, ROBERTA_PAIRS = "bytes", "words", "pairs", "roberta-pairs"
WORD_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# As wide in the end as hidden states are: llama.cpp reads no others.
DENSE = [(96, 32), (32, 96)]

# name, seed, GGUF architecture, model class, configuration, its keys, tokenizer, pooling, shapes of
# the dense layers
ARCH = gguf.MODEL_ARCH
MODELS = [
    ("gemma-embedding", 51, ARCH.GEMMA_EMBEDDING, Gemma3TextModel, Gemma3TextConfig, GEMMA, BYTES, "mean", DENSE),
    ("bert", 52, ARCH.BERT, BertModel, BertConfig, {"type_vocab_size": 2}, WORDS, "cls", []),
    ("nomic-bert", 53, ARCH.NOMIC_BERT, NomicBertModel, NomicBertConfig, {"rope_parameters": DEFAULT}, WORDS, "mean", []),
    ("modern-bert", 54, ARCH.MODERN_BERT, ModernBertModel, ModernBertConfig, MODERN, PAIRS, "cls", []),
    ("roberta", 55, ARCH.BERT, RobertaModel, RobertaConfig, ROBERTA, ROBERTA_PAIRS, "mean", []),
]


def words():
    """A vocabulary of word pieces: every character of text.txt, in and inside a word, and its first words."""
    text = (HERE / "text.txt").read_text(encoding="utf-8").lower()
    letters = sorted({letter for letter in text if letter.isascii() and not letter.isspace()})
    whole = list(dict.fromkeys(word for word in text.split() if word.isalpha() and word.isascii() and len(word) > 1))[:60]
    return [*WORD_SPECIALS, *letters, *(f"##{letter}" for letter in letters if letter.isalnum()), *whole, "##ing", "##ed"]


def word_tokenizer():
    vocab = {token: id for id, token in enumerate(words())}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(WORD_SPECIALS)
    ends = [("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return tokenizer, {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}


def byte_tokenizer(kind=BYTES):
    tokens, merges = vocabulary()
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    ends = [(SPECIALS[1], 1), (SPECIALS[2], 2)]
    single, pair = f"{SPECIALS[1]} $A {SPECIALS[2]}", f"{SPECIALS[1]} $A {SPECIALS[2]} $B {SPECIALS[2]}"
    tokenizer.post_processor = processors.TemplateProcessing(single, pair if kind == PAIRS else None, ends)
    if kind == ROBERTA_PAIRS:
        tokenizer.post_processor = processors.RobertaProcessing(ends[1], ends[0], add_prefix_space=False)
    return tokenizer, {"bos_token": SPECIALS[1], "eos_token": SPECIALS[2], "pad_token": SPECIALS[3]}


def write_word_pieces(writer):
    """As llama.cpp's converter does it: U+2581 begins a word, in place of `##` before what does not."""
    tokens = words()
    special = lambda token: token in WORD_SPECIALS  # noqa: E731
    spelled = [token if special(token) else token[2:] if token.startswith("##") else "\u2581" + token for token in tokens]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(spelled)
    writer.add_token_types([gguf.TokenType.CONTROL if special(token) else gguf.TokenType.NORMAL for token in tokens])
    ids = {token: tokens.index(token) for token in WORD_SPECIALS}
    for kind, token in ("bos", "[CLS]"), ("eos", "[SEP]"), ("unk", "[UNK]"), ("sep", "[SEP]"), ("pad", "[PAD]"), ("mask", "[MASK]"):
        getattr(writer, f"add_{kind}_token_id")(ids[token])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)


def write_gguf(path, arch, tensors, config, kind, pooling, dense, labels=()):
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(f"tiny {path.stem}")
    skipped = PADDING + 1 if config.model_type == "roberta" else 0
    writer.add_context_length(config.max_position_embeddings - skipped)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_pooling_type({"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS, "rank": gguf.PoolingType.RANK}[pooling])
    if labels:
        writer.add_classifier_output_labels(labels)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    if arch == ARCH.GEMMA_EMBEDDING:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        # As sentence-transformers' configuration has it: both sides together.
        writer.add_sliding_window(8)
        writer.add_uint32("gemma-embedding.attention.sliding_window_pattern", 2)
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
        writer.add_float32("gemma-embedding.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"])
        writer.add_float32("gemma-embedding.attention.scale", config.query_pre_attn_scalar**-0.5)
        for name, (outputs, inputs) in zip(("dense_2", "dense_3"), dense):
            writer.add_dense_features_dims(name, inputs, outputs)
    elif arch == ARCH.MODERN_BERT:
        writer.add_layer_norm_eps(config.norm_eps)
        writer.add_causal_attention(False)
        writer.add_sliding_window(config.local_attention)
        writer.add_string("modern-bert.hidden_activation", config.hidden_activation)
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
        writer.add_float32("modern-bert.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"])
    else:
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_causal_attention(False)
        writer.add_token_type_count(config.type_vocab_size)
    if arch == ARCH.NOMIC_BERT:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if kind == WORDS:
        write_word_pieces(writer)
    else:
        write_tokenizer(writer, "olmo", *vocabulary(), adds_bos=True)
        writer.add_add_eos_token(True)
        if kind != BYTES:
            writer.add_bool("tokenizer.ggml.add_sep_token", kind == ROBERTA_PAIRS)
    table = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    own = {"post_attention_layernorm": "attn_output_norm", "post_mlp_layernorm": "layer_output_norm"} if arch == ARCH.NOMIC_BERT else {}
    for name, value in tensors.items():
        layer, _, rest = name.removeprefix("layers.").partition(".")
        module, _, end = rest.rpartition(".")
        target = f"blk.{layer}.{own[module]}.{end}" if module in own else table.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ValueError(name)
        if "position_embeddings" in name:
            value = value[skipped:]
        small = value.ndim < 2 or target.startswith(("position_embd", "token_types"))
        writer.add_tensor(target, value if small else value.astype(np.float16))
    for name, value in zip(("dense_2", "dense_3"), dense_weights(path.stem, dense)):
        writer.add_tensor(f"{name}.weight", value.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def parameters(model, config):
    """Those of the network, with queries, keys and values fused where llama.cpp's converter has them so."""
    parameters = {name: value.detach().numpy() for name, value in model.named_parameters() if not name.startswith("pooler.")}
    if config.model_type == "gemma3_text":
        return {name: value + np.float32(1) if name.endswith("norm.weight") else value for name, value in parameters.items()}
    if config.model_type == "nomic_bert":
        for layer in range(config.num_hidden_layers):
            block = f"layers.{layer}."
            parts = [parameters.pop(f"{block}self_attn.{part}_proj.weight") for part in "qkv"]
            parameters[f"encoder.layers.{layer}.attn.Wqkv.weight"] = np.concatenate(parts)
            parameters[f"encoder.layers.{layer}.attn.out_proj.weight"] = parameters.pop(f"{block}self_attn.o_proj.weight")
    return parameters


def dense_weights(name, shapes):
    rng = np.random.RandomState(len(name))
    return [rng.normal(0, 1.5 / np.sqrt(inputs), (outputs, inputs)).astype(np.float16).astype(np.float32) for outputs, inputs in shapes]


def save_folder(name, model, tokenizer, settings, pooling, dense):
    """The folder that sentence-transformers loads; matrices as halves, which they are."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    save_file({key: value.half() if value.ndim > 1 else value for key, value in load_file(file).items()}, file, {"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    modules = ["Transformer", "Pooling", *["Dense"] * len(dense), "Normalize"]
    paths = ["" if i == 0 else f"{i}_{module}" for i, module in enumerate(modules)]
    for path in filter(None, paths):
        (folder / path).mkdir()
    write = lambda path, value: (folder / path).write_text(json.dumps(value, indent=1) + "\n")  # noqa: E731
    write("tokenizer_config.json", settings)
    write("modules.json", [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{module}"}
                           for i, (module, path) in enumerate(zip(modules, paths))])
    width = model.config.hidden_size
    write("1_Pooling/config.json", {"word_embedding_dimension": width, "pooling_mode_cls_token": pooling == "cls",
                                    "pooling_mode_mean_tokens": pooling == "mean"})
    for i, weight in enumerate(dense_weights(name, dense)):
        outputs, inputs = weight.shape
        path = f"{i + 2}_Dense"
        write(f"{path}/config.json", {"in_features": inputs, "out_features": outputs, "bias": False,
                                      "activation_function": "torch.nn.modules.linear.Identity"})
        save_file({"linear.weight": torch.from_numpy(weight).half()}, folder / path / "model.safetensors")
    for path in filter(None, paths):
        if not any((folder / path).iterdir()):
            (folder / path).rmdir()


def embed(model, ids, pooling, dense):
    with torch.no_grad():
        hidden = model(torch.tensor([ids])).last_hidden_state[0]
    pooled = hidden[0] if pooling == "cls" else hidden.mean(0)
    for weight in dense:
        pooled = torch.from_numpy(weight) @ pooled
    return hidden.numpy(), [round(x, 7) for x in torch.nn.functional.normalize(pooled, dim=0).tolist()]


def make(name, seed, arch, kind, config, keys, tokens, pooling, dense):
    tokenizer, settings = word_tokenizer() if tokens == WORDS else byte_tokenizer(tokens)
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    size = tokenizer.get_vocab_size()
    keys = {**SHAPE, "pad_token_id": 0, **keys}
    config = config(**keys, vocab_size=size, bos_token_id=None, eos_token_id=None)
    rng = np.random.RandomState(seed)
    model = kind(config).eval()
    randomize(model, rng, True)
    # It is drawn as a norm is not by its name.
    for key, value in model.named_parameters():
        if "LayerNorm.weight" in key or "layernorm.weight" in key:
            value.data = torch.from_numpy(rng.uniform(0.5, 1.5, value.shape).astype(np.float32))
    ids, weights = tokenizer.encode(TEXT).ids, dense_weights(name, dense)
    # Padding has no position of its own.
    long = rng.randint(PADDING + 1, size, LONG).tolist() if config.model_type == "roberta" else rng.randint(0, size, LONG).tolist()
    write_gguf(OUT / f"{name}.gguf", arch, parameters(model, config), config, tokens, pooling, dense)
    save_folder(name, model, tokenizer, settings, pooling, dense)
    hidden, embedding = embed(model, ids, pooling, weights)
    (OUT / f"{name}.hidden.f32").write_bytes(hidden.astype("<f4").tobytes())
    return {"name": name, "ids": ids, "embedding": embedding, "long_ids": long, "long_embedding": embed(model, long, pooling, weights)[1]}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    write_manifest("encoders.json", {"text": TEXT, "models": [make(*model) for model in MODELS]})
