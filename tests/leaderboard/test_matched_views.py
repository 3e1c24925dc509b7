"""Accuracy at equal compute, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from run_folders import SAMPLED, write_run

from harness.leaderboard import collect, matched
from harness.leaderboard.collect import Table
from harness.leaderboard.matched import MATCHED
from harness.statistics import holm, welch

BASE = {("ladder", "sampled"): [0.0, 0.4]}
"""The base model: accuracy .2."""


def run(
    root: Path,
    method: str,
    seed: int,
    points: list[tuple[float, float | None]],
    *,
    status: str = "completed",
    seconds: list[float] | None = None,
) -> Path:
    """A run that generated so many tokens in each iteration and was then so accurate."""
    iterations: list[dict[str, float | None]] = []
    for tokens, accuracy in points:
        found: dict[str, float | None] = {
            "compute/solver/vote/tokens": tokens,
            "compute/solver/trained/tokens": 1000.0,  # read, not generated
            "compute/flops": 10 * tokens,
        }
        iterations.append(found if accuracy is None else {**found, SAMPLED: accuracy})
    spent = {"phases": {"solve": sum(seconds or [0.0]), "evaluate": 50.0}}
    return write_run(
        root,
        method,
        seed,
        iterations=iterations,
        base_items=BASE,
        status=status,
        cost={k: v for k, v in spent.items() if seconds},
    )


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """`slow` needs twice the tokens of `rzero` for the same accuracies."""
    accuracies = [[0.30, 0.40], [0.32, 0.42], [0.28, 0.38]]
    folders = []
    for seed, (first, last) in enumerate(accuracies):
        folders.append(run(tmp_path, "rzero", seed, [(100, first), (100, last)], seconds=[8.0]))
        folders.append(run(tmp_path, "slow", seed, [(200, first), (200, last)], seconds=[8.0]))
    return collect(folders)


def at(frame: pd.DataFrame, method: str, by: str = "tokens", at_: str = "common") -> pd.Series:
    chosen = frame[(frame["method"] == method) & (frame["by"] == by) & (frame["at"] == at_)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_at_the_largest_budget_that_all_reach(table: Table) -> None:
    frame = matched(table, "rzero")
    assert tuple(frame.columns) == MATCHED
    ours, theirs = at(frame, "slow"), at(frame, "rzero")
    assert ours["budget"] == theirs["budget"] == 200
    assert theirs["mean"] == pytest.approx(0.40)
    assert ours["mean"] == pytest.approx(0.30)  # where it was after its first iteration
    assert (ours["interpolated"], ours["span"], theirs["interpolated"]) == (0, 0, 0)
    expected = welch([0.30, 0.32, 0.28], [0.40, 0.42, 0.38])
    assert ours["diff"] == pytest.approx(-0.10)
    assert (ours["diff_ci_low"], ours["diff_ci_high"]) == pytest.approx(
        (expected.low, expected.high)
    )
    assert ours["p_welch"] == pytest.approx(expected.p)
    assert (ours["n_seeds"], ours["seeds"], ours["beyond"]) == (3, "0;1;2", 0)
    assert math.isnan(theirs["diff"])


def test_flops_and_seconds(table: Table) -> None:
    frame = matched(table, "rzero")
    assert at(frame, "slow", "flops")["budget"] == 2000
    assert at(frame, "slow", "flops")["mean"] == pytest.approx(0.30)
    seconds = at(frame, "slow", "seconds")
    assert seconds["budget"] == 8  # evaluation is the harness's own
    assert seconds["mean"] == pytest.approx(0.40)
    assert (seconds["estimated"], at(frame, "slow")["estimated"]) == (3, 0)


def test_between_two_evaluations(table: Table) -> None:
    """A quarter of the baseline's 200 tokens: halfway from the base model to iteration 1."""
    got = at(matched(table, "rzero"), "rzero", at_="0.25 x baseline")
    assert got["budget"] == 50
    assert got["mean"] == pytest.approx(0.2 + 0.5 * (0.30 - 0.2))
    assert (got["interpolated"], got["span"]) == (3, 1)


def test_nothing_is_extrapolated_and_no_seed_dropped(tmp_path: Path) -> None:
    folders = [run(tmp_path, "rzero", s, [(100, 0.3), (100, 0.4 + s / 100)]) for s in range(2)]
    folders.append(run(tmp_path, "early", 0, [(100, 0.3), (100, 0.5)]))
    folders.append(run(tmp_path, "early", 1, [(100, 0.3)], status="curriculum_exhausted"))
    frame = matched(collect(folders), "rzero")
    assert at(frame, "early")["budget"] == 100
    assert at(frame, "early")["n_seeds"] == 2
    beyond = at(frame, "early", at_="0.75 x baseline")
    assert (beyond["n_seeds"], beyond["seeds"], beyond["beyond"]) == (1, "0", 1)
    assert beyond[["mean", "ci_low", "diff", "p_welch"]].isna().all()
    assert at(frame, "rzero", at_="0.75 x baseline")["mean"] == pytest.approx(0.3525)


def test_a_line_over_several_iterations_is_not_tested(tmp_path: Path) -> None:
    folders = []
    for seed in range(3):
        end = 0.4 + seed / 100
        folders.append(run(tmp_path, "rzero", seed, [(100, None), (100, None), (100, end)]))
        folders.append(run(tmp_path, "other", seed, [(50, 0.3), (50, 0.35), (50, end)]))
    frame = matched(collect(folders), "rzero")
    got, baseline = at(frame, "other"), at(frame, "rzero")
    assert (got["budget"], got["span"], baseline["span"]) == (150, 0, 3)
    assert got["diff"] == pytest.approx(0.41 - (0.2 + 0.5 * (0.41 - 0.2)))
    assert got[["diff_ci_low", "diff_ci_high", "p_welch", "p_holm"]].isna().all()
    assert not math.isnan(got["ci_low"])


def test_holm_over_the_methods_at_one_budget(tmp_path: Path) -> None:
    ends = {"rzero": 0.40, "a": 0.46, "b": 0.43}
    folders = [
        run(tmp_path, method, seed, [(100, end + seed / 100)])
        for method, end in ends.items()
        for seed in range(3)
    ]
    frame = matched(collect(folders), "rzero")
    family = frame[(frame["by"] == "tokens") & (frame["at"] == "common")]
    tested = family[family["p_welch"].notna()]
    assert set(tested["method"]) == {"a", "b"}
    assert tested["p_holm"].tolist() == pytest.approx(holm(tested["p_welch"].tolist()))


def test_what_is_not_recorded_is_no_row(tmp_path: Path) -> None:
    folders = [run(tmp_path, "rzero", s, [(100, 0.3)]) for s in range(2)]  # no seconds
    frame = matched(collect(folders), "rzero")
    assert set(frame["by"]) == {"tokens", "flops"}
    assert matched(collect(folders), None)["at"].tolist() == ["common"] * 2
    unmeasured = write_run(tmp_path / "x", "rzero", 0, {"proposer/valid": 1.0})
    assert len(matched(collect([unmeasured]), "rzero")) == 0


def test_incomplete_and_unmeasured_runs_set_no_budget(tmp_path: Path) -> None:
    folders = [run(tmp_path, "rzero", s, [(100, 0.3), (100, 0.4)]) for s in range(2)]
    (run(tmp_path, "rzero", 2, [(5, 0.3)]) / "done.json").unlink()
    folders.append(tmp_path / "rzero-ladder-s2-abc")
    folders.append(write_run(tmp_path, "broken", 0, None, base_items=BASE, status="failed"))
    frame = matched(collect(folders), "rzero")
    assert at(frame, "rzero")["budget"] == 200
    assert at(frame, "broken")["n_seeds"] == 0
