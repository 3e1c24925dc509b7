"""The Method class: R-Zero as it is, with a hook wherever something can be changed.

Every hook receives the value so far (R-Zero's, or that of the method before it in ``a+b``) and
returns the value to use. A method overrides only what it changes; the loop never asks which
method runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from harness.checker import Checker
from harness.config.schema import RunConfig
from harness.engines.base import LogitsRule, SamplingParams
from harness.grading.votes import Tally
from harness.grpo import Coefficients, TokenInputs, TokenLoss
from harness.masks import ProtectedSet, VocabMask
from harness.methods.batch import RolloutBatch, RolloutTools
from harness.rng import key64, stream
from harness.roles import Message, Rewards, Role

Phase = Literal["train", "generate", "vote", "label"]
Array = npt.NDArray[np.float64]


class MethodParams(BaseModel):
    """Typed parameters of a method; unknown names and numbers that are not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass
class HookContext:
    """Where in the run a hook is called.

    Attributes:
        role: whose rollouts, votes or updates these are.
        phase: ``train`` (rollouts and updates), ``generate`` (curriculum), ``vote`` (the reward's
            votes), ``label`` (the curriculum's votes).
        iteration: 1-based.
        step: rollout step in ``train``, batch number in ``generate``, 0 elsewhere.
        checker: the world's oracle, where the profile has one; for metrics and for methods that
            say so in their name.
        tally: answers of some questions, [n][M] -> how they fall; clusters by equivalence.
        archive: questions of all earlier iterations, oldest first.
        embed: texts -> unit vectors [n, d] by the profile's embedder.
        counts: what the method touched, by name; summed into the iteration's metrics.
    """

    role: Role
    phase: Phase
    iteration: int
    step: int
    seed: int
    config: RunConfig
    tokenizer: Any
    protected: ProtectedSet
    archive: Sequence[Sequence[str]]
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]]
    tally: Callable[[Sequence[Sequence[str | None]]], list[Tally]]
    checker: Checker | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def stream(self, *names: str | int) -> np.random.Generator:
        """A random stream of this place in the run."""
        return stream(self.seed, self.role, self.phase, self.iteration, self.step, *names)

    def key(self, *names: str | int) -> int:
        """A 64-bit key of this place in the run."""
        return key64(self.seed, self.role, self.phase, self.iteration, self.step, *names)

    def minibatches(
        self, groups: Sequence[int], parts: int, epoch: int = 0
    ) -> list[npt.NDArray[np.int64]]:
        """The groups of each optimiser update of a step: shuffled, in ``parts`` parts."""
        shuffled = self.stream("minibatches", epoch).permutation(np.unique(groups))
        return np.array_split(shuffled, min(parts, len(shuffled)))

    def count(self, name: str, n: float = 1) -> None:
        """Report that the method touched ``n`` tokens, rows or questions."""
        self.counts[name] += n  # type: ignore[assignment]


@dataclass(frozen=True)
class Ballots:
    """What the solver answered: n questions, M responses each.

    Attributes:
        questions: [n].
        answers: [n][M], None where a response has none.
        texts: [n][M], the responses.
        logprobs: [n, M], mean log-prob of a response's tokens.
    """

    questions: Sequence[str]
    answers: Sequence[Sequence[str | None]]
    texts: Sequence[Sequence[str]]
    logprobs: Array


@dataclass(frozen=True)
class Pool:
    """The generated questions with their votes: N questions, all valid.

    Attributes:
        solutions: the first response that gives the majority's answer; None where nobody answered.
        surprisal: mean -log-prob of a proposal's tokens under the proposer that wrote it, nats.
    """

    questions: list[str]
    tallies: list[Tally]
    solutions: list[str | None]
    surprisal: Array

    @property
    def p_hat(self) -> Array:
        """The majority's share of the votes, [N]."""
        return np.array([t.p_hat for t in self.tallies], dtype=np.float64)


@dataclass(frozen=True)
class Curriculum:
    """What the solver trains on.

    Attributes:
        index: [n] rows of the pool; repeats weigh a question up.
        replay: further (question, answer) rows from elsewhere.
    """

    index: npt.NDArray[np.int64]
    replay: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.index) + len(self.replay)


@dataclass(frozen=True)
class TokenTools:
    """What `Method.token_stats` may ask of the old policy.

    Attributes:
        logprobs: a rule on logits [n, V] (of n response tokens, after mask and rule, before the
            temperature) -> the response tokens' log-probs [R, T] under it; -inf where it drops one.
    """

    logprobs: Callable[[Callable[[Tensor], Tensor]], Tensor]


class Method:
    """R-Zero (arXiv 2508.05004). Override a hook to change it.

    Class attributes: ``name`` is set by the registry; ``paper`` is an arXiv id; ``Params`` the
    parameters, at ``self.params``; ``off`` parameters with which the method is R-Zero (None: there
    are none); ``active`` parameters with which even a run of a minute is touched.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    Params: ClassVar[type[MethodParams]] = MethodParams
    off: ClassVar[Mapping[str, Any] | None] = None
    active: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params: Any = self.Params.model_validate(dict(params or {}))

    def check(self, config: RunConfig) -> None:
        """Refuse a configuration that the method can't work with, before anything is written.

        Raises:
            HarnessError: what is missing.
        """

    def files(self) -> tuple[Path, ...]:
        """Files that the method reads; what is in them is part of a run's identity."""
        return ()

    def coefficients(self, ctx: HookContext, coefficients: Coefficients) -> Coefficients:
        """Clip, KL and entropy coefficients of this step; given: the stage's configuration."""
        return coefficients

    def jury(self, ctx: HookContext, snapshots: tuple[int, ...]) -> tuple[int, ...]:
        """The iterations whose solvers vote in the proposer's reward (0: the base model).

        The first one's votes are p_hat; all are in ``RolloutBatch.jury``. A snapshot must be asked
        for in every iteration from its own on, since others are dropped.
        """
        return snapshots

    def prompts(self, ctx: HookContext, messages: list[list[Message]]) -> list[list[Message]]:
        """The chats, one per prompt; rows that render alike share a ``prompt_id``."""
        return messages

    def sampling(self, ctx: HookContext, params: SamplingParams) -> SamplingParams:
        """How this role samples in this phase (``n``: group size or votes)."""
        return params

    def mask(self, ctx: HookContext, mask: VocabMask | None) -> VocabMask | None:
        """A vocabulary mask for this step's rollouts; the trainer replays it."""
        return mask

    def logits_rule(self, ctx: HookContext, rule: LogitsRule | None) -> LogitsRule | None:
        """A rule on the logits for this step's rollouts; the trainer replays it."""
        return rule

    def after_rollout(
        self, ctx: HookContext, batch: RolloutBatch, tools: RolloutTools
    ) -> RolloutBatch:
        """Add, drop or replace rows of a scored batch."""
        return batch

    def label(self, ctx: HookContext, ballots: Ballots, tallies: list[Tally]) -> list[Tally]:
        """Majority and p_hat from the votes, for rewards (phase vote) and labels (phase label)."""
        return tallies

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        """Rewards [R] with their components."""
        return rewards

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advantages [K, R, T] and channel weights [K, R]."""
        return advantages, blend

    def token_stats(
        self, ctx: HookContext, batch: RolloutBatch, stats: dict[str, Tensor], tools: TokenTools
    ) -> dict[str, Tensor]:
        """Named [R, T] tensors of the old policy (``old``, ``ref``, ``entropy`` are there)."""
        return stats

    def candidates(
        self, ctx: HookContext, batch: RolloutBatch, candidates: Tensor | None
    ) -> Tensor | None:
        """Other tokens, long [R, T, C] (-1: none), whose log-probs `token_loss` needs."""
        return candidates

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        """Loss and mean's weights, [m, T] each."""
        return loss

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        """What the solver trains on, from the labelled pool (base: the difficulty window)."""
        return curriculum

    def steps(self, ctx: HookContext, steps: int) -> int:
        """Rollout steps of this role in this iteration; 0 leaves it as it is."""
        return steps

    def on_step_end(self, ctx: HookContext, metrics: Mapping[str, float]) -> None:
        """After a step's updates."""

    def on_iteration_end(self, ctx: HookContext, metrics: Mapping[str, float | None]) -> None:
        """After an iteration's measurements."""

    def state_dict(self) -> dict[str, Any]:
        """The method's own state as JSON values; saved with every checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""


HOOKS: tuple[str, ...] = (
    "steps",
    "jury",
    "coefficients",
    "prompts",
    "sampling",
    "mask",
    "logits_rule",
    "label",
    "reward",
    "after_rollout",
    "advantage",
    "token_stats",
    "candidates",
    "token_loss",
    "on_step_end",
    "select",
    "on_iteration_end",
)
"""In the order in which the loop meets them."""

EXCLUSIVE: tuple[str, ...] = ("jury", "mask", "logits_rule", "candidates", "token_loss", "select")
"""Hooks that replace rather than add: two methods that both claim one don't compose."""


def overridden(method: type[Method]) -> tuple[str, ...]:
    """The hooks that a method changes."""
    return tuple(h for h in HOOKS if getattr(method, h) is not getattr(Method, h))
