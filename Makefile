# Both set-ups in one file: `make run` starts the app, `make test` checks everything. Each makes
# .venv and installs what it needs on its first run; stamps in .venv make the next run start at
# once. PYTHON names another interpreter, ARGS goes to streamlit or pytest.

PYTHON ?= python3
ARGS ?=
CORES := $(shell getconf _NPROCESSORS_ONLN)

VENV := .venv
# Always `python -m`: the scripts in .venv/bin break when a checkout is moved.
PY := $(VENV)/bin/python

# What does not wait for another goes side by side: the linters, the packages' installation.
MAKEFLAGS += --jobs=$(CORES)

# Nothing of the caller's own Python leaks into the environment.
export PYTHONNOUSERSITE := 1
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH
unexport PYTHONHOME
unexport PYTHONDONTWRITEBYTECODE

# Idle OpenMP threads that spin made two threads 25 times slower than one on a busy machine.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help run check test coverage matrix faults fuzz touches load bench bench-app lint style types floors javascript-types format javascript chromium

help:
	@echo 'make run      start the app                        (ARGS="--server.port 8600")'
	@echo 'make check    ruff, mypy and all but slow tests    (ARGS="-k store")'
	@echo 'make test     ruff, mypy and every test            (ARGS="-k store")'
	@echo 'make coverage every test, and which lines none runs'
	@echo 'make matrix   every model family with every scheduler, against plain diffusers (minutes)'
	@echo 'make fuzz     100,000 broken inputs for each parser         (half an hour)'
	@echo 'make touches  random touches at random moments of sampling    (half an hour)'
	@echo 'make load     many visitors on one server: what they wait, what they cost  (6 minutes)'
	@echo 'make faults   failing disks, kills and damage against the store (minutes to hours: ARGS=23)'
	@echo 'make bench    what the default grid costs here     (ARGS="--repeat 5")'
	@echo 'make bench-app  how soon the app answers, in Chromium'
	@echo 'make lint     ruff and mypy alone'
	@echo 'make format   let ruff put the sources in order'
	@echo 'All of them set up $(VENV) first. Another interpreter: make run PYTHON=python3.12'

run: $(VENV)/installed
	$(PY) -m streamlit run streamlit_app.py $(ARGS)

check: lint javascript
	$(PY) -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder -m 'not slow and not browser' $(ARGS)

# One process more than cores, since browser tests wait; each takes whole files, the long ones first
# (tests/conftest.py): fixtures that load a model are made once a file.
test: lint javascript chromium
	$(PY) -m pytest -n $$(($(CORES) + 1)) --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: chromium $(VENV)/installed-dev
	$(PY) -m pytest --cov -n $$(($(CORES) + 1)) --dist loadfile --no-loadscope-reorder $(ARGS)

# What computes in the components.
javascript:
	@if command -v node >/dev/null; then node --test --test-reporter=dot tests/app/components/*.test.mjs; \
	else echo 'No node here: the tests of the JavaScript were not run.' >&2; fi

# One thread: with two the library itself comes out up to 7e-5 off what it makes with one.
matrix: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(PY) -m tests.sampling.matrix $(ARGS)

fuzz: $(VENV)/installed-dev
	$(PY) -m benchmarks.fuzz $(ARGS)

# ARGS is how many calls lie between two faults; without it every single one fails once.
faults: $(VENV)/installed-dev
	$(PY) -m tests.store.faults $(ARGS)

touches: $(VENV)/installed-dev chromium
	$(PY) -m benchmarks.touches $(ARGS)

load: $(VENV)/installed-dev
	$(PY) -m benchmarks.load $(ARGS)

bench: $(VENV)/installed
	$(PY) -m benchmarks.default_grid $(ARGS)

bench-app: $(VENV)/installed-dev chromium
	$(PY) -m benchmarks.app $(ARGS)

lint: style types floors javascript-types

style: $(VENV)/installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/installed-dev
	$(PY) -m mypy

floors: $(VENV)/installed-dev
	$(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-logo

javascript-types:
	@if command -v npm >/dev/null; then \
	  test -x node_modules/.bin/tsc || npm install --silent --no-audit --no-fund; \
	  node_modules/.bin/tsc --project jsconfig.json && echo 'JavaScript: no issues found'; \
	else echo 'No npm here: the types of the JavaScript were not checked.' >&2; fi

format: $(VENV)/installed-dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

$(VENV)/made:
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo 'diffgrid needs Python 3.11 or newer and found no $(PYTHON): name one, as in make run PYTHON=python3.12' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("diffgrid needs Python 3.11 or newer and $(PYTHON) is %d.%d: name another, as in make run PYTHON=python3.12" % v[:2])'
	'$(PYTHON)' -m venv --clear $(VENV)
	@touch $@

# The checkout too: Streamlit looks for components among what is installed.
$(VENV)/installed: $(VENV)/made requirements.txt pyproject.toml
	$(PY) -m pip install --quiet --requirement requirements.txt
	$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(PY) -m pip install --quiet --requirement requirements-dev.txt
	@touch $@

# The browser tests drive Debian's Chromium. Where it cannot be installed they are skipped, and
# pytest's summary says so.
chromium:
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then exit 0; fi; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo 'Installing the Debian packages chromium and chromium-driver for the browser tests'; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null && exit 0; \
	fi; \
	echo 'The browser tests will be skipped: they need the Debian packages chromium and chromium-driver.' >&2; \
	echo 'Install them with: sudo apt-get install chromium chromium-driver' >&2
