"""Sampling by vLLM: the engine's side in this process. vLLM itself runs in `vllm_server`.

A server holds one policy's weights at a time; whoever asks it to sample from others has them put
there first, in place. With ``engine.servers: 2`` proposer and solver keep one each. A server that
dies is started again and asked again: a row's sample depends on its key alone, so that nothing of
the run changes.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.child import Child, ChildDiedError
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
from harness.errors import HarnessError
from harness.masks import VocabMask

MODULE = "harness.engines.vllm_server"
_SHAPES = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "tie_word_embeddings",
)


class VllmServer:
    """One server process, started when it is first needed.

    Args:
        config: the ``engine`` section.
        dtype: of the weights, as the trainer has them.
        tell: is told of what should be in the run's events.
        gpus: its CUDA_VISIBLE_DEVICES; None: as here.
    """

    def __init__(
        self,
        config: EngineConfig,
        dtype: str,
        tell: Callable[[str, Mapping[str, Any]], None],
        gpus: str | None = None,
    ) -> None:
        self.config, self.dtype, self._tell = config, dtype, tell
        self._environment = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
        self.holds: tuple[int, int] | None = None
        """The `Weights.key` of what it samples from."""
        self.asleep = False
        self._child: Child | None = None
        self._shapes: dict[str, Any] | None = None
        """The configuration of the model that is loaded; weights of another need a new process."""
        self._versions: dict[str, Any] | None = None

    def ask(
        self, command: str, record: Mapping[str, Any], weights: Weights
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Ask of these weights; a server that dies is started again.

        Raises:
            HarnessError: it can't do it, or died ``restarts`` times more.
        """
        for attempt in range(self.config.restarts + 1):
            try:
                self._hold(weights)
                assert self._child is not None
                return self._child.ask(command, record, timeout_s=self.config.call_timeout_s)
            except ChildDiedError as error:
                self.close()
                if attempt == self.config.restarts:
                    raise HarnessError(
                        f"{error}; it died {attempt + 1} times in a row. Lower "
                        "engine.gpu_memory_utilization or engine.max_num_seqs, then give the same "
                        "command again"
                    ) from error
                self._tell("engine_restart", {"reason": str(error)})
        raise AssertionError

    @property
    def versions(self) -> dict[str, Any]:
        """Versions of vLLM and what it runs on, loading nothing.

        Raises:
            HarnessError: there is no vLLM.
        """
        if self._versions is None:
            self._process()
        assert self._versions is not None
        return self._versions

    def sleep(self) -> None:
        """Give its memory away, if it has any."""
        if self._child is not None and self._shapes is not None and not self.asleep:
            self._child.ask("sleep", timeout_s=self.config.start_timeout_s)
            self.asleep, self.holds = True, None

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
        self._child, self.holds, self.asleep, self._shapes = None, None, False, None

    def _hold(self, weights: Weights) -> None:
        """Have the process up, awake, and these weights in it."""
        shapes = _shapes(weights.model)
        if self._shapes not in (None, shapes):
            self.close()
        child, patience = self._process(), self.config.start_timeout_s
        if self.asleep:
            child.ask("wake", timeout_s=patience)
            self.asleep = False
        if self.holds == weights.key:
            return
        self.holds = None
        with _as_folder(weights) as folder:
            if self._shapes is not None:
                child.ask("load", {"model": str(folder)}, timeout_s=patience)
            else:
                child.ask("start", self._settings(folder), timeout_s=patience)
                self._shapes = shapes
        self.holds = weights.key

    def _process(self) -> Child:
        """The process, which says what versions it has before it loads anything."""
        if self._child is None:
            child = Child(
                MODULE,
                name="vLLM",
                python=self.config.python,
                environment=self._environment,
            )
            try:
                versions, _ = child.ask("versions", timeout_s=self.config.start_timeout_s)
            except HarnessError:
                child.close()
                raise
            if self._versions not in (None, versions):
                child.close()
                raise HarnessError(
                    f"vLLM: {versions} where {self._versions} sampled before; one run has one "
                    "version: restore it, or begin anew in another --runs folder"
                )
            self._child, self._versions = child, versions
        return self._child

    def _settings(self, folder: Path) -> dict[str, Any]:
        passed = {
            "runner",
            "tensor_parallel_size",
            "max_model_len",
            "max_num_seqs",
            "gpu_memory_utilization",
            "enforce_eager",
            "sleep",
        }
        return {
            "model": str(folder),
            "dtype": self.dtype,
            **self.config.model_dump(include=passed),
        }


class VllmEngine:
    """Samples from a policy's weights through a server.

    Args:
        weights: the policy; its weights are those at the time of a call.
        server: of the servers that there are, the one to ask for these weights.
    """

    def __init__(self, weights: Weights, server: Callable[[Weights], VllmServer]) -> None:
        self.tokenizer = weights.tokenizer
        self._weights, self._server = weights, server
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
        server = self._server(self._weights)
        record = {
            "prompts": [list(p) for p in prompts],
            "owner": [i for i in range(len(prompts)) for _ in range(params.n)],
            "params": asdict(params),
            "row_keys": list(row_keys),
            "stop_ids": self._stop_ids,
            "mask": mask_record(mask) if mask is not None else None,
            "mask_rows": list(mask_rows) if mask is not None and mask_rows is not None else None,
            "rule": logits_rule.record() if logits_rule is not None else None,
        }
        answer, columns = server.ask("generate", record, self._weights)
        if isinstance(logits_rule, PortableRule):
            for name, value in answer["counts"].items():
                logits_rule.count(name, value)
        rollouts = _rollouts(rows, columns)
        _check_drawn(rollouts, mask, mask_rows)
        return rollouts


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
        return VllmEngine(policy, self._server)

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

    def _server(self, weights: Weights) -> VllmServer:
        """The server that holds these weights, else the one asked longest ago."""
        found = next((s for s in self.servers if s.holds == weights.key), None)
        if found is None:  # an updated policy goes where it was
            serial = weights.key[0]
            found = next((s for s in self.servers if s.holds and s.holds[0] == serial), None)
        found = found or self.servers[0]
        self.servers.remove(found)
        self.servers.append(found)
        return found


@contextlib.contextmanager
def _as_folder(weights: Weights) -> Iterator[Path]:
    """Where the weights lie, written there if need be."""
    if weights.folder is not None:
        yield weights.folder
        return
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        weights.save(Path(folder))
        yield Path(folder)


def _shapes(model: Any) -> dict[str, Any]:
    """What two models must agree in for one to take the other's weights."""
    return {name: getattr(model.config, name, None) for name in _SHAPES}


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


def _rollouts(rows: list[list[int]], columns: Mapping[str, Tensor]) -> Rollouts:
    ids = columns["response_ids"].long()
    mask = torch.arange(ids.shape[1]) < columns["lengths"][:, None]
    return Rollouts(rows, ids, mask, columns["logprobs"], columns["truncated"])


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
