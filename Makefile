# Everything a fresh machine needs is Python 3.11+ and make; uv is brought here, into .uv/.
PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .uv/bin/uv
RUN := $(UV) run --frozen --no-sync
STAMP := .venv/.synced

.PHONY: demo test check format lint types layers bench state-example screenshot clean

demo: $(STAMP)
	@$(RUN) gemma-sre demo run

test: $(STAMP)
	$(RUN) pytest -n 2 --dist loadfile -m "not slow"

# Format, lint, types, layers and tests in one.
check: format lint types layers test

format: $(STAMP)
	$(RUN) ruff format --check .

lint: $(STAMP)
	$(RUN) ruff check .

types: $(STAMP)
	$(RUN) mypy

layers: $(STAMP)
	$(RUN) lint-imports

bench: $(STAMP)
	$(RUN) python benchmarks/startup.py
	$(RUN) python benchmarks/probes.py

# Parts that take long: what pytest marks as slow.
test-slow: $(STAMP)
	$(RUN) pytest -m slow

state-example: $(STAMP)
	$(RUN) python docs/make_state_example.py

screenshot: $(STAMP)
	$(RUN) python docs/make_screenshot.py

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gemma-sre needs Python 3.11 or newer; name one with PYTHON=..."; exit 2; }
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): $(UV) pyproject.toml uv.lock
	@$(UV) sync --frozen --quiet --python $(PYTHON) --extra dev --compile-bytecode
	@touch $@

clean:
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
