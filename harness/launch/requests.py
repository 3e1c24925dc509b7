"""What a run asks of a cluster: CPUs, GPUs and memory; and how many runs have room on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.schema import RunConfig
from harness.errors import HarnessError
from harness.run import RunSpec
from harness.store import read_json

_GIB = 2**30
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Asked:
    """What the user says a run needs; None: as its configuration says.

    Attributes:
        memory: in GiB.
    """

    cpus: float | None = None
    gpus: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Request:
    """What one run needs.

    Attributes:
        memory: bytes; 0 where it isn't known.
    """

    cpus: float
    gpus: float
    memory: float = 0

    @classmethod
    def of(cls, spec: RunSpec, asked: Asked, runs: Path, with_gpus: bool) -> Request:
        """That of a run: what is asked, else what its configuration and earlier runs say.

        Args:
            with_gpus: whether the cluster has any; a run goes without them where it hasn't.
        """
        config = spec.config
        default = gpus_of(config) if with_gpus else 0
        memory = measured_memory(spec, runs) if asked.memory is None else asked.memory * _GIB
        return cls(
            config.threads * config.training.processes if asked.cpus is None else asked.cpus,
            default if asked.gpus is None else asked.gpus,
            memory,
        )

    def __str__(self) -> str:
        memory = f" and {self.memory / _GIB:.1f} GiB" if self.memory else ""
        return f"{self.cpus:g} CPUs, {self.gpus:g} GPUs{memory}"

    def room(self, node: Mapping[str, float]) -> int:
        """How many such runs fit on an empty node with these resources."""
        needs = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        fits = [node.get(k, 0) / need + _ROUNDING for k, need in needs.items() if need]
        return int(min(fits, default=1))


def largest(requests: Iterable[Request]) -> Request:
    """A request that covers all of them."""
    known = list(requests)
    return Request(
        max(r.cpus for r in known), max(r.gpus for r in known), max(r.memory for r in known)
    )


def gpus_of(config: RunConfig) -> int:
    """GPUs of one run: those of its vLLM servers, and one for each process that trains.

    None where the model is told to stay on the CPU.
    """
    engine, trainer = config.engine, config.training.processes
    if config.model.device == "cpu":
        return 0
    if engine.name != "vllm":
        return trainer
    sampling = engine.servers * engine.tensor_parallel_size
    return max(sampling, trainer) if engine.sleep else sampling + trainer


def measured_memory(spec: RunSpec, runs: Path) -> float:
    """The most that a finished run of the same configuration took, in bytes; 0 without one."""
    costs = runs.glob(f"*-{spec.digest[:8]}/cost.json")
    return max((float(read_json(path)["peak_rss_bytes"]) for path in costs), default=0)


def check_room(requests: Iterable[Request], nodes: Sequence[Mapping[str, float]]) -> None:
    """A run that fits no node would wait for ever.

    Raises:
        HarnessError: there is such a one.
    """
    for request in requests:
        if any(request.room(node) for node in nodes):
            continue
        have = "; ".join(
            str(Request(n.get("CPU", 0), n.get("GPU", 0), n.get("memory", 0))) for n in nodes
        )
        raise HarnessError(
            f"--launcher ray: a run asks for {request}, which no node of the cluster has "
            f"({have or 'no nodes'}); lower --cpus, --gpus or --memory, or add a node"
        )
