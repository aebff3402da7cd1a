# `make help` lists the targets. Needs GNU make and Python 3.11 or newer; everything else goes into .venv.
# PYTHON=python3.12 picks the interpreter of a new .venv.

PYTHON ?=
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup tour test test-slow lint docs bench release lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: $(READY) ## make .venv with everything locked in requirements.lock

# One stamp for all targets: it is as new as the two files that say what belongs into .venv.
$(READY): pyproject.toml requirements.lock tools/setup.sh
	@PYTHON='$(PYTHON)' sh tools/setup.sh .venv
	@touch $@

tour: $(READY) ## the nine claims, measured on real input (about five minutes)
	@$(BIN)/thalweg tour $(ARGS)

# One process per core, since most of the time is JAX compiling on one; files stay whole for their shared fixtures.
# Most of it by far is compiling small programs, which are compiled with less effort here; `make test-slow` is not.
test: $(READY) ## the default test suite
	@XLA_FLAGS="--xla_backend_optimization_level=0 $$XLA_FLAGS" $(BIN)/python -m pytest -n auto --maxprocesses=4 --max-worker-restart=0 --dist loadfile $(ARGS)

test-slow: $(READY) ## the tests that `make test` leaves out
	@$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(READY) ## style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

docs: $(READY) ## the documentation in docs/_build/html, notebooks executed, warnings as errors
	@$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "docs: open docs/_build/html/index.html"

bench: $(READY) ## every benchmark; results go to benchmarks/results
	@sh tools/bench.sh $(BIN)/python $(ARGS)

release: $(READY) ## build wheel and sdist, and use the wheel in empty environments of every Python found
	@$(BIN)/python tools/release_check.py $(ARGS)

lock: ## resolve requirements.lock anew (needs uv; UPGRADE=1 takes the newest of everything)
	@sh tools/lock.sh

clean: ## remove what was built and cached; .venv and runs stay (rm -rf .venv starts over)
	@rm -rf build dist docs/_build docs/reference/generated .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests tools docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
