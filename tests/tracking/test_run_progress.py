"""Where a run is and when it ends, from events made by hand and by real runs."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import tiny_run

from harness.evaluation.summary import summary
from harness.store import RunFolder, read_parquet
from harness.tracking import Plan, RunProgress, view

EVEN = dict.fromkeys(("propose", "curriculum", "solve", "evaluate", "measure"), 1.0)


def write(folder: Path, *events: dict[str, object]) -> None:
    with open(folder / "events.jsonl", "a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def phase(iteration: int, name: str, at: float, seconds: float | None = None) -> dict[str, object]:
    event = {"event": "phase", "iteration": iteration, "phase": name, "time": at}
    return event if seconds is None else {**event, "event": "phase_end", "seconds": seconds}


def test_shares_by_hand() -> None:
    # base; 4 phases; 4 phases; the last evaluation: 10 units
    plan = Plan(2, 0, EVEN)
    assert plan.share(0, "evaluate", 0.5) == pytest.approx(0.05)
    assert plan.share(1, "propose", 0.0) == pytest.approx(0.1)
    assert plan.share(1, "solve", 0.5) == pytest.approx(0.35)
    assert plan.share(1, "measure", 0.0) == pytest.approx(0.4)  # no evaluation is due before
    assert plan.share(2, "propose", 0.0) == pytest.approx(0.5)
    assert plan.share(2, "measure", 0.0) == pytest.approx(0.9)
    assert plan.share(2, "measure", 1.0) == pytest.approx(1.0)
    assert plan.share(0, "no such phase", 0.0) == 0.0
    assert plan.share(10**9, "solve", 1.0) == 1.0
    every = Plan(3, 2, EVEN)  # evaluations: base, 2, 3
    assert every.share(3, "propose", 0.0) == pytest.approx((1 + 4 + 5) / 15)
    assert Plan(4, 2, EVEN).share(4, "measure", 1.0) == pytest.approx(1.0)


def test_a_plan_from_whatever_a_manifest_says() -> None:
    assert Plan.of({"config": {"iterations": 5, "evaluation": {"every": 2}}}) == Plan(5, 2)
    for said in ({}, {"config": []}, {"config": {"iterations": -3, "evaluation": None}}):
        assert Plan.of(said) == Plan(1, 0)
    assert Plan.of({"config": {"iterations": 10**30}}).iterations == 1


def test_the_estimate_leans_on_its_own_pace_as_the_run_goes_on(tmp_path: Path) -> None:
    plan, run = Plan(2, 0, EVEN), RunProgress(tmp_path)
    assert run.left(plan, 0.0, None) is None
    assert run.left(plan, 0.0, 80.0) == pytest.approx(80.0)
    write(tmp_path, {"event": "start", "time": 90.0}, phase(0, "evaluate", 100.0))
    write(tmp_path, phase(0, "evaluate", 110.0, 10.0))
    for t, name in ((1, "propose"), (1, "curriculum"), (1, "solve"), (1, "measure")):
        write(tmp_path, phase(t, name, 0.0), phase(t, name, 0.0, 10.0))
    write(tmp_path, phase(2, "propose", 200.0))
    run.refresh()
    assert (run.iteration, run.phase, run.share(plan)) == (2, "propose", pytest.approx(0.5))
    assert run.seconds() == pytest.approx(50.0)
    assert run.seconds(205.0) == pytest.approx(55.0)
    assert run.left(plan, 200.0, None) == pytest.approx(50.0)
    assert run.left(plan, 200.0, 200.0) == pytest.approx(0.5 * (0.5 * 100 + 0.5 * 200))


def test_a_phase_done_twice_counts_once_and_time_between_sessions_not_at_all(
    tmp_path: Path,
) -> None:
    run = RunProgress(tmp_path)
    write(tmp_path, {"event": "start", "time": 0.0}, phase(1, "propose", 1.0))
    run.refresh()
    assert run.seconds(31.0) == 30.0
    # killed; a day later
    write(tmp_path, {"event": "start", "time": 86_400.0})
    run.refresh()
    assert run.seconds(86_401.0) == 0.0
    write(tmp_path, phase(1, "propose", 86_402.0), phase(1, "propose", 86_412.0, 10.0))
    write(tmp_path, phase(1, "propose", 86_420.0), phase(1, "propose", 86_432.0, 12.0))
    run.refresh()
    assert run.seconds(90_000.0) == 12.0


def test_steps_move_the_bar(tmp_path: Path) -> None:
    plan, run = Plan(1, 0, EVEN), RunProgress(tmp_path)
    write(tmp_path, phase(1, "solve", 0.0))
    step = {"iteration": 1, "role": "solver", "of": 4}
    shares = []
    for event in (
        {"event": "step", "step": 0, **step},
        {"event": "step_end", "step": 0, "iteration": 1},
        {"event": "step", "step": 3, **step},
        {"event": "step_end", "step": 3, "iteration": 1},
        {"event": "step", "step": 99, "of": 0},
    ):
        write(tmp_path, event)
        run.refresh()
        shares.append(run.within)
    assert shares == [0.0, 0.25, 0.75, 1.0, 1.0]
    assert run.share(plan) < 1


def test_what_a_real_run_tells_is_what_it_wrote() -> None:
    folder = tiny_run.finished("rzero")
    told: dict[int, dict[str, float]] = {}
    steps: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    places: dict[str, list[int]] = defaultdict(list)
    run = RunProgress(folder.path)
    for known in run.refresh():
        if known.kind == "metrics":
            told[known.iteration] = dict(known.values)
        else:
            steps[known.role, known.iteration].append(dict(known.values))
            places[known.role].append(known.x)
    assert told[0] == summary(read_parquet(folder.evaluation(0)))
    for t in (1, 2):
        written = {k: v for k, v in tiny_run.metrics(folder, t).items() if v is not None}
        assert told[t] == pytest.approx(written, rel=0, abs=0)
        for role in ("proposer", "solver"):
            means = {
                name: sum(x[name] for x in steps[role, t]) / len(steps[role, t])
                for name in steps[role, t][0]
            }
            for name in ("reward", "entropy", "kl", "grad_norm"):
                assert means[name] == pytest.approx(written[f"train/{role}/{name}"]), (role, name)
            assert "loss" in means
            assert f"train/{role}/loss" not in written  # a new column would be another result
    assert places == {"proposer": [0, 1], "solver": [0, 1, 2, 3]}
    line = view(run, Plan(2), method="rzero", seed=0, state="completed")
    assert line.accuracy["greedy"] == told[2]["solver/macro/greedy"]
    assert line.base["sampled"] == told[0]["solver/macro/sampled"]
    assert line.diversity == (
        "diversity/functional/topic_entropy",
        told[2]["diversity/functional/topic_entropy"],
    )
    assert line.well_posed == told[2]["proposer/well_posed"]
    assert (line.share, line.left) == (1.0, None)


def test_the_bar_of_a_real_run_only_grows(tmp_path: Path) -> None:
    lines = (tiny_run.finished("rzero").path / "events.jsonl").read_bytes().splitlines(True)
    plan, run = Plan(2, 0), RunProgress(tmp_path)
    shares = []
    for line in lines:
        with open(tmp_path / "events.jsonl", "ab") as file:
            file.write(line)
        run.refresh()
        shares.append(run.share(plan))
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] > 0.99


def test_a_run_of_an_earlier_version_is_read_from_its_files(tmp_path: Path) -> None:
    new = tiny_run.finished("rzero").path
    old = RunFolder(tmp_path / new.name)
    shutil.copytree(new, old.path)
    lines = (old.path / "events.jsonl").read_text().splitlines(True)
    kept = [x for x in lines if json.loads(x)["event"] not in ("metrics", "step_end")]
    (old.path / "events.jsonl").write_text("".join(kept))
    told = [known for known in RunProgress(old.path).refresh() if known.kind == "metrics"]
    assert [known.iteration for known in told] == [1, 2]
    expected = [k for k in RunProgress(new).refresh() if k.kind == "metrics" and k.iteration]
    assert [dict(k.values) for k in told] == [dict(k.values) for k in expected]
    # and without any events, as a compact run
    (old.path / "events.jsonl").unlink()
    run = RunProgress(old.path)
    assert run.refresh() == []
    assert [dict(k.values) for k in run.refresh(ended=True)] == [dict(k.values) for k in expected]
    assert run.refresh(ended=True) == []


def test_a_run_that_ends_early_tells_its_accuracy_last() -> None:
    """It's evaluated after the iteration's metrics were told: they are told again, whole."""
    settings = ("curriculum.min_survivors=1000", "curriculum.max_rounds=1")
    folder = tiny_run.finished("rzero", 0, *settings)
    told = [k for k in RunProgress(folder.path).refresh() if k.kind == "metrics"]
    assert [known.iteration for known in told] == [0, 1, 1]
    written = {k: v for k, v in tiny_run.metrics(folder, 1).items() if v is not None}
    assert "solver/macro/greedy" not in told[1].values
    assert dict(told[2].values) == written
