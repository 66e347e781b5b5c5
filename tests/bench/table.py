#!/usr/bin/env python3
"""The tables of PERFORMANCE.md's first page, of the machine at hand: beside llama.cpp, in turns on the same files.

TARGET_DIR holds ollm-run and ollm-convert, MODEL is the real model, PEER_DIR what tests/bench/peer.sh has made. Prints Markdown, a row as
soon as it is measured; takes half an hour on two cores, and the table of families as long again, which should do nothing else meanwhile.
Only the standard library is needed (Python 3.9 or newer).
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

# Name, recipe or type, flags of the benchmark; of the real model, then of random weights of a
# shape.
REAL = [("Q4_1", "-p 512 -n 64 -r 5"), ("Q4_0", "-p 512 -n 64 -r 5"), ("Q8_0", "-p 512 -n 64 -r 5")]
SHAPES = [
    ("qwen3-0.6b", ["Q4_0", "Q8_0", "Q4_K", "Q6_K"], "-p 256 -n 16 -r 3"),
    ("qwen3-1.7b", ["Q4_0", "Q4_K"], "-p 256 -n 16 -r 3"),
]
# A shape of each kind of layer, in Q4_K; the last one has as many of its 48 layers as fit.
FAMILIES = [
    ("smollm3-3b", []),
    ("granite-2b", []),
    ("phi4-mini", []),
    ("lfm2-1.2b", []),
    ("ministral-3b", []),
    ("qwen3.5-2b", []),
    ("gemma4-e2b", []),
    ("qwen3-30b-a3b", ["--layers", "16"]),
]
DEPTH = "-d 4000 -p 128 -n 32 -r 2 -c 4200"

QUESTION = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}"
PASSAGE = (
    "The quick brown fox jumps over the lazy dog near the river bank while the sun sets slowly behind the distant mountains. Every evening "
    "the farmer walks along the old stone wall, counting his sheep one by one, and whistles a tune that his grandfather taught him when he "
    "was a boy. The village below lights its lamps, and the smell of fresh bread drifts up the hill from the bakery by the church."
)
TABLE = "name,age,city\nAlice,31,Paris\nBob,25,London\nCarol,47,Berlin\nDavid,38,Madrid\nEve,29,Rome"
TEXTS = {
    "copy a passage": QUESTION.format(f"Repeat the following text exactly:\n\n{PASSAGE}", "The quick brown fox"),
    "a table as JSON": QUESTION.format(f"Turn this table into JSON.\n\n{TABLE}", ""),
    "a story": QUESTION.format("Write a short story about a lighthouse keeper who finds a message in a bottle.", ""),
}


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def bench(run, model, flags):
    command = [run, "bench", "-m", model, *flags, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def head(*cells):
    row(*cells)
    print("|" + "---|" * len(cells), flush=True)


def made(path, *command):
    if not path.exists():
        subprocess.run([*command, "-o", path], check=True, stdout=subprocess.DEVNULL)
    return path


def beside_peer(name, run, model, flags, peer):
    measured = bench(run, model, [*flags.split(), "--peer", peer / "llama-bench"])
    prefill, decode = measured["peer"]["prefill"], measured["peer"]["decode"]
    share = measured["memory"]["decode_share"] if measured["memory"] else None
    row(name, f"{prefill['ratio']:.2f}", f"{decode['ratio']:.2f}", f"{100 * share:.0f} %" if share else "", f"{measured['load_seconds']:.2f} s",
        f"{measured['peak_rss_bytes'] / 1e6:.0f} MB")
    return measured


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", type=Path, metavar="TARGET_DIR")
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("peer", type=Path, metavar="PEER_DIR")
    default = Path.home() / ".cache/ollm/bench"
    parser.add_argument("--folder", type=Path, default=default, help="keeps the files that are measured (default: ~/.cache/ollm/bench)")
    parser.add_argument("--only", choices=["page", "families"], help="the page without the families, or these alone")
    return parser.parse_args()


def main():
    args = read_arguments()
    folder, run, convert = args.folder, args.target / "ollm-run", args.target / "ollm-convert"
    folder.mkdir(parents=True, exist_ok=True)
    isa = bench(run, args.model, "-p 8 -n 1 -r 1".split())
    print(f"{processor()}, {isa['threads']} threads, {isa['isa']}.\n")
    if args.only != "families":
        page(run, convert, args.model, args.peer, folder)
    if args.only != "page":
        families(run, convert, args.peer, folder)


def families(run, convert, peer, folder):
    table_of_files("shape, Q4_K")
    for shape, flags in FAMILIES:
        path = made(folder / f"{shape}-Q4_K.gguf", convert, "synth", "--shape", shape, *flags, "--type", "Q4_K")
        try:
            beside_peer(" ".join([shape, *flags]), run, path, "-p 256 -n 16 -r 3", peer)
        except subprocess.CalledProcessError:
            # What was written on standard error says why.
            row(shape, "failed", *[""] * 4)


def table_of_files(first):
    print()
    head(first, "prefill, times llama.cpp", "decode, times llama.cpp", "of the memory's speed in decode", "loaded in", "resident")


def page(run, convert, model, peer, folder):
    files = {"Q4_1": model}
    for recipe, _ in REAL[1:]:
        files[recipe] = made(folder / f"smollm2-{recipe}.gguf", convert, "quantize", model, "--type", recipe)
    synthetic = [(shape, dtype, flags) for shape, types, flags in SHAPES for dtype in types]
    for shape, dtype, _ in synthetic:
        files[shape, dtype] = made(folder / f"{shape}-{dtype}.gguf", convert, "synth", "--shape", shape, "--type", dtype)

    table_of_files("file")
    for recipe, flags in REAL:
        beside_peer(f"SmolLM2-135M {recipe}", run, files[recipe], flags, peer)
    beside_peer("SmolLM2-135M Q4_1, behind 4,000 tokens", run, model, DEPTH, peer)
    for shape, dtype, flags in synthetic:
        beside_peer(f"{shape} {dtype}", run, files[shape, dtype], flags, peer)

    print()
    head("ten branches", "time of a step of ten over one", "times llama-batched-bench")
    for name, path, flags in [
        ("SmolLM2-135M Q4_1", model, "-p 32 -n 64 -r 3"),
        ("qwen3-1.7b Q4_0", files["qwen3-1.7b", "Q4_0"], "-p 8 -n 32 -r 3"),
    ]:
        branches = bench(run, path, [*flags.split(), "--branches", "10", "--peer-batched", peer / "llama-batched-bench"])["decode_branches"]
        row(name, f"{branches['step_over_one']:.2f}", f"{branches['ratio']:.1f}")

    print()
    head("answers of SmolLM2-135M Q4_1 with `--draft ngram`", "times plain decode", "passes", "drafted", "right")
    for name, text in TEXTS.items():
        prompt = folder / "text.txt"
        prompt.write_text(text)
        drafts = bench(run, model, ["-p", "16", "-n", "128", "-r", "5", "--draft", "ngram", "--text", prompt])["drafts"]
        row(name, f"{drafts['ratio']:.2f}", str(drafts["passes"]), str(drafts["drafted"]), str(drafts["accepted"]))


if __name__ == "__main__":
    main()
