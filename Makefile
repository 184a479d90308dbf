# Two commands do all the set-up: `make demo` trains on four bundled photographs, `make test` runs every check.

PYTHON ?= python3
VENV   ?= .venv
RUN    ?= runs/demo
BIN     = $(VENV)/bin
# Where PyTorch's CPU wheels are, if pip should look there too (see the README): saves gigabytes without a GPU.
TORCH_INDEX ?=
PIP     = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo bench tasks test lint types check faults soak scale install install-test clean

demo: $(VENV)/.installed
	@echo "Four photographs with the preset that fits this machine: a few minutes on two CPU cores."
	@$(BIN)/pgcn run examples/images/0[1-4]-*.jpg --out $(RUN) --samples 4 --size 1x1 --size 2x1

bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.bench

tasks: $(VENV)/.installed-tasks
	@echo "Every task on bundled photographs, and tables of measures: 40 pyramids at 64 px, an hour of one core; once."
	@$(BIN)/python docs/tasks.py

test: install-test lint types check

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.installed-test
	$(BIN)/mypy

# In two processes: tests that use Ray wait for it most of the time, and share one process (tests/conftest.py).
check: $(VENV)/.installed-test
	$(BIN)/pytest -q -n 2 --dist loadgroup --cov --cov-report=term:skip-covered

# Faults at named points, in a hundred cells: prints the table fault × point. Part of `make test`.
faults: $(VENV)/.installed-test
	$(BIN)/pytest -q tests/faults

# More of them, strikes at real Ray clusters, and ten minutes at random: twenty in all. Not part of `make test`, which has to end
# within a quarter of an hour on two cores: every strike at Ray waits for Ray to notice, some ten seconds each.
# SOAK_S: seconds at random. SOAK_SEED: the same strikes in the same order.
soak: $(VENV)/.installed-test
	$(BIN)/pytest -q -m soak tests/faults tests/cluster/test_machines.py -s

# What a run of 1,000 and 10,000 images costs besides training: some minutes. docs/scale.md says what follows.
scale: $(VENV)/.installed
	@$(BIN)/python -m benchmarks.scale

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pgcn needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing pgcn and what it needs into $(VENV): a few minutes, once."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing pgcn and what its tests need into $(VENV): a few minutes, once."
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-tasks: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing pgcn and what its tables compare with into $(VENV): a few minutes, once."
	$(PIP) -e '.[tasks]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
