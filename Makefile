# tweetmill: every command that a newcomer needs. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
EXTRAS := local,gpu,serve,monitor,dev
T      ?= tests
# Most of a fault test is waiting, for a lease or a restart: one process more than there are cores fills them.
AT_ONCE ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); [ $$cores -gt 7 ] && echo 8 || expr $$cores + 1)
SEED    ?= 1
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-browser faults check format nemesis bench up down secrets clean

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything into .venv (Linux, Python 3.11 or newer)

$(STAMP): pyproject.toml constraints.txt deploy/preflight.sh
	@PYTHON=$(PYTHON) sh deploy/preflight.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: setup ## The whole way on this machine: tweets in, a tuned model, summaries out (14 to 25 minutes, depending on the CPU)
	@$(BIN)/tweetmill demo --report demo-report.json

test: setup ## Every test but the browser's: unit, integration (real Valkey and Postgres), acceptance (real workers and ranks)
	@# Tests start thousands of processes: none of them shall compile the code anew, as PYTHONDONTWRITEBYTECODE would have it.
	@$(BIN)/python -m compileall -q deploy producers schemas tasks tests workers
	@$(BIN)/python -m pytest $(T) --ignore=tests/browser --numprocesses $(AT_ONCE) --dist loadgroup --no-loadscope-reorder

test-unit: setup ## The quick tests: no sockets, under a minute
	@$(BIN)/python -m pytest tests/unit

test-browser: setup ## Flower and the report in a real Chromium (set CHROMIUM to its path)
	@$(BIN)/python -m pytest tests/browser

faults: setup ## The fault tests at full length (about half an hour); writes their figures into docs/faults.md
	@TWEETMILL_FUZZ=10000 $(BIN)/python -m pytest tests/unit -m fuzz --timeout 1800
	@mkdir -p build && rm -f build/faults.jsonl
	@$(BIN)/python -m pytest tests -m fault --thorough --figures build/faults.jsonl; ended=$$?; $(BIN)/python -m tests.faults && exit $$ended

check: setup ## Style, types and the import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Let ruff fix what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

nemesis: setup ## Seeded random faults on real servers and workers: make nemesis SEED=1 MINUTES=10
	@$(BIN)/python -m tests.nemesis --seed $(SEED) --minutes $(MINUTES)

bench: setup ## Speed, as ratios measured side by side
	@$(BIN)/python -m benchmarks

up: setup ## Start the one-machine stack in the background
	@$(BIN)/tweetmill up --detach

down: ## Stop it; the data stays
	@$(BIN)/tweetmill down

secrets: ## Make the passwords that docker-compose.yml reads, in ./secrets
	@sh deploy/docker/make-secrets.sh

clean: ## Remove .venv and what the tools left; never your data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
