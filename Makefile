# `make test` is what a change has to pass. It needs Python and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: test versions venv lint types docs fuzz audit demo conformance bench soak clean

test: lint types
	@$(BIN)/python -m tests.support.canaille
	@$(BIN)/python -m pytest --numprocesses 2 --cov

# What tells soonest whether the module knows its way about a release of Synapse.
TELLING := tests/contract/test_gateway.py tests/contract/test_users.py tests/web/test_life.py tests/web/test_sessions.py \
    tests/commands/test_import.py tests/process/test_start.py

# The oldest Synapse that is supported, with everything else as pinned. `make test` has the newest.
versions: venv
	@$(INSTALL) --editable '.[versions]'
	@mkdir -p .tox
	@grep -v '^matrix-synapse==' constraints.txt > .tox/constraints.txt
	@PIP_CONSTRAINT=$(CURDIR)/.tox/constraints.txt $(BIN)/tox run -q -e minimum -- --numprocesses 2 $(TELLING)

venv: .venv/installed

.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python 3.11 or newer is needed. If it has another name: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	    { echo 'Python lacks its venv module. On Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@echo 'Installing into .venv; this takes a minute ...'
	@$(INSTALL) --editable '.[test,lint]'
	@touch $@

lint: venv
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive synapse_scim

types: venv
	@$(BIN)/mypy

docs: venv
	@$(INSTALL) --editable '.[docs]'
	@$(BIN)/sphinx-build -W -n docs docs/_build/html

# Other requests each time; the table shows what they asked for, and what came of it.
fuzz: venv
	@FUZZ_REQUESTS=$(or $(REQUESTS),30000) $(BIN)/python -m pytest tests/fuzz --capture=no --show-capture=no \
	    --override-ini faulthandler_timeout=0

# Asks the Python Package Index what is known of the pinned releases, and fails where it does not say.
audit: .venv-audit/installed
	@.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

.venv-audit/installed:
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@touch $@

demo: venv
	@$(BIN)/python examples/demo.py

# Writes docs/conformance.md; a test compares it.
conformance: venv
	@CONFORMANCE=write $(BIN)/python -m pytest tests/docs/test_conformance_page.py

bench: venv
	@$(INSTALL) --editable '.[test,bench]'
	@$(BIN)/python -m benchmarks.run

# 20 minutes with 50,000 people; less with: make soak SOAK='--minutes 3 --people 3000'
soak: venv
	@$(INSTALL) --editable '.[test,bench]'
	@$(BIN)/python -m benchmarks.soak $(SOAK)

clean:
	rm -rf .venv .venv-audit .venv-canaille* .tox .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache
	rm -rf .pytest_cache .ruff_cache
	rm -rf build dist docs/_build ./*.egg-info
