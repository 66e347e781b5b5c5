#!/usr/bin/env python3
"""The files of a release: release.py OUT [PART...]

| part | what is made | needs |
|---|---|---|
| host | an archive for this system: C library, commands, headers, CMake and pkg-config packages; a wheel | cargo |
| windows | the same for 64-bit Windows, but that the commands have no man pages | MinGW-w64, rustup |
| apple | an XCFramework of the static library for iOS and macOS | rustup |
| android | an AAR, of what `target/android/ABI` has: libollm.so and libollm_jni.so | the NDK built these; javac |
| web | the npm package, of what `make web` has built | npm |
| crates | the Rust crates | cargo |

Without a PART, all that can be made here is, and what cannot is said. Each archive has the licences;
SHA256SUMS is over all files in OUT. Where the compilers are the same, so are the bytes.
"""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

import aar
import archives
import xcframework

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.abspath(os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target")))
WINDOWS = "x86_64-pc-windows-gnu"
COMMANDS = ("ollm-run", "ollm-convert", "ollm-train")
LIBRARIES = ("libollm.so", "libollm.dylib", "ollm.dll")


class Skipped(Exception):
    """What is missing for a part."""


def host(out):
    version, triple = _version(), _host()
    _desk(out, None, os.path.join(TARGET, "dist"))
    _run("cargo", "build", "--release", *_packages(COMMANDS))
    with tempfile.TemporaryDirectory() as work:
        _install(work, os.path.join(TARGET, "dist"), os.path.join(TARGET, "release"))
        archives.tar(work, os.path.join(out, f"ollm-{version}-{triple}.tar.gz"))


def windows(out):
    _need("x86_64-w64-mingw32-gcc", "MinGW-w64")
    _need_target(WINDOWS)
    os.environ.setdefault("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", "x86_64-w64-mingw32-gcc")
    made = os.path.join(TARGET, WINDOWS)
    _desk(out, WINDOWS, os.path.join(made, "dist"))
    _run("cargo", "build", "--release", "--target", WINDOWS, *_packages(COMMANDS))
    with tempfile.TemporaryDirectory() as work:
        _install(work, os.path.join(made, "dist"))
        for command in COMMANDS:
            shutil.copy(os.path.join(made, "release", f"{command}.exe"), os.path.join(work, "bin"))
        top = f"ollm-{_version()}-{WINDOWS}"
        archives.zipped(work, os.path.join(out, f"{top}.zip"), f"{top}/")


def apple(out):
    libraries = {}
    for target in xcframework.TARGETS:
        try:
            _need_target(target)
        except Skipped as missing:
            print(f"left out of the XCFramework: {missing}")
            continue
        # A static library alone, which needs no linker.
        _run("cargo", "rustc", "--profile", "dist", "--target", target, "-p", "ollm-ffi", "--crate-type", "staticlib")
        libraries[target] = os.path.join(TARGET, target, "dist", "libollm.a")
    if not libraries:
        raise Skipped("rustup has no standard library for any of Apple's systems")
    with tempfile.TemporaryDirectory() as work:
        xcframework.build(os.path.join(work, "ollm.xcframework"), libraries)
        archives.zipped(work, os.path.join(out, f"ollm-{_version()}.xcframework.zip"))


def android(out):
    folders = {abi: os.path.join(TARGET, "android", abi) for abi in aar.ABIS}
    folders = {abi: folder for abi, folder in folders.items() if os.path.isdir(folder)}
    if not folders:
        raise Skipped("there are no libraries of the NDK in target/android: see ffi/PACKAGING.md")
    _need("javac", "a JDK")
    aar.build(os.path.join(out, f"ollm-{_version()}.aar"), folders)


def web(out):
    _need("npm", "npm")
    folder = os.path.join(ROOT, "ffi", "web")
    if not os.path.exists(os.path.join(folder, "wasm", "ollm.wasm")):
        raise Skipped("there are no modules in ffi/web/wasm: `make web` builds them")
    with tempfile.TemporaryDirectory() as work:
        for name in ("src", "wasm"):
            shutil.copytree(os.path.join(folder, name), os.path.join(work, name))
        for path in (*(os.path.join(folder, name) for name in ("package.json", "README.md")), *_licences()):
            shutil.copy(path, work)
        _run("npm", "pack", "--silent", "--pack-destination", os.path.abspath(out), cwd=work)


def crates(out):
    others = ("--exclude", "ollm-tests", "--exclude", "ollm-web-primitives")
    # No Cargo.lock, which would need the other crates in the registry; what is in the folder.
    _run("cargo", "package", "--workspace", *others, "--no-verify", "--allow-dirty", "--exclude-lockfile")
    for crate in glob.glob(os.path.join(TARGET, "package", f"ollm-*-{_version()}.crate")):
        shutil.copy(crate, out)


PARTS = {part.__name__: part for part in (host, windows, apple, android, web, crates)}


def _desk(out, target, made):
    """The wheel of a target, and after it, in the folder `made`, the C library without grammars."""
    build = ("cargo", "build", "--profile", "dist", "-p", "ollm-ffi", *(("--target", target) if target else ()))
    _run(*build, "--features", "constraints")
    library = next(path for path in (os.path.join(made, name) for name in LIBRARIES) if os.path.exists(path))
    backend = os.path.join(ROOT, "ffi", "python", "backend.py")
    _run(sys.executable, "-B", backend, os.path.abspath(out), env={**os.environ, "OLLM_LIBRARY": library})
    _run(*build)


def _install(folder, libraries, commands=None):
    """What install.sh puts below a prefix, with the licences at the top."""
    script = os.path.join(ROOT, "ffi", "package", "install.sh")
    _run(script, libraries, "/", *([commands] if commands else []), env={**os.environ, "DESTDIR": folder})
    for path in (*_licences(), os.path.join(ROOT, "CHANGELOG.md"), os.path.join(ROOT, "README.md")):
        shutil.copy(path, folder)


def _licences():
    return [os.path.join(ROOT, name) for name in ("LICENSE-APACHE", "LICENSE-MIT")]


def _packages(names):
    return [word for name in names for word in ("-p", name)]


def _version():
    with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as file:
        return re.search(r'^version = "(.*)"', file.read(), re.M)[1]


def _host():
    said = subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return re.search(r"^host: (.*)$", said, re.M)[1]


def _need(command, name):
    if not shutil.which(command):
        raise Skipped(f"{name} is not there ({command})")


def _need_target(target):
    _need("rustup", "rustup")
    if subprocess.run(["rustup", "target", "add", target], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skipped(f"rustup has no standard library for {target}")


def _run(*command, cwd=ROOT, env=None):
    print("+", *command, flush=True)
    subprocess.run(command, cwd=cwd, env=env, check=True)


def _checksums(out):
    names = sorted(name for name in os.listdir(out) if name != "SHA256SUMS" and not name.startswith("."))
    with open(os.path.join(out, "SHA256SUMS"), "w", encoding="utf-8", newline="\n") as sums:
        for name in names:
            with open(os.path.join(out, name), "rb") as file:
                sums.write(f"{hashlib.sha256(file.read()).hexdigest()}  {name}\n")


def main():
    if len(sys.argv) < 2 or any(part not in PARTS for part in sys.argv[2:]):
        raise SystemExit(__doc__)
    out, asked = os.path.abspath(sys.argv[1]), sys.argv[2:]
    os.makedirs(out, exist_ok=True)
    for name in asked or PARTS:
        try:
            PARTS[name](out)
        except Skipped as missing:
            if asked:
                raise SystemExit(f"{name}: {missing}")
            print(f"skipped: {name}: {missing}")
        except subprocess.CalledProcessError as failed:
            raise SystemExit(f"{name}: {failed}")
    _checksums(out)


if __name__ == "__main__":
    main()
