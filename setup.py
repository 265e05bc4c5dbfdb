"""Packaging: the engine, the controllers, and what a user works with (topologies, scripts, labs) in one wheel.

Mininet, Open vSwitch and the other system packages cannot come from here: `lab doctor` names those that are missing.
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "chimera" / "__init__.py").read_text()).group(1)

# Folders at the top of the checkout that an installed lab finds inside its package; see chimera/share.py.
DATA = {f"chimera.data.{name}": name for name in ("topologies", "scripts", "labs") if (HERE / name).is_dir()}
NOT_CODE = ["*.c", "*.txt", "*.h", "*.css", "*.html", "*.js", "*.json", "*.svg", "py.typed"]

setup(
    name="chimera-lab",
    version=VERSION,
    description="A virtual lab for overlay networks and VM mobility: every overlay, the same experiment, measured",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    install_requires=["click>=8.1", "msgspec>=0.18", "os-ken>=4.0", "PyYAML>=6.0", "rich>=13", "scapy>=2.5"],
    packages=[*find_namespace_packages(include=["chimera*", "controllers*"]), *DATA],
    package_dir=DATA,
    package_data={"": NOT_CODE, **{package: ["**/*"] for package in DATA}},
    entry_points={"console_scripts": ["lab = chimera.cli:main"]},
    zip_safe=False,
)
