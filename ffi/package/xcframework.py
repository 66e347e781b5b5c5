#!/usr/bin/env python3
"""An XCFramework of the static library, without Xcode: xcframework.py OUT.xcframework TARGET=LIBRARY...

TARGET is Rust's name of a target, LIBRARY the libollm.a that cargo has built for it. Processors of one
system become one file, as `lipo` makes it. The layout is that of `xcodebuild -create-xcframework`.
"""

import os
import plistlib
import shutil
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Rust's target: platform, variant, processor.
TARGETS = {
    "aarch64-apple-ios": ("ios", None, "arm64"),
    "aarch64-apple-ios-sim": ("ios", "simulator", "arm64"),
    "x86_64-apple-ios": ("ios", "simulator", "x86_64"),
    "aarch64-apple-darwin": ("macos", None, "arm64"),
    "x86_64-apple-darwin": ("macos", None, "x86_64"),
}
# The processor's number and that of its kind, in Mach-O.
PROCESSORS = {"arm64": (0x0100_000C, 0), "x86_64": (0x0100_0007, 3)}
# Slices of a file for several processors begin at multiples of 2^ALIGNMENT.
ALIGNMENT = 14


def build(out, libraries):
    """`libraries`: the library of each target, by its name."""
    systems = {}
    for target, library in libraries.items():
        if target not in TARGETS:
            raise SystemExit(f"{target} is no target of Apple's systems: {', '.join(TARGETS)}")
        platform, variant, processor = TARGETS[target]
        with open(library, "rb") as file:
            systems.setdefault((platform, variant), {})[processor] = file.read()
    shutil.rmtree(out, ignore_errors=True)
    described = [_system(out, *system, slices) for system, slices in sorted(systems.items(), key=str)]
    with open(os.path.join(out, "Info.plist"), "wb") as file:
        plistlib.dump(
            {
                "AvailableLibraries": described,
                "CFBundlePackageType": "XFWK",
                "XCFrameworkFormatVersion": "1.0",
            },
            file,
        )
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        shutil.copy(os.path.join(ROOT, name), out)


def _system(out, platform, variant, slices):
    """The folder of one system, and what Info.plist says of it."""
    processors = sorted(slices)
    identifier = "-".join(filter(None, (platform, "_".join(processors), variant)))
    headers = os.path.join(out, identifier, "Headers")
    os.makedirs(headers)
    shutil.copy(os.path.join(ROOT, "include", "ollm.h"), headers)
    shutil.copy(os.path.join(ROOT, "ffi", "package", "module.modulemap"), headers)
    with open(os.path.join(out, identifier, "libollm.a"), "wb") as file:
        file.write(slices[processors[0]] if len(processors) == 1 else _universal(slices))
    described = {
        "BinaryPath": "libollm.a",
        "HeadersPath": "Headers",
        "LibraryIdentifier": identifier,
        "LibraryPath": "libollm.a",
        "SupportedArchitectures": processors,
        "SupportedPlatform": platform,
    }
    return {**described, "SupportedPlatformVariant": variant} if variant else described


def _universal(slices):
    """One file of a library for each of several processors (`fat_header` of <mach-o/fat.h>)."""
    header = struct.pack(">II", 0xCAFE_BABE, len(slices))
    at, body = len(header) + 20 * len(slices), b""
    start = at
    for processor, data in sorted(slices.items()):
        padding = -at % (1 << ALIGNMENT)
        at += padding
        header += struct.pack(">IIIII", *PROCESSORS[processor], at, len(data), ALIGNMENT)
        body += bytes(padding) + data
        at += len(data)
    assert len(header) == start
    return header + body


if __name__ == "__main__":
    if len(sys.argv) < 3 or not all("=" in argument for argument in sys.argv[2:]):
        raise SystemExit(__doc__)
    build(sys.argv[1], dict(argument.split("=", 1) for argument in sys.argv[2:]))
