# Everything from nothing: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEEDS ?= 3

.PHONY: demo smoke test check slow lint benchmarks clean

demo: $(STAMP)
	$(BIN)/python -m harness run --method vocab_dropout --seeds $(SEEDS)

smoke: $(STAMP)
	$(BIN)/python -m harness run --method vocab_dropout --seeds $(SEEDS) --smoke

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

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

clean:
	rm -rf $(VENV) build *.egg-info
