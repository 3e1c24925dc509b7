"""Collecting: item scores, compute spent, what is missing, groups; and bad files by the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import GREEDY, evaluation, write_run

from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard import Run, Table, collect, find_runs
from harness.leaderboard.evaluations import EvaluationReader
from harness.leaderboard.schema import short_hash
from harness.store import RunFolder

TASKS = {("aime", "sampled"): [0.0, 1.0, 0.0], ("ladder", "greedy"): [1.0, 0.0]}
COMPUTE = {
    "compute/proposer/train/tokens": 100.0,
    "compute/solver/label/tokens": 20.0,
    "compute/solver/trained/tokens": 7000.0,
    "compute/solver/measured/tokens": 900.0,
    "compute/flops": 1e9,
}


def only(folder: Path) -> Run:
    return collect([folder]).runs[0]


def samples(scores: list[list[float]]) -> pd.DataFrame:
    """One task's sampled evaluation, a list of samples for each item."""
    rows = [(d, s, value) for d, item in enumerate(scores) for s, value in enumerate(item)]
    frame = evaluation([0.0] * len(rows), "sampled")
    doc, sample, score = zip(*rows, strict=True)
    return frame.assign(doc_id=doc, sample=sample, score=score)


def test_item_scores_are_means_over_samples_ordered_by_item(tmp_path: Path) -> None:
    run = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    for t, items in ((0, [[0, 0, 0, 1], [1, 1, 1, 1]]), (2, [[1, 0, 0, 1], [0, 0, 0, 0]])):
        frame = samples([[float(x) for x in item] for item in items])
        shuffled = frame.iloc[np.random.default_rng(t).permutation(len(frame))]
        shuffled.to_parquet(run / "eval" / f"{t:02d}.parquet")
    got = only(run)
    assert got.base_scores["ladder", "sampled"].tolist() == [0.25, 1.0]
    assert got.scores["ladder", "sampled"].tolist() == [0.5, 0.0]
    assert got.scores["ladder", "sampled"].dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        got.scores["ladder", "sampled"][0] = 1.0


def test_scores_of_several_tasks(tmp_path: Path) -> None:
    run = only(write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}, items=TASKS, base_items=TASKS))
    assert {key: values.tolist() for key, values in run.scores.items()} == TASKS
    assert run.base is not None
    assert run.base["solver/aime/sampled"] == pytest.approx(1 / 3)


def test_a_run_that_measured_nothing_has_no_scores(tmp_path: Path) -> None:
    run = only(write_run(tmp_path, "rzero", 0, None, status="failed"))
    assert dict(run.scores) == {}
    assert run.base_scores["ladder", "greedy"].tolist() == [1, 0, 0, 0]
    assert [point.iteration for point in run.trajectory] == [0]


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "eval.parquet"
    frame = pd.concat([samples([[1.0, 0.0]] * 5), evaluation([1, 0, 1, 1, 0])])
    found = set()
    for seed in range(4):
        frame.sample(frac=1, random_state=seed).to_parquet(path)
        one = EvaluationReader().read(path, 1)
        found.add((one.digest, one.items, str(one.metrics)))
    assert len(found) == 1
    changed = frame.assign(score=frame["score"].iloc[::-1].to_numpy())
    changed.to_parquet(path)
    assert EvaluationReader().read(path, 1).digest not in {digest for digest, *_ in found}


def test_compute_adds_up_over_iterations(tmp_path: Path) -> None:
    steps = [{**COMPUTE, GREEDY: 0.3}, dict(COMPUTE), {**COMPUTE, GREEDY: 0.5}]
    seconds = {
        str(t): {"propose": 1.0, "curriculum": 2.0, "solve": 4.0 * t, "measure": 50.0}
        for t in (1, 2, 3)
    }
    cost = {"schema": 2, "iterations": {"0": {"evaluate": 9.0}, **seconds}}
    points = only(write_run(tmp_path, "rzero", 0, iterations=steps, cost=cost)).trajectory
    assert [p.iteration for p in points] == [0, 1, 3]  # nothing was evaluated in iteration 2
    assert [p.tokens for p in points] == [0, 120, 360]  # what was only read isn't generated
    assert [p.flops for p in points] == [0, 1e9, 3e9]
    assert [p.seconds for p in points] == [0, 7, 33]
    assert all(p.seconds_exact for p in points)
    assert points[-1].metrics == {GREEDY: 0.5}
    assert points[0].metrics[GREEDY] == 0.25


def test_seconds_of_a_whole_run_are_spread_by_flops(tmp_path: Path) -> None:
    steps = [{GREEDY: 0.3, "compute/flops": 1e9}, {GREEDY: 0.5, "compute/flops": 3e9}]
    cost = {"phases": {"propose": 2.0, "solve": 6.0, "evaluate": 100.0}}
    points = only(write_run(tmp_path, "rzero", 0, iterations=steps, cost=cost)).trajectory
    assert [p.seconds for p in points] == [0, 2, 8]
    assert not any(p.seconds_exact for p in points)
    assert [p.tokens for p in points] == [0, None, None]


def test_events_say_what_an_older_record_of_cost_does_not(tmp_path: Path) -> None:
    steps = [{GREEDY: 0.3, "compute/flops": 1e9}, {GREEDY: 0.5, "compute/flops": 3e9}]
    run = write_run(tmp_path, "rzero", 0, iterations=steps)
    folder = RunFolder(run)
    for t, seconds in ((1, 5.0), (2, 1.0), (2, 2.0)):
        folder.event("phase_end", iteration=t, phase="solve", seconds=seconds, cpu_seconds=1.0)
    with open(run / "events.jsonl", "a") as file:
        file.write('{"event": "phase_end", "iteration": "x", "phase": 3}\n{"event": "phase_end"}\n')
        file.write('{"event": "phase_end", "iteration": 1, "phase": "solve", "seconds": 1e999}\n')
        file.write("[1, 2]\n{torn")
    assert [p.seconds for p in only(run).trajectory] == [0, 5, 8]


def test_no_cost_no_seconds(tmp_path: Path) -> None:
    run = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4, "compute/flops": 1e9})
    (run / "cost.json").unlink()
    assert [p.seconds for p in only(run).trajectory] == [0, None, None]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    write_run(tmp_path, "rzero", 1, {GREEDY: 0.4})
    config = {"evaluation": {"tasks": ["ladder"]}, "iterations": 5}
    write_run(tmp_path, "dropout", 1, {GREEDY: 0.4}, status=None, config=config)
    write_run(tmp_path, "dropout", 7, None, status="failed")
    lines = [str(gap) for gap in collect(find_runs(tmp_path)).missing]
    assert lines == [
        "ladder: dropout, seed 0: no such run",
        "ladder: dropout, seed 1: incomplete, 2 of 5 iterations",
        "ladder: rzero, seed 7: no such run",
    ]


def test_collect_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"evaluation": {"tasks": ["ladder"]}, "baseline": "rzero"}
    for method, seed in (("rzero", 0), ("rzero", 1), ("dropout", 0)):
        write_run(tmp_path / "runs", method, seed, {GREEDY: 0.4}, config=config)
    out = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["leaderboard", "collect", *out]) == 0
    assert "not averaged: ladder: dropout, seed 1: no such run" in capsys.readouterr().out


def test_collect_names_other_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"evaluation": {"tasks": ["ladder"]}, "baseline": "rzero"}
    for seed, harness in enumerate(("0.1.0", "0.1.0", "0.2.0")):
        versions = {"torch": "2.5" if seed else None, "numpy": "2.0"}
        write_run(
            tmp_path / "runs",
            "rzero",
            seed,
            {GREEDY: 0.4},
            config=config,
            harness=harness,
            versions=versions,
        )
    table = collect(find_runs(tmp_path / "runs"))
    assert table.notes == (
        "made with different versions of harness: 0.1.0 (2 runs), 0.2.0 (1 run)",
        "made with different versions of torch: 2.5 (2 runs), none (1 run)",
    )
    out = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["leaderboard", "collect", *out]) == 0
    assert table.notes[0] in capsys.readouterr().out
    assert main(["leaderboard", "collect", *out, "--json"]) == 0
    assert table.notes[0] in capsys.readouterr().err


def different(tmp_path: Path, **manifest: Any) -> list[Path]:
    """A method's two seeds, and the same runs with something else."""
    same = [write_run(tmp_path / "a", "rzero", s, {GREEDY: 0.4}) for s in (0, 1)]
    other = [write_run(tmp_path / "b", "rzero", s, {GREEDY: 0.5}, **manifest) for s in (0, 1)]
    return [*same, *other]


@pytest.mark.parametrize(
    ("by", "manifest", "labels"),
    [
        ("config", {"config_hash": "zzz"}, {"config=abc", "config=zzz"}),
        ("base", {"base_model": "Q", "base_model_hash": "b1"}, {"base=b0", "base=Q b1"}),
        (
            "engine",
            {"engine": {"name": "vllm", "dtype": "bfloat16"}},
            {"engine=torch dtype=float32", "engine=vllm dtype=bfloat16"},
        ),
        (
            "prompt",
            {"prompt_hash": "p1"},
            {"prompt=p1", f"prompt={short_hash({'ladder': 'p0'})}"},
        ),
        (
            "data",
            {"data_hashes": {"ladder": "d1"}},
            {f"data={short_hash({'ladder': d})}" for d in ("d0", "d1")},
        ),
    ],
)
def test_tables_are_split_by_what_differs(
    tmp_path: Path, by: str, manifest: dict[str, Any], labels: set[str]
) -> None:
    folders = different(tmp_path, **manifest)
    with pytest.raises(HarnessError, match=f"mixed .*use --split-by {by}"):
        collect(folders)
    table = collect(folders, [by])
    found = {run.split for run in table.runs}
    assert found == labels
    assert [part.names[:2] for part in table.groups] == [("ladder", "ladder")] * 2
    assert {part.names[2] for part in table.groups} == found
    assert sum(len(part.runs) for part in table.groups) == 4
    assert table.missing == ()
    assert table.profiles == ("ladder",)
    with pytest.raises(HarnessError, match="2 groups"):
        _ = table.names


def test_a_label_names_only_what_differs(tmp_path: Path) -> None:
    folders = different(tmp_path, engine={"name": "vllm"})
    every = collect(folders, ["engine", "config", "base", "data", "prompt"])
    assert {run.split for run in every.runs} == {"engine=torch dtype=float32", "engine=vllm"}
    assert {run.split for run in collect(folders[:2], ["engine"]).runs} == {""}
    with pytest.raises(HarnessError, match="'colour': unknown; known: config, base, data"):
        collect(folders, ["colour"])


def test_engines_of_different_methods_are_not_compared(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}),
        write_run(tmp_path, "dropout", 0, {GREEDY: 0.4}, engine={"name": "vllm"}),
    ]
    with pytest.raises(HarnessError, match="mixed engine"):
        collect(runs)


def test_versions_of_one_method_are_not_averaged(tmp_path: Path) -> None:
    first = write_run(tmp_path, "mine", 0, {GREEDY: 0.4}, plugin_hash="a")
    other = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    assert len(collect([first, other]).runs) == 2
    with pytest.raises(HarnessError, match="mixed plugin_hash"):
        collect([first, write_run(tmp_path, "mine", 1, {GREEDY: 0.4}, plugin_hash="b")])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    made = [
        write_run(root, method, seed, {GREEDY: 0.1 * seed}, base=[seed % 2, 0, 1, 1])
        for method in ("rzero", "dropout")
        for seed in range(3)
    ]
    return [*made, write_run(root, "late", 0, {GREEDY: 0.5}, status=None)]


def facts(table: Table) -> list[object]:
    return [
        (r.key, r.status, r.iterations, r.base, r.base_digest, r.items, r.trajectory, r.detail)
        for r in table.runs
    ] + [[values.tolist() for values in r.scores.values()] for r in table.runs]


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(7)), repeated=st.lists(st.integers(0, 6), max_size=3))
def test_collect_is_a_function_of_the_set_of_folders(
    folders: list[Path], order: list[int], repeated: list[int]
) -> None:
    given_ = [folders[i] for i in [*order, *repeated]]
    table = collect(given_)
    assert facts(table) == facts(collect(folders))
    assert table.missing == collect(folders).missing


def rewrite(run: Path, **columns: Any) -> None:
    frame = pd.read_parquet(run / "eval" / "02.parquet").assign(**columns)
    frame.to_parquet(run / "eval" / "02.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"score": [True, True, False, False]}, "column score is of type bool, not number"),
        ({"score": ["1", "1", "0", "0"]}, "column score is of type .*string, not number"),
        ({"score": [1, None, 0, 0]}, "score has empty cells"),
        ({"score": [1.0, float("nan"), 0, 0]}, "score (has empty cells|is NaN)"),
        ({"score": [1.0, 1e308, 0, 0]}, "a score is NaN or outside"),
        ({"score": [1.0, -0.5, 0, 0]}, "a score is NaN or outside"),
        ({"score": [1, 10**18, 0, 0]}, "a score is NaN or outside"),
        ({"doc_id": [0.0, 1.0, 2.0, 3.0]}, "column doc_id is of type double, not integer"),
        ({"doc_id": [0, 1, 2, 2**62]}, "other items than in eval/00"),
        ({"doc_id": [True, False, True, False]}, "column doc_id is of type bool"),
        ({"truncated": [0, 0, 0, 0]}, "column truncated is of type int64, not truth"),
        ({"mode": "beam"}, "mode 'beam': not greedy or sampled"),
        ({"task": "a\x1b[2J"}, "column task holds .*control characters"),
        ({"group": "g" * 10_000}, "column group holds .*too long"),
        ({"verdict": None}, "verdict has empty cells"),
    ],
)
def test_bad_evaluations_are_named_in_one_line(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    run = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    rewrite(run, **columns)
    with pytest.raises(HarnessError, match=message) as caught:
        collect([run])
    assert str(run / "eval" / "02.parquet") in str(caught.value)
    assert str(caught.value).isprintable()


def test_every_cut_of_an_evaluation_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    path = run / "eval" / "02.parquet"
    data = path.read_bytes()
    for size in (0, 3, 4, len(data) // 2, len(data) - 9, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(HarnessError, match="corrupt or truncated parquet"):
            collect([run])


def test_flipped_bytes_are_named_or_harmless(tmp_path: Path) -> None:
    """Whatever a damaged file holds: one line, or the same numbers."""
    run = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4})
    path = run / "eval" / "02.parquet"
    data, good = path.read_bytes(), only(run).scores
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[draw.integers(len(data))] ^= 1 << draw.integers(8)
        path.write_bytes(damaged)
        try:
            scores = only(run).scores
        except HarnessError:  # anything else would be a traceback
            refused += 1
        else:
            assert all(len(scores[key]) == len(good[key]) for key in scores)
    assert refused > 0


def test_names_of_files_come_from_slugs_alone(tmp_path: Path) -> None:
    for field, value in (("profile", "../up"), ("suite", "/etc"), ("profile", "a b")):
        run = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}, name=f"{field}{len(value)}")
        manifest = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps({**manifest, field: value}))
        with pytest.raises(HarnessError, match=rf"manifest\.json: {field}"):
            collect([run])
