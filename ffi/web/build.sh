#!/usr/bin/env bash
# Builds the modules for WebAssembly into ffi/web/wasm: `ollm.wasm` with 128-bit vectors, and
# `ollm-relaxed.wasm` with the relaxed instructions too. `build.sh test` builds also what the tests
# compare with: one without vectors, and the primitives of each.
#
# It needs a Rust that has its own sources, for `-Zbuild-std`, and lld: Debian's rustc-web,
# cargo-web, rust-web-src and lld, or rustup's with the component rust-src. CARGO and RUSTC name
# them. Debian's has no linker of its own: CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}/wasm
out=ffi/web/wasm
mkdir -p "$out"
# `-Zbuild-std` and `-Zprofile-rustflags` are unstable: RUSTC_BOOTSTRAP lets a stable compiler have
# them, here and nowhere else.
export RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
cargo=${CARGO:-cargo}

# The instructions are for the crates that compute: the standard library is built once for all.
build() {
  local features=$1 flags=()
  shift
  for crate in ollm-runtime ollm-ffi; do
    flags+=(--config "profile.dist.package.$crate.rustflags=['-Ctarget-feature=$features']")
  done
  "$cargo" build -q -Zbuild-std=std,panic_abort -Zprofile-rustflags "${flags[@]}" \
    --target wasm32-unknown-unknown --target-dir "$target" --profile dist --locked "$@"
}

module() {
  local name=$1 features=$2
  build "$features" -p ollm-ffi --lib
  cp "$target/wasm32-unknown-unknown/dist/ollm.wasm" "$out/$name.wasm"
}

primitives() {
  local kind=$1 features=$2
  build "$features" -p ollm-runtime --no-default-features --example wasm_primitives
  cp "$target/wasm32-unknown-unknown/dist/examples/wasm_primitives.wasm" "$out/primitives-$kind.wasm"
}

module ollm +simd128
module ollm-relaxed +simd128,+relaxed-simd
if [ "${1:-}" = test ]; then
  module ollm-scalar -simd128
  primitives simd +simd128
  primitives relaxed +simd128,+relaxed-simd
fi
for name in ollm ollm-relaxed; do
  size=$(gzip -9c "$out/$name.wasm" | wc -c)
  echo "$name.wasm: $(stat -c %s "$out/$name.wasm") bytes, $size as gzip"
done
