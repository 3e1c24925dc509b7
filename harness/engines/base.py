"""What the loop asks of an engine, and what it gets back."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.masks import VocabMask


@dataclass(frozen=True)
class SamplingParams:
    """How to sample. Temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are 'off'.

    A response that holds one of the ``stop`` strings is over. An engine looks for them now and then
    only, so the caller cuts what stands behind.
    """

    max_new_tokens: int
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens >= 1": self.max_new_tokens >= 1,
            "n >= 1": self.n >= 1,
            "temperature >= 0": self.temperature >= 0,
            "top_p in (0, 1]": 0 < self.top_p <= 1,
            "top_k >= 0": self.top_k >= 0,
            "min_p in [0, 1)": 0 <= self.min_p < 1,
            "no empty stop string": all(self.stop),
        }
        broken = [rule for rule, holds in checks.items() if not holds]
        if broken:
            raise HarnessError(f"sampling: needs {' and '.join(broken)}, got {self}")


Replay = Literal["current", "behaviour", "none"]
"""How a trainer replays a rule: anew on each policy's logits; by the support [R, T, V] that it left
the rollouts' own policy (arXiv 2602.03195); or not at all, scoring with the full softmax."""


class LogitsRule(Protocol):
    """A rule on a role's logits that the trainer can replay.

    Called with ``logits [b, V]`` before the temperature, ``prefix [b, t]`` (the t response tokens
    so far) and ``row_keys`` (b ints); returns ``logits [b, V]``. A row is called for t = 0, 1, ...
    in order, so a rule may keep a state per row key, anew from t = 0. An attribute ``replay``
    (`Replay`) says how a trainer replays it; without one: ``current``.
    """

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor: ...


def replay_of(rule: LogitsRule | None) -> Replay:
    """How a trainer replays a rule; ``none`` where there is no rule."""
    replay: Replay = "none" if rule is None else getattr(rule, "replay", "current")
    return replay


@dataclass(frozen=True)
class PortableRule:
    """A rule, and how another process makes it again.

    Attributes:
        rule: the rule in this process.
        maker: ``module:function`` that makes it from the recipe.
        recipe: plain data.
        count: is told what the rule counted in the other process.
    """

    rule: LogitsRule
    maker: str
    recipe: Mapping[str, Any]
    count: Callable[[str, float], None]

    @property
    def replay(self) -> Replay:
        """As the rule says."""
        return replay_of(self.rule)

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        """As the rule does."""
        return self.rule(logits, prefix, row_keys)

    def record(self) -> dict[str, Any]:
        """What `remake_rule` takes."""
        return {"maker": self.maker, "recipe": dict(self.recipe)}


def remake_rule(record: Mapping[str, Any]) -> LogitsRule:
    """The rule of `PortableRule.record`, in the process that samples.

    Raises:
        HarnessError: what made it isn't there.
    """
    module, _, function = str(record["maker"]).partition(":")
    rule: LogitsRule = getattr(importlib.import_module(module), function)(record["recipe"])
    return rule


@dataclass
class Rollouts:
    """Sampled responses. R rows (prompt-major, n per prompt), T = longest response."""

    prompt_ids: list[list[int]]
    response_ids: Tensor
    """long [R, T], right-padded."""
    response_mask: Tensor
    """bool [R, T], True on response tokens, the end token included."""
    logprobs: Tensor
    """float32 [R, T]: the engine's, under mask, rule and temperature, before truncation."""
    truncated: Tensor
    """bool [R]: no end token within max_new_tokens."""

    def __len__(self) -> int:
        return len(self.prompt_ids)

    @property
    def lengths(self) -> Tensor:
        """long [R]: response tokens per row."""
        return self.response_mask.sum(dim=1)

    def mean_logprobs(self) -> npt.NDArray[np.float64]:
        """Mean log-prob of each row's tokens, float64 [R]."""
        total = (self.logprobs.double() * self.response_mask).sum(dim=1)
        mean: npt.NDArray[np.float64] = (total / self.lengths.clamp(min=1)).cpu().numpy()
        return mean

    def texts(self, tokenizer: Any) -> list[str]:
        """The responses decoded without special tokens."""
        if not len(self):
            return []  # batch_decode would read no rows as one empty row
        rows = [
            row[: int(n)].tolist() for row, n in zip(self.response_ids, self.lengths, strict=True)
        ]
        return list(
            tokenizer.batch_decode(
                rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def select(self, rows: Sequence[int]) -> Rollouts:
        """The given rows, in that order, cut to their own longest response."""
        index = torch.as_tensor(list(rows), dtype=torch.long)
        width = max(1, int(self.lengths[index].max())) if len(index) else 1
        return Rollouts(
            prompt_ids=[self.prompt_ids[int(i)] for i in index],
            response_ids=self.response_ids[index, :width],
            response_mask=self.response_mask[index, :width],
            logprobs=self.logprobs[index, :width],
            truncated=self.truncated[index],
        )


class Engine(Protocol):
    """Anything that samples from the current weights of a policy."""

    tokenizer: Any

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
        """Sample ``params.n`` responses to each prompt.

        Args:
            prompts: token ids.
            row_keys: one unsigned 64-bit key for each of the ``len(prompts) * n`` rows. A row's
                sample is a function of its prompt, its key and the sampling rule alone, whatever
                else is in the batch.
            mask: a vocabulary mask; ``mask_rows`` names the mask row of each rollout.
            logits_rule: a rule applied after the mask and before the temperature.
        """
        ...


class Weights(Protocol):
    """What an engine needs of a policy."""

    model: Any
    tokenizer: Any

    @property
    def key(self) -> tuple[int, int]:
        """Differs between any two policies, and after every change of the weights."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where just these weights lie as a Hugging Face folder; None if nowhere."""
        ...

    def save(self, path: Path) -> None:
        """Write them as one."""
        ...


class Engines(Protocol):
    """Makes engines, and owns what they share."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Name and version, for manifests."""
        ...

    def of(self, policy: Weights) -> Engine:
        """An engine that samples from a policy's weights as they are when it is called."""
        ...

    def resting(self) -> AbstractContextManager[None]:
        """While the trainer needs the memory."""
        ...

    def close(self) -> None:
        """Let go of all that is held; may be called twice."""
        ...
