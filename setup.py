"""Packaging of m3uproxy. Tool settings are in ``pyproject.toml``, environments in ``tox.ini``."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version: dict[str, str] = {}
exec((here / "m3uproxy" / "_version.py").read_text(), version)

setup(
    name="m3uproxy",
    version=version["__version__"],
    description="IPTV stream-sharing proxy: one upstream connection per channel, any number of players",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # ``twisted.plugins`` is a namespace that many packages share: no ``__init__.py`` above the plugin file.
    packages=[*find_packages(include=["m3uproxy", "m3uproxy.*"]), "twisted.plugins"],
    package_data={
        "m3uproxy": ["py.typed"],
        "m3uproxy.provider": ["*.ts", "*.aac", "*.mp3", "*.flv"],
        "m3uproxy.web.api": ["static/*", "templates/*"],
    },
    install_requires=[
        "attrs>=23.1",
        "click>=8.1",
        "cryptography>=42",
        "hyperlink>=21",
        "idna>=3",
        "jinja2>=3.1",
        "klein>=24.8",
        "platformdirs>=4",
        "pydantic>=2.6",
        "pyOpenSSL>=23.2",
        "python-dotenv>=1",
        "service-identity>=23.1",
        "tomli>=2.2; python_version < '3.11'",
        "treq>=24.9",
        "Twisted>=24.7",
        "txaio>=23.6",
        "zope.interface>=6",
    ],
    extras_require={
        "test": [
            "av>=12",
            "coverage>=7",
            "hypothesis>=6.100",
            "pytest>=8",
            "pytest-cov>=5",
            "pytest-twisted>=1.14",
            "pytest-xdist>=3.6",
            "schemathesis>=4",
        ],
        "lint": ["mypy>=1.10", "mypy-zope>=1.0.4", "ruff>=0.6", "codespell>=2.2"],
    },
    entry_points={"console_scripts": ["m3uproxy = m3uproxy.cli.main:main"]},
    zip_safe=False,
    classifiers=[
        "Framework :: Twisted",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Video",
    ],
)
