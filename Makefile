# The newcomer's two commands: `make demo` and `make test`. Both set up .venv by themselves.
# On a machine without a GPU, the CPU build of torch saves gigabytes:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DEMO_DIR ?= demo
# Many tests start workers of their own: two at a time are enough.
TEST_WORKERS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What is imported is compiled once, not at every start; some environments switch that off. Nor is
# what is printed written at once, where nothing asks for it: a test had passed only so.
unexport PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED

.PHONY: demo test check docs clean

demo: $(INSTALLED)
	$(BIN)/fxpipe demo --output $(DEMO_DIR)

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)
	bash tests/check.sh $(BIN)

docs: $(INSTALLED)
	$(BIN)/pip install -q -c tests/constraints-cpu.txt $(PIP_ARGS) -e ".[docs]"
	$(BIN)/mkdocs build --strict

$(INSTALLED): pyproject.toml tests/constraints-cpu.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile $(PIP_ARGS) --upgrade pip  # a Python of 2023 brings one that is half as fast
	$(BIN)/pip install -q --no-compile --disable-pip-version-check -c tests/constraints-cpu.txt $(PIP_ARGS) -e ".[pipeline,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO_DIR) dist build
