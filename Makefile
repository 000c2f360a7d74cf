# `make run` starts the proxy with a channel to play, `make test` runs all checks and tests.
# Both need Python 3.10 or newer and nothing else. CONTRIBUTING.md explains the commands.

PYTHON ?= python3
VENV ?= .venv
SOURCES := $(shell find m3uproxy twisted -type f -not -name '*.pyc' -not -name dropin.cache) setup.py pyproject.toml README.md

.PHONY: run test check test-players soak bench clean

run: $(VENV)/installed
	$(VENV)/bin/python -m m3uproxy.demo $(ARGS)

# ALL=1 runs the environments of tox.ini on all supported Pythons; ARGS="-e lint,types" runs those that it names.
test: $(VENV)/tox
	$(VENV)/bin/python tools/run_tests.py $(if $(ALL),--all) $(ARGS)

# Before each commit: style, types and unit tests, in less than a minute.
check: $(VENV)/tox
	$(VENV)/bin/tox run -q -e check $(if $(ARGS),-- $(ARGS))

# Real players. Missing ones are installed: as root on Debian, the libraries for web pages with npm.
test-players: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check '.[test]'
	rm -rf build m3uproxy.egg-info
	PYTHONPATH=tests $(VENV)/bin/python tests/players/run.py $(ARGS)

# Many players on misbehaving streams; fails if anything is left behind, or if a call holds the reactor.
soak: $(VENV)/installed
	$(VENV)/bin/python tests/soak/run.py --minutes $(or $(MINUTES),15) $(ARGS)

bench: $(VENV)/installed
	$(VENV)/bin/python benchmarks/run.py $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "m3uproxy needs Python 3.10 or newer")'
	$(PYTHON) -m venv $(VENV)

# The wheel, as users install it: twistd does not find the plugin of an editable install. The build folder is removed,
# because setuptools would copy deleted modules from it.
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
