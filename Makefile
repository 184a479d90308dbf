# Two commands do all the set-up: `make demo` trains on four bundled photographs, `make test` runs every check.

PYTHON ?= python3
VENV   ?= .venv
RUN    ?= runs/demo
BIN     = $(VENV)/bin
# Where PyTorch's CPU wheels are, if pip should look there too (see the README): saves gigabytes without a GPU.
TORCH_INDEX ?=
PIP     = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test lint types check scale install install-test clean

demo: $(VENV)/.installed
	@echo "Four photographs at 48 px: smaller than the preset draft (64 px), so that two cores take minutes."
	@$(BIN)/pgcn run examples/images/0[1-4]-*.jpg --out $(RUN) --config examples/demo.yaml

test: install-test lint types check

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy

check: $(VENV)/.installed-test
	$(BIN)/pytest

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

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
