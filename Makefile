# `make run` starts the proxy with a channel to play, `make test` runs all that CI runs.
# Both need Python 3.10 or newer and nothing else.

PYTHON ?= python3
VENV ?= .venv
SOURCES := $(shell find m3uproxy twisted -name '*.py' -o -name '*.ts') setup.py pyproject.toml README.md
# Python 3.10 for the oldest supported versions: on the PATH, or where pyenv keeps it, or else what there is.
FLOOR_PYTHON ?= $(shell for python in python3.10 "$$(pyenv prefix 3.10 2>/dev/null)/bin/python3.10" "$(PYTHON)"; do \
	"$$python" -c 'import sys; print(sys.executable)' 2>/dev/null && break; done)
export FLOOR_PYTHON

.PHONY: run test bench clean

run: $(VENV)/installed
	$(VENV)/bin/python -m m3uproxy.demo $(ARGS)

test: $(VENV)/tox
	$(VENV)/bin/tox run $(ARGS)

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
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'tox>=4.11'
	touch $@

clean:
	rm -rf $(VENV) .tox .run build dist *.egg-info .coverage htmlcov benchmarks/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
