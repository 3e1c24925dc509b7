"""The columns that compare: new items, ranks, tie groups, improvement, splits."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import GREEDY, SAMPLED, TOPIC, write_run

from harness.leaderboard import build, collect
from harness.leaderboard.collect import Table
from harness.statistics import (
    new_items_difference,
    new_items_interval,
    probability_of_improvement,
    tie_groups,
)

SCORES = {
    "rzero": {"hard": [[0, 1, 0, 0], [0, 0, 0, 1]], "easy": [[1, 1], [0, 1]]},
    "vocab_dropout": {"hard": [[1, 1, 0, 0], [1, 0, 1, 1]], "easy": [[1, 1], [1, 0]]},
}


def row(frame: pd.DataFrame, method: str, metric: str, moment: str = "final") -> pd.Series:
    chosen = frame[
        (frame["method"] == method) & (frame["metric"] == metric) & (frame["iteration"] == moment)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0]


@pytest.fixture
def evaluated(tmp_path: Path) -> Table:
    """Two methods, two runs each, two tasks, greedy."""
    folders = []
    for method, tasks in SCORES.items():
        for seed in range(2):
            items = {(task, "greedy"): runs[seed] for task, runs in tasks.items()}
            base = {key: [0.0] * len(values) for key, values in items.items()}
            folders.append(write_run(tmp_path, method, seed, {}, items=items, base_items=base))
    return collect(folders)


def arrays(method: str, *tasks: str) -> dict[str, np.ndarray]:
    return {task: np.array(SCORES[method][task], dtype=float) for task in tasks}


class TestNewItems:
    @pytest.mark.parametrize(
        ("metric", "tasks"),
        [
            ("solver/hard/greedy", ["hard"]),
            ("solver/easy/greedy", ["easy"]),
            (GREEDY, ["hard", "easy"]),
        ],
    )
    def test_from_the_scores_by_item(self, evaluated: Table, metric: str, tasks: list[str]) -> None:
        got = row(build(evaluated, "rzero"), "vocab_dropout", metric)
        ours, theirs = arrays("vocab_dropout", *tasks), arrays("rzero", *tasks)
        interval = new_items_interval(ours)
        difference = new_items_difference(ours, theirs)
        assert got["mean"] == pytest.approx(interval.mean)
        assert (got["new_ci_low"], got["new_ci_high"]) == pytest.approx(
            (interval.low, interval.high)
        )
        assert got["diff"] == pytest.approx(difference.diff)
        assert (got["diff_new_ci_low"], got["diff_new_ci_high"]) == pytest.approx(
            (difference.low, difference.high)
        )

    def test_it_is_the_wider_one(self, evaluated: Table) -> None:
        frame = build(evaluated, "rzero")
        known = frame[frame["new_ci_low"].notna()]
        assert len(known) == 6  # three accuracies of two methods
        assert (known["new_ci_low"] <= known["ci_low"]).all()
        assert (known["new_ci_high"] >= known["ci_high"]).all()

    def test_the_base_model_and_the_baseline(self, evaluated: Table) -> None:
        frame = build(evaluated, "rzero")
        assert math.isnan(row(frame, "base", GREEDY)["new_ci_low"])
        baseline = row(frame, "rzero", GREEDY)
        assert not math.isnan(baseline["new_ci_low"])
        assert math.isnan(baseline["diff_new_ci_low"])

    def test_one_run_has_none(self, tmp_path: Path) -> None:
        items = {("hard", "greedy"): [1, 0, 0, 1]}
        run = write_run(tmp_path, "rzero", 0, {}, items=items, base_items=items)
        got = row(build(collect([run]), "rzero"), "rzero", GREEDY)
        assert got["mean"] == 0.5
        assert math.isnan(got["new_ci_low"])

    def test_a_run_that_was_not_evaluated_at_its_end_does_not_count(self, tmp_path: Path) -> None:
        items = {("hard", "greedy"): [1, 0, 0, 1]}
        folders = [
            write_run(tmp_path, "rzero", seed, {}, items=items, base_items=items)
            for seed in range(2)
        ]
        early = [{GREEDY: 0.75}, {"proposer/valid": 1.0}]
        failed = write_run(
            tmp_path, "rzero", 2, iterations=early, base_items=items, status="failed"
        )
        got = row(build(collect([*folders, failed]), "rzero"), "rzero", GREEDY)
        assert (got["n_seeds"], got["seeds"], got["mean"]) == (2, "0;1", 0.5)
        assert not math.isnan(got["new_ci_low"])


def sampled(root: Path, values: dict[str, list[float]]) -> Table:
    return collect(
        write_run(root, method, seed, {SAMPLED: value, TOPIC: 2.0 - value})
        for method, list_ in values.items()
        for seed, value in enumerate(list_)
    )


VALUES = {
    "rzero": [0.40, 0.42, 0.44],
    "far": [0.60, 0.61, 0.62],
    "near": [0.41, 0.42, 0.46],
}


class TestRanks:
    def test_far_is_first_and_the_others_are_tied(self, tmp_path: Path) -> None:
        frame = build(sampled(tmp_path, VALUES), "rzero")
        rows = {m: row(frame, m, SAMPLED) for m in VALUES}
        assert [rows[m]["rank"] for m in ("far", "near", "rzero")] == [1, 2, 3]
        assert (rows["far"]["rank_low"], rows["far"]["rank_high"]) == (1, 1)
        assert (rows["near"]["rank_low"], rows["near"]["rank_high"]) == (2, 3)
        assert rows["near"]["tie_group"] == rows["rzero"]["tie_group"]
        assert {m: rows[m]["tie_group"] for m in VALUES} == tie_groups(VALUES)

    def test_of_primary_metrics_at_the_end_only(self, tmp_path: Path) -> None:
        frame = build(sampled(tmp_path, VALUES), "rzero")
        ranked = frame[frame["rank"].notna()]
        assert set(ranked["metric"]) == {SAMPLED, TOPIC}
        assert set(ranked["iteration"]) == {"final"}
        assert "base" not in set(ranked["method"])

    def test_probability_of_improvement(self, tmp_path: Path) -> None:
        frame = build(sampled(tmp_path, VALUES), "rzero")
        expected = probability_of_improvement(VALUES["near"], VALUES["rzero"])
        assert row(frame, "near", SAMPLED)["p_improvement"] == pytest.approx(expected)
        assert row(frame, "far", TOPIC)["p_improvement"] == 0
        assert math.isnan(row(frame, "rzero", SAMPLED)["p_improvement"])

    def test_repeated_they_are_the_same(self, tmp_path: Path) -> None:
        table = sampled(tmp_path, VALUES)
        pd.testing.assert_frame_equal(build(table, "rzero"), build(table, "rzero"))

    def test_a_table_published_beside_changes_nothing(self, tmp_path: Path) -> None:
        alone = sampled(tmp_path / "a", VALUES)
        other = write_run(
            tmp_path, "rzero", 0, {SAMPLED: 0.9}, profile="big", config_hash="x", name="big"
        )
        both = build(collect([*(r.folder for r in alone.runs), other]), "rzero")
        mine = both[both["profile"] == "ladder"].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, build(alone, "rzero"))

    def test_a_method_without_a_number_has_no_rank(self, tmp_path: Path) -> None:
        folders = [r.folder for r in sampled(tmp_path, VALUES).runs]
        folders.append(write_run(tmp_path, "broken", 0, None, status="failed"))
        got = row(build(collect(folders), "rzero"), "broken", SAMPLED)
        assert math.isnan(got["rank"])
        assert got["tie_group"] is None or math.isnan(got["tie_group"])

    def test_one_run_has_a_rank_without_an_interval(self, tmp_path: Path) -> None:
        frame = build(sampled(tmp_path, {"rzero": [0.4], "far": [0.6]}), "rzero")
        got = row(frame, "far", SAMPLED)
        assert got["rank"] == 1
        assert math.isnan(got["rank_low"])


def test_splits_are_tables_of_their_own(tmp_path: Path) -> None:
    folders = []
    for dtype, shift in (("float32", 0.0), ("bfloat16", 0.1)):
        for method in ("rzero", "far"):
            for seed in range(2):
                folders.append(
                    write_run(
                        tmp_path / dtype,
                        method,
                        seed,
                        {SAMPLED: 0.4 + shift + 0.01 * seed + 0.2 * (method == "far")},
                        engine={"name": "torch", "dtype": dtype},
                    )
                )
    frame = build(collect(folders, split_by=["engine"]), "rzero")
    splits = list(dict.fromkeys(frame["split"]))
    assert len(splits) == 2
    for split in splits:
        part = frame[frame["split"] == split]
        got = row(part, "far", SAMPLED)
        assert got["n_seeds"] == 2
        assert got["diff"] == pytest.approx(0.2)
        assert got["rank"] == 1
        assert len(set(part["engine"])) == 1
