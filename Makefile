# `make train` and `make test` do everything, set-up included; see README.md and CONTRIBUTING.md.
PYTHON ?= python3
BIN := .venv/bin
# Whole files go to two processes of one torch thread each, in the order of tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25

# Processes that tests start import the source: it is compiled once, whatever the caller's setting.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test test-all test-study lint docs docs-serve release floors gpu
train: .venv/ready
	$(BIN)/rpo-lightning fit --config ant.yaml --ckpt_path last $(ARGUMENTS)

test: lint
	$(PYTEST)

# With the tests marked `long`, which `make test` leaves out.
test-all: lint
	$(PYTEST) -m ""

# The scripts and scripts/study alone; `make test` has them too.
test-study: .venv/dev
	$(PYTEST) tests/scripts

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --cache-dir $(HOME)/.cache/mypy/rpo-lightning

# The documentation as a site, in site/; `make test` builds it too.
docs docs-serve: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(if $(findstring serve,$@),serve,build)

# Builds, checks, installs and tries a release; with ARGUMENTS=--tag it is tagged as well.
release: .venv/dev
	$(BIN)/python scripts/release.py $(ARGUMENTS)

# The lowest versions that pyproject.toml allows, on the oldest Python; downloads about 3 GB.
floors: .venv/dev
	$(BIN)/python scripts/check_floors.py

# Installs nothing: with .venv if it is there, else with $(PYTHON).
gpu:
	PYTHONPATH=src $(firstword $(wildcard $(BIN)/python) $(PYTHON)) scripts/check_gpu.py

# What training needs, and nothing else.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch .venv/ready

# With linters, tests and all that they try.
.venv/dev: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch .venv/dev
