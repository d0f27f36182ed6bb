# `make help` lists what can be made.
SHELL := /bin/bash
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE ?=

.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

environment: ## make the Python environment in .venv
	@bash infra/make-environment.sh dev

demo: ## from dropped archives to molecular dynamics, on real DFT output
	@bash infra/make-environment.sh all
	@$(BIN)/python -m pipelines.demo

demo-stop: ## stop the services that the demo started
	@$(BIN)/python -m pipelines.demo --stop

test: check ## all checks and tests
	$(BIN)/python -m pytest --ignore=tests/packaging --durations=15

check: environment ## style, types, packaging
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/packaging

golden: environment ## readers against the reference outputs in ../shared
	$(BIN)/python -m pytest tests/golden

faults: environment ## two hundred random kills over concurrent writers and upkeep
	ATOMLAKE_TEST_KILLS=200 $(BIN)/python -m pytest -s tests/faults/test_kill_storm.py

docs: environment ## make docs/tables.md, docs/readers.md and docs/theory.md from the code
	$(BIN)/python -m schemas.documentation docs/tables.md
	$(BIN)/python -m lake.documentation docs/readers.md
	$(BIN)/python -m lake.theory_page docs/theory.md

constraints: environment ## pin what is installed in .venv
	@{ head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/^torch==\([0-9.]*\)+cpu/torch==\1/' | grep -v ' @ ' | sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## remove the environment and everything that was made
	rm -rf .venv dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output

.PHONY: help environment demo demo-stop test check golden faults docs constraints clean
