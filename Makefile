# Every target does its own set-up in .venv; nothing but make and a Python from 3.11 on is needed. `make help` lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.loadproof-installed
# pytest-xdist workers. Two suit two cores: the integration tests start processes of their own.
TEST_WORKERS ?= 2
PYTEST_ARGS ?=
# How long `make soak` and `make large-run` last.
MINUTES ?= 30

.PHONY: help demo test test-slow soak large-run simulate check bench bench-fleet bench-comparison proto constraints clean install

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

demo: $(STAMP) ## run the example shop's suite on two local agents and print the verdict
	@$(BIN)/python examples/shop/demo.py

test: $(STAMP) ## run the whole test suite
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup -m "not slow" $(PYTEST_ARGS)

test-slow: $(STAMP) ## run the soak tests, large fleets and many seeds
	$(BIN)/python -m pytest -m slow --timeout 3600 $(PYTEST_ARGS)

# A failing seed prints itself: `make simulate SEEDS=1 FIRST=<seed>` replays it.
SEEDS ?= 10000
FIRST ?= 0
simulate: $(STAMP) ## simulate fleets with faults in virtual time (SEEDS=100000 FIRST=0)
	@PYTHONPATH=tests/support $(BIN)/python -m fleet_sim $(SEEDS) $(FIRST)

soak: $(STAMP) ## load two agents through resetting networks for MINUTES (default 30) and fit the memory of every process
	PYTHONPATH=tests/support $(BIN)/python tests/support/fault_soak.py --minutes $(MINUTES)

large-run: $(STAMP) ## run 20 agents for MINUTES, kill and add some on the way, and hold every count against the target's
	PYTHONPATH=tests/support $(BIN)/python tests/support/large_run.py --minutes $(MINUTES)

check: $(STAMP) ## lint, types, import contract, tidiness, drift of generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python -m pytest -q -p no:randomly -p no:xdist tests/architecture

bench: $(STAMP) ## measure side by side with other tools
	$(BIN)/python -m benchmarks

bench-fleet: $(STAMP) ## measure the controller under 200 and 1,000 simulated agents
	$(BIN)/python -m benchmarks.fleet_scale

bench-comparison: $(STAMP) ## false alarms and power of comparisons: simulated (half an hour), then on the shop (45 minutes)
	$(BIN)/python -m benchmarks.comparison_power
	$(BIN)/python -m benchmarks.comparison_shop record runs/comparison
	$(BIN)/python -m benchmarks.comparison_shop judge runs/comparison

proto: $(STAMP) ## generate the checked-in Python of proto/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python proto/generate.py

constraints: $(STAMP) ## resolve constraints.txt anew from pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --upgrade --no-emit-index-url --no-header --no-annotate \
		--all-extras --group dev pyproject.toml --output-file constraints.txt --quiet

install: $(STAMP) ## create .venv and install everything

# Installed again when the dependencies change. The virtual environment itself is kept: `make clean` removes it.
$(STAMP): pyproject.toml constraints.txt
	@sh .ci/venv.sh $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group dev
	@# httpbin wants greenlet below 3 for a server we don't use, Playwright wants a newer one: no dependencies of its own.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps httpbin==0.10.4
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e .
	@touch $(STAMP)

clean: ## remove .venv, caches and runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
