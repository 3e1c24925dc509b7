"""Methods that are wrong in one way each.

Equation: r' = r.
Defaults: none.
Hook: `reward`, `token_loss` and others, of both roles.
Unconfirmed: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from harness.config import RunConfig
from harness.engines import SamplingParams
from harness.errors import HarnessError
from harness.grading.votes import Tally
from harness.grpo import TokenInputs, TokenLoss
from harness.masks import ProtectedSet, VocabMask
from harness.methods import (
    Ballots,
    Curriculum,
    HookContext,
    Method,
    MethodParams,
    Pool,
    RolloutBatch,
    RolloutTools,
)
from harness.roles import Rewards


class Bonus(Method):
    """What the broken ones share: a small bonus for every row."""

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        return np.linspace(0.0, 0.1, len(batch))

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        ctx.count("rows", len(batch))
        return rewards.plus("bonus", self.bonus(ctx, batch))


class GlobalRandom(Bonus):
    """Draws from numpy's global generator."""

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        return np.random.random(len(batch))  # noqa: NPY002


class NumpyErrors(Bonus):
    """Turns numpy's warnings off for everybody."""

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        np.seterr(all="ignore" if np.geterr()["divide"] != "ignore" else "warn")
        return super().bonus(ctx, batch)


class Unseeded(Bonus):
    """Draws from a generator of its own without a seed."""

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        return np.random.default_rng().random(len(batch))


class Forgetful(Bonus):
    """Remembers how many rows it saw, but not across a restart."""

    seen = 0

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        self.seen += len(batch)
        return np.linspace(0.0, 1.0, len(batch)) ** self.seen


class NumberedState(Bonus):
    """A state whose keys JSON turns into text."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": {1: 2.0}}


class KeepsNothing(Bonus):
    """A state that load_state_dict doesn't take back."""

    last = 0.0

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        self.last += 1.0
        return super().bonus(ctx, batch)

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last}


class _Drifting:
    """A rule that no call sees twice."""

    replay: Literal["current"] = "current"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        self.calls += 1
        shift = torch.zeros_like(logits)
        shift[:, self.calls % logits.shape[1] :: 3] = 1.0
        return logits + shift


class RuleNotReplayed(Method):
    """A rule on the logits that the trainer can't replay as it was."""

    def logits_rule(self, ctx: HookContext, rule: Any) -> Any:
        ctx.count("batches")
        return _Drifting()


class _Leaky(VocabMask):
    """Says that it drops tokens, and lets the engine have them."""

    def keep(self, rows: Tensor, logits_size: int) -> Tensor:
        return torch.ones(len(rows), logits_size, dtype=torch.bool)


class LeakyMask(Method):
    """A mask that isn't honoured."""

    kind: type[VocabMask] = _Leaky

    def protected(self, ctx: HookContext) -> ProtectedSet:
        return ctx.protected

    def mask(self, ctx: HookContext, mask: VocabMask | None) -> VocabMask | None:
        ctx.count("batches")
        size = len(ctx.tokenizer)
        return self.kind(ctx.key("broken"), 0.9, self.protected(ctx), size)


class MaskOverProtected(LeakyMask):
    """A mask that drops what the profile protects."""

    kind = VocabMask

    def protected(self, ctx: HookContext) -> ProtectedSet:
        return ProtectedSet((), ())


class NanOnShortRows(Method):
    """A standard deviation over a row's tokens: nan where there is only one."""

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        ctx.count("rows", len(x.mask))
        rows = [row[there].std() for row, there in zip(x.logp, x.mask, strict=True)]
        return replace(loss, loss=loss.loss + 1e-3 * torch.stack(rows)[:, None])


class NeedsAQuestion(Bonus):
    """Falls over where no question is valid."""

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        best = batch.p_hat[batch.valid].max() if ctx.role == "proposer" else 1.0
        return np.full(len(batch), 0.1 * best)


class Uncounted(Method):
    """Samples behind the ledger's back."""

    def after_rollout(
        self, ctx: HookContext, batch: RolloutBatch, tools: RolloutTools
    ) -> RolloutBatch:
        engine = tools.more.__self__.stage.engine  # type: ignore[attr-defined]
        engine.generate(batch.rollouts.prompt_ids[:1], SamplingParams(3), row_keys=[1])
        ctx.count("rows")
        return batch


class NoOp(Bonus):
    """Promises a reward and changes nothing."""

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        ctx.count("rows", 0)
        return rewards


class FlatAdvantage(Method):
    """Advantages without their channel."""

    def advantage(
        self, ctx: HookContext, batch: RolloutBatch, advantages: Tensor, blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.count("rows", len(batch))
        return advantages[0], blend


class UncountedPart(Bonus):
    """A reward whose components aren't all there."""

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        ctx.count("rows", len(batch))
        return Rewards(rewards.total + self.bonus(ctx, batch), rewards.components)


class FalseOff(Bonus):
    """Off isn't off: half the bonus stays."""

    off: Mapping[str, Any] = {"weight": 0.0}  # type: ignore[misc]

    class Params(MethodParams):
        weight: float = Field(1.0, ge=0, description="of the bonus")

    def bonus(self, ctx: HookContext, batch: RolloutBatch) -> Any:
        return (0.5 + self.params.weight) * super().bonus(ctx, batch)


class Picky(Bonus):
    """Wants another world; not wrong in any way."""

    off: Mapping[str, Any] = {}  # type: ignore[misc]

    def check(self, config: RunConfig) -> None:
        raise HarnessError("picky: needs a profile with teachers")


class FallsOver(Bonus):
    """Raises at the end of an iteration."""

    def on_iteration_end(self, ctx: HookContext, metrics: Mapping[str, float | None]) -> None:
        raise RuntimeError("no such thing")


class NeedsAPool(Method):
    """Selects the first question, whether there is one or not."""

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        ctx.count("selected", len(curriculum))
        return curriculum if len(pool.questions) else Curriculum(np.array([0]))


class NeedsAnAnswer(Method):
    """Falls over where nobody answers any question."""

    def label(self, ctx: HookContext, ballots: Ballots, tallies: list[Tally]) -> list[Tally]:
        ctx.count("labels", len(tallies))
        _ = [a for row in ballots.answers for a in row if a is not None][0]  # noqa: RUF015
        return tallies


@dataclass
class Case:
    """A broken method, and the one check that is to find it."""

    cls: type[Method]
    check: str
    told: str


RUN = [
    Case(GlobalRandom, "global-state-untouched", "reward changes numpy.random"),
    Case(NumpyErrors, "global-state-untouched", "reward changes numpy's error mode"),
    Case(Unseeded, "deterministic-per-seed", "two runs of one seed differ: iterations/01"),
    Case(Forgetful, "state-survives-a-kill", "killed and gone on with differs"),
    Case(NumberedState, "state-survives-a-kill", "written as JSON and read back"),
    Case(KeepsNothing, "state-survives-a-kill", "gives another state"),
    Case(RuleNotReplayed, "sampler-and-trainer-agree", "is not 1"),
    Case(LeakyMask, "mask-honoured", "tokens of a response are masked"),
    Case(MaskOverProtected, "mask-honoured", "protected tokens are masked"),
    Case(NanOnShortRows, "gradients-finite-on-edges", "one token per response"),
    Case(NeedsAQuestion, "gradients-finite-on-edges", "proposer, all rows invalid: ValueError"),
    Case(Uncounted, "extra-tokens-counted", "are in the ledger"),
    Case(NoOp, "something-touched", "all counts are 0: rows"),
    Case(FlatAdvantage, "outputs-well-formed", "advantage: the advantages has shape"),
    Case(UncountedPart, "outputs-well-formed", "the components miss the total"),
    Case(FalseOff, "off-is-the-baseline", "with {'weight': 0.0} iterations/01"),
    Case(FallsOver, "smoke-run-completes", "RuntimeError: no such thing"),
    Case(NeedsAnAnswer, "edge-pools-selected", "questions that nobody answered: IndexError"),
    Case(NeedsAPool, "edge-pools-selected", "an empty pool: select: the index leaves the pool"),
]


# What needs no run to be found.


class NoDocstring(Bonus):
    pass


class NoFullStop(Bonus):
    """A summary that goes on and on"""


class NoNumber(Bonus):
    """A summary line of a fair length."""

    paper = "2508.05004"


class Misspelt(Method):
    """A hook that the loop will never call."""

    def rewards(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        return rewards


class TooFewArguments(Method):
    """A hook with an argument less than it is called with."""

    def reward(self, ctx: HookContext, batch: RolloutBatch) -> Rewards:  # type: ignore[override]
        raise NotImplementedError


class Unexplained(Bonus):
    """A parameter that nobody explains."""

    class Params(MethodParams):
        weight: float = 1.0


class TakesAnything(Bonus):
    """A parameter without a type."""

    class Params(MethodParams):
        weight: Any = Field(1.0, description="whatever")


class BadOff(Bonus):
    """Its own off is out of bounds."""

    off: Mapping[str, Any] = {"weight": 0.0}  # type: ignore[misc]

    class Params(MethodParams):
        weight: float = Field(1.0, gt=0, description="of the bonus")


DECLARED = [
    Case(NoDocstring, "docstring-complete", "no docstring"),
    Case(NoFullStop, "docstring-complete", "full stop"),
    Case(NoNumber, "docstring-complete", "arXiv 2508.05004 isn't named"),
    Case(Misspelt, "hooks-spelt-right", "rewards is no hook; is reward meant?"),
    Case(TooFewArguments, "hooks-spelt-right", "reward: called with 3 arguments"),
    Case(Unexplained, "parameters-validated", "weight: no description"),
    Case(TakesAnything, "parameters-validated", "weight: takes"),
    Case(BadOff, "parameters-validated", "its own {'weight': 0.0}: weight:"),
]
