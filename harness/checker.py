"""What only a world with known answers can tell of a question; used by metrics alone."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

from harness.errors import HarnessError


class Checked(Protocol):
    """A question as the checker sees it."""

    @property
    def topic(self) -> str: ...
    @property
    def tier(self) -> int | None: ...
    @property
    def well_posed(self) -> bool: ...
    @property
    def answer(self) -> str | None: ...


class Checker(Protocol):
    """Knows a world's topics; ``topic`` is 'other' for what it can't read."""

    @property
    def topics(self) -> Sequence[str]: ...
    def check(self, question: str) -> Checked: ...


def load_checker(name: str | None) -> Checker | None:
    """The checker ``module:Class``, or None.

    Raises:
        HarnessError: no such module or class.
    """
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    try:
        return cast(Checker, getattr(importlib.import_module(module), attribute)())
    except (ImportError, AttributeError) as error:
        raise HarnessError(f"checker {name!r}: {error}; expected 'module:Class'") from error
