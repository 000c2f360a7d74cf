# `make run` starts the proxy with a channel to play, `make test` runs all that CI runs.
# The first needs Python 3.10 or newer and nothing else, the second Python 3.10, 3.11, 3.12 and 3.13.

PYTHON ?= python3
VENV ?= .venv
# More than a small machine has cores: tests wait more than they work, and installing waits for the network.
JOBS ?= 4
SOURCES := $(shell find m3uproxy twisted -type f -not -name '*.pyc' -not -name dropin.cache) setup.py pyproject.toml README.md
# Where each Python is: on the PATH, or where pyenv keeps it (its own commands may be on the PATH and not work).
PYTHONS = $(shell for version in 3.10 3.11 3.12 3.13; do \
	for python in "$$(pyenv prefix $$version 2>/dev/null)/bin/python$$version" "python$$version"; do \
	"$$python" -c 'import os, sys; print(os.path.dirname(sys.executable), end=":")' 2>/dev/null && break; done; done)

.PHONY: run test test-players bench clean

run: $(VENV)/installed
	$(VENV)/bin/python -m m3uproxy.demo $(ARGS)

# Parallel environments say what they have to say at their end, or all of it when they fail.
test: $(VENV)/tox
	PATH="$(PYTHONS)$$PATH" $(VENV)/bin/tox run-parallel --parallel $(JOBS) --parallel-no-spinner $(ARGS)

# Real players; those that are missing are installed (as root on Debian; the libraries for web pages with npm).
test-players: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check '.[test]'
	rm -rf build m3uproxy.egg-info
	PYTHONPATH=tests $(VENV)/bin/python tests/players/run.py $(ARGS)

bench: $(VENV)/installed
	$(VENV)/bin/python benchmarks/run.py $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "m3uproxy needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)

# The wheel, as users get it: twistd does not find the plugin of an editable install. A build folder that is left
# over would bring deleted modules back.
$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	rm -rf build
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade .
	rm -rf build m3uproxy.egg-info
	touch $@

$(VENV)/tox: $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'tox>=4.21'
	touch $@

clean:
	rm -rf $(VENV) .tox .run build dist *.egg-info .coverage htmlcov benchmarks/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
