"""MAP-Elites (arXiv 1504.04909) for a proposer: one best question per cell, paid for improving it.

Equation: cell(q) = (topic, floor(bins p), floor(log2 characters)); l = 4 p (1 - p), learnability;
    r' = r + weight max(0, l(q) - l(elite of cell(q))), an empty cell's elite having l = 0.
    Topic: the nearest of ``topics`` centroids, of Ward's clusters of the first batch with as many
    different questions (nothing happens before), or the majority solution's skeleton, hashed.
Defaults: weight .25, 8 topics, 5 difficulty bins, ours; no published value fits a question.
Hook: ``reward`` (proposer, train) and, with ``examples`` > 0, ``prompts`` (proposer, train and
    generate); the archive is the method's state.
Unconfirmed: the whole transfer to questions is our adaptation. Learnability varies little inside a
    difficulty bin, so cells mostly reward reaching new ones; that is meant.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from baselines._selection import Array, clusters, learnability
from harness.diversity.semantic import unit_rows
from harness.diversity.skeletons import skeleton
from harness.methods import HookContext, Method, MethodParams, RolloutBatch, register
from harness.roles import Message, Rewards


@register("map_elites")
class MapElites(Method):
    """r' = r + weight max(0, 4p(1-p) - that of its cell's elite); cell: topic, difficulty, length.

    All rows of a step are measured against the archive as it was before the step, so that their
    order doesn't matter; the step's best enter it afterwards. A question on which the votes are
    unanimous, or that nobody answers, has l = 0 and never enters.

    ``examples`` > 0 ends the user's message with that many elites, drawn with a weight of one over
    the filled cells of their topic, so that sparse topics are shown more. A tiny model that was
    taught a single prompt has never seen such a message, and may ask nothing valid any more (the
    ladder's base does): the option is for instruction-tuned ones.
    """

    paper = "1504.04909"
    off: ClassVar[Mapping[str, Any]] = {"weight": 0.0, "examples": 0}
    active: ClassVar[Mapping[str, Any]] = {"topics": 2}

    class Params(MethodParams):
        weight: float = Field(
            0.25, ge=0, le=100, description="of the improvement of a cell, in [0, 1]"
        )
        topics: int = Field(8, ge=1, le=256, description="kinds of questions told apart")
        topic: Literal["centroids", "skeleton"] = Field(
            "centroids", description="of the questions' embeddings, or of their solutions"
        )
        bins: int = Field(5, ge=1, le=50, description="of difficulty p")
        examples: int = Field(0, ge=0, le=8, description="elites shown in the proposer's prompt")

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self.elites: dict[str, tuple[str, float]] = {}
        """Cell -> question and its p."""
        self.centroids: list[list[float]] = []
        self._step: dict[str, tuple[str, float]] = {}
        """What the step found to be better, until its end."""

    def reward(self, ctx: HookContext, batch: RolloutBatch, rewards: Rewards) -> Rewards:
        params = self.params
        if ctx.role != "proposer" or (params.weight == 0 and params.examples == 0):
            return rewards
        rows = [i for i, t in enumerate(batch.tallies) if t is not None]
        questions = [str(batch.proposals[i].question) for i in rows]
        p = batch.p_hat[rows]
        cells = self._cells(ctx, questions, p, [batch.solutions[i] for i in rows])
        gains = np.zeros(len(batch))
        for row, question, p_i, l_i, cell in zip(
            rows, questions, p.tolist(), learnability(p).tolist(), cells, strict=True
        ):
            if cell is None:
                continue
            gains[row] = max(0.0, l_i - _learnability(self.elites.get(cell)))
            if l_i > max(map(_learnability, (self.elites.get(cell), self._step.get(cell)))):
                self._step[cell] = (question, p_i)
        ctx.count("rows_that_improve_a_cell", int((gains > 0).sum()))
        return rewards.plus("map_elites", params.weight * gains) if params.weight else rewards

    def on_step_end(self, ctx: HookContext, metrics: Mapping[str, float]) -> None:
        if ctx.role != "proposer":
            return
        ctx.count("cells_filled", len(self._step.keys() - self.elites.keys()))
        self.elites.update(self._step)
        self._step = {}

    def prompts(self, ctx: HookContext, messages: list[list[Message]]) -> list[list[Message]]:
        if ctx.role != "proposer" or not self.params.examples or not self.elites:
            return messages
        cells = sorted(self.elites)
        per_topic = Counter(_topic(cell) for cell in cells)
        weights = np.array([1.0 / per_topic[_topic(cell)] for cell in cells])
        draw = ctx.stream("map_elites", "prompts")
        k = min(self.params.examples, len(cells))
        shown = []
        for chat in messages:
            drawn = draw.choice(len(cells), k, replace=False, p=weights / weights.sum())
            shown.append(_with_examples(chat, [self.elites[cells[i]][0] for i in drawn]))
        ctx.count("prompts_with_elites", len(messages))
        return shown

    def _cells(
        self, ctx: HookContext, questions: Sequence[str], p: Array, solutions: Sequence[str | None]
    ) -> list[str | None]:
        """The cell of each question, ``topic/difficulty/length``; None before there are topics."""
        bins = self.params.bins
        # The slack keeps a share that is a multiple of 1 / bins in the bin that it begins.
        difficulty = np.minimum((p * bins + 1e-9).astype(np.int64), bins - 1).tolist()
        topics = self._topics(ctx, questions, solutions)
        return [
            None if topic is None else f"{topic}/{d}/{len(question).bit_length() - 1}"
            for topic, d, question in zip(topics, difficulty, questions, strict=True)
        ]

    def _topics(
        self, ctx: HookContext, questions: Sequence[str], solutions: Sequence[str | None]
    ) -> Sequence[int | None]:
        if self.params.topic == "skeleton":
            found = [" ".join(skeleton(s or "")).encode() for s in solutions]
            return [zlib.crc32(s) % self.params.topics for s in found]
        if not questions or not (self.centroids or len(set(questions)) >= self.params.topics):
            return [None] * len(questions)
        rows = unit_rows(ctx.embed(questions))
        if not self.centroids:
            labels = clusters(rows, self.params.topics)
            means = [rows[labels == c].mean(axis=0).tolist() for c in range(labels.max() + 1)]
            self.centroids = means
        centres = np.array(self.centroids)
        # |row| = 1, so the nearest centre is that of the largest row . c - |c|^2 / 2.
        nearest: list[int] = np.argmax(rows @ centres.T - (centres**2).sum(1) / 2, axis=1).tolist()
        return nearest

    def state_dict(self) -> dict[str, Any]:
        return {
            "elites": {cell: [question, p] for cell, (question, p) in self.elites.items()},
            "centroids": [list(centre) for centre in self.centroids],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.elites = {
            cell: (question, float(p)) for cell, (question, p) in state["elites"].items()
        }
        self.centroids = [[float(x) for x in centre] for centre in state["centroids"]]


def _topic(cell: str) -> str:
    return cell.partition("/")[0]


def _learnability(elite: tuple[str, float] | None) -> float:
    return 0.0 if elite is None else 4.0 * elite[1] * (1.0 - elite[1])


def _with_examples(chat: Sequence[Message], examples: Sequence[str]) -> list[Message]:
    """The chat with the examples at the end of its last message."""
    listed = "\n".join(f"- {question}" for question in examples)
    *head, last = chat
    text = f"{last['content']}\n\nAsk something other than these:\n{listed}"
    return [*head, {**last, "content": text}]
