"""The engines that a configuration asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.config.schema import EngineConfig
from harness.engines.base import Engines, Weights
from harness.engines.torch_engine import TorchEngine
from harness.engines.vllm_engine import VllmEngines


class TorchEngines:
    """Engines in this process, each on its policy's own weights.

    Args:
        dtype: of the weights.
        rows: sampled at once.
    """

    def __init__(self, dtype: str, rows: int) -> None:
        self.dtype, self.rows = dtype, rows

    @property
    def about(self) -> dict[str, Any]:
        """Name and precision."""
        return {"name": "torch", "dtype": self.dtype}

    def of(self, policy: Weights) -> TorchEngine:
        """An engine on a policy's weights."""
        return TorchEngine(policy.model, policy.tokenizer, self.rows)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Nothing is held between calls."""
        yield

    def close(self) -> None:
        """Nothing is held."""


def make_engines(
    config: EngineConfig,
    dtype: str,
    rows: int,
    tell: Callable[[str, Mapping[str, Any]], None] = lambda name, what: None,
    trainers: int = 0,
) -> Engines:
    """The engines of a run.

    Args:
        config: its ``engine`` section.
        dtype: of the weights.
        rows: that the torch engine samples at once.
        tell: is told of an engine that had to be started again.
        trainers: GPUs that the trainer has.

    Raises:
        HarnessError: there are too few GPUs for the servers.
    """
    if config.name == "torch":
        return TorchEngines(dtype, rows)
    return VllmEngines(config, dtype, tell, trainers)
