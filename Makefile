# `make demo` trains on four bundled photographs, `make test` runs every check. Both install what they need into $(VENV).

PYTHON ?= python3
VENV   ?= .venv
RUN    ?= runs/demo
BIN     = $(VENV)/bin
# Address of PyTorch's CPU wheels, as an additional index for pip (see the README): saves gigabytes without a GPU.
TORCH_INDEX ?=
# Arguments of `make methods`, and of `make bench`.
METHODS_ARGS ?=
BENCH_ARGS ?=
PIP     = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo bench methods tasks test lint types check faults soak scale install install-test clean

demo: $(VENV)/.installed
	@echo "Four photographs with the preset draft, at their own size, under 4 minutes on two idle CPU cores."
	@$(BIN)/pgcn run examples/images/0[1-4]-*.jpg --out $(RUN) --preset draft --samples 4 --size 1x1 --size 2x1

# BENCH_ARGS='--keep runs/bench': an interrupted benchmark is continued. BENCH_ARGS=--long: direct matching at 600 px, a quarter of an hour.
bench: $(VENV)/.installed
	@echo "Presets and other ways to samples of one photograph: some 20 minutes of one core. Replaces a section of docs/benchmarks.md."
	@$(BIN)/python -m benchmarks.bench $(BENCH_ARGS)

# Every training method in equal time. METHODS_ARGS=--small: the least that shows something.
methods: $(VENV)/.installed
	@echo "Every training method on eight photographs: some six hours of one core, continued by the next call."
	@$(BIN)/python -m benchmarks.methods $(METHODS_ARGS)

tasks: $(VENV)/.installed-tasks
	@echo "Every task on bundled photographs, and tables of metrics: 40 pyramids at 64 px, an hour of one core for the first time."
	@$(BIN)/python docs/tasks.py

test: install-test lint types check

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.installed-test
	$(BIN)/mypy

# In two processes. Tests that use Ray share one of them, since they mostly wait for Ray (tests/conftest.py).
check: $(VENV)/.installed-test
	$(BIN)/pytest -q -n 2 --cov --cov-report=term:skip-covered

# About a hundred faults at named points: prints the table of docs/faults.md. Part of `make test`.
faults: $(VENV)/.installed-test
	$(BIN)/pytest -q tests/faults

# More faults, faults of real Ray clusters, and ten minutes of random faults: twenty minutes in total. Not part of `make test`,
# which has to end within a quarter of an hour on two cores: Ray detects a fault only after some ten seconds.
# SOAK_S: seconds of random faults. SOAK_SEED: repeats a sequence.
soak: $(VENV)/.installed-test
	$(BIN)/pytest -q -m soak tests/faults tests/cluster -s

# Cost of a run of 1,000 and 10,000 images besides training: takes some minutes. docs/scale.md has the results.
scale: $(VENV)/.installed
	@$(BIN)/python -m benchmarks.scale

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pgcn needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing pgcn and its dependencies into $(VENV): a few minutes, once."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing pgcn and the dependencies of its tests into $(VENV): a few minutes, once."
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-tasks: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing pgcn and the packages that its tables compare with into $(VENV): a few minutes, once."
	$(PIP) -e '.[tasks]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
