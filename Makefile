# Needs Python >= 3.11 and make; everything else goes into virtual environments in this directory.
#   make demo        build, save, load and run an engine for a LeNet on handwritten digits
#   make test        all checks and tests (what .ci/run calls)
#   make lint        the checks alone
#   make test-torch  the tests that export larger models with PyTorch, in an environment of their own
#   make test-kernels  every config of every tactic on every target, where the other tests try some (an hour);
#                    PART=3/64 takes one of 64 parts, for as many processes or machines
#   make test-assembled  every config of every tactic for GPUs, assembled for every architecture without spills
#                    (needs ptxas; 40 minutes of one core, 4 the next time); PART=3/64 as above
#   make test-conformance  all of ONNX's test suite: every case, tuned, with other threads and instruction sets (hours)
#   make test-tensorflow  the tests that TensorFlow judges, in an environment of their own
#   make test-networks  random networks for SECONDS=600, on all cores; results in FOLDER=.networks
#   make fuzz        hostile inputs for SECONDS=600, on all cores; findings, made smaller, in FOLDER=.fuzz
#   make test-aarch64  plans built here, the runtime's tests and a short soak on AArch64, played by QEMU (Debian 12,
#                    network); 15 minutes
#   make soak        engines, contexts, streams, events, pools and forks in 8 threads for SECONDS=600
#   make test-cuda   the tests that need an NVIDIA GPU, on a machine that has one
#   make test-cuda-sanitized   a sample of all kernels there, watched by compute-sanitizer
#   make format      rewrite the sources in the project's format
#   make clean       remove environments and caches

.DEFAULT_GOAL := test
.PHONY: demo test run-tests lint test-kernels test-assembled test-cuda test-cuda-sanitized test-torch test-conformance test-tensorflow test-networks test-aarch64 fuzz soak format clean

JOBS ?= 2
PART ?= 1/1
SECONDS ?= 600
FOLDER ?= .$(if $(filter fuzz,$(MAKECMDGOALS)),fuzz,networks)
VENV := .venv
TORCH_VENV := .venv-torch
TENSORFLOW_VENV := .venv-tensorflow
BIN := $(VENV)/bin
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# Choose another interpreter with: make PYTHON=/path/to/python
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$name" -c "$(SUITABLE)" 2>/dev/null && echo "$$name" && break; done)

define create_venv
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 with venv and ensurepip was found: install one or pass PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(1)
endef

demo: $(VENV)/.installed-test
	$(BIN)/python demo/demo.py

# What reads the sources goes on beside the tests, which it needs a core of for a minute.
test: $(VENV)/.installed-test
	$(MAKE) --no-print-directory -j 2 lint run-tests

# Each of several processes that test computes with one thread: theirs would wait for each other's. Programs that they
# start find compiled modules, also where the environment says that none are to be kept.
run-tests: $(VENV)/.installed-test
	PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports --no-logo

test-torch: $(TORCH_VENV)/.installed-torch
	$(TORCH_VENV)/bin/python -m pytest -m torch

test-tensorflow: $(TENSORFLOW_VENV)/.installed-tensorflow
	$(TENSORFLOW_VENV)/bin/python -m pytest -n $(JOBS) -m tensorflow

test-kernels: $(VENV)/.installed-test
	OPENBLAS_NUM_THREADS=1 TENSORWRIGHT_EMULATE_AVX512=1 $(BIN)/python -m pytest -n $(JOBS) tests/kernels/test_examples.py --kernels $(PART)

test-assembled: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) tests/kernels/cuda/test_assembled.py -k kernels_are_assembled --kernels $(PART)

test-conformance: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) tests/conformance tests/end_to_end/test_light_models.py --conformance

test-networks: $(VENV)/.installed-test
	cd tests && ../$(BIN)/python -m networks --seconds $(SECONDS) --folder $(abspath $(FOLDER))

fuzz: $(VENV)/.installed-test
	cd tests && ../$(BIN)/python -m fuzzing --seconds $(SECONDS) --out $(abspath $(FOLDER))

test-aarch64: $(VENV)/.installed-test
	mkdir -p .aarch64
	cd tests && ../$(BIN)/python -m aarch64 $(abspath .aarch64)

soak: $(VENV)/.installed-test
	cd tests && ../$(BIN)/python -m soak --seconds $(SECONDS)

test-cuda: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m cuda

test-cuda-sanitized: $(VENV)/.installed-test
	for tool in memcheck racecheck synccheck; do \
	    compute-sanitizer --tool $$tool --error-exitcode 1 \
	        $(BIN)/python -m pytest tests/kernels/cuda -m cuda -k sample_of_each || exit 1; \
	done

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(TORCH_VENV) $(TENSORFLOW_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests demo -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The interpreter in an environment is a link to an older file: it must exist, its age means nothing.
$(VENV)/bin/python:
	$(call create_venv,$(VENV))

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(TORCH_VENV)/bin/python:
	$(call create_venv,$(TORCH_VENV))

$(TORCH_VENV)/.installed-torch: pyproject.toml | $(TORCH_VENV)/bin/python
	$(TORCH_VENV)/bin/python -m pip install --quiet --editable '.[test,torch]'
	touch $@

$(TENSORFLOW_VENV)/bin/python:
	$(call create_venv,$(TENSORFLOW_VENV))

$(TENSORFLOW_VENV)/.installed-tensorflow: pyproject.toml | $(TENSORFLOW_VENV)/bin/python
	$(TENSORFLOW_VENV)/bin/python -m pip install --quiet --editable '.[test,tensorflow]'
	touch $@
