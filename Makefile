# Everything on a fresh machine with Python 3.10 or newer; each target installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt
ENV ?= CartPole-v1
STEPS ?= 50000
SEED ?= 0

.PHONY: help train test check format mutation clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras, made again when the requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[$*]'
	touch $@

train: $(VENV)/.installed-dev  ## Train on CartPole-v1 (ENV=... STEPS=... SEED=...), evaluate, plot
	$(BIN)/python -m sb3_angc --env $(ENV) --steps $(STEPS) --seed $(SEED)

test: $(VENV)/.installed-all  ## Run the tests
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/.installed-all  ## Lint, format and type checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-all  ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mutation: $(VENV)/.installed-all  ## Plant mistakes one by one and demand that the tests catch each
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
