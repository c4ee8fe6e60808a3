# What a user runs: `make demo` and `make test`. Everything is installed in .venv, from locked versions.
#   ARGS="..."          options for the program behind the target (`nextclick demo`, pytest, uv pip compile)
#   ROUNDS=100 SEED=7   of `make chaos`; `make fuzz` takes EVENTS=1000000 and SEED
#   ROW=ml1m            of `make accuracy`, one of tests/accuracy/rows.py
#   TORCH_BACKEND=cpu   torch's CPU build (200 MB) instead of the registry's (5 GB of CUDA libraries on Linux)
#   PYTHON=python3.12   the Python to make .venv with, 3.11 or newer

.DEFAULT_GOAL := help
SHELL := /bin/bash
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
TORCH_BACKEND ?=
ARGS ?=
ROUNDS ?= 10
EVENTS ?= 100000
SEED ?=

VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv
LOCK := requirements
# A stamp is newer than everything that was installed for it, so that a second run installs nothing.
UV_STAMP := $(VENV)/.installed-uv
TORCH_STAMP := $(VENV)/.installed-torch-$(or $(TORCH_BACKEND),registry)
PROJECT_STAMP := $(VENV)/.installed-project
TRAIN_STAMP := $(VENV)/.installed-train
TEST_STAMP := $(VENV)/.installed-test

BENCHMARKS := framework pipeline encoders retrieval training evaluation latency recovery memory
# Quix Streams has an environment of its own: it wants an older confluent-kafka than ours.
QUIX := build/benchmarks/cache/quix
QUIX_STAMP := $(QUIX)/.installed
# RecTools too, which rows of `make accuracy` are compared with.
RECTOOLS := build/accuracy/systems/rectools_hstu
RECTOOLS_STAMP := $(RECTOOLS)/.installed

.PHONY: help install demo test acceptance accuracy chaos fuzz lint docs lock clean bench $(BENCHMARKS:%=bench-%)

help:  ## Show this list.
	@echo 'make TARGET [ARGS="..."] [TORCH_BACKEND=cpu] [PYTHON=python3.12]'
	@sed -n 's/^\([a-z-]*\):.*##/  \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: install  ## Install, then train a model and show the whole service live.
	@$(BIN)/nextclick demo $(ARGS)

install: $(TRAIN_STAMP) $(TORCH_STAMP) $(PROJECT_STAMP)  ## Install only; the command is then .venv/bin/nextclick.

acceptance: $(TEST_STAMP) $(TORCH_STAMP) $(PROJECT_STAMP)  ## Run the demo at full length, on real clicks where they are.
	@$(BIN)/pytest -m acceptance $(ARGS)

test: lint  ## Install, then run every check and the whole test suite.
	@$(BIN)/pytest $(ARGS)

chaos: $(TEST_STAMP) $(TORCH_STAMP) $(PROJECT_STAMP)  ## Kill, freeze and starve workers and brokers under load; nothing may be lost.
	@$(BIN)/python -m tests.end_to_end.chaos --rounds $(ROUNDS) $(SEED:%=--seed %) $(ARGS)

accuracy: $(TEST_STAMP) $(TORCH_STAMP) $(PROJECT_STAMP) $(if $(filter ml1m_time%,$(ROW)),$(RECTOOLS_STAMP))  ## Train and measure a row of docs/accuracy.md from nothing: ROW=ml1m.
	@$(BIN)/python -m tests.accuracy.run $(ROW) $(ARGS)
	@$(BIN)/python -m tests.accuracy.page

fuzz: $(TEST_STAMP) $(TORCH_STAMP) $(PROJECT_STAMP)  ## Send what nobody should send between valid clicks; each must get its due.
	@$(BIN)/python -m tests.end_to_end.fuzz --events $(EVENTS) $(SEED:%=--seed %) $(ARGS)

lint: $(TEST_STAMP) $(TORCH_STAMP) $(PROJECT_STAMP)  ## Check style, types and the arrows between the packages.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: bench-framework bench-pipeline bench-encoders bench-retrieval bench-training bench-evaluation bench-latency bench-recovery bench-memory  ## Measure all of these on a quiet machine; an hour.

bench-framework: $(QUIX_STAMP)  ## CPU per event of the stream alone, beside Faust, Quix Streams and a bare loop.
bench-pipeline:  ## Lists per second and core with a GRU and up to a million items.
bench-encoders:  ## CPU per click of each encoder alone, by the length of the session.
bench-retrieval:  ## CPU per click of finding items by an encoder, by counters and by both.
bench-training:  ## Time and memory of training, up to a million items.
bench-evaluation:  ## Time of an evaluation beside four baselines.
bench-latency:  ## From a click's send time to the reader's poll, beside a bare echo.
bench-recovery:  ## Seconds until a worker that starts serves, by the sessions that it has.
bench-memory:  ## Resident memory over ten million events.

$(BENCHMARKS:%=bench-%): bench-%: $(TEST_STAMP) $(TORCH_STAMP) $(PROJECT_STAMP)
	@$(BIN)/python -m tests.benchmarks.$* $(ARGS)
	@$(BIN)/python -m tests.benchmarks.page

docs: $(TEST_STAMP) $(PROJECT_STAMP)  ## Write the pages and schemas that are generated from the code.
	@$(BIN)/python -m deploy.reference

# Everything first and the parts constrained by it, so that one package has one version in all files.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(ARGS)
lock: $(UV_STAMP)  ## Compile the requirement files; ARGS=--upgrade takes the newest versions.
	@$(COMPILE) pyproject.toml --all-extras --excludes $(LOCK)/torch.txt --output-file $(LOCK)/test.txt
	@$(COMPILE) pyproject.toml --extra train --excludes $(LOCK)/torch.txt --constraints $(LOCK)/test.txt --output-file $(LOCK)/train.txt
	@$(COMPILE) pyproject.toml --constraints $(LOCK)/test.txt --output-file $(LOCK)/base.txt
	@$(COMPILE) $(LOCK)/build.in --constraints $(LOCK)/test.txt --output-file $(LOCK)/build.txt
	@$(COMPILE) $(LOCK)/bench.in --output-file $(LOCK)/bench.txt
	@$(COMPILE) $(LOCK)/rectools.in --excludes $(LOCK)/torch.txt --output-file $(LOCK)/rectools.txt

clean:  ## Remove .venv, caches and build results.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV_STAMP): $(LOCK)/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo 'nextclick needs Python 3.11 to 3.14, and $(PYTHON) is another one or missing; name one: make PYTHON=python3.12 ...' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo '$(PYTHON) cannot make virtual environments; install its venv module (Debian, Ubuntu: apt install python3-venv)' >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCK)/build.txt
	@touch $@

$(TRAIN_STAMP): $(LOCK)/train.txt $(UV_STAMP)
	@$(UV) pip install --require-hashes --requirement $(LOCK)/train.txt
	@touch $@

$(TEST_STAMP): $(LOCK)/test.txt $(UV_STAMP)
	@$(UV) pip install --require-hashes --requirement $(LOCK)/test.txt
	@touch $@

$(QUIX_STAMP): $(LOCK)/bench.txt $(UV_STAMP)
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(QUIX)
	@VIRTUAL_ENV=$(CURDIR)/$(QUIX) $(BIN)/uv pip install --require-hashes --requirement $(LOCK)/bench.txt
	@touch $@

$(RECTOOLS_STAMP): $(LOCK)/rectools.txt $(LOCK)/torch.txt $(UV_STAMP)
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(RECTOOLS)
	@VIRTUAL_ENV=$(CURDIR)/$(RECTOOLS) $(BIN)/uv pip install --no-deps --require-hashes --requirement $(LOCK)/rectools.txt
	@VIRTUAL_ENV=$(CURDIR)/$(RECTOOLS) $(BIN)/uv pip install --requirement $(LOCK)/torch.txt \
	  $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND))
	@touch $@

# After the locked files, whose versions torch's own dependencies then keep. A stamp of the other build means that
# torch is there, but the wrong one.
$(TORCH_STAMP): $(LOCK)/torch.txt | $(UV_STAMP)
	@$(UV) pip install --requirement $(LOCK)/torch.txt $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) \
	  $(if $(wildcard $(VENV)/.installed-torch-*),--reinstall-package torch)
	@rm -f $(VENV)/.installed-torch-*
	@touch $@

$(PROJECT_STAMP): pyproject.toml $(UV_STAMP)
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
