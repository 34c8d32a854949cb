# Everything runs in an environment of its own, .venv, which is made on first use and brought up to date when
# pyproject.toml changes. Needs nothing but make and a Python of at least 3.11.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps

# Small tensors on few cores: one thread per process is faster than threads that wait for each other.
TEST_WORKERS ?= 2

# What `make demo` measures: 50 questions of each kind.
DEMO_QUESTIONS ?= 350
DEMO_OUT ?= runs/demo
# Two threads are twice as fast on idle cores, and ten times as slow if anything else runs on one of them.
DEMO_THREADS ?= 1

# In CI an environment that was made earlier gets today's releases first, so that it hides nothing that they break.
# Without network: make UPGRADE= ...
UPGRADE ?= $(if $(CI),--upgrade --upgrade-strategy eager)

PLUGINS := $(sort $(dir $(wildcard plugins/*/pyproject.toml)))
INSTALLED := build/plugins

EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
COMMA := ,
PLUGIN_NAMES := $(subst $(SPACE),$(COMMA),$(patsubst plugins/tokprune-%/,%,$(PLUGINS)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-plugins test-releases test-newest upgrade lint docs pages clean

help:
	@echo "make demo    prune the bundled model with every scorer, at 1/2, 1/4 and 1/8, and print a table"
	@echo "make test    run the tests, those of the plugins too, except the slow ones"
	@echo "make test-all  run the slow tests as well"
	@echo "make test-plugins  all tests of the plugins, installed as users install them"
	@echo "make test-releases  the tests of pruned models against older releases of transformers that we promise"
	@echo "make test-newest  the same against the newest transformers, pre-releases included, torch and timm"
	@echo "make lint    formatting, types, and who may import whom"
	@echo "make docs    build the documentation into site/"
	@echo "make pages   write the generated pages of the documentation and the README's table anew"
	@echo "make clean   remove what these commands made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "tokprune needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) -V 2>&1`. Choose one: make PYTHON=python3.12 ..."; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp per set of dependencies: the package alone, and each extra.
$(STAMPS)/package: pyproject.toml $(if $(UPGRADE),upgrade) | $(BIN)/python
	$(BIN)/python -m pip install $(UPGRADE) -e . # not --quiet: it fetches torch, which takes minutes
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/%: pyproject.toml $(STAMPS)/package
	$(BIN)/python -m pip install --quiet -e ".[$*]"
	@touch $@

demo: $(STAMPS)/package
	OMP_NUM_THREADS=$(DEMO_THREADS) $(BIN)/tokprune bench blip2-shapes --keep 1/2 --keep 1/4 --keep 1/8 --n $(DEMO_QUESTIONS) --out $(DEMO_OUT)
	@$(BIN)/python docs/scripts/summary.py $(DEMO_OUT)

# Whatever a target sets here also holds for the plugins' tests that it runs first.
test: TIER := -m "not slow"

test test-all: $(STAMPS)/test test-plugins
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TIER) -n $(TEST_WORKERS) --dist=worksteal

# A folder of their own, so that the other tests are about tokprune alone; not editable, so that only what is in the
# wheels can be found, and only through the entry points.
$(INSTALLED)/stamp: $(wildcard plugins/*/pyproject.toml plugins/*/tokprune_*/*) $(STAMPS)/test
	rm -rf $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(INSTALLED) $(PLUGINS)
	@touch $@

test-plugins: $(INSTALLED)/stamp
	PYTHONPATH=$(INSTALLED) TOKPRUNE_PLUGINS=$(PLUGIN_NAMES) TOKPRUNE_STRICT_PLUGINS=1 OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest $(TIER) -n $(TEST_WORKERS) --dist=worksteal $(PLUGINS)

# transformers does not bring torch along, so a folder in front of the environment's own packages is enough.
.PRECIOUS: build/transformers-%/transformers/__init__.py
build/transformers-%/transformers/__init__.py:
	$(BIN)/python -m pip install --quiet --target build/transformers-$* "transformers==$*"

test-transformers-%: $(STAMPS)/test build/transformers-%/transformers/__init__.py
	PYTHONPATH=build/transformers-$* $(BIN)/python -c "import transformers; print('transformers', transformers.__version__)"
	PYTHONPATH=build/transformers-$* OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/models -n $(TEST_WORKERS) --dist=worksteal

test-releases: $(STAMPS)/test
	@for release in $(or $(RELEASES),`$(BIN)/python tests/releases.py older`); do \
	  $(MAKE) UPGRADE= test-transformers-$$release || exit 1; done

# What test-all has just tested in CI is not tested again: only a release that is newer than the installed one.
test-newest: $(STAMPS)/test
	$(if $(UPGRADE),,$(BIN)/python -m pip install --upgrade --upgrade-strategy eager -e ".[test]")
	@newer=`$(BIN)/python tests/releases.py newer`; if [ -n "$$newer" ]; then $(MAKE) UPGRADE= test-transformers-$$newer; \
	  elif [ -n "$(UPGRADE)" ]; then echo "the newest transformers is installed, and test-all tests it"; \
	  else OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/models -n $(TEST_WORKERS) --dist=worksteal; fi

upgrade: # what depends on it is made anew

lint: $(STAMPS)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=$(subst $(SPACE),:,$(strip $(PLUGINS))) $(BIN)/mypy $(addprefix -p ,$(notdir $(wildcard plugins/*/tokprune_*)))
	$(BIN)/lint-imports

docs: $(STAMPS)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # not --quiet: warnings that are not shown do not count

pages: $(STAMPS)/package
	$(BIN)/python docs/scripts/pages.py

clean:
	rm -rf $(VENV) site build dist runs .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
