#!/usr/bin/env python3
"""An Android archive (AAR): aar.py OUT.aar ABI=FOLDER...

ABI is Android's name (arm64-v8a, armeabi-v7a, x86, x86_64), FOLDER has libollm.so and libollm_jni.so
for it, built with the NDK. The archive has the Java classes, which need javac, both
libraries, and, for C and C++ (Prefab), the headers.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import archives

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Android's names of processors, and their numbers in ELF.
ABIS = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86": 3, "x86_64": 62}
# The oldest Android (8.0), as in PACKAGING.md.
API = 26
MANIFEST = f"""<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="org.ollm">
    <uses-sdk android:minSdkVersion="{API}" />
</manifest>
"""
# The JNI layer finds classes, methods and fields by their names.
KEEP = "-keep class org.ollm.** { *; }\n"


def build(out, folders):
    """`folders`: the folder with the libraries of each ABI, by its name."""
    with tempfile.TemporaryDirectory() as work:
        stage = os.path.join(work, "aar")
        _write(stage, "AndroidManifest.xml", MANIFEST)
        _write(stage, "R.txt", "")
        _write(stage, "proguard.txt", KEEP)
        _classes(work, os.path.join(stage, "classes.jar"))
        module = os.path.join(stage, "prefab", "modules", "ollm")
        for header in ("ollm.h", "ollm.hpp"):
            _copy(os.path.join(ROOT, "include", header), os.path.join(module, "include"))
        version = re.search(r'^version = "(.*)"', _read(os.path.join(ROOT, "Cargo.toml")), re.M)[1]
        prefab = {"schema_version": 2, "name": "ollm", "version": version, "dependencies": []}
        _write(stage, "prefab/prefab.json", json.dumps(prefab))
        _write(module, "module.json", json.dumps({"export_libraries": []}))
        for abi, folder in folders.items():
            if abi not in ABIS:
                raise SystemExit(f"{abi} is no ABI of Android: {', '.join(ABIS)}")
            for library in ("libollm.so", "libollm_jni.so"):
                _check(os.path.join(folder, library), abi)
                _copy(os.path.join(folder, library), os.path.join(stage, "jni", abi))
            described = {"abi": abi, "api": API, "ndk": 25, "stl": "none", "static": False}
            _write(module, f"libs/android.{abi}/abi.json", json.dumps(described))
            _copy(os.path.join(folder, "libollm.so"), os.path.join(module, "libs", f"android.{abi}"))
        for name in ("LICENSE-MIT", "LICENSE-APACHE"):
            _copy(os.path.join(ROOT, name), stage)
        archives.zipped(stage, out)


def _classes(work, jar):
    sources = glob.glob(os.path.join(ROOT, "ffi", "java", "src", "**", "*.java"), recursive=True)
    classes = os.path.join(work, "classes")
    subprocess.run(["javac", "--release", "11", "-d", classes, *sorted(sources)], check=True)
    archives.zipped(classes, jar)


def _check(library, abi):
    with open(library, "rb") as file:
        start = file.read(20)
    if start[:4] != b"\x7fELF" or int.from_bytes(start[18:20], "little") != ABIS[abi]:
        raise SystemExit(f"{library} is no library for {abi}")


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _copy(file, folder):
    os.makedirs(folder, exist_ok=True)
    shutil.copy(file, folder)


if __name__ == "__main__":
    if len(sys.argv) < 3 or not all("=" in argument for argument in sys.argv[2:]):
        raise SystemExit(__doc__)
    build(sys.argv[1], dict(argument.split("=", 1) for argument in sys.argv[2:]))
