#!/usr/bin/env python3
"""Check the tiny GGUF files against llama.cpp: both must give text.txt the same perplexity. Those in F16 are written in F32 first, since
llama.cpp rounds what it multiplies halves with.

usage: LLAMA_PERPLEXITY=path/to/llama-perplexity LLAMA_TOKENIZE=path/to/llama-tokenize peer_check.py

Agreement shows that the files are valid for a foreign loader, and that the order of the rotary
rows, the rope factors, the biases and the norms mean there what they mean in transformers. It writes nothing.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from tiny import HERE, MODELS, OUT, SMALL_MODELS, randomize, write_gguf

CONTEXT = 128

# What llama.cpp does not read of these files: the window of a llama file, the scale of a gemma2
# file, the window of an exaone4 file that has not 64 layers, most keys of a gemma3n file.
UNLIKE_PEER = ["mistral", "gemma2", "exaone4", "gemma3n"]


def peer_perplexity(path, text):
    """llama-perplexity logs from a thread of its own, and on a busy machine exits before the last line is out: then ask again."""
    command = [os.environ["LLAMA_PERPLEXITY"], "-m", path, "-f", text, "--no-escape", "-c", str(CONTEXT)]
    command += ["-ctk", "f32", "-ctv", "f32", "-fa", "off"]
    for _ in range(5):
        log = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
        if final := re.search(r"PPL = ([\d.]+)", log):
            return float(final[1])
    raise RuntimeError(f"llama-perplexity printed no final estimate for {path}")


def peer_ids(path, text):
    command = [os.environ["LLAMA_TOKENIZE"], "-m", path, "-f", text, "--ids", "--no-escape", "--no-parse-special"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)


def perplexity(model, ids):
    """The way llama-perplexity counts: whole chunks only, each on its own, scoring what its second half predicts."""
    chunks = torch.tensor(ids[: len(ids) // CONTEXT * CONTEXT]).view(-1, CONTEXT)
    with torch.no_grad():
        logprobs = torch.log_softmax(model(chunks).logits.double(), dim=-1)
    scored = logprobs[:, :-1].gather(2, chunks[:, 1:, None])[:, CONTEXT // 2 :]
    return float(torch.exp(-scored.mean()))


def check(name, path, model):
    text = str(HERE / "text.txt")
    ours = perplexity(model, peer_ids(path, text))
    theirs = peer_perplexity(path, text)
    print(f"{name:20} transformers {ours:.4f}  llama.cpp {theirs:.4f}")
    assert abs(ours / theirs - 1) < 1e-3, name


def main():
    for half, models in (False, MODELS), (True, SMALL_MODELS):
        for name, seed, arch, pre, kind, config in models:
            if name in UNLIKE_PEER:
                continue
            model = kind(config).eval()
            randomize(model, np.random.RandomState(seed), half)
            with tempfile.TemporaryDirectory() as folder:
                path = OUT / f"{name}.gguf"
                if half:
                    path = Path(folder) / path.name
                    write_gguf(path, arch, pre, model, config.get_text_config())
                check(name, str(path), model)


if __name__ == "__main__":
    main()
