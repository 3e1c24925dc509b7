"""The rollouts of one step, as hooks see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.engines.base import Rollouts, SamplingParams
from harness.grading.votes import Tally
from harness.policy import TokenBatch
from harness.roles import Proposal, Rewards

T = TypeVar("T")
Array = npt.NDArray[np.float64]


@dataclass
class RolloutBatch:
    """R rollouts of one role with what is known of them.

    ``group_id`` is what advantages are normalised in; ``prompt_id`` tells identical prompts
    (R-Zero's proposer has a single prompt, whatever its groups).
    """

    rollouts: Rollouts
    tokens: TokenBatch
    group_id: list[int]
    prompt_id: list[int]
    texts: list[str]
    gold: list[str] = field(default_factory=list)
    """solver: the pseudo-label of each row's question."""
    questions: list[str] = field(default_factory=list)
    """solver: each row's question."""
    proposals: list[Proposal] = field(default_factory=list)
    """proposer: each row as parsed."""
    tallies: list[Tally | None] = field(default_factory=list)
    """proposer: the votes on each row's question; None where invalid."""
    solutions: list[str | None] = field(default_factory=list)
    """proposer: a response that gives the majority's answer; None where there is none."""
    jury: list[list[Tally | None]] = field(default_factory=list)
    """proposer: each row's votes by every solver of `Method.jury`, the first one's first."""
    off_policy: list[bool] = field(default_factory=list)
    """rows that were sampled under another rule than the trainer replays."""
    marks: dict[str, list[float]] = field(default_factory=dict)
    """a method's notes on rows, nan where it made none; kept when rows are picked or joined."""
    rewards: Rewards | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """proposer: bool [R]."""
        return np.array([p.valid for p in self.proposals], dtype=bool)

    @property
    def p_hat(self) -> Array:
        """proposer: the majority's share [R]; nan where invalid."""
        return np.array([t.p_hat if t else np.nan for t in self.tallies], dtype=np.float64)

    def select(self, rows: Sequence[int]) -> RolloutBatch:
        """The given rows, in that order (repeats allowed)."""
        rows = list(rows)

        def pick(values: list[T]) -> list[T]:
            return [values[i] for i in rows] if values else []

        rewards = self.rewards
        return RolloutBatch(
            rollouts=self.rollouts.select(rows),
            tokens=self.tokens.rows(torch.as_tensor(rows, dtype=torch.long)),
            group_id=pick(self.group_id),
            prompt_id=pick(self.prompt_id),
            texts=pick(self.texts),
            gold=pick(self.gold),
            questions=pick(self.questions),
            proposals=pick(self.proposals),
            tallies=pick(self.tallies),
            solutions=pick(self.solutions),
            jury=pick(self.jury),
            off_policy=pick(self.off_policy),
            marks={name: pick(values) for name, values in self.marks.items()},
            rewards=None
            if rewards is None
            else Rewards(rewards.total[rows], {k: v[rows] for k, v in rewards.components.items()}),
        )

    @classmethod
    def join(cls, batches: Sequence[RolloutBatch]) -> RolloutBatch:
        """One batch out of several; the trainer replays the first one's mask, rule, temperature.

        Rows of a batch that was sampled otherwise are marked ``off_policy``.
        """
        first = batches[0]
        width = max(b.rollouts.response_ids.shape[1] for b in batches)

        def stack(name: str) -> Tensor:
            parts = [getattr(b.rollouts, name) for b in batches]
            return torch.cat([torch.nn.functional.pad(p, (0, width - p.shape[1])) for p in parts])

        rollouts = Rollouts(
            prompt_ids=[p for b in batches for p in b.rollouts.prompt_ids],
            response_ids=stack("response_ids"),
            response_mask=stack("response_mask"),
            logprobs=stack("logprobs"),
            truncated=torch.cat([b.rollouts.truncated for b in batches]),
        )
        rows = [b.tokens.mask_rows for b in batches if b.tokens.mask_rows is not None]
        tokens = replace(
            first.tokens,
            prompt_ids=rollouts.prompt_ids,
            response_ids=rollouts.response_ids,
            response_mask=rollouts.response_mask,
            mask_rows=torch.cat(rows) if rows else None,
            row_keys=[k for b in batches for k in b.tokens.row_keys],
        )

        def chain(name: str) -> list[Any]:
            return [value for b in batches for value in getattr(b, name)]

        def marked(name: str) -> list[float]:
            return [m for b in batches for m in b.marks.get(name, [math.nan] * len(b))]

        off_policy = [
            off
            for b in batches
            for off in (b.off_policy or [not _sampled_alike(b.tokens, first.tokens)] * len(b))
        ]

        rewards = [b.rewards for b in batches if b.rewards is not None]
        return cls(
            rollouts=rollouts,
            tokens=tokens,
            **{n: chain(n) for n in _LISTS},
            off_policy=off_policy,
            marks={name: marked(name) for name in sorted({n for b in batches for n in b.marks})},
            rewards=None if len(rewards) < len(batches) else Rewards.join(rewards),
        )


_LISTS = (
    "group_id",
    "prompt_id",
    "texts",
    "gold",
    "questions",
    "proposals",
    "tallies",
    "solutions",
    "jury",
)


def _sampled_alike(a: TokenBatch, b: TokenBatch) -> bool:
    return a.temperature == b.temperature and a.mask == b.mask


@dataclass(frozen=True)
class RolloutTools:
    """What `Method.after_rollout` may do beside editing the batch; all of it is in the ledger.

    Attributes:
        params: how the batch was sampled.
        resample: (batch, rows, sampling, prefixes) -> ``n`` new rows for each of the rows given,
            with the prompts, groups, questions and labels of those; not scored. A prefix
            (response tokens, one list per row; None: no prefixes) is read with the prompt, takes
            part in the text, and is not trained on.
        more: a number of prompts -> a further, scored batch of fresh prompts in groups of its own.
        score: fill in proposals, votes and rewards of a batch.
        measure: log-probs and entropies [R, T] of a batch under the policy as it is.
        join: one batch out of several.
    """

    params: SamplingParams
    resample: Callable[
        [RolloutBatch, Sequence[int], SamplingParams, Sequence[Sequence[int]] | None], RolloutBatch
    ]
    more: Callable[[int], RolloutBatch]
    score: Callable[[RolloutBatch], RolloutBatch]
    measure: Callable[[RolloutBatch], tuple[Tensor, Tensor]]
    join: Callable[[Sequence[RolloutBatch]], RolloutBatch] = RolloutBatch.join
