#!/usr/bin/env python3
"""Ask llama.cpp how it tokenizes tokenizer-cases.json under four pre-tokenizers, and write tokenizer.json.

usage: LLAMA_TOKENIZE=path/to/llama-tokenize tokenizer.py MODEL.gguf

MODEL is the file that ../fetch-model.py fetches. Its vocabulary serves all four: only `tokenizer.ggml.pre` is changed, in copies without
tensors. No BOS is added; "special" says whether the text of special tokens is parsed as such.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf

from common import HERE

PRES = ["smollm", "gpt-2", "llama-bpe", "qwen2"]


def write_vocabulary(reader, pre, path):
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        # The GGUF.* entries are the header, and the writer itself adds the architecture.
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = pre if key == "tokenizer.ggml.pre" else field.contents()
        writer.add_key_value(key, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def text_of(case):
    if "file" in case:
        return (HERE / case["file"]).read_text(encoding="utf-8")
    if "repeat" in case:
        piece, times = case["repeat"]
        return piece * times
    return case["text"]


def tokenize(vocabulary, case, scratch):
    # Through a file: an argument could hold neither 10,000 letters nor a zero byte, and would be searched for escapes.
    scratch.write_bytes(text_of(case).encode())
    command = [os.environ["LLAMA_TOKENIZE"], "-m", vocabulary, "-f", scratch, "--ids", "--no-bos", "--no-escape"]
    command += [] if case["special"] else ["--no-parse-special"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if result.returncode != 0:
        print(f"llama-tokenize failed ({result.returncode}) on {str(case)[:80]}", file=sys.stderr)
        return None
    return json.loads(result.stdout)


def record(reader, pre, folder):
    vocabulary = folder / f"{pre}.gguf"
    write_vocabulary(reader, pre, vocabulary)
    return {"pre": pre, "cases": [{**case, "ids": tokenize(vocabulary, case, folder / "text")} for case in read_cases()]}


def record_all(folder, name, vocabularies):
    """Have each of `vocabularies` (name: what writes it to a path) in `folder`, and write what they make of the short cases to `name`."""
    folder.mkdir(exist_ok=True)
    results = []
    with tempfile.NamedTemporaryFile() as scratch:
        for pre, write in vocabularies.items():
            path = folder / f"{pre}.gguf"
            write(path)
            results.append({"pre": pre, "cases": [{**case, "ids": tokenize(path, case, Path(scratch.name))} for case in short_cases()]})
    write_results(name, results)


def short_cases():
    return [case for case in read_cases() if "text" in case]


def read_cases():
    cases = json.loads((HERE / "tokenizer-cases.json").read_text(encoding="utf-8"))
    return [{"special": False, **case} for case in cases]


def write_results(name, results):
    # One case a line, so that a change shows as a change of that case.
    blocks = []
    for result in results:
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in result["cases"])
        blocks.append(f'{{"pre":"{result["pre"]}","cases":[\n{lines}\n]}}')
    (HERE / name).write_text("[\n" + ",\n".join(blocks) + "\n]\n", encoding="utf-8")


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        results = [record(reader, pre, Path(folder)) for pre in PRES]
    write_results("tokenizer.json", results)


if __name__ == "__main__":
    main()
