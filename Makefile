# make demo   sets up and runs the demo          make check   the checks, the tests, the examples
# make test   sets up and runs the tests         make bench   the figures of docs/performance.md
# make site   the documents as a site           make pictures  their pictures
# make torture  the stages of docs/reliability.md  make soak HOURS=n  the same, for hours, with random seeds
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Compiled once, not by each of the processes that the tests start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check lint types mypy pyright layers examples site pictures bench mutants torture soak clean help

help:
	@sed -n 's/^# //p' Makefile

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.12)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing: on Debian, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(STAMP)
	$(BIN)/resource-allocator demo $(ARGS)

## Twice as many workers as there are cores: half of the time the tests wait for servers.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n 4

check: lint types layers test examples

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.rules.lua_lint

types: mypy pyright

mypy pyright: $(STAMP)
	$(BIN)/$@

layers: $(STAMP)
	$(BIN)/lint-imports --no-cache

examples: $(STAMP)
	$(BIN)/python -m examples.run_all

## build/site/index.html, which works from disk.
site: $(STAMP)
	$(BIN)/python -m tools.site

## docs/pictures, of which some are drawn and some are taken of the programs.
pictures: $(STAMP)
	$(BIN)/python -m tools.pictures $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m bench

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants

## Every stage once, with fixed seeds.  `make torture DOCUMENT=docs/reliability.md` keeps the figures.
torture: $(STAMP)
	$(BIN)/python -m tests.soak $(if $(DOCUMENT),--write $(DOCUMENT))

## Again and again with random seeds.
HOURS ?= 1
soak: $(STAMP)
	$(BIN)/python -m tests.soak --hours $(HOURS)

clean:
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .hypothesis .lint build dist *.egg-info
