#!/usr/bin/env bash
# ollm-run and llama.cpp's tools for aarch64-linux-gnu, to count instructions with
# tests/bench/arm.py. Needs what .ci/arm64 installs, what tests/bench/peer.sh needs, and Debian's
# qemu-user.
#
# usage: tests/bench/arm.sh FOLDER
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
tests/bench/peer.sh "$folder" arm64
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc RUSTC=/usr/bin/rustc \
  /usr/bin/cargo build --release -p ollm-run --no-default-features --target aarch64-unknown-linux-gnu \
  --target-dir target/arm64
cp target/arm64/aarch64-unknown-linux-gnu/release/ollm-run "$folder"
echo "$folder/ollm-run"
