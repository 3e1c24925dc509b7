"""Result schema versions: frozen runs go on loading, and the writer writes what is frozen."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import tiny_run
from run_folders import GREEDY, write_run

from harness.errors import HarnessError
from harness.leaderboard import Run, collect, compact
from harness.run import execute
from harness.store import RunFolder, Status, layouts
from harness.store.layouts import COMPACT_EVALUATION, EVALUATION, VOTES, read_table, write_table
from harness.store.records import (
    COST,
    DONE,
    MANIFEST,
    METRICS,
    SCHEMA,
    parse_record,
    read_record,
    write_record,
)

DATA = Path(__file__).resolve().parents[1] / "data"
FROZEN = {
    "newest of version 1": DATA / "results_v1" / "rzero-ladder-s0-0594d54a",
    "early version 1": DATA / "results_v1" / "early",
    "compact": DATA / "results_v2" / "compact" / "rzero-ladder-s0-cd7288a9",
    "whole": DATA / "results_v2" / "whole" / "rzero-ladder-s0-04df345f",
}
SMALL = (
    "iterations=1",
    "votes.n=4",
    "curriculum.questions=10",
    "curriculum.batch_size=10",
    "evaluation.limit=4",
    "evaluation.samples=4",
    "diversity.n=4",
    "diversity.n_well_posed=2",
)
"""What the frozen runs of version 2 were made with."""
SAMPLED = "solver/macro/sampled"


def frozen(name: str) -> Run:
    return collect([FROZEN[name]]).runs[0]


def test_the_newest_of_version_1() -> None:
    run = frozen("newest of version 1")
    assert (run.manifest.schema_version, run.manifest.harness) == (1, "0.1.0")
    assert (run.manifest.method, run.manifest.seed, run.status) == ("rzero", 0, Status.COMPLETED)
    assert run.base is not None
    assert run.base[GREEDY] == 26 / 30
    assert run.iterations[-1][SAMPLED] == 0.7
    assert run.iterations[-1]["diversity/lexical/distinct_2"] == 0.3815480844409695
    assert run.iterations[0]["curriculum/survivors"] == 181.0
    assert run.cost is not None
    assert run.cost.wall_seconds == 550.453
    point = run.trajectory[-1]
    assert (point.iteration, point.tokens, point.flops) == (2, 388865.0, 2320070108672.0)
    assert point.seconds == pytest.approx(203.829 + 100.512 + 184.741)
    assert not point.seconds_exact
    assert run.scores["ladder", "sampled"].sum() == 21.0
    assert not any("@" in name for name in run.base)  # version 1 kept no clusters


def test_an_early_version_1_without_later_columns() -> None:
    run = frozen("early version 1")
    assert (run.manifest.suite, run.manifest.base_model, run.manifest.versions) == ("", "", {})
    assert run.base is not None
    assert run.base[GREEDY] == 26 / 30
    assert "solver/ladder/fallback" not in run.base
    assert run.iterations[-1][SAMPLED] == 20.5 / 30
    assert run.iterations[-1]["diversity/lexical/distinct_2"] == 0.442998585572843
    assert run.cost is None
    assert run.trajectory[-1].seconds is None


@pytest.mark.parametrize("name", ["compact", "whole"])
def test_version_2(name: str) -> None:
    run = frozen(name)
    assert run.manifest.schema_version == 2
    assert run.iterations[-1][SAMPLED] == 0.8125
    assert run.iterations[-1]["solver/macro/pass@2"] == 0.9583333333333334
    assert run.iterations[-1]["solver/ladder/maj@2"] == 0.8125
    assert run.base is not None
    assert (run.base[GREEDY], run.base["solver/ladder/best_of_majority@2"]) == (1.0, 1.0)
    assert run.trajectory[-1].seconds_exact
    assert run.cost is not None
    assert set(run.cost.iterations[1]) == {"propose", "curriculum", "solve", "measure"} | (
        {"evaluate"} if name == "whole" else set()
    )
    seconds = sum(
        run.cost.iterations[t][phase]
        for t in range(1, len(run.iterations) + 1)
        for phase in ("propose", "curriculum", "solve")
    )
    assert run.trajectory[-1].seconds == pytest.approx(seconds)


def shape(root: Path) -> dict[str, Any]:
    """Columns with their types, and keys, of every result file of a run."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.suffix == ".parquet":
            schema = pq.read_schema(path)
            found[name] = [[column, str(schema.field(column).type)] for column in schema.names]
        elif path.name in ("manifest.json", "done.json", "cost.json"):
            stated = json.loads(path.read_text())
            found[name] = {key: type(value).__name__ for key, value in stated.items()}
    return found


def test_what_is_written_now_is_the_frozen_layout(tmp_path: Path) -> None:
    """A silent change of a column, a type or a key fails here: it needs a new version."""
    run = tiny_run.finished("rzero", 0, *SMALL).path
    stated = json.loads((DATA / f"results_v{SCHEMA}" / "layout.json").read_text())
    for kind, root in (("whole", run), ("compact", compact(run, tmp_path))):
        written = shape(root)
        expected = {
            name.partition("/")[2]: columns
            for name, columns in stated.items()
            if name.startswith(f"{kind}/")
        }
        # The frozen compact run has two iterations, this one has one.
        assert set(written) >= {"manifest.json", "done.json", "cost.json", "eval/00.parquet"}
        assert {name: expected[name] for name in written if name != "eval/01.parquet"} == {
            name: columns for name, columns in written.items() if name != "eval/01.parquet"
        }
        assert written["eval/01.parquet"] == written["eval/00.parquet"]


def test_a_run_that_version_1_began_goes_on(tmp_path: Path) -> None:
    """The folder's manifest stays as it is; what is added is read by its own version."""
    spec = tiny_run.spec("rzero", 0, *SMALL)
    whole = tiny_run.finished("rzero", 0, *SMALL)
    folder = spec.folder(tmp_path)
    shutil.copytree(whole.path, folder.path)
    manifest = json.loads(folder.manifest_path.read_text())
    folder.manifest_path.write_text(json.dumps({**manifest, "schema": 1}))
    base = pd.read_parquet(folder.evaluation(0)).drop(columns="cluster")
    base.to_parquet(folder.evaluation(0), index=False)  # as version 1 wrote it
    folder.done_path.unlink()
    folder.cost_path.unlink()
    folder.discard("iterations", "01", "solver")
    (folder.iteration(1) / "solve.json").unlink()
    (folder.iteration(1) / "metrics.json").unlink()
    folder.evaluation(1).unlink()
    assert execute(spec, tmp_path) is Status.COMPLETED
    run = collect([folder.path]).runs[0]
    assert run.manifest.schema_version == 1
    again, before = run.iterations[-1], collect([whole.path]).runs[0].iterations[-1]
    assert again == before
    assert compact(folder.path, tmp_path / "results").is_dir()
    assert collect([tmp_path / "results" / folder.path.name]).runs[0].iterations[-1] == before


GOOD: dict[str, Any] = {
    "schema": 2,
    "method": "rzero",
    "profile": "ladder",
    "suite": "ladder",
    "seed": 0,
    "config": {},
    "config_hash": "abc",
    "base_model": "b",
    "base_model_hash": "b0",
    "data_hashes": {},
    "prompt_hash": {},
    "engine": {"name": "torch"},
    "harness": "1",
    "versions": {"torch": "2"},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "schema version 9 is not supported .this harness reads 1 and 2.; update"),
        ({"schema": 0}, "schema version 0 is not supported"),
        ({"schema": True}, "schema version True is not supported"),
        ({"schema": "2"}, "schema version '2' is not supported"),
        ({"schema": None}, "schema version none is not supported"),
        ({"schema": 2.0}, "schema version 2.0 is not supported"),
        ({"method": "=HYPERLINK(0)"}, "method: starts with '='"),
        ({"method": "@SUM(A1)"}, "method: starts with '@'"),
        ({"method": "+cmd|' /C calc'!A0"}, "method: starts with '[+]'"),
        ({"method": "a\x1b[2J"}, "method: holds control characters"),
        ({"method": "a\nb"}, "method: holds control characters"),
        ({"method": "a" * 5000}, "method: longer than 1000 characters"),
        ({"method": ""}, "method: "),
        ({"method": 7}, "method: "),
        ({"profile": "../../etc/passwd"}, "profile: "),
        ({"profile": "a/b"}, "profile: "),
        ({"profile": "..\\b"}, "profile: "),
        ({"suite": "../x"}, "suite: "),
        ({"base_model": "-2+3"}, "base_model: starts with '-'"),
        ({"seed": True}, "seed: "),
        ({"seed": -1}, "seed: "),
        ({"seed": 1.0}, "seed: "),
        ({"seed": "1"}, "seed: "),
        ({"seed": 2**70}, "seed: "),
        ({"data_hashes": {"=x": 1}}, "data_hashes"),
        ({"config_hash": None}, "config_hash: "),
        ({"versions": {"torch": 2}}, "versions.torch: "),
    ],
)
def test_a_bad_manifest_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    parse_record(json.dumps(GOOD).encode(), MANIFEST, Path("m.json"))
    with pytest.raises(HarnessError, match=message) as caught:
        parse_record(json.dumps({**GOOD, **change}).encode(), MANIFEST, Path("m.json"))
    assert str(caught.value).startswith("m.json: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": true}', "a: .* number"),
        ('{"a": NaN}', "a: .* finite"),
        ('{"a": -Infinity}', "a: .* finite"),
        ('{"a": 1e999}', "a: .* finite"),
        ('{"a": "1"}', "a: .* number"),
        ('{"a": [1]}', "a: .* number"),
        ('{"a": ' + "9" * 400 + "}", "a: "),
        ('{"a": ' + "9" * 6000 + "}", "Invalid JSON"),
        ('{"=cmd()": 1}', "starts with '='"),
        ('{"a\\u0000": 1}', "control characters"),
        ("[1]", "not a JSON object"),
        ("", "Invalid JSON"),
        ("[" * 5000, "Invalid JSON"),
        ("\xff", "Invalid JSON"),
    ],
)
def test_bad_metrics_are_refused_in_one_line(text: str, message: str) -> None:
    assert parse_record(b'{"a": 1, "b": null}', METRICS, Path("x.json")) == {"a": 1.0, "b": None}
    with pytest.raises(HarnessError, match=message) as caught:
        parse_record(text.encode("latin-1"), METRICS, Path("x.json"))
    assert str(caught.value).startswith("x.json: ")
    assert "\n" not in str(caught.value)


def test_bool_and_huge_numbers_are_no_costs() -> None:
    wrong: list[dict[str, Any]] = [
        {"cpu_seconds": True},
        {"phases": {"a": -1}},
        {"iterations": {"x": {}}},
        {"iterations": {"1": {"solve": True}}},
    ]
    for fields in wrong:
        text = json.dumps({"schema": 2, **fields})
        with pytest.raises(HarnessError, match=rf"cost\.json: {next(iter(fields))}"):
            parse_record(text.encode(), COST, Path("cost.json"))
    for iterations in (True, 10**9, -1, 1.5):
        text = json.dumps({"schema": 1, "status": "completed", "iterations": iterations})
        with pytest.raises(HarnessError, match=r"done\.json: iterations"):
            parse_record(text.encode(), DONE, Path("done.json"))


def test_cost_states_no_version_before_the_second() -> None:
    cost = parse_record(b'{"wall_seconds": 2.5, "iterations": 7}', COST, Path("cost.json"))
    assert (cost.schema_version, cost.wall_seconds, cost.iterations) == (1, 2.5, {})
    text = b'{"schema": 2, "iterations": {"3": {"solve": 1}}}'
    assert parse_record(text, COST, Path("cost.json")).iterations == {3: {"solve": 1.0}}


def test_writing_is_checked_as_well(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_record(path, GOOD, MANIFEST)
    assert read_record(path, MANIFEST).method == "rzero"
    path.unlink()
    for wrong, message in (
        ({**GOOD, "notes": "x"}, "notes: no field of schema 2"),
        ({**GOOD, "seed": True}, "seed"),
        ({**GOOD, "schema": 1}, "schema 1: new files are 2"),
        ({k: v for k, v in GOOD.items() if k != "engine"}, "engine"),
    ):
        with pytest.raises(HarnessError, match=message):
            write_record(path, wrong, MANIFEST)
    with pytest.raises(HarnessError, match="finite"):
        write_record(path, {"a": float("nan")}, METRICS)
    assert not path.exists()


def votes(**columns: Any) -> pd.DataFrame:
    made = {"question_id": [0], "vote": [0], "answer": ["1"], "cluster": [0]}
    return pd.DataFrame({**made, **columns})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vote": [True]}, "column vote is of type bool, not integer"),
        ({"cluster": ["0"]}, "column cluster is of type .*string, not integer"),
        ({"answer": [1]}, "column answer is of type int64, not text"),
        ({"vote": pd.array([None], dtype="Int64")}, "column vote has empty cells"),
    ],
)
def test_tables_are_checked_when_written_and_read(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = tmp_path / "votes.parquet"
    write_table(path, votes(answer=[None]), VOTES)
    assert read_table(path, VOTES, SCHEMA)["answer"].isna().all()
    path.unlink()
    with pytest.raises(HarnessError, match=message):
        write_table(path, votes(**columns), VOTES)
    assert not path.exists()
    votes(**columns).to_parquet(path)
    with pytest.raises(HarnessError, match=message):
        read_table(path, VOTES, SCHEMA)


def test_a_column_more_or_less_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="columns question_id, vote, answer, cluster, more"):
        write_table(tmp_path / "v.parquet", votes(more=[1]), VOTES)
    votes().drop(columns="cluster").to_parquet(tmp_path / "v.parquet")
    with pytest.raises(HarnessError, match="no column cluster"):
        read_table(tmp_path / "v.parquet", VOTES, SCHEMA)


def test_a_run_of_a_later_version_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, "rzero", 0, {GREEDY: 0.4}, schema=3)
    with pytest.raises(
        HarnessError, match=r"manifest\.json: schema version 3 .*update the harness"
    ):
        collect([run])


def test_the_page_describes_every_field() -> None:
    """docs/results.md names each column of each table and each field of each record."""
    page = (DATA.parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
    tables = [
        v for v in vars(layouts).values() if isinstance(v, tuple) and v and v is not EVALUATION
    ]
    columns = {c for table in [*tables, EVALUATION, COMPACT_EVALUATION] for c in table}
    for column in (c for c in columns if isinstance(c, layouts.Column)):
        assert re.search(rf"^\| `{column.name}` \| {column.type}", page, re.MULTILINE), column.name
    for kind in (MANIFEST, DONE, COST):
        schema = kind.adapter.json_schema(by_alias=True)
        for name in schema["properties"]:
            assert f"| `{name}` |" in page, name


def test_a_folder_states_its_version(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(GOOD)
    folder.finish(Status.FAILED, 0, "no memory")
    for path in (folder.manifest_path, folder.done_path):
        assert json.loads(path.read_text())["schema"] == SCHEMA
