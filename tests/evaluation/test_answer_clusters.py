"""Clusters of an item's answers, and what k of its samples reach."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from harness.evaluation.clusters import answer_clusters, metrics_at_k
from harness.evaluation.summary import summary
from harness.grading import shared_grader


def rows(items: list[list[str | None]], gold: str = "5", mode: str = "sampled") -> pd.DataFrame:
    """One row per answer; right where it is the gold answer or 10/2."""
    found = [
        (doc, sample, answer, float(answer in (gold, "10/2")))
        for doc, answers in enumerate(items)
        for sample, answer in enumerate(answers)
    ]
    frame = pd.DataFrame(found, columns=["doc_id", "sample", "answer", "score"])
    frame = frame.assign(task="t", mode=mode, group="", truncated=False, found="box")
    frame["verdict"] = np.where(frame["score"] == 1, "correct", "wrong")
    return frame.assign(cluster=answer_clusters(frame, shared_grader()))


def test_equal_answers_are_one_cluster_whatever_they_look_like() -> None:
    frame = rows([["3", "5", "10/2", None, "3.0", "5.00"], [" ", "", None, "x", "y", "y"]])
    # 5, 10/2 and 5.00 are one answer, and the most frequent one.
    assert frame["cluster"].tolist() == [1, 0, 0, -1, 1, 0, -1, -1, -1, 1, 0, 0]


def test_one_sample_is_its_own_cluster() -> None:
    frame = rows([["5"], [None], ["7"]], mode="greedy")
    assert frame["cluster"].tolist() == [0, -1, 0]


def test_rows_in_any_order_get_the_same_clusters() -> None:
    frame = rows([["3", "5", "5", "4"], ["1", "1", "2", "2"]])
    shuffled = frame.sample(frac=1, random_state=0)
    again = pd.Series(answer_clusters(shuffled, shared_grader()), index=shuffled.index)
    assert again.sort_index().tolist() == frame["cluster"].tolist()


def brute(frame: pd.DataFrame, k: int, what: str) -> float:
    """The same by trying every choice of k samples."""
    values = []
    for _, item in frame.groupby("doc_id"):
        score, cluster = item["score"].tolist(), item["cluster"].tolist()
        right = {c for c, s in zip(cluster, score, strict=True) if s == 1}
        for chosen in combinations(range(len(item)), k):
            if what == "pass":
                values.append(float(any(score[i] == 1 for i in chosen)))
                continue
            votes = [cluster[i] for i in chosen if cluster[i] >= 0]
            most = max((votes.count(v) for v in votes), default=0)
            best = {v for v in votes if votes.count(v) == most}
            values.append(len(best & right) / len(best) if best else 0.0)
    return float(np.mean(values))


def test_metrics_at_k_are_those_of_all_choices() -> None:
    frame = rows(
        [
            ["5", "5", "3", None, "3", "3", "10/2", "1"],
            ["5", "2", "2", "2", None, None, "2", "1"],
            ["1", "2", "3", "4", "6", "7", "8", "9"],
        ]
    )
    found = metrics_at_k(frame)
    assert set(found) == {f"{m}@{k}" for m in ("pass", "maj", "best_of_majority") for k in (2, 4)}
    for k in (2, 4):
        assert found[f"pass@{k}"] == pytest.approx(brute(frame, k, "pass"))
        assert found[f"maj@{k}"] == pytest.approx(brute(frame, k, "maj"))
    # 3 and 5 tie with three votes each; 2 leads, then 5 and 1 tie for the second place.
    assert found["best_of_majority@2"] == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_too_few_samples_say_nothing() -> None:
    assert metrics_at_k(rows([["5", "5"], ["3", "5"]])) == {}
    assert metrics_at_k(rows([["5"] * 4, ["3"] * 6])) == {}
    assert set(metrics_at_k(rows([["5"] * 4]))) == {"pass@2", "maj@2", "best_of_majority@2"}


def test_the_summary_has_them_for_sampled_tasks_with_clusters_only() -> None:
    sampled = rows([["5", "3", "3", "5"], ["5", "5", "5", "1"]])
    greedy = rows([["5"], ["3"]], mode="greedy")
    other = rows([["5"] * 4], mode="sampled").assign(task="u")
    metrics = summary(pd.concat([greedy, sampled, other], ignore_index=True))
    assert metrics["solver/t/pass@2"] == pytest.approx((5 / 6 + 1) / 2)
    assert metrics["solver/macro/pass@2"] == pytest.approx(((5 / 6 + 1) / 2 + 1) / 2)
    assert metrics["solver/macro/maj@2"] == pytest.approx(((0.5 + 0.75) / 2 + 1) / 2)
    assert "solver/t/pass@4" not in metrics
    repeated = rows([["5"] * 4], mode="greedy")
    assert not any("@" in name for name in summary(repeated))
    assert not any("@" in name for name in summary(sampled.drop(columns="cluster")))


def test_hostile_answers_cost_a_deadline_at_most() -> None:
    tower = "10^{10^{10^{10}}}"
    frame = rows([[tower, tower, "5", "5"]])
    assert sorted(frame["cluster"].tolist()) == [0, 0, 1, 1]
