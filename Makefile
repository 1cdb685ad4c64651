# The course in two commands: `make lab` opens it, `make test` tests it. Both set up what they need, in .venv.

# Which Python makes the environment (3.11 or newer):             make lab PYTHON=python3.12
PYTHON ?= python3
# Which torch: empty for the usual one, cpu for one without CUDA,
# system for the one that PYTHON has already:                     make lab TORCH=cpu
TORCH ?=
# Package index with the CPU-only torch, where pip knows of none: make lab TORCH=cpu TORCH_INDEX=<address>
TORCH_INDEX ?=
# Where your working copy of the course is:                       make lab COURSE=../my-work
COURSE ?= my-course
# More for JupyterLab, or for pytest:                             make lab ARGS=--no-browser
ARGS ?=
# Processes that run the tests:                                   make test WORKERS=8
WORKERS ?= 2

VENV := .venv/bin/python
SETUP := command -v "$(PYTHON)" >/dev/null || { echo "pgcourse: no $(PYTHON) here; install Python 3.11 or newer."; exit 1; }; \
	"$(PYTHON)" tools/setup.py --torch "$(TORCH)" --torch-index "$(TORCH_INDEX)"
# One thread per process: the workers share the cores.
PYTEST := OMP_NUM_THREADS=1 $(VENV) -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help lab test test-full check types notebooks pages bench clean setup setup-dev setup-test

help:  ## List what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

lab: setup  ## Set up the course and open it in JupyterLab (ARGS=--no-browser: print the address)
	@$(VENV) -m pgcourse start "$(COURSE)"
	@echo "pgcourse: opening the course in JupyterLab; Ctrl-C here ends it."
	@$(VENV) -m jupyterlab --allow-root --ServerApp.root_dir="$(COURSE)" \
		--LabApp.default_url=/lab/tree/lectures/00_start.ipynb $(ARGS)

test: setup-test check  ## Set up the course and pass its tests, in a real browser too where there is one
	@echo "pgcourse: running the tests in $(WORKERS) processes."
	@$(PYTEST) -m "not full" $(ARGS)

test-full: setup-test check  ## The tests and the long suites besides; writes docs/test_full.md
	@$(PYTEST) -m "full or not full" --report=docs/test_full.md $(ARGS)

check: setup-dev  ## Style, and whether the notebooks are what their sources make: seconds
	@echo "pgcourse: checking style and notebooks."
	@$(VENV) -m ruff check --quiet .
	@$(VENV) -m pgcourse notebooks check

types: setup-dev  ## Check the types with pyright (needs Node.js)
	@$(VENV) -m pyright

notebooks: setup-dev  ## Make the notebooks from their sources
	@$(VENV) -m pgcourse notebooks build

pages: setup  ## Execute the lectures and write them to pages/, to be read without installing anything
	@$(VENV) -m pgcourse notebooks pages

bench: setup-dev  ## Run the measurements in benchmarks/
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(VENV) "$$script"; done

clean:  ## Remove the environment, pages and caches; never your working copy or your runs
	rm -rf .venv pages build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@$(SETUP)

setup-dev:
	@$(SETUP) --dev

setup-test:
	@$(SETUP) --dev --system-packages
