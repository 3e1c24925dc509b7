"""A run on text whose topics come from labelled problems, and whose solutions are the solver's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import tiny_run

from harness.cli import main
from harness.diversity import load_embedder, load_topics
from harness.diversity.functional import entropy
from harness.diversity.skeletons import skeleton_entropy
from harness.store import read_parquet


@pytest.fixture(scope="module")
def yardstick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled problems in the place of MATH's."""
    folder = tmp_path_factory.mktemp("data")
    kinds = {"pattern": "what comes next in the pattern", "sum": "what is the sum of the numbers"}
    rows = [
        {"id": f"{kind}{i}", "problem": f"{text} {'x' * i} ?", "answer": "1", "subject": kind}
        for i in range(6)
        for kind, text in kinds.items()
    ]
    lines = "\n".join(map(json.dumps, rows))
    (folder / "math_train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def test_topics_and_skeletons_of_a_run(yardstick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COEVOLUTION_DATA", str(yardstick))
    monkeypatch.setenv("COEVOLUTION_UNVERIFIED", "1")
    plain = tiny_run.finished("rzero")
    run = tiny_run.finished("rzero", 0, "diversity.topics=math_train")
    before, after = tiny_run.metrics(plain, 1), tiny_run.metrics(run, 1)
    changed = {k for k in before if before[k] != after[k]}
    assert all(k.endswith("topic_entropy") for k in changed)
    assert after["diversity/functional/skeleton_entropy"] is not None
    assert after["diversity/functional/epiplexity"] is not None
    embed = load_embedder("hashing")
    topics = load_topics("math_train", embed)
    assert topics is not None
    assert topics.topics == ("pattern", "sum")
    questions = read_parquet(run.iteration(1) / "questions.parquet")
    valid = questions[questions["valid"]]
    bound = entropy(["pattern", "sum", "other"])
    assert bound is not None
    assert 0 <= after["diversity/functional/topic_entropy"] <= bound + 1e-12
    assert set(topics(embed(list(valid["question"])))) <= {"pattern", "sum", "other"}
    assert skeleton_entropy(list(valid["solution"].dropna())) is not None


def test_topics_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COEVOLUTION_DATA", str(tmp_path))
    for name, told in (("math_trian", "unknown set"), ("math_train", "is missing; fetch")):
        arguments = ["run", "--method", "rzero", "--set", f"diversity.topics={name}"]
        assert main([*arguments, "--runs", str(tmp_path / "runs")]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1
        assert not (tmp_path / "runs").exists()
