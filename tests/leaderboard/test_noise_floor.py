"""The noise floor between executions of the same method and seed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from run_folders import GREEDY, VENDI, write_run
from scipy import stats

from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard.noise import noise


def executed(root: Path, values: dict[int, float], wall: float) -> Path:
    for seed, value in values.items():
        cost = {"wall_seconds": wall + seed}
        write_run(root, "rzero", seed, {GREEDY: value, VENDI: 9.0}, cost=cost)
    return root


def test_the_floor_is_the_pooled_spread_between_executions(tmp_path: Path) -> None:
    places = [
        executed(tmp_path / "a", {0: 0.50, 1: 0.80}, 10.0),
        executed(tmp_path / "b", {0: 0.52, 1: 0.84}, 20.5),
        executed(tmp_path / "c", {2: 0.10}, 30.0),  # executed once: says nothing
    ]
    (greedy,) = noise(places, GREEDY)
    sd = math.sqrt((0.02**2 / 2 + 0.04**2 / 2) / 2)
    assert (greedy.groups, greedy.executions, greedy.unit) == (2, 4, "share")
    assert greedy.sd == pytest.approx(sd)
    assert greedy.difference == pytest.approx(stats.t.ppf(0.975, 2) * sd * math.sqrt(2))
    by_name = {row.metric: row for row in noise(places)}
    assert by_name[VENDI].sd == 0


def test_a_copy_is_no_execution(tmp_path: Path) -> None:
    first = executed(tmp_path / "a", {0: 0.5}, 10.0)
    shutil.copytree(first, tmp_path / "copy")
    with pytest.raises(HarnessError, match="no run was executed twice"):
        noise([first, tmp_path / "copy"])


def test_other_data_is_no_repetition(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "rzero", 0, {GREEDY: 0.5}, cost={"wall_seconds": 1.0})
    hashes = {"ladder": "other"}
    write_run(
        tmp_path / "b", "rzero", 0, {GREEDY: 0.9}, cost={"wall_seconds": 2.0}, data_hashes=hashes
    )
    with pytest.raises(HarnessError, match="no run was executed twice"):
        noise([tmp_path / "a", tmp_path / "b"])


def test_zero_is_said_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [executed(tmp_path / str(i), {0: 0.5, 1: 0.7}, 10.0 * i + 1) for i in range(3)]
    assert main(["leaderboard", "noise", *map(str, places)]) == 0
    assert "zero: 6 executions of 2 runs agree exactly in all 2 metrics" in capsys.readouterr().out


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [executed(tmp_path / str(i), {0: 0.5 + 0.1 * i}, 10.0 * i + 1) for i in range(2)]
    assert main(["leaderboard", "noise", *map(str, places), "--json"]) == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[GREEDY]["sd"] == pytest.approx(0.1 / math.sqrt(2))
    assert main(["leaderboard", "noise", *map(str, places)]) == 0
    out = capsys.readouterr().out
    assert "solver/macro/greedy" in out
    assert "1 further metrics agree exactly" in out
    assert main(["leaderboard", "noise", *map(str, places), "--metric", "x"]) == 2
    assert "no run measured 'x'" in capsys.readouterr().err
    assert main(["leaderboard", "noise", str(places[0])]) == 2
    assert "no run was executed twice" in capsys.readouterr().err
