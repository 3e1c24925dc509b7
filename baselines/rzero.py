"""R-Zero, the baseline (arXiv 2508.05004), as intended and as published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.engines import SamplingParams
from harness.grading.votes import Tally
from harness.methods import (
    Ballots,
    Curriculum,
    HookContext,
    Method,
    MethodParams,
    Pool,
    RolloutBatch,
    register,
)
from harness.roles import Rewards


@register("rzero")
class RZero(Method):
    """R-Zero as intended: uncertainty reward minus repetition share, difficulty window, GRPO.

    Equation: r = min(p, 1 - p) - |cluster| / R, invalid -1, where p is the majority's share of all
    M votes; 'no answer' never wins a vote; the last box is the answer; the solver trains on
    questions with |p - 1/2| <= 1/4. Source: arXiv 2508.05004; the reward has its code's scale,
    half of the paper's uncertainty term.
    Defaults: the configuration's, each of them R-Zero's where it states one.
    Hook: none; every hook of `harness.methods` changes this loop.
    Unconfirmed: nothing.
    """

    paper = "2508.05004"
    off: ClassVar[Mapping[str, Any]] = {}


@register("rzero_code")
class RZeroCode(Method):
    """R-Zero as its published scripts behave; each of their quirks is an option.

    Equation: as `rzero`, but an unboxed response votes for the literal answer 'None'; invalid
    questions cost -1 - share; labels come from 9 votes, their score taken over the non-empty ones;
    the window is .3 to .8 and drops the majority answers '' and 'None'; questions that hold 'box'
    or the Chinese word for 'prove' and majority answers that hold 'text' are dropped; top_p is .99
    in training and .95 in generation (log-probs over the full softmax), top_k 40 in votes; the
    solver's reward is .9 correct + .1 format, the format asking for a think block that the prompt
    never mentions. Source: Chengsong-Huang/R-Zero at 5699329 (reward function, question generation
    and evaluation scripts), the code of arXiv 2508.05004.
    Defaults: the scripts' values; None leaves the profile's.
    Hook: `sampling`, `label`, `reward`, `select`; both roles, all phases.
    Unconfirmed: nothing. Not reproduced: the crash below 512 survivors (defined behaviour is the
    same for all entries), and GPU-indexed seeds.
    """

    paper = "2508.05004"
    off: ClassVar[Mapping[str, Any]] = {
        "none_is_answer": False,
        "invalid_pays_share": False,
        "label_votes": None,
        "label_denominator": "all",
        "window_low": None,
        "window_high": None,
        "drop_none": False,
        "drop_words": False,
        "train_top_p": None,
        "generate_top_p": None,
        "vote_top_k": None,
        "format_weight": 0.0,
    }

    class Params(MethodParams):
        none_is_answer: bool = Field(True, description="no answer votes for 'None'")
        invalid_pays_share: bool = Field(True, description="invalid reward is -1 - share")
        label_votes: int | None = Field(9, ge=2, description="votes per label")
        label_denominator: Literal["non_empty", "all"] = "non_empty"
        window_low: float | None = Field(0.3, ge=0, le=1, description="least p_hat")
        window_high: float | None = Field(0.8, ge=0, le=1, description="greatest p_hat")
        drop_none: bool = Field(True, description="drop the majority answers '' and 'None'")
        drop_words: bool = Field(True, description="drop 'box'/'prove' questions, 'text' answers")
        train_top_p: float | None = Field(0.99, gt=0, le=1, description="both roles")
        generate_top_p: float | None = Field(0.95, gt=0, le=1, description="proposer")
        vote_top_k: int | None = Field(40, ge=0, description="solver; 0: no truncation")
        format_weight: float = Field(0.1, ge=0, le=1, description="share of the solver's reward")

    def sampling(self, ctx: HookContext, params: SamplingParams) -> SamplingParams:
        p = self.params
        votes = p.label_votes if ctx.phase == "label" else None
        changes = {
            "train": {"top_p": p.train_top_p},
            "generate": {"top_p": p.generate_top_p},
        }.get(ctx.phase, {"n": votes, "top_k": p.vote_top_k})
        changed = replace(params, **{k: v for k, v in changes.items() if v is not None})
        if changed == params:
            return params
        ctx.count("batches_sampled_otherwise")
        return changed

    def label(self, ctx: HookContext, ballots: Ballots, tallies: list[Tally]) -> list[Tally]:
        if self.params.none_is_answer:
            tallies = [_with_none(t) for t in tallies]
            ctx.count("none_majorities", sum(t.answer == "None" for t in tallies))
        if ctx.phase == "label" and self.params.label_denominator == "non_empty":
            tallies = [_over_non_empty(t, self.params.none_is_answer) for t in tallies]
        return tallies

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role == "solver":
            weight = self.params.format_weight
            if not weight:
                return rewards
            think = np.array([_has_format(t) for t in batch.texts], dtype=np.float64)
            correct = rewards.components["correct"]
            ctx.count("solver_rewards_changed", int((think != correct).sum()))
            parts = {"correct": (1 - weight) * correct, "format": weight * think}
            return Rewards(parts["correct"] + parts["format"], parts)
        if not self.params.invalid_pays_share:
            return rewards
        # Their empty strings have BLEU 0 with each other, so each is a cluster of its own.
        share = np.where(batch.valid, 0.0, 1.0 / len(batch))
        ctx.count("invalid_rows", int((~batch.valid).sum()))
        return rewards.plus("invalid_share", -share)

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        p = self.params
        if p.window_low is None and p.window_high is None:
            index = curriculum.index
        else:
            low, high = ctx.config.curriculum.window_low, ctx.config.curriculum.window_high
            low = low if p.window_low is None else p.window_low
            high = high if p.window_high is None else p.window_high
            answered = np.array([t.answer is not None for t in pool.tallies], dtype=bool)
            inside = (pool.p_hat >= low - 1e-9) & (pool.p_hat <= high + 1e-9)
            index = np.flatnonzero(answered & inside)
        kept = [i for i in index if not self._drops(ctx, pool, int(i))]
        unchanged = np.array_equal(kept, curriculum.index)
        return curriculum if unchanged else Curriculum(np.array(kept, dtype=np.int64))

    def _drops(self, ctx: HookContext, pool: Pool, i: int) -> bool:
        """Whether the scripts throw a question out whatever its score."""
        question, answer = pool.questions[i], pool.tallies[i].answer
        if self.params.drop_none and answer in ("", "None"):
            return True
        if self.params.drop_words and (
            "box" in question.lower() or "证明" in question or "text" in str(answer)
        ):
            ctx.count("dropped_by_word")
            return True
        return False


def _has_format(text: str) -> bool:
    """``<think>...</think>...\\boxed{...}`` from the start; linear, unlike the published regex."""
    position = len(text) - len(text.lstrip())
    if not text.startswith("<think>", position):
        return False
    position += len("<think>")
    for mark in ("</think>", "\\boxed{", "}"):
        position = text.find(mark, position) + len(mark)
        if position < len(mark):
            return False
    return True


def _with_none(tally: Tally) -> Tally:
    """Let the votes without an answer form the cluster 'None'."""
    missing = tally.cluster.count(-1)
    sizes = Counter(c for c in tally.cluster if c >= 0)
    best = max(sizes.values(), default=0)
    if missing <= best:
        return tally
    cluster = tuple(0 if c < 0 else c + 1 for c in tally.cluster)
    return replace(tally, answer="None", p_hat=missing / len(cluster), cluster=cluster)


def _over_non_empty(tally: Tally, none_is_answer: bool) -> Tally:
    """p_hat over the votes that hold something ('None' included where it is an answer)."""
    held = len(tally.cluster) if none_is_answer else tally.n_answers
    if not held:
        return replace(tally, p_hat=0.0)
    return replace(tally, p_hat=tally.p_hat * len(tally.cluster) / held)
