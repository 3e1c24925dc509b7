"""`plan` says what it can where model and data are missing; `run` doesn't start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_run import ROOT

from harness.cli import main
from harness.config.published import published
from harness.data import ENV, UNVERIFIED
from harness.launch.bounds import evaluation_bound
from harness.launch.plan import make_plan
from harness.run import RunSpec

KEYS = published().keys


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder without data."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(ENV, str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    out, said = capsys.readouterr()
    assert said == ""
    return out


def test_a_profile_alone(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads(planned(capsys, "--profile", "qwen3-8b", "--json"))
    assert {r["method"] for r in plan["runs"]} == {"rzero"}
    assert plan["base_model"] == "Qwen/Qwen3-8B-Base"
    assert "math_train" in plan["missing_data"]
    assert [row["key"] for row in plan["published"]] == list(KEYS)
    (lr,) = [row for row in plan["published"] if row["key"] == "proposer.lr"]
    assert (lr["ours"], lr["verdict"]) == (1e-6, "same")
    assert lr["published"][0] == [1e-6, "R-Zero code", "code"]
    assert len(plan["deviations"]) == len(published().loop)
    low, high = plan["estimate"]["hours"]
    assert 0 < low["held"] < high["held"]
    assert plan["estimate"]["measured"] is False
    assert sorted(p.name for p in empty.parent.iterdir()) == ["data"]


def test_for_people(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = planned(capsys, "--profile", "qwen3-8b", "--set", "votes.n=8")
    for key in KEYS:
        assert f"\n {key} " in out
    told = " ".join(out.split())
    for part in ("passed with --set", "different", "GPU-hours per run, not measured", "assumed"):
        assert part in told
    assert "8,190,735,360 parameters" in told
    assert "data not found here: math_train" in told
    assert "evaluations: at most" in told


def test_a_folder_that_lacks_one_set(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The missing set counts with the catalogue's items, the others as before."""
    arguments = ["--profile", "qwen3-8b", "--set", "diversity.topics=null"]
    monkeypatch.setenv(UNVERIFIED, "1")
    item = {"id": "a", "problem": "1 + 1?", "answer": "2"}
    (empty / "aime24.jsonl").write_text(json.dumps(item), encoding="utf-8")
    tasks = ["--set", "evaluation.tasks=[aime24, aime25]"]
    plan = json.loads(planned(capsys, *arguments, *tasks, "--json"))
    assert plan["missing_data"].startswith("aime25: ")
    assert plan["tokens_at_most_per_run"]["evaluations"] == 6 * 2 * 30 * 33 * 4096
    tasks = ["--set", "evaluation.tasks=[aime24]"]
    plan = json.loads(planned(capsys, *arguments, *tasks, "--json"))
    assert plan["missing_data"] is None
    assert plan["tokens_at_most_per_run"]["evaluations"] == 6 * 33 * 4096


def test_tasks_that_the_catalogue_does_not_know(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import harness.launch.bounds as bounds

    monkeypatch.setattr(bounds, "sources", dict)
    arguments = ["--profile", "qwen3-8b", "--set", "evaluation.tasks=[aime24]"]
    plan = json.loads(planned(capsys, *arguments, "--json"))
    assert plan["tokens_at_most_per_run"]["evaluations"] is None
    assert "evaluations: unknown" in planned(capsys, *arguments)


def test_without_a_folder_the_hub_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ENV, raising=False)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("harness.data._hub_rows", never)
    plan = json.loads(planned(capsys, "--profile", "qwen3-4b", "--json"))
    assert "the hub isn't asked" in plan["missing_data"]


def test_a_run_does_not_start(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--method", "rzero", "--profile", "qwen3-8b"]) == 2
    assert "math_train" in capsys.readouterr().err


def test_mistakes_are_still_refused(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("evaluation.tasks=[aime99]", "model.path=./nowhere", "checker=no.such:Thing"):
        assert main(["plan", "--profile", "qwen3-8b", "--set", wrong]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_the_ladder_is_beside_nothing_published(capsys: pytest.CaptureFixture[str]) -> None:
    out = planned(capsys)
    assert "published" not in out
    assert "GPU-hours" not in out
    assert "trainer about" in " ".join(out.split())
    plan = json.loads(planned(capsys, "--json"))
    assert (plan["published"], plan["deviations"], plan["missing_data"]) == ([], [], None)


def test_bounds_agree_with_the_tasks_where_data_are_there() -> None:
    from harness.config import load_config

    config = load_config("ladder", overrides=["evaluation.limit=5"])[0]
    tokens, missing = evaluation_bound(config)
    assert (tokens, missing) == (2 * 5 * (1 + 2) * 56, "")
    spec = RunSpec("rzero", 0, config)
    plan = make_plan([spec], [ROOT / "runs"], 1)
    assert plan["tokens_at_most_per_run"]["evaluations"] == tokens
