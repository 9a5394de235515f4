# Everyday commands; `make` alone lists them. Each target makes or renews .venv when it has to.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow test-browser test-cluster lint typecheck bench surface structure gpu clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
STORE ?= ./store
CODE := benchmark reports suites tuners tests examples
# `make test ARGS="-k identity"` passes words on to pytest, `make bench ARGS="--only search"` to the bench.
ARGS ?=

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP)  ## make .venv with the pinned packages and this project in it
	@echo "ready: .venv"

# uv installs several times faster than pip and takes the same constraints; where it cannot be had, or finds no index
# because that is set for pip alone, pip does the work.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@if $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv \
		&& VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv pip install -c constraints.txt -e '.[dev]'; then :; else \
		echo "uv did not do it here; installing with pip"; \
		$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'; \
	fi
	@touch $(STAMP)

demo: $(STAMP)  ## run the smoke suite on this machine and write its board
	BACKSTOP_STORE=$(STORE) $(BIN)/backstop run smoke
	BACKSTOP_STORE=$(STORE) $(BIN)/backstop board smoke

test: $(STAMP)  ## run the tests, without the slow, gpu and browser ones
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-slow: $(STAMP)  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout 900 $(ARGS)

test-browser: $(STAMP)  ## open the board in headless Chromium; skipped, and said so, where there is none
	$(BIN)/python -m pytest -m browser $(ARGS)

test-cluster: $(STAMP)  ## `ray up` on hosts made of namespaces; skipped, and said so, where there is no root
	$(BIN)/python -m pytest -m cluster $(ARGS)

chaos: $(STAMP)  ## put faults into runs, one table; a part with ARGS="--only disk,ray-worker"
	$(BIN)/python -m tests.chaos $(ARGS)

lint: $(STAMP)  ## check style, format and who imports whom
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports --no-cache

typecheck: $(STAMP)  ## check types
	$(BIN)/pyright

bench: $(STAMP)  ## measure the speed of the hot paths
	$(BIN)/python -m benchmark.perf $(ARGS)

surface: $(STAMP)  ## what samplers, budgets and stopping rules find on a surface that was measured whole
	$(BIN)/python -m benchmark.perf.surface $(ARGS)

gpu: $(STAMP)  ## try on a GPU what needs one: tests, smoke, speed, the question (says so where there is none)
	$(BIN)/python -m benchmark.perf.gpu $(ARGS)

structure: $(STAMP)  ## files, import graph, lengths; of another checkout with ARGS="--root DIR"
	$(BIN)/python -m benchmark.perf.structure $(ARGS)

clean:  ## remove what tools left behind (neither .venv nor the store)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
