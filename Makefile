# Everything on a fresh machine with Python 3.10 or newer; each target installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt
ENV ?= CartPole-v1
STEPS ?=
SEED ?= 0

.PHONY: help train test check format mutation coverage docs dist release-check clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras, made again when the requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[$*]'
	touch $@

train: $(VENV)/.installed-extra  ## Train on CartPole-v1 (ENV=... STEPS=... SEED=... DEFAULTS=1), evaluate, plot
	$(BIN)/python -m sb3_angc --env $(ENV) --seed $(SEED) $(if $(STEPS),--steps $(STEPS)) $(if $(filter-out 0 no false,$(DEFAULTS)),--defaults)

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

coverage: $(VENV)/.installed-all  ## Run the tests and report the branches of sb3_angc that none reaches
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term-missing

# Zensical makes its own warnings errors; those of griffe, which reads the docstrings, it only prints.
docs: $(VENV)/.installed-docs  ## Build the documentation site in build/site, warnings as errors
	mkdir -p build
	$(BIN)/zensical build --clean --strict > build/docs.log 2>&1; status=$$?; cat build/docs.log; exit $$status
	! grep '^griffe:' build/docs.log
	$(BIN)/python -m tools.finish_site build/site docs

dist: $(VENV)/.installed-release  ## Build sdist and wheel in dist/, and try both in clean environments
	rm -rf dist build/try-sdist build/try-wheel
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	for kind in sdist wheel; do \
		$(PYTHON) -m venv build/try-$$kind && \
		build/try-$$kind/bin/python -m pip install --quiet -c constraints.txt \
			"$$(ls dist/*$$(test $$kind = sdist && echo .tar.gz || echo .whl))" && \
		(cd build/try-$$kind && env -u PYTHONPATH OMP_NUM_THREADS=1 bin/python $(CURDIR)/tools/try_installed.py) || exit 1; \
	done

release-check:  ## Demand that version, changelog, citation and tag (TAG=v1.2.3) agree
	$(PYTHON) -m tools.release_check $(TAG)

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
