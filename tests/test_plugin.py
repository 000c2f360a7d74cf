"""The package as installed: ``twistd`` knows it, and it is what the tests test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

import m3uproxy


def test_twistd_knows_the_plugin():
    [maker] = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "m3uproxy"]
    assert maker.options().given() == {}


def test_listing_plugins_imports_nothing_of_ours():
    code = (
        "import sys; from twisted.plugin import getPlugins; from twisted.application.service import IServiceMaker;"
        "names = [maker.tapname for maker in getPlugins(IServiceMaker)];"
        "assert 'm3uproxy' in names;"
        "print(*[name for name in sys.modules if name.startswith(('m3uproxy', 'klein', 'twisted.internet.reactor'))])"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == ""


def test_the_options_do_not_install_a_reactor():
    code = "import sys, m3uproxy.tap; print('klein' in sys.modules, 'twisted.internet.reactor' in sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout.split() == ["False", "False"]


def test_the_tests_test_what_is_installed():
    """tox sets the variable; a developer may well test the checkout."""
    installed = "site-packages" in Path(m3uproxy.__file__).parts
    assert installed or "EXPECT_INSTALLED_PACKAGE" not in os.environ
