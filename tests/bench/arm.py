#!/usr/bin/env python3
"""Instruction counts of prefill and decode on AArch64 under QEMU, against llama.cpp's, on the same
files and one thread.

usage: arm.py OLLM_RUN LLAMA_BENCH MODEL..

OLLM_RUN and LLAMA_BENCH are programs for aarch64-linux-gnu (tests/bench/arm.sh makes them).
Prints Markdown. Counts are the same in each run, whatever else the machine does; what they cost on
a processor is not known. Prefill is 64 tokens over one, decode 16 steps. Needs gcc and Debian's
qemu-user; only the standard library of Python 3.9 or newer.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# The peer is linked against the libraries of the cross compiler, ours against those of libc6:arm64:
# a mixture of the two does not run.
CROSS = ["-L", "/usr/aarch64-linux-gnu", "-E", "LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib"]
CPUS = {"dotprod": "cortex-a76", "i8mm": "max,sve-max-vq=1,sme=off"}
PREFILL, DECODE = 64, 16
KINDS = ("instructions", "dots", "matrices", "loads", "stores")
HERE = Path(__file__).resolve().parent


def count(plugin, cpu, command):
    """The counts of a run."""
    # On one core a file is loaded by one thread: threads that wait for each other count too.
    qemu = ["taskset", "-c", "0", "qemu-aarch64", "-cpu", cpu, "-plugin", plugin, "-d", "plugin"]
    run = subprocess.run([*qemu, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [line for line in run.stderr.splitlines() if line.startswith('{"instructions"')]
    if run.returncode or not lines:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stderr}")
    return json.loads(lines[-1])


def phases(plugin, cpu, bench, rounds):
    """The counts a token of prefill and of decode: a run with them, less one without.

    `bench` makes the command from how many tokens each has.
    """
    begin = count(plugin, cpu, bench(1, 0))
    prefill, decode = count(plugin, cpu, bench(PREFILL, 0)), count(plugin, cpu, bench(1, DECODE))
    difference = lambda of, tokens: {kind: (of[kind] - begin[kind]) / (rounds * tokens) for kind in KINDS}
    return difference(prefill, PREFILL - 1), difference(decode, DECODE)


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    ours, peer, *models = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        plugin = str(Path(folder) / "count.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", plugin, HERE / "count.c"], check=True)
        row("file", "processor", "phase", "instructions, of llama.cpp's", "M a token: ours", "llama.cpp's", "SDOT, SMMLA: ours", "llama.cpp's",
            "loads: ours", "llama.cpp's")
        print("|" + "---|" * 10, flush=True)
        for model in models:
            for name, cpu in CPUS.items():
                # A round warms up, and one is measured.
                own = phases(plugin, cpu, lambda p, n: [ours, "bench", "-m", model, "-t", "1", "-r", "1", "-p", str(p), "-n", str(n + 1)], 2)
                other = phases(plugin, cpu, lambda p, n: [*CROSS, peer, "-m", model, "-t", "1", "-r", "1", "-p", str(p), "-n", str(n + 1), "--no-warmup"], 1)
                for phase, a, b in zip(("prefill", "decode"), own, other):
                    millions = lambda of, kind: f"{of[kind] / 1e6:.1f}"
                    share = lambda of, *kinds: f"{sum(of[kind] for kind in kinds) / of['instructions']:.2f}"
                    row(Path(model).name, name, phase, f"{a['instructions'] / b['instructions']:.2f}", millions(a, "instructions"),
                        millions(b, "instructions"), share(a, "dots", "matrices"), share(b, "dots", "matrices"), share(a, "loads"), share(b, "loads"))


if __name__ == "__main__":
    main()
