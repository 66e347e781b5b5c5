"""Builds the wheel of the package (PEP 517), with the standard library and cargo: `pip install .`,
`pip wheel .`. There is no extension to compile for a version of Python: one wheel of a platform is for
all of them.

The wheel carries the shared library that cargo makes here (profile `dist`, feature `constraints`), or
the one that is named: `pip wheel . --config-settings library=PATH`, or OLLM_LIBRARY. What the library
needs of the system is read from it, and becomes the tag of the wheel.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PACKAGE = os.path.join(HERE, "src", "ollm")
# Processors by their number in ELF.
MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    library = _library(config_settings or {})
    names = sorted(name for name in os.listdir(PACKAGE) if name.endswith((".py", ".typed")))
    files = [(f"ollm/{name}", _read(PACKAGE, name)) for name in names]
    return _wheel(wheel_directory, library, [*files, (f"ollm/{_file_name(library)}", _read(library))])


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The package stays here, and gets the library."""
    library = _library(config_settings or {})
    shutil.copy(library, os.path.join(PACKAGE, _file_name(library)))
    return _wheel(wheel_directory, library, [("ollm.pth", os.path.join(HERE, "src").encode() + b"\n")])


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError("the sources are the repository: build a wheel from a checkout of it")


def _library(settings):
    """The shared library that the wheel carries."""
    named = settings.get("library") or os.environ.get("OLLM_LIBRARY")
    if named:
        if not os.path.isfile(named):
            raise SystemExit(f"there is no library {named}")
        return os.path.realpath(named)
    command = ["cargo", "build", "--profile", "dist", "-p", "ollm-ffi", "--features", "constraints"]
    try:
        made = subprocess.run(
            [*command, "--message-format=json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
    except FileNotFoundError:
        raise SystemExit("cargo is not there: install Rust (https://rustup.rs), or name a library by OLLM_LIBRARY")
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{' '.join(command)} failed: {error}")
    messages = [json.loads(line) for line in made.stdout.splitlines() if line.startswith(b"{")]
    files = [file for message in messages for file in message.get("filenames", []) if _is_library(file)]
    if not files:
        raise SystemExit(f"{' '.join(command)} has made no shared library")
    return files[-1]


def _is_library(file):
    return os.path.basename(file) in ("libollm.so", "libollm.dylib", "ollm.dll")


def _file_name(library):
    """The name that the package looks for."""
    extension = re.search(r"\.(so|dylib|dll)(\.|$)", os.path.basename(library))
    if not extension:
        raise SystemExit(f"{library} is no shared library by its name")
    return "ollm.dll" if extension[1] == "dll" else f"libollm.{extension[1]}"


def _platform(library):
    """The platform tag: PEP 600 for glibc, PEP 656 for musl."""
    data = _read(library)
    if data[:4] == b"\x7fELF":
        order = "little" if data[5] == 1 else "big"
        machine = MACHINES.get(int.from_bytes(data[18:20], order))
        glibc = [tuple(map(int, found)) for found in re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?=[.\0])", data)]
        if machine and glibc:
            return "manylinux_{}_{}_{}".format(*max(glibc), machine)
        if machine and b"libc.musl-" in data:
            return f"musllinux_1_2_{machine}"
    return re.sub(r"[-.]", "_", sysconfig.get_platform())


def _wheel(folder, library, files):
    version = re.search(r'^version = "(.*)"', _read(ROOT, "Cargo.toml").decode(), re.M)[1]
    tag, info = f"py3-none-{_platform(library)}", f"ollm-{version}.dist-info"
    metadata = f"""Metadata-Version: 2.1
Name: ollm
Version: {version}
Summary: Option-aware language models on CPUs and phones
License: MIT OR Apache-2.0
License-File: LICENSE-MIT
License-File: LICENSE-APACHE
Requires-Python: >=3.9
Description-Content-Type: text/markdown

""".encode()
    wheel = f"Wheel-Version: 1.0\nGenerator: ollm\nRoot-Is-Purelib: false\nTag: {tag}\n"
    files = [
        *files,
        (f"{info}/METADATA", metadata + _read(HERE, "README.md")),
        (f"{info}/WHEEL", wheel.encode()),
        *((f"{info}/licenses/{name}", _read(ROOT, name)) for name in ("LICENSE-MIT", "LICENSE-APACHE")),
    ]
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files)
    files.append((f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode()))
    name = f"ollm-{version}-{tag}.whl"
    part = os.path.join(folder, f".{name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, data in files:
            # No times: the same sources are the same wheel.
            entry = zipfile.ZipInfo(place)
            entry.external_attr, entry.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    os.replace(part, os.path.join(folder, name))
    return name


def _digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


if __name__ == "__main__":
    print(build_wheel(*(sys.argv[1:2] or ["."])))
