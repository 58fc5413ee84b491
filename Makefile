# `make` tells what there is. Every target sets up what it needs and is quick when nothing changed.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

bin := .venv/bin
setup_inputs := pyproject.toml constraints.txt scripts/setup scripts/lib.sh
run_stamp := .venv/.installed-run
dev_stamp := .venv/.installed-dev

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(run_stamp) ## set up, then see functions run: cold, warm, paused, failing (no Docker needed, under a minute)
	@$(bin)/invoker tour

.PHONY: serve
serve: $(run_stamp) ## keep an embedded invoker serving, to play with from a second terminal
	@echo 'Try, from a second terminal:'
	@echo '  printf "def main(args):\n    return {\"hello\": args.get(\"name\", \"world\")}\n" > /tmp/hello.py'
	@echo '  $(bin)/invoker action put guest/hello /tmp/hello.py'
	@echo '  $(bin)/invoker invoke guest/hello --param name=you'
	@echo 'Ctrl-C stops it.'
	@exec $(bin)/invoker dev

.PHONY: cloud
cloud: $(dev_stamp) ## a whole little cloud: controller, two invokers, Kafka, CouchDB, Docker; tells what to try
	@scripts/cloud

.PHONY: test
test: $(dev_stamp) ## set up and run every check and test; starts a Docker daemon where it may
	@scripts/test all

.PHONY: test-fast
test-fast: $(dev_stamp) ## the tests that need no Docker
	@scripts/test fast

.PHONY: lint
lint: $(dev_stamp) ## style, types, and the arrows between the rooms
	@scripts/lint

.PHONY: bench
bench: $(dev_stamp) ## measure, and write docs/benchmarks.md and docs/simulator-benchmarks.md
	@scripts/bench

.PHONY: format
format: $(dev_stamp) ## let ruff lay out the code and mend what it can
	@$(bin)/ruff format .
	@$(bin)/ruff check --fix .

.PHONY: picture
picture: $(dev_stamp) ## draw docs/container-life.svg from the table of transitions
	@$(bin)/python scripts/draw_container_life.py

.PHONY: lock
lock: $(dev_stamp) ## choose versions anew: writes constraints.txt
	@scripts/lock

.PHONY: docker-up
docker-up: ## see that a Docker daemon answers; starts one where it may
	@scripts/docker-up

.PHONY: docker-down
docker-down: ## stop the daemon that docker-up started, and no other
	@scripts/docker-down

.PHONY: clean
clean: docker-down ## remove everything that was made here
	rm -rf .venv .state .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed for work on the project includes what running needs.
$(run_stamp): $(setup_inputs)
	@if [ -e $(dev_stamp) ]; then scripts/setup dev && touch $(dev_stamp); else scripts/setup run; fi
	@touch $@

$(dev_stamp): $(setup_inputs)
	@scripts/setup dev
	@touch $(run_stamp) $@
