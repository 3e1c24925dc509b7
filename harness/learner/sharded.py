"""The weights in several processes, each of which holds a part of every layer (FSDP2)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.child import Child, ChildDiedError, ChildError, Frame
from harness.config.schema import StageConfig, TrainingConfig
from harness.errors import HarnessError
from harness.learner.base import Grads, Part, Source, leaves
from harness.learner.core import put
from harness.learner.files import WEIGHTS
from harness.learner.wire import NO_MEMORY, pack_part, pack_values, unpack_scores
from harness.policy import Policy, Scores, TokenBatch
from harness.support import Support

_TIMEOUT_S = 7200.0
"""A shard that is silent for longer is dead."""
_OTHERS_S = 1.0
"""What shards get to tell of their own end, after the first one that failed."""


class ShardedLearner:
    """Trains a copy of the policy that is spread over child processes.

    Each takes one whole micro-batch of a round, so that a loss sees the same rows whatever their
    number. The policy's own model stays here, for engines and checkpoints (`sync`), and scores
    what only this process can: rules that are code.

    Args:
        policy: what is trained.
        stage: learning rate and weight decay.
        training: how, and in how many processes.
        seed: of the adapters' first values.
    """

    redoes = False

    def __init__(
        self, policy: Policy, stage: StageConfig, training: TrainingConfig, seed: int
    ) -> None:
        self.policy = policy
        self.width = training.processes
        self._device = "cuda" if torch.cuda.device_count() >= self.width else "cpu"
        self._folder = tempfile.TemporaryDirectory(prefix="coevolution-shards-")
        self._children: list[Child] = []
        try:
            initial = Path(self._folder.name) / "initial"
            policy.save(initial)
            for rank in range(self.width):
                name = f"training process {rank + 1} of {self.width}"
                self._children.append(Child("harness.learner.shard", name=name))
            said = {
                "world": self.width,
                "device": self._device,
                "store": str(Path(self._folder.name) / "store"),
                "initial": str(initial),
                "dtype": str(policy.model.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "lr": stage.lr,
                "weight_decay": stage.weight_decay,
                "gradient_checkpointing": training.gradient_checkpointing,
                "lora": training.lora.model_dump() if training.lora else None,
                "seed": seed,
            }
            self._ask("join", [({**said, "rank": rank}, {}) for rank in range(self.width)])
        except BaseException:
            self.close()
            raise

    def score(
        self,
        parts: Sequence[TokenBatch],
        source: Source = "policy",
        *,
        full_support: bool = False,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Scores]:
        if extra is not None:  # code stays in this process, which knows the weights since `sync`
            assert source == "policy"
            with torch.no_grad():
                return [self.policy.score(p, full_support=full_support, extra=extra) for p in parts]
        said = {"source": source, "full_support": full_support}
        found = self._ask("score", self._spread([pack_part(part) for part in parts], said))
        return [unpack_scores(tensors) for _, tensors in found[: len(parts)]]

    def support(self, part: TokenBatch) -> Support:
        return self.policy.support(part)

    def forward(self, parts: Sequence[Part]) -> list[Scores]:
        found = self._ask("forward", self._spread([pack_part(*part) for part in parts], {}))
        return [leaves(unpack_scores(tensors)) for _, tensors in found[: len(parts)]]

    def backward(self, grads: Sequence[Grads]) -> None:
        frames: list[Frame] = [({}, pack_values(given)) for given in grads]
        self._ask("backward", [*frames, *self._same()][: self.width])

    def zero_grad(self) -> None:
        self._ask("zero_grad", self._same())

    def step(self, divide_by: float, max_norm: float) -> float | None:
        said = {"divide_by": divide_by, "max_norm": max_norm}
        norm = self._ask("step", self._same(said))[0][0]["norm"]
        return None if norm is None else float(norm)

    def sync(self) -> None:
        self._ask("weights", self._same({"folder": self._folder.name}))
        own = dict(self.policy.model.named_parameters())
        for name, weight in load_file(Path(self._folder.name) / WEIGHTS).items():
            put(own[name], weight)

    def save(self, folder: Path) -> None:
        self._ask("save", self._same({"folder": str(folder.resolve())}))

    def load(self, folder: Path) -> bool:
        answers = self._ask("load", self._same({"folder": str(folder.resolve())}))
        return bool(answers[0][0]["updated"])

    def close(self) -> None:
        for child in self._children:
            child.kill()  # each would wait for the others to leave the group
            child.close()
        self._children = []
        self._folder.cleanup()

    def _same(self, record: Mapping[str, Any] | None = None) -> list[Frame]:
        return [(dict(record or {}), {}) for _ in range(self.width)]

    def _spread(self, parts: Sequence[Frame], said: Mapping[str, Any]) -> list[Frame]:
        """A part for each process; those without one go through the motions."""
        idle: list[Frame] = [({**said, "part": None}, {})] * (self.width - len(parts))
        return [*(({**said, "part": record}, tensors) for record, tensors in parts), *idle]

    def _ask(self, command: str, frames: Sequence[Frame]) -> list[Frame]:
        """Ask all for the same thing; they do it together.

        Raises:
            MemoryError: one ran out of memory.
            HarnessError: one failed or died. The others, who wait for it, are ended with it.
        """

        def ask(child: Child, frame: Frame) -> Frame:
            return child.ask(command, *frame, timeout_s=_TIMEOUT_S)

        with ThreadPoolExecutor(self.width) as pool:
            asked = [
                pool.submit(ask, child, frame)
                for child, frame in zip(self._children, frames, strict=True)
            ]
            wait(asked, return_when=FIRST_EXCEPTION)
            if failed := _first_failure(asked):
                for child in self._children:
                    child.kill()
                raise failed
        return [answer.result() for answer in asked]


def _first_failure(asked: Sequence[Future[Frame]]) -> BaseException | None:
    """What explains the others' failures, if there was one: no memory, or else a death."""
    if not any(a.done() and a.exception() for a in asked):
        return None
    wait(asked, timeout=_OTHERS_S)
    errors = [e for a in asked if a.done() and (e := a.exception())]
    starved = [e for e in errors if isinstance(e, ChildError) and str(e).endswith(NO_MEMORY)]
    if starved:
        return MemoryError(str(starved[0]))
    died = [e for e in errors if isinstance(e, ChildDiedError)]
    if died:
        return HarnessError(
            f"{died[0]}; its peers were stopped; the same command goes on from the last state"
        )
    return errors[0]
