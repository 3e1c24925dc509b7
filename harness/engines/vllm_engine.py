"""Sampling by vLLM: the engine's side in this process. vLLM itself runs in `vllm_server`.

The rows of a call are spread over all servers. A server holds one policy's weights at a time;
whoever asks it to sample from others has them put there first, in place. A server that dies is
started again and asked again. A row's sample depends on its key alone, so that none of this changes
anything of the run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from harness.child import Frame
from harness.config.schema import EngineConfig
from harness.engines.base import (
    LogitsRule,
    PortableRule,
    Rollouts,
    SamplingParams,
    Weights,
)
from harness.engines.placement import server_gpus, visible_gpus
from harness.engines.rows import mask_record
from harness.engines.torch_engine import stop_ids
from harness.engines.vllm_link import Shipment, VllmServer
from harness.errors import HarnessError
from harness.masks import VocabMask


class VllmEngine:
    """Samples from a policy's weights through servers.

    Args:
        weights: the policy; its weights are those at the time of a call.
        servers: those that share the rows.
    """

    def __init__(self, weights: Weights, servers: Sequence[VllmServer]) -> None:
        self.tokenizer = weights.tokenizer
        self._weights, self._servers = weights, servers
        self._stop_ids = stop_ids(weights.model, weights.tokenizer)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        row_keys: Sequence[int],
        mask: VocabMask | None = None,
        mask_rows: Sequence[int] | None = None,
        logits_rule: LogitsRule | None = None,
    ) -> Rollouts:
        """See `harness.engines.base.Engine.generate`."""
        rows = [list(p) for p in prompts for _ in range(params.n)]
        _check_rows(rows, row_keys, mask, mask_rows)
        if not rows:
            return Rollouts([], torch.zeros(0, 1).long(), torch.zeros(0, 1).bool(),
                            torch.zeros(0, 1), torch.zeros(0).bool())  # fmt: skip
        if mask is not None and mask_rows is None:
            mask_rows = [0] * len(rows)
        if logits_rule is not None and not isinstance(logits_rule, PortableRule):
            raise HarnessError(
                f"vLLM: {type(logits_rule).__name__} has no recipe by which another process makes "
                "it again; set engine.name=torch"
            )
        shared = {
            "params": asdict(params),
            "stop_ids": self._stop_ids,
            "mask": mask_record(mask) if mask is not None else None,
            "rule": logits_rule.record() if logits_rule is not None else None,
        }
        parts = np.array_split(np.arange(len(rows)), min(len(self._servers), len(rows)))
        asked = [
            {**shared, **_rows(part.tolist(), rows, row_keys, mask_rows if mask else None)}
            for part in parts
        ]
        answers = self._ask(asked)
        if isinstance(logits_rule, PortableRule):
            for answer, _ in answers:
                for name, value in answer["counts"].items():
                    logits_rule.count(name, value)
        rollouts = _rollouts(rows, [columns for _, columns in answers])
        _check_drawn(rollouts, mask, mask_rows)
        return rollouts

    def _ask(self, asked: Sequence[Mapping[str, Any]]) -> list[Frame]:
        """Each server for its part, side by side."""
        with (
            contextlib.closing(Shipment(self._weights)) as shipment,
            ThreadPoolExecutor(len(asked)) as pool,
        ):
            return list(
                pool.map(
                    lambda server, record: server.ask("generate", record, shipment),
                    self._servers,
                    asked,
                )
            )


class VllmEngines:
    """All engines of a run, on the same few servers.

    Args:
        config: the ``engine`` section.
        dtype: of the weights.
        tell: is told of restarts.
        trainers: GPUs that the trainer has.

    Raises:
        HarnessError: there are too few GPUs.
    """

    def __init__(
        self,
        config: EngineConfig,
        dtype: str,
        tell: Callable[[str, Mapping[str, Any]], None] = lambda name, what: None,
        trainers: int = 0,
    ) -> None:
        self.config = config
        self.dtype = dtype
        places = server_gpus(config, trainers, visible_gpus())
        self.servers = [VllmServer(config, dtype, tell, gpus) for gpus in places]

    @property
    def about(self) -> dict[str, Any]:
        """Name, precision and versions; starts a process to ask it, and loads nothing.

        Raises:
            HarnessError: there is no vLLM, or the servers' versions differ.
        """
        found = [server.versions for server in self.servers]
        if any(versions != found[0] for versions in found):
            raise HarnessError(f"vLLM: servers of mixed versions ({found}); use one environment")
        return {"name": "vllm", "dtype": self.dtype, **found[0]}

    def of(self, policy: Weights) -> VllmEngine:
        """An engine on a policy's weights."""
        return VllmEngine(policy, self.servers)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """The servers sleep, where ``engine.sleep`` says so."""
        if self.config.sleep:
            for server in self.servers:
                server.sleep()
        yield

    def close(self) -> None:
        """End the servers."""
        for server in self.servers:
            server.close()


def _check_rows(
    rows: Sequence[Sequence[int]],
    row_keys: Sequence[int],
    mask: VocabMask | None,
    mask_rows: Sequence[int] | None,
) -> None:
    if len(row_keys) != len(rows):
        raise HarnessError(f"generate: {len(rows)} rows but {len(row_keys)} row keys")
    if any(not p for p in rows):
        raise HarnessError("generate: an empty prompt; check the chat template")
    if mask is not None and mask_rows is None and not mask.shared:
        raise HarnessError("generate: a mask that rows don't share needs mask_rows")
    if mask_rows is not None and len(mask_rows) != len(rows):
        raise HarnessError(f"generate: {len(rows)} rows but {len(mask_rows)} mask rows")


def _rows(
    part: Sequence[int],
    rows: Sequence[list[int]],
    row_keys: Sequence[int],
    mask_rows: Sequence[int] | None,
) -> dict[str, Any]:
    """What a server is told of its rows; a prompt that several share is told once."""
    distinct: dict[tuple[int, ...], int] = {}
    owner = [distinct.setdefault(tuple(rows[i]), len(distinct)) for i in part]
    return {
        "prompts": [list(p) for p in distinct],
        "owner": owner,
        "row_keys": [row_keys[i] for i in part],
        "mask_rows": None if mask_rows is None else [mask_rows[i] for i in part],
    }


def _rollouts(rows: list[list[int]], parts: Sequence[Mapping[str, Tensor]]) -> Rollouts:
    """The servers' answers one below the other, padded to the longest response."""
    width = max(part["response_ids"].shape[1] for part in parts)

    def column(name: str) -> Tensor:
        return torch.cat([pad(p[name], (0, width - p[name].shape[1])) for p in parts])

    lengths = torch.cat([part["lengths"] for part in parts])
    return Rollouts(
        prompt_ids=rows,
        response_ids=column("response_ids").long(),
        response_mask=torch.arange(width) < lengths[:, None],
        logprobs=column("logprobs"),
        truncated=torch.cat([part["truncated"] for part in parts]),
    )


def _check_drawn(
    rollouts: Rollouts, mask: VocabMask | None, mask_rows: Sequence[int] | None
) -> None:
    """Every token came from our draw: a release of vLLM may call logits processors otherwise.

    Raises:
        HarnessError: tokens that the mask drops, or values that no log-prob has.
    """
    logprobs = rollouts.logprobs[rollouts.response_mask]
    bad = int((~torch.isfinite(logprobs) | (logprobs > 1e-3)).sum())
    if mask is not None:
        assert mask_rows is not None
        size = max(mask.vocab_size, int(rollouts.response_ids.max()) + 1)
        for row in sorted(set(mask_rows)):
            keep = mask.keep(torch.as_tensor([row]), size)[0]
            mine = torch.as_tensor([r == row for r in mask_rows])
            bad += int((~keep[rollouts.response_ids[mine]] & rollouts.response_mask[mine]).sum())
    if bad:
        raise HarnessError(
            f"vLLM: {bad} tokens were not drawn by the harness's logits processor; this version "
            "calls it otherwise than those tested (docs/engines.md)"
        )
