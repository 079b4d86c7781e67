# `make study` and `make test` work on a fresh clone with Python >= 3.11 and nothing else.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: study test check bench clean

study: .venv/ready
	$(BIN)/imprint study --out imprint-runs/study
	@echo "open imprint-runs/study/report.html"

test: .venv/ready
	$(BIN)/pytest -q -n 2

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/pytest -q tests/test_imports.py

bench: .venv/ready
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e ".[all,dev]"
	@touch $@

clean:
	rm -rf .venv imprint-runs build
