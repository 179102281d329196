# One way to run everything. `make demo` and `make test` do their own set-up.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COVERAGE := 95
# ansible.cfg is read from the working directory only; this holds from anywhere.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/collections

.PHONY: help setup demo up down lab-status lab-reset drill drills serve lint check test bench lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment with every dependency

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (about a minute and a half the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Break a real database and watch it heal, from nothing
	@$(BIN)/python -m lab demo

up: $(READY) ## Start the lab
	@$(BIN)/python -m lab up

down: $(READY) ## Remove the lab: containers, networks, volumes
	@$(BIN)/python -m lab down

lab-status: $(READY) ## Show the lab's services, addresses and alerts
	@$(BIN)/python -m lab status

lab-reset: $(READY) ## Undo every fault
	@$(BIN)/python -m lab reset

drill: $(READY) ## Break one thing and watch it heal: ALERT=..., or RUNBOOK=... OPTION=...
	@$(BIN)/python -m lab drill --alert "$(ALERT)" --runbook "$(RUNBOOK)" --option "$(OPTION)"

drills: $(READY) ## Break everything in turn; prints what healed it, why, and how fast
	@$(BIN)/python -m lab drills

serve: $(READY) ## Run the responder beside the lab
	@$(BIN)/python -m lab serve

lint: $(READY) ## Format, lint, types, runbooks against rules and playbooks
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/yamllint --strict .
	@$(BIN)/mypy --no-error-summary collections/ansible_collections/ops/runbooks/plugins
	@$(BIN)/mypy --no-error-summary alert_responder benchmarks lab tests
	@$(BIN)/alert-responder runbooks check

check: lint ## The fast half: lint and unit tests
	@$(BIN)/python -m pytest -q -n 2 --hypothesis-profile=quick tests/unit

# One process drills the lab, which mostly waits; the other does all the rest meanwhile (tests/conftest.py).
test: lint ## Lint, unit tests, sanity, integration, molecule, drills of every alert and option; gated on branch coverage
	@$(BIN)/python -m lab images
	@$(BIN)/python -m pytest tests -n 2 --dist loadgroup --no-loadscope-reorder --durations=40 \
	  --instafail --maxfail=25 \
	  --cov --cov-report=term --cov-fail-under=$(COVERAGE)

bench: $(READY) ## Measure the modules beside the plain tools, and the responder; prints ratios
	@$(BIN)/python -m benchmarks.postgresql_pool_reset
	@$(BIN)/python -m benchmarks.service_restart
	@$(BIN)/python -m benchmarks.redis_evict
	@$(BIN)/python -m benchmarks.webhooks
	@$(BIN)/python -m benchmarks.first_task

lock: ## Resolve requirements.txt and test-requirements.txt again
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header requirements.txt test-requirements.txt --output-file requirements.lock

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
