#!/usr/bin/env python3
"""The KL divergence of what ollm-convert and llama-quantize make of one model: a table of QUALITY.md.

usage: quality.py CONVERT PEER_DIR MODEL.gguf TEXT TEXT [TYPE...]

CONVERT is ollm-convert, PEER_DIR holds llama.cpp's tools (tests/bench/peer.sh). So that no grid is in the weights, each weight of a
quantized MODEL is moved by a uniform random number within half a step: the result, in F32, is the reference. 10 chunks of 256 tokens are
taken from each TEXT. A `+` behind a TYPE asks for an importance matrix, of the text behind those chunks. Prints a row as soon as it is
measured. Needs: pip install gguf==0.19.0
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

CHUNK, CHUNKS = 256, 10
TYPES = "Q2_K Q3_K_S Q3_K_M Q3_K_L IQ4_NL IQ4_XS Q2_0 MXFP4 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K".split()
# llama.cpp has no recipe of this name: both get the type for what is no embedding.
BY_TENSOR = {"MXFP4": r"blk\..*weight=mxfp4"}


def off_grid(model, path):
    """The model in F32, each weight of a matrix moved within half a step: half the smallest distance of two values in its block of 32."""
    random = np.random.default_rng(19)
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        if tensor.tensor_type not in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16):
            steps = np.diff(np.sort(values.reshape(-1, 32)))
            step = np.where(steps > np.abs(values).max() * 1e-6, steps, np.inf).min(1, keepdims=True)
            noise = random.uniform(-0.5, 0.5, (step.size, 32)) * np.where(np.isinf(step), 0, step)
            values = values + noise.reshape(values.shape)
        writer.add_tensor(tensor.name, np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def cut_texts(peer, model, texts, folder):
    """The first tokens of each text, which are measured, and what follows them, for importance."""
    first, later = [], []
    for path in texts:
        text = Path(path).read_text()
        ids = run(peer / "llama-tokenize", "-m", model, "--no-escape", "--ids", "--log-disable", "-f", path).split("[")[1].count(",") + 1
        cut = len(text) * CHUNK * CHUNKS * 21 // 20 // ids
        first.append(text[:cut])
        later.append(text[cut : 3 * cut])
    paths = [folder / f"{name}.txt" for name in ("first", "second", "later")]
    for path, text in zip(paths, [*first, "\n".join(later)]):
        path.write_text(text)
    return paths


def divergence(peer, model, bases):
    measured = []
    for base in bases:
        out = run(peer / "llama-perplexity", "-m", model, "-f", base.with_suffix(".txt"), "--kl-divergence", "--kl-divergence-base", base, "-c", CHUNK)
        kl, error = re.search(r"Mean\s+KLD:\s+(\S+) ±\s+(\S+)", out).groups()
        top = re.search(r"Same top p:\s+(\S+)", out)[1]
        measured.append((float(kl), float(error), float(top)))
    return measured


def main():
    convert, peer, model, *rest = sys.argv[1:]
    peer, (first, second), types = Path(peer), rest[:2], rest[2:] or TYPES
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        reference, theirs, ours, imatrix = (folder / f"{name}.gguf" for name in ("reference", "theirs", "ours", "imatrix"))
        off_grid(model, reference)
        *texts, later = cut_texts(peer, model, (first, second), folder)
        bases = [text.with_suffix(".kld") for text in texts]
        for text, base in zip(texts, bases):
            run(peer / "llama-perplexity", "-m", reference, "-f", text, "--kl-divergence-base", base, "-c", CHUNK, "--chunks", CHUNKS)
        if any(recipe.endswith("+") for recipe in types):
            run(peer / "llama-imatrix", "-m", reference, "-f", later, "-o", imatrix, "-c", CHUNK, "--chunks", 2 * CHUNKS)
        print("| type | imatrix | bytes, llama.cpp | KL, llama.cpp | KL, ours | ratio | top 1, llama.cpp | top 1, ours |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for recipe in types:
            name = recipe.removesuffix("+")
            more = ["--imatrix", imatrix] if name != recipe else []
            more += ["--tensor-type", BY_TENSOR[name]] if name in BY_TENSOR else []
            base_type = "Q8_0" if name in BY_TENSOR else name
            run(peer / "llama-quantize", *more, reference, theirs, base_type, 2)
            run(convert, "quantize", reference, "-o", ours, "--type", base_type, *more, "--force")
            both = [divergence(peer, made, bases) for made in (theirs, ours)]
            for kind in (0, 1):
                (kl, error, top), (our_kl, our_error, our_top) = (measured[kind] for measured in both)
                label = f"{name}, {['first', 'second'][kind]} text"
                imatrices = "yes" if name != recipe else "no"
                size = theirs.stat().st_size
                print(f"| {label} | {imatrices} | {size:,} | {kl:.4f} ± {error:.4f} | {our_kl:.4f} ± {our_error:.4f} | {our_kl / kl:.2f} | {top} % | {our_top} % |", flush=True)


if __name__ == "__main__":
    main()
