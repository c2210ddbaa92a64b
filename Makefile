# Everything a developer does: `make` lists it. Each target may be run at any time, in any order.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo images test bench faults accuracy engines docs lint clean

BIN := .venv/bin
STUDY := demo/study
RESULT := demo/out
# Tests that start Nextflow fill a core each.
TEST_JOBS ?= 2

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 10

setup: ## make .venv with Python packages, Java and Nextflow
	@setup/environment.sh

demo: setup ## make the example study and run the dwi lane on it
	@[[ -e $(STUDY) ]] || $(BIN)/cohortflow example dwi $(STUDY)
	@status=0; $(BIN)/cohortflow run dwi $(STUDY) $(RESULT) || status=$$?; \
	setup/check-demo.sh $$status $(RESULT)

images: ## make the container images that are not there yet (docs/containers.md)
	@containers/build.sh

test: lint ## run lint and every test
	@setup/test-packages.sh
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile $(TESTS)

bench: setup ## time this project beside its peers
	@$(BIN)/python -m bench

faults: setup ## stop runs at many moments by every signal, and kill them (about 30 minutes)
	@COHORTFLOW_MOMENTS=12 $(BIN)/python -m pytest -n $(TEST_JOBS) tests/faults/test_signals.py
	@COHORTFLOW_KILLS=100 $(BIN)/python -m pytest tests/cells/test_faults.py -k killed
	@COHORTFLOW_KILLS=12 $(BIN)/python -m pytest tests/pipeline/test_cells.py -k killed

accuracy: setup ## measure tracts of 50 brains whose tracts are known (40 minutes)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 COHORTFLOW_BRAINS=50 \
	$(BIN)/python -m pytest -s tests/dwi/test_brains.py

engines: setup ## run all studies through every engine, stop runs by every signal (40 minutes)
	@setup/test-packages.sh
	@COHORTFLOW_ENGINES=whole $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile tests/engines

lint: setup ## check style, types and strict Nextflow syntax
	@setup/lint-tools.sh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/nextflow-lint $(wildcard main.nf nextflow.config conf modules)

docs: setup ## build the documentation into site/
	@$(BIN)/python docs/generate/reference.py
	@$(BIN)/mkdocs build --quiet --strict

clean: ## remove what the other targets made, but not .venv
	@rm -rf demo site docs/reference build work .nextflow .nextflow.log* \
	.pytest_cache .mypy_cache .ruff_cache .hypothesis
