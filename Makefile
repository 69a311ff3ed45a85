# Everything a contributor or a first-time user needs. `make` alone explains itself.
#
# Installation is done by pip into .venv, pinned by constraints.txt. Two stamp files inside .venv
# remember what was installed, so that nothing is installed twice, and a change of pyproject.toml
# or constraints.txt installs again.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# The first supported interpreter that is found; `make PYTHON=/path/to/python3.12 ...` overrides.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
            $$p -c '$(SUPPORTED)' 2>/dev/null && { command -v $$p; break; }; done)

# One test process a core, at most four, each with one thread for its linear algebra.
WORKERS ?= auto
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 POLARS_MAX_THREADS=1
PYTEST  := $(THREADS) MPLBACKEND=Agg $(BIN)/python -m pytest \
           -n $(WORKERS) --maxprocesses 4 --dist worksteal --durations 10

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-all coverage lint format docs clean distclean

help:
	@echo 'make demo      install the core, then make synthetic patients from the bundled table'
	@echo '               and write the data, the model and the report to demo/'
	@echo 'make setup     make .venv with pegai and every extra (tests, lint, docs)'
	@echo 'make test      the everyday tests; about ten minutes on 2 cores'
	@echo 'make test-all  all tests, also those marked slow'
	@echo 'make coverage  the everyday tests, and which lines they reach; takes twice as long'
	@echo 'make lint      ruff (rules and format), pyright, and the import contract'
	@echo 'make format    let ruff put imports and layout right'
	@echo 'make docs      build the documentation; warnings are errors'
	@echo 'make clean     remove caches and build output; distclean removes .venv too'
	@echo
	@echo 'PYTHON=...     the interpreter for .venv (3.11 to 3.13); found: $(or $(PYTHON),none)'
	@echo 'WORKERS=2      test processes (default: one a core, at most 4)'

setup: $(VENV)/.dev
	@echo "Ready. Try: $(BIN)/pegai --help, or: source $(BIN)/activate"

demo: $(VENV)/.core
	$(BIN)/pegai demo --out demo/

test: $(VENV)/.dev
	$(PYTEST)

test-all: $(VENV)/.dev
	$(PYTEST) -m 'slow or not slow'

coverage: $(VENV)/.dev
	$(PYTEST) --cov --cov-report=term

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(THREADS) $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Built docs/_build/html/index.html"

clean:
	rm -rf build dist docs/_build docs/reference/api htmlcov .coverage .coverage.* coverage.xml
	rm -rf .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

$(VENV)/pyvenv.cfg:
	@test -n '$(PYTHON)' || { \
	  echo 'pegai needs Python 3.11, 3.12 or 3.13; none was found on the PATH.' >&2; \
	  echo 'Install one, or name it: make PYTHON=/path/to/python3.12 setup' >&2; exit 2; }
	@'$(PYTHON)' -c '$(SUPPORTED)' || { \
	  echo 'pegai needs Python 3.11, 3.12 or 3.13; $(PYTHON) is' "$$('$(PYTHON)' --version 2>&1)." >&2; \
	  echo 'Name another: make PYTHON=/path/to/python3.12 setup' >&2; exit 2; }
	'$(PYTHON)' -m venv $(VENV) || { \
	  echo 'The interpreter has no venv module; on Debian and Ubuntu: apt install python3-venv' >&2; \
	  exit 2; }

$(VENV)/.core: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install --quiet --editable . --constraint constraints.txt
	@touch $@

# The extras include the core, so the core's stamp is set too.
$(VENV)/.dev: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $(VENV)/.core $@
