#!/bin/sh
# Puts headers, libraries, pkg-config file and CMake package below a prefix (Linux): install.sh BUILD_DIR PREFIX
set -eu
build=$1 prefix=$2
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/lib/cmake/ollm"
install -m 644 "$root/include/ollm.h" "$root/include/ollm.hpp" "$prefix/include"
install -m 755 "$build/libollm.so" "$prefix/lib/libollm.so.1"
ln -sf libollm.so.1 "$prefix/lib/libollm.so"
install -m 644 "$build/libollm.a" "$prefix/lib"
sed "s/@VERSION@/$version/" "$here/ollm.pc.in" >"$prefix/lib/pkgconfig/ollm.pc"
install -m 644 "$here/ollm-config.cmake" "$prefix/lib/cmake/ollm"
sed "s/@VERSION@/$version/" "$here/ollm-config-version.cmake.in" >"$prefix/lib/cmake/ollm/ollm-config-version.cmake"
