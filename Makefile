# Everything a person or a machine runs. Set PYTHON to the interpreter that the environment is made
# with, VENV to where it goes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONCH := $(BIN)/conch
SOURCES := control model_repo_builder triton_configs kserve ab learner dashboards core events local tests benchmarks

.PHONY: demo test check format lint types imports tests runtime engines live apiserver clean help

help: ## List what can be made.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo runtime ## Set up, then: register, convert, verify, serve, release, roll back.
	$(CONCH) demo $(DEMO)

test: $(VENV)/.dev runtime engines ## Set up, then run all tests.
	$(BIN)/python -P -m pytest $(PYTEST)

check: $(VENV)/.dev lint types imports test ## Everything that CI checks.

format: $(VENV)/.dev ## Format the code.
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

live: $(VENV)/.dev ## Run the cluster's tests on a real one: make live PROFILE=FILE, with $$KUBECONFIG.
	CONCH_LIVE_PROFILE=$(abspath $(PROFILE)) $(BIN)/python -P -m pytest -m real -k live \
	  tests/contracts tests/kserve/test_live.py $(PYTEST)

apiserver: ## Build the API server that the KServe tests use (once, minutes, Debian 12, as root).
	.ci/kube-apiserver

runtime: $(VENV)/.demo ## Install the serving environment: Triton and Envoy.
	$(CONCH) runtime install

engines: $(VENV)/.dev ## Install a serving environment with PyTorch too, which one test wants.
	CONCH_SERVING__ENGINES='["torch"]' $(CONCH) runtime install

clean: ## Remove the environment and every cache in this folder.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "conch needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --progress-bar off --quiet -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --progress-bar off --quiet -e '.[dev]'
	@touch $@ $(VENV)/.demo
