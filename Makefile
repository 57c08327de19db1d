# `make` lists the targets. Every target that needs Python first makes .venv from constraints.txt; that happens once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PORT ?= 5000
STORE ?= mlflow.db
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One thread per test process: on a shared or small machine more threads are slower, not faster.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -p no:cacheprovider -q -n $(WORKERS)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"spacecast needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing spacecast into $(VENV) (once, some minutes)"
	$(PIP) install -qq --no-compile --constraint constraints.txt --upgrade pip # the one of an older Python takes twice as long
	$(PIP) install -qq --no-compile --constraint constraints.txt hatchling setuptools # what builds spacecast, and antlr4, which comes as source only
	$(PIP) install -qq --no-compile --no-build-isolation --constraint constraints.txt --editable '.[dev,docs]'
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true # on all cores, which pip does not; some packages carry templates
	@touch $@

.PHONY: venv
venv: $(BIN)/python ## Make an empty .venv (PYTHON=python3.12 picks the interpreter)

.PHONY: install
install: $(STAMP) ## Install spacecast and its tools into .venv, exact versions

.PHONY: demo
demo: $(STAMP) ## Simulate, train, score, track: the whole chain in minutes
	$(BIN)/spacecast-train paths.run_dir=runs/demo
	@echo
	@echo "Pictures and scores: runs/demo"
	@echo "Compare runs:        make ui"

.PHONY: ui
ui: $(STAMP) ## Open the MLflow pages of mlflow.db (PORT=5000, STORE=mlflow.db)
	@$(BIN)/python scripts/ui.py "$(STORE)" --port $(PORT)

.PHONY: test
test: $(STAMP) ## Run every test
	$(PYTEST)

.PHONY: test-fast
test-fast: $(STAMP) ## Run the tests that take seconds
	$(PYTEST) -m "not slow"

.PHONY: images
images: $(STAMP) ## Write the pictures that tests compare with anew
	SPACECAST_REMAKE_IMAGES=1 $(PYTEST) -n 0 tests/plots/test_images.py

.PHONY: screenshots
screenshots: $(STAMP) ## Make the pictures of MLflow's pages in docs/images anew (needs chromium)
	$(PIP) install -qq --constraint constraints.txt playwright
	SPACECAST_SCREENSHOTS=docs/images $(PYTEST) -n 0 tests/tracking/test_pages.py

.PHONY: test-slurm
test-slurm: $(STAMP) ## Bring up a Slurm of two nodes, run the tests on it, bring it down
	@sandbox=$$(scripts/slurm_sandbox.sh up) || { code=$$?; \
		if [ $$code = 3 ]; then echo "test-slurm skipped: see the reason above"; exit 0; else exit $$code; fi; }; \
	trap 'scripts/slurm_sandbox.sh down' EXIT; \
	eval "$$sandbox"; $(PYTEST) -n 0 --durations=10 -m slurm tests/slurm

.PHONY: test-gpu
test-gpu: $(STAMP) ## Run the tests that need a GPU
	@$(BIN)/python scripts/bench/gpu.py --ask test-gpu || { [ $$? = 3 ]; exit; }; $(PYTEST) -n 0 --durations=10 -m gpu

.PHONY: check
check: $(STAMP) ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: docs
docs: $(STAMP) ## Write the tables of docs/configuration.md anew
	$(BIN)/python scripts/configuration_doc.py

.PHONY: site
site: $(STAMP) ## Write the documentation as pages to build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open build/site/index.html, or, to search as well:"
	@echo "$(BIN)/python -m http.server --directory build/site --bind 127.0.0.1"

.PHONY: bench
bench: $(STAMP) ## Measure speed and memory (BENCH="--full --reference DIR" measures more)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python scripts/bench/run.py $(BENCH)

.PHONY: bench-gpu
bench-gpu: $(STAMP) ## Measure training steps and forecasts on a GPU
	@$(BIN)/python scripts/bench/gpu.py --ask bench-gpu && $(BIN)/python scripts/bench/gpu.py $(BENCH) || [ $$? = 3 ]

.PHONY: wheel
wheel: $(STAMP) ## Build dist/spacecast-*.whl
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

.PHONY: clean
clean: ## Remove what tools leave behind (data, runs and .venv stay)
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove .venv as well
	rm -rf $(VENV)
