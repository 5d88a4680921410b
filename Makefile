# Two commands matter: `make demo` and `make test`. Each first installs into .venv what is missing there,
# exactly as uv.lock says, and does nothing when nothing is missing.

PYTHON ?= python3
BIN := .venv/bin
# Any uv will do. Where there is none, pip puts one into .uv, and nothing outside this folder changes.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
FRESH := .venv/.fresh

export UV_PROJECT_ENVIRONMENT := .venv
unexport VIRTUAL_ENV

.PHONY: help install demo demo-swarm test interop lint layers types bench clean

help:
	@echo "make demo   the whole loop on the shipped sessions, with the embedded model"
	@echo "make demo-swarm  the same over service providers on this machine, paid over Lightning"
	@echo "make test   all tests (ARGS='-k ledger' chooses)"
	@echo "make interop  the swarm against independent relays, providers and customers, installed into .interop"
	@echo "make lint   ruff: rules and format"
	@echo "make layers who may import whom"
	@echo "make types  mypy, strict"
	@echo "make bench  each benchmark: a table, and its figures as one line of JSON"
	@echo "make clean  remove the environment and the caches; runs/ stays"

install: $(FRESH)
	@:

demo: $(FRESH)
	@$(BIN)/oacompile demo $(ARGS)

demo-swarm: $(FRESH)
	@$(BIN)/oacompile demo --swarm $(ARGS)

# loadgroup: the tests that import litellm share one worker, for the import takes seconds.
test: $(FRESH)
	@$(BIN)/pytest -n auto --dist loadgroup $(ARGS)

# What can be installed must pass; what cannot be had here (69: no node, no registry) is skipped and says why.
interop: $(FRESH)
	@required=required; UV="$(UV)" .ci/interop || { code=$$?; [ $$code = 69 ] || exit $$code; required=; }; \
	  OACOMPILE_INTEROP=$$required $(BIN)/pytest -n auto --timeout 60 tests/interop $(ARGS)

lint: $(FRESH)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

layers: $(FRESH)
	@$(BIN)/lint-imports

types: $(FRESH)
	@$(BIN)/mypy

bench: $(FRESH)
	@set -e; for benchmark in benchmarks/*.py; do echo "$$benchmark"; $(BIN)/python $$benchmark; done

clean:
	@rm -rf .venv .uv .interop dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	@find oa_compile tests tools benchmarks programs -name __pycache__ -type d -prune -exec rm -rf {} +

$(FRESH): pyproject.toml uv.lock $(filter .uv/%,$(UV))
	@$(UV) sync --frozen
	@touch $@

# Debian's Python may come without venv, its pip may refuse to install for the system: --target needs neither.
.uv/bin/uv:
	@echo "no uv here: pip puts one into .uv"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target .uv uv \
	  || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv; } \
	  || { echo "this needs uv, or Python 3.11+ with pip: apt install python3-pip make" >&2; exit 1; }
