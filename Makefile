# Each target sets up all that it needs: a virtual environment in .venv, the packages, llama.cpp (compiled once).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test quick quality bench wheel lock docs clean

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

PREPARED := benchmarks/counting.py benchmarks/gpu.py benchmarks/traces.py
bench: $(VENV)/.dev  ## ratios against upstream, each measured in one run
	for script in $(filter-out $(PREPARED), $(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done
	$(BIN)/python benchmarks/gpu.py --kind tiny --smoke  # as it is meant: on a GPU, without options

wheel: $(VENV)/.tools  ## sdist and wheel into dist/, and README's commands with the wheel alone in an empty environment
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python tools/try_wheel.py --wheel dist/*.whl --sdist dist/*.tar.gz

lock: $(VENV)/.tools  ## requirements-dev.txt anew
	head -2 requirements-dev.txt > $(VENV)/lock.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --quiet \
	    --no-emit-index-url --no-emit-find-links >> $(VENV)/lock.txt
	mv $(VENV)/lock.txt requirements-dev.txt

docs: $(VENV)/.docs  ## the documentation site into site/; a warning is an error
	$(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) build dist site *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[serve]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

$(VENV)/.tools: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet build uv
	touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@
