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
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PACKAGE = os.path.join(HERE, "src", "ollm")
# Processors by their number in ELF, in PE (Windows) and in Mach-O (macOS).
ELF = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
PE = {0x14C: "win32", 0x8664: "win_amd64", 0xAA64: "win_arm64"}
MACH_O = {0x0100_0007: "x86_64", 0x0100_000C: "arm64"}


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
    """The platform tag, which the library itself says: that of another system too."""
    data = _read(library)
    if data[:4] == b"\x7fELF":
        tag = _linux(data)
    elif data[:2] == b"MZ":
        tag = PE.get(_number(data, _number(data, 0x3C, 4) + 4, 2))
    elif data[:4] == b"\xcf\xfa\xed\xfe":
        tag = _macos(data)
    else:
        tag = None
    if not tag:
        raise SystemExit(f"{library} is for a system or a processor that there are no wheels for")
    return tag


def _linux(data):
    """PEP 600 for glibc, PEP 656 for musl."""
    order = "little" if data[5] == 1 else "big"
    machine = ELF.get(_number(data, 18, 2, order))
    glibc = [tuple(map(int, found)) for found in re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?=[.\0])", data)]
    if machine and glibc:
        return "manylinux_{}_{}_{}".format(*max(glibc), machine)
    return f"musllinux_1_2_{machine}" if machine and b"libc.musl-" in data else None


def _macos(data):
    """The oldest system that the library asks for, in its load command LC_BUILD_VERSION (or the older
    LC_VERSION_MIN_MACOSX). Since macOS 11 minor versions are no part of the tag."""
    machine, commands, at = MACH_O.get(_number(data, 4, 4)), _number(data, 16, 4), 32
    for _ in range(commands):
        command, size = _number(data, at, 4), _number(data, at + 4, 4)
        if command in (0x32, 0x24):
            version = _number(data, at + (12 if command == 0x32 else 8), 4)
            major, minor = version >> 16, version >> 8 & 0xFF
            return machine and f"macosx_{major}_{0 if major > 10 else minor}_{machine}"
        at += size
    return None


def _number(data, at, size, order="little"):
    return int.from_bytes(data[at : at + size], order)


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
