"""Runs as tasks of a Ray cluster. The runs' folder is shared by all nodes; results are in it.

Ray decides where a run goes, by the CPUs, GPUs and memory it asks for. There a Ray worker starts
the same process as the local launcher and waits for it. A run whose node or worker is lost is given
again, and goes on in its folder on another node; one that ends in an error of its own isn't.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.data import ENV
from harness.errors import HarnessError, one_line
from harness.launch.node import do, versions
from harness.launch.process import Ending, Task
from harness.launch.requests import Asked, Request, check_room, largest
from harness.run import RunSpec

RETRIES = 3
"""How often a run is given again after its node or worker was lost."""
_PATIENCE_SECONDS = 120.0
"""What is left of a run on a node that seems lost may hold its lock for as long."""
_LOCAL = "local"
_CONNECT_SECONDS = 10.0
_STOP_SECONDS = 10.0
_OBJECT_STORE_BYTES = 100 * 2**20
"""Nothing but a run's configuration and its ending goes through it."""
_KILLED = (-signal.SIGTERM, -signal.SIGKILL)
"""A node that is taken away may end a run's process first."""


def check_installed() -> None:
    """Look for Ray without importing it.

    Raises:
        HarnessError: it isn't there.
    """
    if find_spec("ray") is None:
        raise HarnessError(
            "--launcher ray: ray isn't installed; pip install 'coevolution-harness[ray]'"
        )


@dataclass
class _Run:
    """A run that was handed to Ray."""

    name: str
    task: Task
    losses: int = 0


class RayPool:
    """A Ray cluster, joined for as long as the block lasts.

    Args:
        address: ``host:port``; None: that of RAY_ADDRESS, else a cluster of this machine alone.
        specs: the runs to be done; none: nothing is joined.
        runs: their folder.
    """

    def __init__(
        self, address: str | None, asked: Asked, specs: Sequence[RunSpec], runs: Path
    ) -> None:
        check_installed()
        self._address = address or os.environ.get("RAY_ADDRESS") or _LOCAL
        self._asked = asked
        self._specs = {spec.folder(runs).path.name: spec for spec in specs}
        self._runs = runs
        self._requests: dict[str, Request] = {}
        self._tasks: dict[Any, _Run] = {}
        self._versions: dict[str, str] = {}
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> RayPool:
        if not self._specs:
            return self
        with contextlib.ExitStack() as stack:
            # Ray prints the logs of lost nodes to standard output; it keeps them in files, too.
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.callback(_connect(self._address).shutdown)
            nodes = _nodes()
            with_gpus = any(node.get("GPU") for node in nodes)
            self._requests = {
                name: Request.of(spec, self._asked, self._runs, with_gpus)
                for name, spec in self._specs.items()
            }
            check_room(self._requests.values(), nodes)
            self._versions = versions()
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def slots(self, jobs: int) -> int:
        """As many as the living nodes have room for, and no more than asked for."""
        if not self._requests:
            return max(1, jobs)
        request = largest(self._requests.values())
        room = max(1, sum(request.room(node) for node in _nodes()))
        return min(jobs, room) if jobs else room

    def start(self, name: str, task: Task) -> None:
        """Hand a run to Ray."""
        # Found by every node, this says that the folder is shared.
        (Path(task["runs"]) / name).mkdir(parents=True, exist_ok=True)
        self._submit(_Run(name, task))

    def _submit(self, run: _Run) -> None:
        import ray

        request = self._requests[run.name]
        # Ray's own retries would neither be told nor be patient with the lock.
        remote = ray.remote(do).options(
            name=run.name,
            num_cpus=request.cpus,
            num_gpus=request.gpus,
            memory=int(request.memory) or None,
            max_retries=0,
        )
        variables = {ENV: os.environ[ENV]} if ENV in os.environ else {}
        if not request.gpus:  # Ray would let it see them all
            variables["CUDA_VISIBLE_DEVICES"] = ""
        task = remote.remote(run.name, run.task, self._versions, os.getcwd(), variables)
        self._tasks[task] = run

    def ended(self) -> dict[str, Ending]:
        """Those that have ended; a run that was lost with its node is given again instead."""
        import ray

        if not self._tasks:
            return {}
        tasks = list(self._tasks)
        found = {}
        for task in ray.wait(tasks, num_returns=len(tasks), timeout=0)[0]:
            run = self._tasks.pop(task)
            ending, lost = _ending(task)
            if lost and run.losses < RETRIES:
                self._retry(run, ending.error)
            else:
                found[run.name] = ending
        return found

    def _retry(self, run: _Run, reason: str) -> None:
        run.losses += 1
        run.task["patience"] = _PATIENCE_SECONDS
        said = f"{run.name}: {reason}; given again ({run.losses} of {RETRIES})"
        print(said, file=sys.stderr)
        self._submit(run)

    def stop(self) -> None:
        """Kill the workers; the runs' processes go with them."""
        if not self._tasks:
            return
        import ray

        for task in self._tasks:
            ray.cancel(task, force=True)
        ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=_STOP_SECONDS)
        self._tasks.clear()


def _ending(task: Any) -> tuple[Ending, bool]:
    """How a task ended, and whether that was a loss of its node or worker."""
    import ray
    from ray import exceptions

    try:
        ending: Ending = ray.get(task)
    except exceptions.RayTaskError as error:  # the task's own, such as a node without the harness
        return Ending(1, f"the node can't do runs: {one_line(error.cause)[:300]}"), False
    except exceptions.OutOfMemoryError:
        return Ending(1, "its node ran out of memory; ask for more with --memory"), True
    except exceptions.RayError as error:
        return Ending(1, f"its node or worker was lost ({type(error).__name__})"), True
    return ending, ending.code in _KILLED


def _nodes() -> list[Mapping[str, float]]:
    """Resources of the living nodes."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _connect(address: str) -> Any:
    """Join a cluster, or start one; gives back the library.

    Raises:
        HarnessError: no cluster there, or not one that this process can join.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _knock(address)
    import ray

    # A cluster that is already there has its own dashboard and object store.
    new = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(new if address == _LOCAL else {}),
        )
    except (Exception, SystemExit) as error:
        ray.shutdown()
        raise HarnessError(
            f"--launcher ray: cannot join the cluster at {address} ({one_line(error)[:200]}); "
            "start a node on this machine with `ray start`, give its cluster's HOST:PORT, and set "
            "RAY_AUTH_MODE=token if the cluster asks for a token"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        HarnessError: not an address, or nobody answers there.
    """
    if address in (_LOCAL, "auto"):
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit()) or "://" in address or not 0 < int(port) < 65536:
        raise HarnessError(f"--ray-address {address!r}: expected HOST:PORT, auto or local")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise HarnessError(
            f"--ray-address {address}: no answer ({one_line(error)}); is the cluster's head up? "
            "`ray start --head` prints its address"
        ) from error
