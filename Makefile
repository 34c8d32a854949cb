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

# The older release that we promise to work with, besides the newest.
OLD_TRANSFORMERS ?= 5.17.0
OLD := build/transformers-$(OLD_TRANSFORMERS)

PLUGINS := $(sort $(dir $(wildcard plugins/*/pyproject.toml)))
INSTALLED := build/plugins

EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
COMMA := ,
PLUGIN_NAMES := $(subst $(SPACE),$(COMMA),$(patsubst plugins/tokprune-%/,%,$(PLUGINS)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-plugins test-old lint docs pages clean

help:
	@echo "make demo    prune the bundled model with every scorer, at 1/2, 1/4 and 1/8, and print a table"
	@echo "make test    run the tests, those of the plugins too, except the slow ones"
	@echo "make test-all  run the slow tests as well"
	@echo "make test-plugins  all tests of the plugins, installed as users install them"
	@echo "make test-old  the tests of pruned models against an older transformers ($(OLD_TRANSFORMERS))"
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
$(STAMPS)/package: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e . # not --quiet: it fetches torch, which takes minutes
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
$(OLD)/transformers/__init__.py:
	$(BIN)/python -m pip install --quiet --target $(OLD) "transformers==$(OLD_TRANSFORMERS)"

test-old: $(STAMPS)/test $(OLD)/transformers/__init__.py
	PYTHONPATH=$(OLD) $(BIN)/python -c "import transformers; print('transformers', transformers.__version__)"
	PYTHONPATH=$(OLD) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/models -n $(TEST_WORKERS)

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
