# The commands a person types. Everything real is in cargo or in scripts/.

SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin

# Where LLVM is elsewhere than in .cargo/config.toml, one variable says so for all crates that look for a part of it.
ifdef LLVM_SYS_221_PREFIX
export LLVM_SYS_221_PREFIX
export MLIR_SYS_220_PREFIX ?= $(LLVM_SYS_221_PREFIX)
export TABLEGEN_220_PREFIX ?= $(LLVM_SYS_221_PREFIX)
export LIBCLANG_PATH ?= $(LLVM_SYS_221_PREFIX)/lib
endif

.PHONY: fmt-check help demo test test-cpu kill-test test-ranks build build-cpu bench fuzz-models gpu-bundle setup golden lint fmt clean-demo fuzz

help:
	@echo 'make demo     set up, build, make spoken digits, compile models/tiny.ron, train it, transcribe unseen clips'
	@echo 'make test     set up and run the whole test suite'
	@echo 'make test-cpu    the same without the code generator for the GPU, and so without MLIR'
	@echo 'make kill-test KILLS=100   kill trainings at system calls and at random, fill disks, cut power; hold what goes on against what nothing ended'
	@echo 'make test-ranks   the long tests of several ranks under mpirun: more of them, and ends of every kind'
	@echo 'make build    set up and build target/release/w2vc with its runner and its code generator for the GPU'
	@echo 'make build-cpu   the same without the code generator for the GPU, and so without MLIR'
	@echo 'make fuzz-models   random models on the CPU and the emulator against the evaluator (FILES=50 SEED=1000)'
	@echo 'make bench    time base beside OpenVINO, ONNX Runtime and PyTorch on this machine (an hour; bench/README.md)'
	@echo 'make gpu-bundle   make gpu-bundle/, which checks and times everything on a machine with a GPU'
	@echo 'make setup    install what is missing (apt)'
	@echo 'make golden   rewrite the expected texts of the golden tests; look at the diff before committing'
	@echo 'make lint     rustfmt, clippy and rustdoc; warnings are errors'
	@echo 'make fuzz     damaged inputs for all readers: MINUTES=10 SEED=1'
	@echo 'make fmt      format the Rust sources'

demo:
	scripts/demo.sh

# tests/tests/executable runs the commands themselves, out of target/debug; cargo test alone does not build them.
test: setup
	cargo build --workspace --bins --lib
	cargo test --workspace

test-cpu:
	@scripts/setup.sh cpu
	cargo build --workspace --exclude w2vc-cuda --bins --lib
	cargo test --workspace --exclude w2vc-cuda --no-default-features

# Full disks need root, kills at system calls and losses of power strace; what cannot be done says so.
KILLS ?= 100
kill-test: setup
	cargo build --workspace --bins --lib
	W2VC_KILLS=$(KILLS) cargo test --package w2vc-tests --test executable -- --nocapture kills:: power::

# Under the launchers of Open MPI and MPICH, which setup installs.
test-ranks: setup
	cargo build --workspace --bins
	W2VC_RANKS=1 cargo test --package w2vc-tests --test executable -- --nocapture ranks::

build: setup
	cargo build --release --package w2vc-runtime --package w2vc-library --package w2vc --package w2vc-cuda

build-cpu:
	@scripts/setup.sh cpu
	cargo build --release --package w2vc-runtime --package w2vc-library --package w2vc

# Random models in the model language; FILES=N of them from SEED on.
fuzz-models: setup
	cargo build --workspace --bins --lib
	W2VC_FUZZ=$(or $(FILES),50) W2VC_FUZZ_SEED=$(or $(SEED),1000) cargo test -p w2vc-tests --test written -- --nocapture

bench: build-cpu
	bench/setup.sh
	bench/venv/bin/python bench/run.py

gpu-bundle: setup
	scripts/gpu_bundle.sh

setup:
	@scripts/setup.sh

golden: setup
	cargo build --workspace --bins --lib
	UPDATE_GOLDEN=1 cargo test --workspace

# Modules that macros declare, which cargo fmt does not see.
BEHIND_MACROS = ir/src/ops/*.rs runtime/src/feeds/*.rs
fmt-check:
	cargo fmt --all --check
	rustfmt --edition 2024 --check $(BEHIND_MACROS)

lint: setup fmt-check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check; \
	else echo 'lint: cargo-deny is not installed (cargo install --locked cargo-deny), so licences and sources of crates were not checked'; fi

# Everything that reads what others made, with damaged inputs; fuzz/src/targets lists it. What is found is kept in
# target/fuzz-found.
MINUTES ?= 10
fuzz:
	@scripts/setup.sh cpu
	cargo run --package w2vc-fuzz -- --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fmt:
	cargo fmt --all
	rustfmt --edition 2024 $(BEHIND_MACROS)

clean-demo:
	rm -rf demo
