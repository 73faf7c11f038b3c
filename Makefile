# `make train` and `make test` do everything, set-up included; see README.md.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test
train: .venv/ready
	$(BIN)/rpo-lightning fit --config ant.yaml --ckpt_path last

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch .venv/ready
