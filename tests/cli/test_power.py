"""python -m harness power: seeds needed, from CSVs and run folders; errors in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.cli import main
from harness.leaderboard import collect, find_runs, per_run, write_csv
from harness.rng import stream
from harness.statistics import pooled_sd, sd_interval, seeds_needed

ACCURACY, TOPICS = "solver/macro/sampled", "diversity/functional/topic_entropy"
RESULTS = Path(__file__).resolve().parents[2] / "leaderboards" / "results"
COLUMNS = ["profile", "base_model", "method", "seed", "status", "iteration", "metric", "value"]


def frame(methods: int = 3, seeds: int = 4, spread: float = 0.01) -> pd.DataFrame:
    """Runs of two iterations; what counts is the last one and, for the noise floor, the first."""
    rng, rows = stream(0, "runs"), []
    for method in range(methods):
        for seed in range(seeds):
            run = ("p", "base", f"m{method}", seed, "completed")
            rows.append((*run, 0, ACCURACY, 0.4 + seed / 1000))
            rows += [(*run, t, ACCURACY, 0.5 + spread * rng.normal()) for t in (1, 2)]
            rows += [(*run, t, TOPICS, 2 + rng.normal()) for t in (1, 2)]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one leaderboard."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaderboards").mkdir()
    write_csv(frame(), tmp_path / "leaderboards" / "p.runs.csv")
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["power", *arguments, "--json"]) == 0
    plans: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return plans


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error."""
    assert main(["power", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err


def last_values(table: pd.DataFrame, metric: str) -> list[list[float]]:
    own = table[(table["metric"] == metric) & (table["iteration"] == 2)]
    return [part["value"].tolist() for _, part in own.groupby("method")]


def test_a_share_is_planned_in_points(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = asked(capsys, "--effect", "2")
    table = pd.read_csv(here / "leaderboards" / "p.runs.csv")
    spread = pooled_sd([[100 * v for v in g] for g in last_values(table, ACCURACY)])
    assert (plan["methods"], plan["runs"], plan["df"]) == (3, 12, 9)
    assert plan["sd"] == pytest.approx(spread.sd)
    low, high = sd_interval(spread.sd, 9)
    assert (plan["sd_low"], plan["sd_high"]) == pytest.approx((low, high))
    assert plan["seeds"] == seeds_needed(2, spread.sd)
    assert plan["seeds_low"] == seeds_needed(2, low)
    assert plan["seeds_high"] == seeds_needed(2, high)
    assert plan["unit"] == "points"
    assert [row["seeds"] for row in plan["rows"]] == list(range(2, 21))
    enough = {row["seeds"]: row["power"] >= 0.8 for row in plan["rows"]}
    assert enough[plan["seeds"]]
    assert not enough.get(plan["seeds"] - 1, False)
    # The base model's four evaluations are 0, .1, .2 and .3 points above .4.
    assert plan["noise"]["df"] == 3
    assert plan["noise"]["sd"] == pytest.approx(0.129, abs=1e-3)


def test_other_metrics_are_planned_in_their_unit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plan,) = asked(capsys, "--effect", "0.7", "--metric", TOPICS, "--power", "0.9")
    table = pd.read_csv(here / "leaderboards" / "p.runs.csv")
    assert plan["unit"] == "nats"
    assert plan["sd"] == pytest.approx(pooled_sd(last_values(table, TOPICS)).sd)
    assert plan["seeds"] == seeds_needed(0.7, plan["sd"], 0.9)
    assert plan["noise"] is None


def test_the_text_says_what_it_means(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--effect", "2"]) == 0
    out = capsys.readouterr().out
    assert "solver/macro/sampled, 3 methods with 12 runs" in out
    assert "to find a true difference of 2 points with 80 % power" in out
    assert "untrained base model, evaluated with 4 sampling seeds" in out
    assert "smallest effect" in out
    assert main(["power", "--effect", "2", "--metric", TOPICS]) == 0
    assert "noise floor: not known" in capsys.readouterr().out


def test_an_evaluation_that_always_agrees_has_no_noise(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = frame()
    table.loc[table["iteration"] == 0, "value"] = 0.4
    write_csv(table, here / "leaderboards" / "p.runs.csv")
    assert main(["power", "--effect", "2"]) == 0
    assert "gave the same value each time" in capsys.readouterr().out


def test_incomplete_runs_and_empty_values_are_left_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = frame()
    table.loc[(table["method"] == "m0") & (table["seed"] == 0), "status"] = "incomplete"
    m1 = (table["method"] == "m1") & (table["iteration"] == 2) & (table["seed"] == 0)
    table.loc[m1 & (table["metric"] == ACCURACY), "value"] = None  # its iteration 1 counts
    write_csv(table, here / "leaderboards" / "p.runs.csv")
    (plan,) = asked(capsys, "--effect", "2")
    assert (plan["runs"], plan["df"]) == (11, 8)


def test_an_effect_beyond_reach_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = asked(capsys, "--effect", "1e-9")
    assert plan["seeds"] is None
    assert main(["power", "--effect", "1e-9"]) == 0
    assert "more than 100000" in capsys.readouterr().out


def test_several_boards_each_have_their_own_spread(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(frame(spread=0.05), here / "leaderboards" / "q.runs.csv")
    write_csv(frame(seeds=1), here / "leaderboards" / "r.runs.csv")
    plans = asked(capsys, "--effect", "2")
    assert [p["table"] for p in plans] == ["leaderboards/p.runs.csv", "leaderboards/q.runs.csv"]
    assert plans[1]["sd"] == pytest.approx(5 * plans[0]["sd"], rel=1e-3)
    assert main(["power", "--effect", "2"]) == 0
    assert "left out: leaderboards/r.runs.csv: no method has 2" in capsys.readouterr().out
    (one,) = asked(capsys, "--effect", "2", "--board", "leaderboards/q.runs.csv")
    assert one == plans[1]


def test_run_folders_give_what_their_csv_gives(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in sorted(RESULTS.glob("rzero-ladder-s[012]-*")):
        shutil.copytree(run, here / "runs" / run.name)
    write_csv(per_run(collect(find_runs(here / "runs"))), here / "own.runs.csv")
    (from_runs,) = asked(capsys, "--effect", "1", "--runs", "runs")
    (from_csv,) = asked(capsys, "--effect", "1", "--board", "own.runs.csv")
    assert from_runs["runs"] == from_csv["runs"] == 3
    assert from_runs["sd"] == pytest.approx(from_csv["sd"], rel=1e-3)  # 6 digits in the file
    assert from_runs["seeds"] == from_csv["seeds"]


@pytest.mark.parametrize("effect", ["0", "-2", "nan", "inf"])
def test_an_effect_has_to_be_above_0(
    effect: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give a difference above 0" in refused(capsys, "--effect", effect)


def test_impossible_questions(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in [
        (("--power", "1"), "--power 1"),
        (("--power", "nan"), "--power nan"),
        (("--power", "0.05"), "the test's size"),
        (("--level", "95"), "--level 95"),
        (("--metric", "solver/macro/sampeld"), "did you mean solver/macro/sampled"),
        (("--metric", ""), "no metric ''"),
        (("--runs", "runs", "--board", "x.csv"), "give one of them"),
        (("--board", "x.csv"), "x.csv: no such file"),
        (("--runs", "leaderboards"), "no run folders here"),
    ]:
        assert message in refused(capsys, "--effect", "2", *arguments)
    assert main(["power"]) == 2
    assert "--effect" in capsys.readouterr().err


def test_no_leaderboard_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "leaderboards/*.runs.csv: no such file" in refused(capsys, "--effect", "2")


def broken(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    if kind == "twice":
        return pd.concat([table, table])
    if kind == "infinite":
        table.loc[5, "value"] = float("inf")
    elif kind == "text":
        table["value"] = table["value"].astype(str) + "x"
    elif kind == "column":
        return table.drop(columns="seed")
    elif kind == "single":
        return table[table["seed"] == 0]
    elif kind == "constant":
        table["value"] = 0.5
    elif kind == "empty":
        return table.head(0)
    return table


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("twice", "m0, seed 0 is there twice"),
        ("infinite", "is infinite"),
        ("text", "value is not all numbers"),
        ("column", "no column seed"),
        ("single", "no method has 2 finished runs"),
        ("constant", "no two seeds differ"),
        ("empty", "no runs in it"),
    ],
)
def test_tables_that_say_nothing(
    kind: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(frame(), kind).to_csv(here / "leaderboards" / "p.runs.csv", index=False)
    error = refused(capsys, "--effect", "2")
    assert message in error
    assert "leaderboards/p.runs.csv" in error


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'"a,b\n1'])
def test_files_that_are_no_table(
    content: bytes, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "leaderboards" / "p.runs.csv").write_bytes(content)
    assert "leaderboards/p.runs.csv" in refused(capsys, "--effect", "2")
