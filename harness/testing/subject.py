"""What is checked: a method's class, however it was named."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, one_line
from harness.methods import Method, entries, get, load_plugin
from harness.methods.base import overridden
from harness.testing.world import Run, small_run


class SkippedCheck(Exception):  # noqa: N818  (no error: the check has nothing to say)
    """Why a check doesn't apply after all."""


@dataclass(eq=False)
class Subject:
    """A method under check, with the small runs that its checks share.

    Attributes:
        name: as registered; of a class that isn't, its own name in lower case.
        registered: whether an entry of that name builds this class.
    """

    cls: type[Method]
    name: str = field(init=False)
    registered: bool = field(init=False)

    def __post_init__(self) -> None:
        plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.cls.__name__).lower()
        own = str(self.cls.__dict__.get("name", ""))  # a subclass inherits its parent's
        self.name = own or plain
        self.registered = bool(own) and any(e.cls is self.cls for e in entries())

    def __str__(self) -> str:
        return self.name

    def make(self, params: Mapping[str, Any] | None = None) -> Method:
        """A new method of this class; by default with its ``active`` parameters.

        Raises:
            HarnessError: it refuses the parameters.
        """
        given = dict(self.cls.active if params is None else params)
        try:
            return self.cls(given)
        except (TypeError, ValueError) as error:
            raise HarnessError(f"parameters {given}: {one_line(error)}") from error

    def overrides(self, *hooks: str) -> bool:
        """Whether the class changes one of these hooks."""
        return not set(hooks).isdisjoint(overridden(self.cls))

    @cached_property
    def smoke(self) -> Run:
        """Two iterations with the ``active`` parameters, every hook watched."""
        return small_run(self.make, watched=True)

    @cached_property
    def again(self) -> Run:
        """The same run once more."""
        return small_run(self.make)

    @cached_property
    def killed(self) -> Run:
        """The same run, killed after every phase and inside stages, each time gone on with anew."""
        return small_run(self.make, killed=True)

    @cached_property
    def off(self) -> Run:
        """The run with the ``off`` parameters."""
        return small_run(lambda: self.make(dict(self.cls.off or {})))

    def finished(self) -> Run:
        """The smoke run, where it ended with results.

        Raises:
            SkippedCheck: it did not; the check of the smoke run says why.
        """
        if self.smoke.trouble:
            raise SkippedCheck("there is no finished smoke run")
        return self.smoke


def subjects(named: type[Method] | str | Path) -> list[Subject]:
    """The methods behind a class, a registered name, a Python file, or ``all`` that are registered.

    Raises:
        HarnessError: unknown name, or a file that registers nothing.
    """
    if isinstance(named, type):
        return [Subject(named)]
    if str(named) == "all":
        return [Subject(e.cls) for e in entries()]
    if isinstance(named, Path) or named.endswith(".py"):
        load_plugin(named)
        file = Path(named).resolve()
        return [Subject(e.cls) for e in entries() if _file_of(e.cls) == file]
    return [Subject(get(named).cls)]


def _file_of(cls: type[Method]) -> Path | None:
    found = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(found).resolve() if found else None
