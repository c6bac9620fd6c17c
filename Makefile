# A fresh machine needs git, make and Python >= 3.10; `make PYTHON=python3.12 demo` uses another one.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check generate bench collector servers compare clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/.installed ## Run the example pipeline and show what its telemetry says
	@$(BIN)/python examples/demo.py

test: .venv/.installed ## Run all tests (ARGS="-k stage" for some)
	@$(BIN)/python -m pytest -q -rs $(ARGS)

check: .venv/.installed ## Lint, types, generated files and contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m otelml.semconv.codegen --check
	$(BIN)/python -m dashboards.boards --check
	$(BIN)/python -m pytest -q tests/contract

generate: .venv/.installed ## Rewrite what is a projection of the registry and of the settings
	$(BIN)/python -m otelml.semconv.codegen
	$(BIN)/python -m otelml settings-docs --update docs/configuration.md
	$(BIN)/python -m dashboards.boards

bench: .venv/.bench ## Measure what telemetry costs, as ratios
	@$(BIN)/python -m bench $(ARGS)

collector: .venv/.installed ## Build the collector for the layers in collector-config (needs Go; minutes, once)
	@$(BIN)/python scripts/servers.py otelcol

servers: .venv/.installed ## Build the servers that tests/e2e starts, the collector too (needs Go; minutes, once)
	@$(BIN)/python scripts/servers.py

compare: .venv/.installed ## Install the large libraries that some tests compare with
	@$(PIP_INSTALL) -e '.[compare]'

clean: ## Remove what the other targets made here
	rm -rf .venv build dist telemetry .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "otelml needs Python 3.10 or newer: make PYTHON=/path/to/python ..." >&2; exit 1; }
	@echo "Installing into .venv (once; a minute or so) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP_INSTALL) -e '.[test,demo,dev]'
	@# Apart from the rest, for the test that has two distributions: installed here it would be the one that runs.
	@$(PIP_INSTALL) --upgrade --no-deps --target .venv/beside opentelemetry-distro
	@touch $@

.venv/.bench: .venv/.installed
	@$(PIP_INSTALL) -e '.[bench]'
	@touch $@
