"""R-Zero, the baseline (arXiv 2508.05004), as intended and as published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from harness.engines import SamplingParams
from harness.grading.votes import Tally
from harness.methods import (
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

    r = min(p, 1 - p) - |cluster| / R, invalid -1, where p is the majority's share of all M votes;
    'no answer' never wins a vote; the last box is the answer; window |p - 1/2| <= 1/4.
    """

    paper = "2508.05004"


@register("rzero_code")
class RZeroCode(Method):
    """R-Zero as its published scripts behave; each of their quirks is an option.

    Source: Chengsong-Huang/R-Zero at 5699329 (reward function, question generation and
    evaluation scripts). Differences from the intended algorithm: an unboxed response votes for
    the literal answer 'None'; invalid questions cost -1 - share; labels come from 9 votes,
    their score taken over the non-empty ones; the window is .3 to .8 and drops the majority
    answers '' and 'None'; questions that hold 'box' or the Chinese word for 'prove' and
    majority answers that hold 'text' are dropped; top_p is .99 in training and .95 in
    generation (log-probs over the full softmax), top_k 40 in votes; the solver's reward is .9
    correct + .1 format, the format asking for a think block that the prompt never mentions. Not
    reproduced: the crash below 512 survivors (defined behaviour is the same for all entries),
    and GPU-indexed seeds.
    """

    paper = "2508.05004"

    class Params(MethodParams):
        none_is_answer: bool = Field(True, description="no answer votes for 'None'")
        invalid_pays_share: bool = Field(True, description="invalid reward is -1 - share")
        label_votes: int = Field(9, ge=2)
        label_denominator: Literal["non_empty", "all"] = "non_empty"
        window_low: float = Field(0.3, ge=0, le=1)
        window_high: float = Field(0.8, ge=0, le=1)
        drop_words: bool = Field(True, description="drop 'box'/'prove' questions, 'text' answers")
        train_top_p: float = Field(0.99, gt=0, le=1)
        generate_top_p: float = Field(0.95, gt=0, le=1)
        vote_top_k: int = Field(40, ge=0)
        format_weight: float = Field(0.1, ge=0, le=1)

    def sampling(self, ctx: HookContext, params: SamplingParams) -> SamplingParams:
        p = self.params
        if ctx.phase == "train":
            return replace(params, top_p=p.train_top_p)
        if ctx.phase == "generate":
            return replace(params, top_p=p.generate_top_p)
        n = p.label_votes if ctx.phase == "label" else params.n
        return replace(params, n=n, top_k=p.vote_top_k)

    def label(
        self, ctx: HookContext, votes: Sequence[Sequence[str | None]], tallies: list[Tally]
    ) -> list[Tally]:
        if self.params.none_is_answer:
            tallies = [_with_none(t) for t in tallies]
            ctx.count("none_majorities", sum(t.answer == "None" for t in tallies))
        if ctx.phase == "label" and self.params.label_denominator == "non_empty":
            tallies = [_over_non_empty(t, self.params.none_is_answer) for t in tallies]
        return tallies

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        if ctx.role == "solver":
            think = np.array([_has_format(t) for t in batch.texts], dtype=np.float64)
            weight = self.params.format_weight
            correct = rewards.components["correct"]
            parts = {"correct": (1 - weight) * correct, "format": weight * think}
            return Rewards(parts["correct"] + parts["format"], parts)
        if not self.params.invalid_pays_share:
            return rewards
        # Their empty strings have BLEU 0 with each other, so each is a cluster of its own.
        share = np.where(batch.valid, 0.0, 1.0 / len(batch))
        ctx.count("invalid_rows", int((~batch.valid).sum()))
        return rewards.plus("invalid_share", -share)

    def select(self, ctx: HookContext, pool: Pool, curriculum: Curriculum) -> Curriculum:
        low, high = self.params.window_low, self.params.window_high
        kept = []
        for i, (question, tally) in enumerate(zip(pool.questions, pool.tallies, strict=True)):
            answer = tally.answer
            if answer in (None, "", "None") or not low - 1e-9 <= tally.p_hat <= high + 1e-9:
                continue
            if self.params.drop_words and (
                "box" in question.lower() or "证明" in question or "text" in str(answer)
            ):
                ctx.count("dropped_by_word")
                continue
            kept.append(i)
        return Curriculum(np.array(kept, dtype=np.int64))


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
