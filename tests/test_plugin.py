"""The installed package and its ``twistd`` plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

import m3uproxy


def test_twistd_finds_the_plugin():
    [maker] = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "m3uproxy"]
    assert maker.options().given() == {}


def test_listing_plugins_does_not_import_the_package():
    code = (
        "import sys; from twisted.plugin import getPlugins; from twisted.application.service import IServiceMaker;"
        "names = [maker.tapname for maker in getPlugins(IServiceMaker)];"
        "assert 'm3uproxy' in names;"
        "print(*[name for name in sys.modules if name.startswith(('m3uproxy', 'klein', 'twisted.internet.reactor'))])"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == ""


def test_options_do_not_install_a_reactor():
    code = "import sys, m3uproxy.tap; print('klein' in sys.modules, 'twisted.internet.reactor' in sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout.split() == ["False", "False"]


def test_installed_package_is_tested():
    """tox sets the variable; without it the checkout may be tested."""
    installed = "site-packages" in Path(m3uproxy.__file__).parts
    assert installed or "EXPECT_INSTALLED_PACKAGE" not in os.environ
