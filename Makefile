# make demo and make test are each alone enough on a fresh clone; `make help` lists the rest.
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python3)
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-dota demo-cls test test-fast lint

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## make .venv with the pinned OpenMMLab stack (the first time mmcv compiles for minutes)
	@$(PYTHON) tools/dev/setup_environment.py

demo: setup ## train a small Mask R-CNN on a drawn COCO, test it, and show pictures (7 minutes on 2 cores)
	@$(RUN) tools/dev/demo.py coco

demo-dota: setup ## the same with oriented R-CNN on a drawn DOTA, from raw images to a submission
	@$(RUN) tools/dev/demo.py dota

demo-cls: setup ## the same with a classifier on a drawn ImageNet, also corrupted and in other styles
	@$(RUN) tools/dev/demo.py imagenet

# a process for each core, of one thread each: more threads would wait for each other
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n logical --dist loadfile

test: setup lint ## lint, then the whole test suite with its coverage
	$(PYTEST) --cov --cov-report=term

test-fast: setup ## the tests that take a moment each, for use while you work
	$(PYTEST) -m "not slow"

lint: setup ## what CI asks of the code's form
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	.venv/bin/lint-imports
	$(RUN) -m mypy
