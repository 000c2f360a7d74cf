"""Build the distributions; check that they are complete and can be installed.

``python tools/check_package.py CHECKOUT DIST`` in an environment with ``build`` and ``twine``, in which the package is
installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

#: Files of a checkout that are not part of the package.
_ELSEWHERE = (".git", ".tox", ".venv", ".run", "build", "dist", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis")


def main(root: Path, dist: Path) -> None:
    """Build, check and install. End with the status of a program that fails."""
    shutil.rmtree(dist, ignore_errors=True)
    # Build from a copy: a build leaves folders behind, which would end up in the next wheel.
    copy = dist / "checkout"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*_ELSEWHERE))
    run("build", "--outdir", str(dist), str(copy))
    [source], [wheel] = dist.glob("*.tar.gz"), dist.glob("*.whl")
    run("twine", "check", "--strict", str(source), str(wheel))
    missing = files(copy) - set(zipfile.ZipFile(wheel).namelist())
    if missing:
        raise SystemExit(f"not in {wheel.name}: {', '.join(sorted(missing))}")
    run("pip", "install", "--quiet", str(source))
    scripts = Path(sys.executable).parent
    subprocess.run([scripts / "m3uproxy", "--version"], check=True)
    listed = subprocess.run([scripts / "twistd", "--help"], check=True, capture_output=True, text=True).stdout
    if "m3uproxy" not in listed:
        raise SystemExit("twistd does not know the plugin")


def files(root: Path) -> set[str]:
    """Return the files that a wheel must contain."""
    found = [*(root / "m3uproxy").rglob("*"), *(root / "twisted").rglob("*.py")]
    return {str(path.relative_to(root)) for path in found if path.is_file()}


def run(module: str, *arguments: str) -> None:
    """Run a module of this environment; end with its status if it fails."""
    status = subprocess.run([sys.executable, "-m", module, *arguments]).returncode
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
