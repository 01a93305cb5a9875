# `make` lists what there is. Everything runs in .venv, made from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

.PHONY: help setup services services-stop demo test check proofs bench bench-http reference lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## create .venv from the lock file
	@:

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Tidings needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one with: make PYTHON=python3.12 …")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python cannot make virtual environments: install its venv package (Debian and Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }
	@echo "Setting up .venv, once, in three steps; a minute or two, by the network:"
	@echo "  1/3 an empty environment …"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@echo "  2/3 $$(grep -c == requirements.lock) packages, each checked against its hash in requirements.lock (the long one) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "  3/3 Tidings itself …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
	@echo "Ready: .venv/bin/tidings --help"

demo: $(STAMP)  ## run the small shop (ON=kafka: with three workers; FOR=60s ends it by itself; ARGS=--plain line by line)
ifeq ($(ON),kafka)
	@$(BIN)/python -m tests.servers with sh -c 'exec $(BIN)/tidings demo --kafka "$$TIDINGS_TEST_KAFKA" --postgres "$$TIDINGS_TEST_POSTGRES" "$$@"' demo $(SHOP)
else
	@$(BIN)/tidings demo $(SHOP)
endif

SHOP = $(if $(FOR),--for $(FOR)) $(if $(SPEED),--speed $(SPEED)) $(ARGS)

services: $(STAMP)  ## start Kafka and PostgreSQL on loopback, without Docker (Java, Maven and PostgreSQL must be installed)
	@$(BIN)/python -m tests.servers start

services-stop: $(STAMP)  ## end what `make services` started; data and logs stay in .services
	@$(BIN)/python -m tests.servers stop

test: $(STAMP)  ## the tests, two files a processor at a time; with Kafka and PostgreSQL where this machine has them
	@$(BIN)/python -m tests.servers with $(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder $(ARGS)

check: $(STAMP)  ## lint, format, types, layers, contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/tidings contracts check

proofs: $(STAMP)  ## the long runs: 20,000 simulated histories, a cluster that is killed, grows and moves (ARGS=--write keeps figures)
	@$(BIN)/python -m tests.servers with $(BIN)/python -m pytest -m proofs -s $(ARGS)

bench: $(STAMP)  ## speed, memory and the way of a message (ON=kafka: beside others; ARGS=--quick: only that it runs)
	@$(if $(ON),$(BIN)/python -m tests.servers with) $(BIN)/python -m benchmarks.run $(if $(ON),--on $(ON)) $(ARGS)

bench-http: $(STAMP)  ## intake over HTTP beside a bare handler that validates and commits (ARGS=--rounds 5)
	@$(BIN)/python -m benchmarks.http $(ARGS)

reference: $(STAMP)  ## write docs/reference anew: commands, configuration, contracts, metrics, reasons
	@$(BIN)/python -m tests.docs.reference

pictures: $(STAMP)  ## take the README's pictures of the console anew
	@$(BIN)/python -m tests.docs.pictures

lock:  ## write requirements.lock anew, with the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --upgrade --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 --group dev pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 --constraint requirements.lock pyproject.toml -o deploy/requirements.lock

clean:  ## remove .venv and everything that runs leave behind
	@test ! -d .services/kafka || $(BIN)/python -m tests.servers stop
	@rm -rf .services .venv demo dist build .mypy_cache .ruff_cache .import_linter_cache .hypothesis
