#!/usr/bin/env bash
# The option explorer as a folder of static files, which any host may serve: the page of `ollm-run
# serve`, over the library in a worker instead of a server. `build.sh FOLDER`; the modules must have
# been built before.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"
page=../../../runtime/cli/src/explorer
cp "$page/index.html" "$page/explorer.css" "$page/explorer.js" "$page/tree.js" "$page/view.js" api.js files.js "$out"
mkdir -p "$out/ollm/wasm"
cp -r ../src "$out/ollm"
cp ../wasm/ollm*.wasm "$out/ollm/wasm"
rm -f "$out/ollm/wasm/ollm-scalar.wasm"
