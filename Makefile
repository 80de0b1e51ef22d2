# Every target sets up what it needs first; the second time that takes less than a second.
# PYTHON=/path/to/python3.12 picks the Python that the environment is made from.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
VENV := .venv/bin
SCREEN := tests/tools/with_screen.sh

.PHONY: help setup setup-tests run demo test check soak screenshot bench bench-peer lock clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup:  ## everything that `make run` needs, and nothing else
	@sh packaging/setup.sh

setup-tests:
	@sh packaging/setup.sh --tests

run: setup  ## open Hearth; with no display, show the same work in the terminal
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; then \
		exec $(VENV)/hearth; \
	else \
		echo "No display here: this is the demo. On a desktop, make run opens the window."; \
		exec $(VENV)/hearth demo; \
	fi

demo: setup  ## the main job on a throw-away home, step by step, in the terminal
	@$(VENV)/hearth demo

test: setup-tests  ## all gates, then all tests, on a virtual screen
	@$(VENV)/python tests/tools/check.py
	@sh $(SCREEN) $(VENV)/python -m pytest -q

check: setup-tests  ## the gates alone: style, types, imports, locks
	@$(VENV)/python tests/tools/check.py

soak: setup-tests  ## the tests that take long
	@sh $(SCREEN) $(VENV)/python -m pytest -q -m soak -o faulthandler_timeout=0

screenshot: setup-tests  ## the README's picture, taken from the real window
	@sh $(SCREEN) sh tests/tools/screenshot.sh

bench-peer: setup  ## compile llama-server, to compare the engine with; prints its path
	@$(VENV)/python -B packaging/bench_peer.py

bench: setup  ## measure the engine beside llama-server (some minutes, longer on a busy machine)
	@peer=$$($(VENV)/python -B packaging/bench_peer.py | tail -n 1) && [ -n "$$peer" ] && \
		exec $(VENV)/hearth bench engine --peer "llama-server=$$peer"

lock: setup-tests  ## resolve the dependencies anew and write packaging/requirements (needs uv)
	@$(VENV)/python packaging/lock.py

clean:  ## remove the environment and what tools left behind (compiled engines stay in the user's cache)
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find app agents engine packaging tests -name __pycache__ -type d -prune -exec rm -rf {} +
