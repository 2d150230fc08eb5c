# The hub's commands. `make run` and `make test` need Python 3.11 (with venv), git and make, and do the rest themselves.

.DEFAULT_GOAL := help
.PHONY: help run test faults mutants soak fuzz bench docs screenshots manifests fmt lock audit clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## set up and run the embedded hub with the providers' sandboxes
	@deploy/dev/venv.sh run
	@HUB_SANDBOX="$${HUB_SANDBOX:-1}" exec .venv/bin/hub run

test: ## set up, start the servers that the tests need, and run every check
	@deploy/dev/venv.sh dev
	@deploy/dev/test.sh

faults: ## crash at every point, and break lines, processes and servers under load (long)
	@deploy/dev/venv.sh dev
	@deploy/dev/test.sh faults

mutants: ## change the code in small ways, and show which changes no test notices (long; see docs/mutants.md)
	@deploy/dev/venv.sh dev
	@deploy/dev/test.sh mutants

soak: ## play 10,000 simulated runs, and feed one hub with 200,000 events (hours)
	@deploy/dev/venv.sh dev
	@deploy/dev/test.sh soak

fuzz: ## call every operation of the HTTP APIs with 10,000 examples, and the console and a webhook with as many (minutes)
	@deploy/dev/venv.sh dev
	@deploy/dev/test.sh fuzz

bench: ## measure on this machine; see benchmarks/
	@deploy/dev/venv.sh dev
	@deploy/dev/test.sh bench

docs: ## build the documentation as a site into build/site
	@deploy/dev/venv.sh dev
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@printf 'build/site/index.html\n'

screenshots: ## take pictures of every page of the console into build/screenshots (needs chromium)
	@deploy/dev/venv.sh dev
	@.venv/bin/python -m tests.browser.screenshots build/screenshots

manifests: ## ask the tools of others whether deploy/ is right (needs the package index)
	@deploy/dev/venv.sh dev
	@deploy/dev/manifests.sh

fmt: ## format, and fix what ruff can fix
	@deploy/dev/venv.sh dev
	@.venv/bin/ruff check --quiet --fix --exit-zero .
	@.venv/bin/ruff format --quiet .

lock: ## resolve pyproject.toml again into both lock files
	@deploy/dev/venv.sh dev
	@deploy/dev/lock.sh

audit: ## ask the advisory database about the locked versions (needs the internet)
	@deploy/dev/venv.sh dev
	@deploy/dev/uv.sh tool run 'pip-audit>=2.9' --requirement requirements.lock --require-hashes --disable-pip

clean: ## remove the installation and the caches; var/ (the hub's data) stays
	@rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
