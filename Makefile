# Two commands: `make repro` rebuilds every table and figure, `make test` checks everything. Both set themselves up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help setup data repro site test lint strip

PROFILE ?= embedded
PYTHON ?= python3
VENV := $(CURDIR)/.venv
STAMP := $(VENV)/.installed

# The stages of dvc.yaml call `python`: it must be the one of .venv. One thread a process, runs go side by side.
export PATH := $(VENV)/bin:$(PATH)
export OMP_NUM_THREADS ?= 1
export DVC_NO_ANALYTICS := 1
export NO_MKDOCS_2_WARNING := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@echo "make repro                    rebuild every table and figure of the embedded profile"
	@echo "make repro PROFILE=smoke      the same pipeline in a few minutes, in a throwaway copy"
	@echo "make test                     unit tests, notebooks, smoke pipeline"
	@echo "make site                     the report as web pages, from the committed results: site/index.html"
	@echo "make setup | data | lint | strip"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info[:2] == (3, 11), "the lock file is for Python 3.11, but this is " + sys.version' \
		|| { echo "Call make with PYTHON=python3.11, or use environment.yml with conda."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: install the package python3-venv."; exit 1; }
	echo "Installing the pinned environment into .venv (a few minutes, once) ..."
	$(VENV)/bin/python -m pip install -qq -r requirements.lock
	$(VENV)/bin/python -m pip install -qq --no-deps -e .
	touch $@

data: setup
	@vared activate $(PROFILE)
	dvc repro data@$(PROFILE)

repro: setup
	@vared repro $(PROFILE)

# Alone, without the stages before it: the results are committed.
site: setup
	@dvc repro --single-item site
	echo "Open site/index.html; with a search box: python -m http.server --directory site"

lint: setup
	@ruff check .
	vared notebook check

# The unit tests come first, because they fail fastest; the check of what the smoke pipeline wrote comes last.
test: lint
	@pytest -q -m "not smoke" tests
	pytest -q --nbval-lax --nbval-current-env notebooks
	if compgen -G "results/notebooks/*.ipynb" > /dev/null; then
		pytest -q --nbval --nbval-current-env results/notebooks
	fi
	vared repro smoke
	pytest -q -m smoke tests/test_smoke_results.py

strip: setup
	@vared notebook strip
