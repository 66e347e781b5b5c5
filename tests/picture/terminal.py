#!/usr/bin/env python3
"""Draw the picture of the README from real output of ollm-run. Only the standard library is needed.

usage: terminal.py OLLM_RUN > tests/picture/terminal.svg

Runs what `make demo` runs, with `--show-options=2`, and draws the first lines of it.
"""

import html
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "convert/trainer/plugins/smollm2-135m-instruct-svamp.gguf"
PROBLEM = "Tom has 3 bags with 8 marbles each. How many marbles does he have?"
LINES = 26
WIDTH, HEIGHT, SIZE = 8.43, 19, 14


def output(program):
    model = subprocess.run([sys.executable, ROOT / "tests/fetch-model.py"], stdout=subprocess.PIPE, text=True, check=True)
    command = [program, "-m", model.stdout.strip(), "--plugin", ROOT / PLUGIN, "--chat", "-p", PROBLEM]
    command += ["-n", "60", "--latent", "policy", "--show-options=2"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


def draw(lines):
    width = int(max(map(len, lines)) * WIDTH) + 32
    height = len(lines) * HEIGHT + 32
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    yield f'<rect width="{width}" height="{height}" rx="8" fill="#1b1f27"/>'
    yield f'<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="{SIZE}" fill="#d7dce5" xml:space="preserve">'
    for row, line in enumerate(lines):
        color = ' fill="#7fd1a0"' if line.startswith("$") else ""
        yield f'<text x="16" y="{16 + SIZE + row * HEIGHT}"{color}>{html.escape(line)}</text>'
    yield "</g></svg>"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    shown = [f'$ ollm-run -m SmolLM2-135M-Instruct.Q4_1.gguf --plugin {Path(PLUGIN).name} --chat --show-options=2 \\']
    shown += [f'    -p "{PROBLEM}"', ""]
    print("\n".join(draw(shown + output(sys.argv[1])[:LINES])))


if __name__ == "__main__":
    main()
