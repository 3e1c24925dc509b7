"""Versions of everything that may change a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "lm-eval",
    "math-verify",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "sentence-transformers",
    "vendi-score",
    "scipy",
    "gguf",
)


def package_versions() -> dict[str, str]:
    """Python's version and those of the packages in use; "absent" for one that isn't there."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
