# Everything one does with this repository; CI calls the same targets. `make` alone explains.
# Needs git, make and Python >= 3.11; everything else comes into .venv from requirements.lock.

PY := .venv/bin/python
READY := .venv/.ready
CODE := headgate controller router examples tests bench scripts
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help run run-kube test properties planted faults cluster cluster-up manifests bench-core bench-controller bench-decisions bench-router check format lock audit clean

help: ## this list
	@echo 'Headgate: takes a new version of an ML model into production without hurting anyone.'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 18
	@echo
	@echo 'Start with `make run`. The first target you call makes .venv (about 300 MB, a minute or two).'

run: $(READY) ## the story on real models, live in this terminal, under 3 minutes; results in run/ and run-summary.json
	@$(PY) examples/digits/story.py

run-kube: $(READY) ## the same story on a real Kubernetes API (`make cluster` first), by kubectl; results in run-kube/
	@$(PY) -m tests.cluster.testbed $(PY) examples/digits/story.py --cluster --run run-kube --summary run-kube-summary.json

test: $(READY) ## all tests; names loudly what it skips for want of a program (TESTS=path for some of them)
	@$(PY) -m pytest $(TESTS)

properties: $(READY) ## the core in a made-up world, 200,000 steps, its invariants after each; prints what was reached (STEPS=n)
	@$(PY) -m tests.properties $(STEPS)

planted: $(READY) ## one wrong line at a time in the core: the tests must notice every one
	@$(PY) -m tests.planted

faults: $(READY) ## the controller killed at every write of four rollouts, outages of minutes: hours (STORIES='canary --every 5' for less)
	@$(PY) -m tests.faults $(STORIES)
	@FAULTS=long $(PY) -m pytest tests/faults

cluster: $(READY) ## find or build a real Kubernetes API for the tests (five to ten minutes once; needs Go >= 1.26)
	@$(PY) -m tests.cluster.testbed.binaries

cluster-up: $(READY) ## start one to try things on; prints its kubeconfig; Ctrl-C ends it
	@$(PY) -m tests.cluster.testbed

manifests: $(READY) ## write manifests/crds again from the models and rules of controller/crd
	@PYTHONPATH=. $(PY) scripts/manifests.py

bench-core: $(READY) ## what a decision costs; table here, figures in bench/out/core.json (QUICK=1 for a short run)
	@$(PY) -m bench.core

bench-decisions: $(READY) ## false and true rollbacks beside others' rules; bench/out/decisions.json (hours; QUICK=1: minutes)
	@$(PY) -m bench.decisions

bench-router: $(READY) ## the router beside nginx, HAProxy and Envoy; bench/out/router.json (an hour; QUICK=1: ten minutes; needs wrk)
	@$(PY) -m bench.router

bench-controller: $(READY) ## many rollouts on a real API server: costs, restarts, latencies, leaders; an hour and more (QUICK=1; PARTS=latency)
	@$(PY) -m bench.controller $(PARTS)

check: $(READY) ## format, lint, types, layers, lock: what must hold before a commit
	@$(PY) -m ruff format --check $(CODE)
	@$(PY) -m ruff check $(CODE)
	@$(PY) -m mypy
	@$(PY) -m mypy examples/digits scripts
	@.venv/bin/lint-imports --no-logo
	@$(PY) scripts/check_lock.py && echo 'requirements.lock: pinned, hashed, names no address'

format: $(READY) ## put the code into its format and mend what the linter can mend
	@$(PY) -m ruff check --fix $(CODE)
	@$(PY) -m ruff format $(CODE)

lock: ## pin the dependencies of pyproject.toml again (needs uv on PATH and a package index)
	@command -v uv >/dev/null || { echo 'make lock needs uv on PATH: pip install uv, or pipx install uv' >&2; exit 1; }
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--all-extras --quiet -o requirements.lock pyproject.toml

audit: $(READY) ## known vulnerabilities of the locked packages (needs the network)
	@$(PY) -m pip_audit --requirement requirements.lock --require-hashes --disable-pip

clean: ## remove .venv, caches and the results of make run
	@rm -rf .venv run run-summary.json run-kube run-kube-summary.json examples/digits/models dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: made anew when there is none that works, brought up to date when the lock or pyproject changed.
$(READY): requirements.lock pyproject.toml
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
		python=$$(scripts/find-python) && \
		echo "Making .venv with $$($$python -V) ($$python)" && \
		rm -rf .venv && "$$python" -m venv .venv; }
	@echo 'Installing the locked packages into .venv (needs a package index; a minute or two the first time)'
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@
