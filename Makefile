# `make demo` and `make test` are all a new user needs; docs/development.md has the rest.
# Everything made here goes to .venv/ and .work/. Needs python3 >= 3.11, git and make.
.DELETE_ON_ERROR:
.PHONY: help demo test check format coverage api browser system promises bench bench-more bench-compare bench-hot bench-profile fuzz lock clean

# The first interpreter that is new enough; another one: make PYTHON=/path/to/python3.13 test
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Exact versions of every dependency, as CI takes them: make CONSTRAINTS=constraints.txt test
CONSTRAINTS ?=
# More arguments for pytest: make test ARGS="-x -k windows"
ARGS ?=

BIN = .venv/bin
PIP_INSTALL = PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore \
    $(BIN)/python -m pip install --quiet --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
SOURCES = src tests examples scripts bench fuzz

help:
	@echo "make demo      run the daemon, a sample app and a tunnel to it; prints the public URL"
	@echo "make test      the tests that need nothing but Python"
	@echo "make check     formatting, lint, types, import contracts, spelling"
	@echo "make format    let the formatter and the safe fixes do their work"
	@echo "make coverage  the same tests, counted; the ground layer must be covered whole"
	@echo "make api       the API against its own description, by schemathesis"
	@echo "make browser   the tests that need Chromium and Node"
	@echo "make system    the tests that need root, systemd and Caddy: the service on a droplet"
	@echo "make promises  what docs/promises.md promises, measured; QUICK=1 in a few minutes"
	@echo "make bench     speed beside nginx and ssh -R; more: bench-more, bench-profile, bench-hot"
	@echo "make fuzz      fuzz every parser that strangers' octets meet; SECONDS=3600 in all"
	@echo "make lock      write constraints.txt anew, from the newest releases"
	@echo "make clean     remove what make made"

demo: .venv/.runtime
	@exec $(BIN)/python scripts/demo.py

test: .venv/.test
	$(BIN)/python -m pytest $(ARGS)

# ruff knows some rules for async code; flake8-async, which asynclint.py runs, knows the others.
# The contracts are those of this tree, wherever the environment's own installation points.
check: .venv/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/asynclint.py $$(grep -rlE --include='*.py' '\b(async|await|trio)\b' $(SOURCES))
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports --no-logo
	$(BIN)/codespell

format: .venv/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: .venv/.test
	$(BIN)/python scripts/coverage.py $(ARGS)

api: .venv/.api
	$(BIN)/python -m pytest tests/api -s -o faulthandler_timeout=300 $(ARGS)

browser: .venv/.test
	@$(BIN)/python -m tests.browser.packages
	$(BIN)/python -m pytest tests/browser $(ARGS)

system: .venv/.test
	$(BIN)/python -m pytest tests/system -ra $(ARGS)

promises: .venv/.test
	WORMKEY_PROMISES=$(if $(QUICK),quick) $(BIN)/python scripts/promises.py $(ARGS)

# They want wrk, nginx, and OpenSSH's server; what is missing is left out, with a line that says so.
bench: .venv/.runtime
	$(BIN)/python -m bench.run $(ARGS)

bench-more: .venv/.runtime
	$(BIN)/python -m bench.more $(ARGS)

# Where daemon and client spend their time under each load; the tables of docs/performance.md.
bench-profile: .venv/.runtime
	$(BIN)/python -m bench.profile

# make bench-compare BASE=<commit>: that commit's programs beside these, with the same dependencies.
bench-compare: .venv/.runtime
	@test -n "$(BASE)" || { echo "say what to compare with: make bench-compare BASE=<commit>" >&2; exit 1; }
	rm -rf .work/base && git worktree prune
	git worktree add --quiet --detach .work/base "$(BASE)"
	$(BIN)/python -m bench.run --alone --base .work/base $(ARGS); status=$$?; \
	    git worktree remove --force .work/base; exit $$status

bench-hot: .venv/.bench
	@mkdir -p .work
	$(BIN)/python -m pytest bench/test_hot_paths.py -q -o addopts= -p no:randomly -p no:schemathesis \
	    --benchmark-warmup=on --benchmark-max-time=0.5 --benchmark-json=.work/hot-paths.json $(ARGS)
	$(BIN)/python bench/guard.py .work/hot-paths.json $(if $(ACCEPT),--accept)

# From a fresh environment, so that nothing which happens to be installed gets in.
# atheris has wheels for some Pythons only, so it is installed when it is asked for.
SECONDS ?= 600
fuzz: .venv/.runtime
	@$(PIP_INSTALL) --group fuzz
	$(BIN)/python -m fuzz.run --seconds $(SECONDS)

lock:
	rm -rf .venv
	$(MAKE) CONSTRAINTS= .venv/.check .venv/.api .venv/.bench
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

clean:
	rm -rf .venv .work .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# The stamps below make a second run quick; a change of pyproject.toml installs again.
.venv/.made:
	@test -n "$(PYTHON)" || { \
	    echo "wormkey needs Python 3.11 or newer, and none is on PATH; try: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { \
	    echo "this Python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "making .venv ..."
	@"$(PYTHON)" -m venv .venv
	@touch $@

.venv/.runtime: .venv/.made pyproject.toml
	@echo "installing wormkey ..."
	@$(PIP_INSTALL) --editable .
	@touch $@

# --group came with pip 25.1; the pip that Python 3.11 brings is older.
.venv/.pip: .venv/.made
	@$(PIP_INSTALL) --upgrade "pip>=25.1"
	@touch $@

.venv/.test: .venv/.runtime .venv/.pip
	@echo "installing what the tests need ..."
	@$(PIP_INSTALL) --group test
	@touch $@

.venv/.check: .venv/.runtime .venv/.pip
	@echo "installing what the checks need ..."
	@$(PIP_INSTALL) --group check --group test --group bench
	@touch $@

.venv/.bench: .venv/.test
	@echo "installing pytest-benchmark ..."
	@$(PIP_INSTALL) --group bench
	@touch $@

.venv/.api: .venv/.test
	@echo "installing schemathesis ..."
	@$(PIP_INSTALL) --group api
	@touch $@
