#!/usr/bin/env bash
# Builds modules for WebAssembly into ffi/web/wasm: with 128-bit vectors (`ollm`), with the relaxed
# instructions too (`ollm-relaxed`), and each of them for several threads (`-threads`). Names choose
# some of them, also of what the tests compare with: `ollm-scalar` has no vectors, `primitives-simd`
# and `primitives-relaxed` have the vector instructions one by one. `test` builds all.
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

# Threads share the memory, which the host makes: up to 4 GiB. Each has a stack and thread-local
# variables of its own, which it sets up by what is exported here.
threads="-Ctarget-feature=+atomics"
for argument in --shared-memory --import-memory --initial-memory=4194304 --max-memory=4294967296 \
  --export=__stack_pointer --export=__wasm_init_tls --export=__tls_size --export=__tls_align; do
  threads+=" -Clink-arg=$argument"
done

# The instructions are for the crate that computes: the standard library is built once for all
# modules of one thread, and once for the others.
build() {
  local features=$1
  shift
  "$cargo" build -q -Zbuild-std=std,panic_abort -Zprofile-rustflags \
    --config "profile.dist.package.ollm-kernels.rustflags=['-Ctarget-feature=$features']" \
    --target wasm32-unknown-unknown --profile dist --locked "$@"
}

module() {
  local name=$1 features=$2 kind=$3 folder=$target
  case $kind in
    library) build "$features" --target-dir "$folder" -p ollm-ffi --lib ;;
    threads)
      folder=$target-threads
      RUSTFLAGS=$threads build "$features" --target-dir "$folder" -p ollm-ffi --lib
      ;;
    primitives) build "$features" --target-dir "$folder" -p ollm-web-primitives --lib ;;
  esac
  local made=ollm.wasm
  [ "$kind" != primitives ] || made=ollm_web_primitives.wasm
  # A test that runs meanwhile sees no half of it.
  cp "$folder/wasm32-unknown-unknown/dist/$made" "$out/$name.tmp"
  mv "$out/$name.tmp" "$out/$name.wasm"
  echo "$name.wasm: $(stat -c %s "$out/$name.wasm") bytes, $(gzip -9c "$out/$name.wasm" | wc -c) as gzip"
}

shipped="ollm ollm-relaxed ollm-threads ollm-relaxed-threads"
case ${1:-} in
  "") names=$shipped ;;
  test) names="$shipped ollm-scalar primitives-simd primitives-relaxed" ;;
  *) names=$* ;;
esac
for name in $names; do
  case $name in
    ollm) module "$name" +simd128 library ;;
    ollm-relaxed) module "$name" +simd128,+relaxed-simd library ;;
    ollm-threads) module "$name" +simd128 threads ;;
    ollm-relaxed-threads) module "$name" +simd128,+relaxed-simd threads ;;
    ollm-scalar) module "$name" -simd128 library ;;
    primitives-simd) module "$name" +simd128 primitives ;;
    primitives-relaxed) module "$name" +simd128,+relaxed-simd primitives ;;
    *)
      echo "$name is none of: $shipped ollm-scalar primitives-simd primitives-relaxed" >&2
      exit 2
      ;;
  esac
done
