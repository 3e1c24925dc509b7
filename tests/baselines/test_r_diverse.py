"""R-Diverse: skills, clusters, the bank and the replay, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
from reward_batches import place, proposed, reward, tally_of

from baselines.r_diverse import cluster_share, map_penalty, skill
from harness.diversity.embedders import HashingEmbedder
from harness.grading.votes import Tally
from harness.methods import Curriculum, Pool, build
from harness.policy import Policy

LABEL = tiny.make_context(role="solver", phase="label")
VECTORS = {"plus": [1, 0, 0], "times": [0, 1, 0], "q": [0, 0, 1], "plus times": [1, 1, 0]}


def pool_of(rows: list[tuple[str, float, str | None]], answer: str | None = "7") -> Pool:
    tallies = [tally_of(p, answer) for _, p, _ in rows]
    solutions = [s for _, _, s in rows]
    return Pool([q for q, _, _ in rows], tallies, solutions, np.zeros(len(rows)))


def test_skill_is_the_operations_in_words() -> None:
    assert skill("q", "12+16=28;-9=19;+6=25") == "plus minus"
    assert skill("q", r"\frac{3}{4} * 2 = \sqrt{x}") == "divided times root"
    assert skill("q", "the answer is 7") == "none"
    assert skill("q", None) == "q"


def test_skills_differ_under_the_hashing_embedder() -> None:
    """It reads letters only, so that bare signs would all be one direction."""
    embed = HashingEmbedder()
    texts = [skill("", s) for s in ("1+2", "1-2", "1*2", "1/2", "2^3", "1<2", "no", "1+2*3")]
    cosines = embed(texts) @ embed(texts).T
    assert (cosines[np.triu_indices(len(texts), 1)] < 0.9).all()


def test_clusters() -> None:
    """Two copies and an orthogonal one; at 45 degrees (distance .293) all within .3, none in .2."""
    rows = np.array([[1.0, 0], [1, 0], [0, 1]])
    assert cluster_share(rows, 0.5) == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    pair = np.array([[1.0, 0], [0.5**0.5, 0.5**0.5]])
    assert cluster_share(pair, 0.3) == pytest.approx([1, 1])
    assert cluster_share(pair, 0.2) == pytest.approx([0.5, 0.5])
    assert cluster_share(rows[:1], 0.5) == pytest.approx([1])


def test_map_penalty() -> None:
    """.5 (.9 - .5) + .5 (.35 - .25) = .25; .5 (1 - .5) = .25; none."""
    largest, mean = np.array([0.9, 1.0, 0.4]), np.array([0.35, 0.1, 0.25])
    assert map_penalty(largest, mean, 0.5, 0.25) == pytest.approx([0.25, 0.25, 0])


class TestReward:
    def test_repetition_is_by_skill(self, tiny_policy: Policy) -> None:
        """Two of four rows add, so that each loses 2/4; one multiplies: 1/4; R-Zero's own share of
        .25 is dropped. Without a bank there is no more."""
        ctx = place(VECTORS)
        batch = proposed(
            tiny_policy,
            ["a", "b", "c", None],
            [0.5, 0.5, 0.3, 0],
            0.25,
            solutions=["1+2", "3+4", "5*6", None],
        )
        found = reward(build("r_diverse")[0], ctx, batch)
        assert found.total == pytest.approx([0.0, 0.0, 0.05, -1])
        assert ctx.counts["questions_like_the_bank"] == 0
        assert ctx.counts["rewards_changed"] == 2  # the third had a share of 1/4 before

    def test_the_bank_is_remembered(self, tiny_policy: Policy) -> None:
        """Bank: plus, times. A question that adds: max 1, mean .5: .25 + .125 = .375; 'plus times':
        max = mean = .7071: .10355 + .22855 = .3321; the one without a solution: 0."""
        method = build("r_diverse:repetition_weight=0")[0]
        rows = [("u", 0.5, "1+2"), ("v", 0.5, "2*3")]
        method.select(LABEL, pool_of(rows), Curriculum(np.arange(2)))
        batch = proposed(tiny_policy, ["a", "b", "q"], [0.5] * 3, solutions=["1+2", "1+2*3", None])
        before = reward(method, place(VECTORS), batch)
        assert before.total == pytest.approx([0.5] * 3)  # it is not over yet
        method.on_iteration_end(LABEL, {})
        ctx = place(VECTORS)
        found = reward(method, ctx, batch)
        assert found.total == pytest.approx([0.125, 0.1679, 0.5], abs=1e-4)
        assert ctx.counts["questions_like_the_bank"] == 2


class TestBank:
    def test_who_enters(self) -> None:
        """.3 to .8 with an answer; the latest round's pool holds the earlier ones'."""
        method = build("r_diverse")[0]
        rows = [("low", 0.2, "1+1"), ("in", 0.3, None), ("also", 0.8, "2*2"), ("high", 0.9, None)]
        method.select(LABEL, pool_of(rows[:2]), Curriculum(np.arange(1)))
        method.select(LABEL, pool_of(rows), Curriculum(np.arange(1)))
        assert method.state_dict() == {
            "bank": [],
            "pending": [["in", "7", "in"], ["also", "7", "times"]],
        }
        method.on_iteration_end(LABEL, {})
        assert method.state_dict() == {
            "bank": [["in", "7", "in"], ["also", "7", "times"]],
            "pending": [],
        }
        method.select(LABEL, pool_of(rows, answer=None), Curriculum(np.arange(0)))
        assert method.state_dict()["pending"] == []

    def test_the_newest_stay(self) -> None:
        method = build("r_diverse:bank_size=3")[0]
        for start in (0, 2):
            rows = [(str(i), 0.5, None) for i in range(start, start + 2)]
            method.select(LABEL, pool_of(rows), Curriculum(np.arange(0)))
            method.on_iteration_end(LABEL, {})
        assert [row[0] for row in method.state_dict()["bank"]] == ["1", "2", "3"]

    def test_state_goes_through_json(self) -> None:
        method, other = build("r_diverse")[0], build("r_diverse")[0]
        method.select(LABEL, pool_of([("a", 0.5, "1+1")]), Curriculum(np.arange(1)))
        method.on_iteration_end(LABEL, {})
        method.select(LABEL, pool_of([("b", 0.5, "1*1")]), Curriculum(np.arange(1)))
        state = json.loads(json.dumps(method.state_dict()))
        other.load_state_dict(state)
        assert other.state_dict() == method.state_dict() == state


class TestReplay:
    def bank(self, n: int, **params: object):
        text = ",".join(f"{k}={v}" for k, v in params.items())
        method = build(f"r_diverse:{text}")[0]
        rows = [(f"q{i}", 0.5, None) for i in range(n)]
        method.select(LABEL, pool_of(rows), Curriculum(np.arange(n)))
        method.on_iteration_end(LABEL, {})
        return method

    def test_thirty_percent_of_all_rows(self) -> None:
        """14 new rows and 6 of 20 from the bank: 6 / 20 = .3; each at most once."""
        ctx = tiny.make_context(role="solver", phase="label", iteration=2)
        empty, base = pool_of([]), Curriculum(np.arange(14))
        found = self.bank(20).select(ctx, empty, base)
        assert found.index is base.index
        assert len(found.replay) == 6
        assert len({q for q, _ in found.replay}) == 6
        assert {a for _, a in found.replay} == {"7"}
        assert ctx.counts["rows_replayed"] == 6
        assert self.bank(20).select(ctx, empty, base).replay == found.replay
        later = tiny.make_context(role="solver", phase="label", iteration=3)
        assert self.bank(20).select(later, empty, base).replay != found.replay

    def test_as_many_as_there_are(self) -> None:
        base = Curriculum(np.arange(14))
        assert len(self.bank(2).select(LABEL, pool_of([]), base).replay) == 2
        assert self.bank(0).select(LABEL, pool_of([]), base) is base
        assert self.bank(9, replay_share=0).select(LABEL, pool_of([]), base) is base
        nothing = Curriculum(np.arange(0))
        assert self.bank(9).select(LABEL, pool_of([]), nothing) is nothing


def test_no_answer_is_not_kept() -> None:
    method = build("r_diverse")[0]
    silent = Pool(["a"], [Tally(None, 0.5, (-1,) * 4, 0)], [None], np.zeros(1))
    method.select(LABEL, silent, Curriculum(np.arange(0)))
    assert method.state_dict()["pending"] == []


def test_defaults() -> None:
    p = build("r_diverse")[0].params
    assert (p.repetition_weight, p.memory_weight, p.replay_share) == (1, 1, 0.3)
    assert (p.max_above, p.mean_above, p.low, p.high) == (0.5, 0.25, 0.3, 0.8)
