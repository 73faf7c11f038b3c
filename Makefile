# `make train` and `make test` do everything, set-up included; see README.md and CONTRIBUTING.md.
PYTHON ?= python3
BIN := .venv/bin
# Whole files go to two processes of one torch thread each, in the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25

# Processes that tests start import the source: it is compiled once, whatever the caller's setting.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test test-all test-study lint floors gpu
train: .venv/ready
	$(BIN)/rpo-lightning fit --config ant.yaml --ckpt_path last

test: lint
	$(PYTEST)

# With the tests marked `long`, which `make test` leaves out.
test-all: lint
	$(PYTEST) -m ""

# The scripts and scripts/study alone; `make test` has them too.
test-study: .venv/ready
	$(PYTEST) tests/scripts

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --cache-dir $(HOME)/.cache/mypy/rpo-lightning

# The lowest versions that pyproject.toml allows, on the oldest Python; downloads about 3 GB.
floors: .venv/ready
	$(BIN)/python scripts/check_floors.py

# Installs nothing: with .venv if it is there, else with $(PYTHON).
gpu:
	PYTHONPATH=src $(firstword $(wildcard $(BIN)/python) $(PYTHON)) scripts/check_gpu.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch .venv/ready
