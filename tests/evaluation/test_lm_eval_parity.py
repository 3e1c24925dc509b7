"""Plain ``lm_eval --include_path tasks --model hf`` gives our responses and our scores."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import data
from harness.engines.torch_engine import TorchEngine
from harness.evaluation import Evaluator
from harness.policy import Policy

TASKS = Path(__file__).resolve().parents[2] / "tasks"
BASE = TASKS / "ladder" / "base"
MODEL = "COEVOLUTION_TEST_MODEL"
"""Environment variable: a real model (folder or GGUF file) for the slow test."""


def short_tasks(folder: Path, new_tokens: int) -> Path:
    """The project's own tasks, cut to responses of ``new_tokens`` tokens."""
    folder.mkdir()
    shutil.copy(TASKS / "benchmarks.py", folder)
    for source in TASKS.glob("*.yaml"):
        text = re.sub(r"max_gen_toks: \d+", f"max_gen_toks: {new_tokens}", source.read_text())
        (folder / source.name).write_text(text)
    return folder


def write_items(folder: Path, answers: list[str]) -> None:
    """Three sets of the same short problems, with the answers given."""
    folder.mkdir(exist_ok=True)
    lines = (TASKS / "ladder" / "test.jsonl").read_text().splitlines()[: len(answers)]
    rows = [
        {"id": row["id"], "problem": row["question"], "answer": answer}
        | {"subject": row["topic"], "level": row["tier"]}
        for row, answer in zip(map(json.loads, lines), answers, strict=True)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("gsm8k_test", "math500", "aime24"):
        (folder / f"{name}.jsonl").write_text(text)


def lm_eval(
    tmp_path: Path, tasks: Path, names: list[str], model_args: str, *more: str
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Results and item logs of lm-eval's own command line, each task's log by document."""
    out = tmp_path / "lm_eval"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu"]
    command += ["--model_args", model_args, "--include_path", str(tasks), "--log_samples"]
    command += ["--tasks", ",".join(names), "--output_path", str(out), *more]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (summary,) = out.rglob("results_*.json")
    logs = {}
    for name in names:
        (log,) = out.rglob(f"samples_{name}_2*.jsonl")
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        logs[name] = sorted(rows, key=lambda row: int(row["doc_id"]))
    return json.loads(summary.read_text())["results"], logs


def assert_parity(
    rows: Any, name: str, results: dict[str, Any], logs: dict[str, list[dict[str, Any]]]
) -> None:
    mine = rows.sort_values("doc_id")
    assert mine["response"].tolist() == [row["resps"][0][0] for row in logs[name]]
    assert mine["prompt_hash"].tolist() == [row["prompt_hash"] for row in logs[name]]
    assert mine["score"].tolist() == [row["exact_match"] for row in logs[name]]
    filtered = results[name]
    metric = next(key for key in filtered if key.startswith("exact_match,"))
    assert filtered[metric] == pytest.approx(mine["score"].mean())
    assert filtered[metric.replace("exact_match", "no_answer")] == pytest.approx(
        (mine["verdict"] == "no_answer").mean()
    )


@pytest.mark.parametrize(
    ("names", "chat"),
    [
        pytest.param(["gsm8k", "math500", "aime24_greedy"], True, id="chat"),
        pytest.param(["gsm8k_base"], False, id="base model", marks=pytest.mark.slow),
    ],
)
def test_the_same_scores_as_plain_lm_eval(
    names: list[str], chat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(data.ENV, str(tmp_path / "data"))
    monkeypatch.setenv(data.UNVERIFIED, "1")
    tasks = short_tasks(tmp_path / "tasks", new_tokens=48)
    policy = Policy.load(BASE)
    engine = TorchEngine(policy.model, policy.tokenizer)

    def evaluate() -> Any:
        return Evaluator(names, tasks, apply_chat_template=chat).evaluate(engine, seed=0)

    n = 24
    write_items(tmp_path / "data", ["-1"] * n)
    said = evaluate().drop_duplicates("doc_id").sort_values("doc_id")["answer"]
    answers = [str(a) if i % 3 else "-1" for i, a in enumerate(said.fillna("-1"))]
    assert 3 <= sum(a != "-1" for a in answers) < said.notna().sum()
    write_items(tmp_path / "data", answers)
    rows = evaluate()
    assert set(rows["verdict"]) == {"correct", "wrong", "no_answer"}
    more = ["--apply_chat_template"] if chat else []
    model_args = f"pretrained={BASE},dtype=float32"
    results, logs = lm_eval(tmp_path, tasks, names, model_args, "--batch_size", "8", *more)
    for name in names:
        benchmark = {"aime24_greedy": "aime24"}.get(name, name)
        assert_parity(rows[rows["task"] == benchmark], name, results, logs)


@pytest.mark.slow
@pytest.mark.skipif(MODEL not in os.environ, reason=f"{MODEL} names no model")
@pytest.mark.skipif(data.ENV not in os.environ, reason=f"{data.ENV} names no data folder")
def test_a_real_model_scores_as_under_plain_lm_eval(tmp_path: Path) -> None:
    names = ["gsm8k", "math500", "aime24_greedy", "minerva"]
    tasks = short_tasks(tmp_path / "tasks", new_tokens=160)
    path = Path(os.environ[MODEL])
    policy = Policy.load(path)
    engine = TorchEngine(policy.model, policy.tokenizer)
    limit = 3
    rows = Evaluator(names, tasks).evaluate(engine, seed=0, limit=limit)
    model_args = f"pretrained={path},dtype=float32"
    if path.suffix == ".gguf":
        model_args = f"pretrained={path.parent},gguf_file={path.name},dtype=float32"
    results, logs = lm_eval(
        tmp_path, tasks, names, model_args, "--limit", str(limit), "--apply_chat_template"
    )
    for name, benchmark in zip(names, ["gsm8k", "math500", "aime24", "minerva"], strict=True):
        assert_parity(rows[rows["task"] == benchmark], name, results, logs)
