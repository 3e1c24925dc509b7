"""Which launcher, by name, with what it is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from harness.config.schema import RunConfig
from harness.engines.placement import visible_gpus
from harness.errors import HarnessError
from harness.launch.local import LocalPool
from harness.launch.loop import Pool
from harness.launch.ray_launcher import RayPool, check_installed
from harness.launch.requests import Asked, gpus_of
from harness.run import RunSpec, check_machine
from harness.store import Status

LAUNCHERS = ("local", "ray")


@dataclass(frozen=True)
class Launcher:
    """Where runs are done, and what each asks for there.

    Attributes:
        address: of the Ray cluster; None: as the environment says.
    """

    name: str = "local"
    address: str | None = None
    asked: Asked = field(default_factory=Asked)

    @classmethod
    def of(
        cls,
        name: str,
        address: str | None,
        cpus: float | None,
        gpus: float | None,
        memory: float | None,
    ) -> Launcher:
        """That of the command line.

        Raises:
            HarnessError: no such launcher, an option that it doesn't have, or Ray isn't installed.
        """
        if name not in LAUNCHERS:
            raise HarnessError(f"--launcher {name!r}: one of {', '.join(LAUNCHERS)}")
        given = {"--ray-address": address, "--cpus": cpus, "--gpus": gpus, "--memory": memory}
        if name == "ray":
            check_installed()
        elif wrong := [option for option, value in given.items() if value is not None]:
            raise HarnessError(f"{wrong[0]}: for --launcher ray only")
        for option, value in (("--cpus", cpus), ("--gpus", gpus), ("--memory", memory)):
            if value == math.inf:  # nan is refused by its bound
                raise HarnessError(f"{option} {value}: expected a finite number")
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise HarnessError(f"--gpus {gpus:g}: a share of one GPU (0.5), or a whole number")
        return cls(name, address, Asked(cpus, gpus, memory))

    def check(self, config: RunConfig) -> None:
        """Whether this machine can do the runs; on a cluster each node looks for itself.

        Raises:
            HarnessError: something that it would need isn't here.
        """
        if self.name == "local":
            check_machine(config)

    def open(self, specs: Sequence[RunSpec], runs: Path) -> AbstractContextManager[Pool]:
        """A pool for those of these runs that aren't done.

        Raises:
            HarnessError: on entry, a cluster that can't be joined, or one with no room for a run.
        """
        if self.name == "ray":
            todo = [s for s in specs if s.folder(runs).status is Status.INCOMPLETE]
            return RayPool(self.address, self.asked, todo, runs)
        threads = max((s.config.threads for s in specs), default=1)
        gpus = max((gpus_of(s.config) for s in specs), default=0)
        return nullcontext(LocalPool(threads, gpus, visible_gpus() if gpus else ()))
