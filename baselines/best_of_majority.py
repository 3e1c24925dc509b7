"""Best-of-Majority labels (arXiv 2510.03199): the best answer among the frequent ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from harness.grading.votes import Tally
from harness.methods import Ballots, HookContext, Method, MethodParams, register


@register("best_of_majority")
class BestOfMajority(Method):
    """label = argmax over answers with vote share >= alpha of the mean log-prob of its responses.

    p_hat becomes the share of the chosen answer, so that the difficulty window asks how often the
    solver agrees with the label that it is trained on; rewards of the proposer keep the majority's.
    Where no answer reaches alpha, the majority stays. A tie falls to the more frequent answer.

    Equation: a* = argmax_{a: n_a / M >= alpha} mean_{i: a_i = a} (1/T_i) sum_t log pi(y_it).
    Defaults: alpha .25, ours; 1 is the majority. The paper's reward model is replaced by the
        solver's own mean log-prob, since there is no reward model in the loop.
    Hook: ``label`` of the solver's votes, phase ``label`` only.
    Unconfirmed: the paper (arXiv 2510.03199) restricts candidates to frequent ones and then takes
        the k highest rewards for pass@k; its threshold depends on a coverage coefficient that isn't
        known here. One answer (k = 1) as a pseudo-label is our adaptation.
    """

    paper = "2510.03199"
    off: ClassVar[Mapping[str, Any]] = {"alpha": 1.0}

    class Params(MethodParams):
        alpha: float = Field(0.25, gt=0, le=1, description="least vote share; 1: the majority")

    def label(self, ctx: HookContext, ballots: Ballots, tallies: list[Tally]) -> list[Tally]:
        if ctx.phase != "label" or self.params.alpha == 1:
            return tallies
        changed = [
            choose(t, answers, logprobs, self.params.alpha)
            for t, answers, logprobs in zip(tallies, ballots.answers, ballots.logprobs, strict=True)
        ]
        ctx.count("labels_changed", sum(a is not b for a, b in zip(tallies, changed, strict=True)))
        return changed


def choose(
    tally: Tally,
    answers: Sequence[str | None],
    logprobs: npt.NDArray[np.float64],
    alpha: float,
) -> Tally:
    """The tally with the chosen cluster as number 0; the very same one where that is the majority.

    Args:
        answers: [M].
        logprobs: [M], mean log-prob of each response's tokens.
        alpha: least share of the M votes.
    """
    cluster = np.array(tally.cluster, dtype=np.int64)
    best, best_score = 0, -np.inf
    for c in range(tally.n_clusters):
        members = cluster == c
        if members.mean() >= alpha - 1e-9 and (score := logprobs[members].mean()) > best_score:
            best, best_score = c, score
    if best == 0:
        return tally
    names = [a.strip() for a, c in zip(answers, tally.cluster, strict=True) if a and c == best]
    # Ids stay ranks: the chosen one comes first, those that it overtook move back by one.
    order = np.where(cluster == best, 0, cluster + ((cluster >= 0) & (cluster < best)))
    return replace(
        tally,
        answer=min(names, key=lambda text: (len(text), text)),
        p_hat=float((cluster == best).mean()),
        cluster=tuple(int(c) for c in order),
    )
