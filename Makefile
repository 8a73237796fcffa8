# Each target sets up all that it needs: a virtual environment in .venv, the packages, llama.cpp (compiled once).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test quick quality bench clean

demo: $(VENV)/.demo  ## the main job, end to end, on the shipped pair; nothing is compiled for it
	$(BIN)/gemma-mtp demo

# ROOM=validate: the tests of one room. worksteal: who is done takes from the others, so that nobody waits for the last.
test: $(VENV)/.dev  ## all tests, with the parity tests against upstream, transformers and the C++ engine; branch coverage
	$(BIN)/python -m pytest -n logical --dist worksteal --cov=gemma_mtp tests/$(ROOM)

quick: $(VENV)/.dev  ## tests that need neither another implementation nor more than some seconds
	$(BIN)/python -m pytest -n logical --dist worksteal -m "not slow and not reference" tests/$(ROOM)

quality: $(VENV)/.dev  ## what CI asks of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

PREPARED := benchmarks/counting.py benchmarks/gpu.py
bench: $(VENV)/.dev  ## ratios against upstream, each measured in one run
	for script in $(filter-out $(PREPARED), $(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done
	$(BIN)/python benchmarks/gpu.py --kind tiny --smoke  # as it is meant: on a GPU, without options

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[serve]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
