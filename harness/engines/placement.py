"""Which GPUs the servers of an engine take, beside the trainer's."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from harness.config.schema import EngineConfig
from harness.errors import HarnessError


def visible_gpus() -> list[str]:
    """The GPUs of this process, as CUDA_VISIBLE_DEVICES names them; none where torch finds none."""
    if not torch.cuda.device_count():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(i) for i in range(torch.cuda.device_count())]


def server_gpus(config: EngineConfig, trainers: int, visible: Sequence[str]) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each server; None where there is no GPU at all.

    The trainer has the first ``trainers`` GPUs and the servers those behind them; with
    ``engine.sleep`` they take turns, and the servers begin with the first.

    Raises:
        HarnessError: there are too few.
    """
    if not visible:
        return [None] * config.servers
    each = config.tensor_parallel_size
    first = 0 if config.sleep else trainers
    needed = first + config.servers * each
    if needed > len(visible):
        beside = f" beside {trainers} for training" if first else ""
        remedy = " or share them (engine.sleep=true)" if first else ""
        raise HarnessError(
            f"engine: {config.servers} vLLM servers of {each} GPUs{beside} need {needed} GPUs, "
            f"{len(visible)} are visible; lower engine.servers or "
            f"engine.tensor_parallel_size{remedy}"
        )
    places = [first + i * each for i in range(config.servers)]
    return [",".join(visible[place : place + each]) for place in places]
