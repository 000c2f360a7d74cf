"""Run all checks and tests with tox: the command behind ``make test`` and ``.ci/run``.

``python tools/run_tests.py [--all] [TOX OPTION ...]``

By default one Python is needed, the one that runs this program: style, types, documentation and package are checked,
and the whole suite runs on it with the newest dependencies. With ``--all`` every supported Python is required, and the
environments of ``tox.ini`` run. With tox options (``-e lint,types``) these decide what runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
#: Environments that need no Python but the one that runs this program.
CHECKS = "lint,types,docs,package"
#: Environments that run at the same time. Many tests wait, and an installation waits for the package index.
PARALLEL = os.environ.get("JOBS", "2")


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; return the exit status."""
    options = [argument for argument in arguments if argument != "--all"]
    found = find_pythons()
    _tell_pythons(found, every=len(options) < len(arguments))
    environment = {**os.environ, "PATH": os.pathsep.join([*found.values(), os.environ["PATH"]])}
    if options:
        return _tox(environment, "run-parallel", "--parallel", PARALLEL, "--parallel-no-spinner", *options)
    if len(options) < len(arguments):
        return _tox(environment, "run-parallel", "--parallel", PARALLEL, "--parallel-no-spinner")
    checks = _tox(environment, "run-parallel", "--parallel", "2", "--parallel-no-spinner", "-e", CHECKS)
    return _tox(environment, "run", "-e", "suite") or checks


def find_pythons() -> dict[str, str]:
    """Return the folder of each supported Python that works: on the PATH, or where pyenv keeps it."""
    found = {}
    for version in SUPPORTED:
        for command in _candidates(version):
            folder = _folder_of(command, version)
            if folder is not None:
                found[version] = folder
                break
    return found


def _candidates(version: str) -> list[str]:
    # A pyenv shim for a version that is not selected is on the PATH and fails.
    candidates = [f"python{version}"]
    if shutil.which("pyenv"):
        prefix = subprocess.run(["pyenv", "prefix", version], capture_output=True, text=True)
        if prefix.returncode == 0:
            candidates.insert(0, f"{prefix.stdout.strip()}/bin/python{version}")
    return candidates


def _folder_of(command: str, version: str) -> str | None:
    code = "import os, sys; print('%d.%d' % sys.version_info[:2], os.path.dirname(sys.executable))"
    try:
        answer = subprocess.run([command, "-c", code], capture_output=True, text=True)
    except OSError:
        return None
    words = answer.stdout.split(maxsplit=1)
    return words[1].strip() if answer.returncode == 0 and words[:1] == [version] else None


def _tell_pythons(found: dict[str, str], every: bool) -> None:
    missing = [version for version in SUPPORTED if version not in found]
    print(f"Python {'.'.join(map(str, sys.version_info[:3]))} runs the tools.")
    if every:
        print(
            f"Found: {', '.join(found)}." + (f" Missing, which is an error: {', '.join(missing)}." if missing else "")
        )
        return
    others = [version for version in found if version != "{}.{}".format(*sys.version_info)]
    if others:
        print(f"Also found: {', '.join(others)}. 'make test ALL=1' tests on all of {', '.join(SUPPORTED)}.")


def _tox(environment: dict[str, str], *arguments: str) -> int:
    began = time.monotonic()
    command = [sys.executable, "-m", "tox", *arguments]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    print(f"tox {' '.join(arguments)}: {time.monotonic() - began:.0f} s, exit status {status}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
