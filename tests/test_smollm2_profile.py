"""The profile for a real language model: its prompts, its sizes, and a smoke run where one is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from tiny_run import ROOT

from harness.cli import main
from harness.config import RunConfig, load_config
from harness.launch.plan import tokens_at_most
from harness.roles import parse_proposal, proposer_messages, solver_messages
from harness.store import read_json, read_parquet


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config("smollm2")[0]


def test_the_solver_trains_on_the_prompt_it_is_evaluated_with(config: RunConfig) -> None:
    chat = yaml.safe_load((ROOT / "tasks" / "_chat.yaml").read_text())["doc_to_text"]
    messages = solver_messages(config.roles, "What is 1 + 1?")
    expected = chat.replace("{{problem}}", "What is 1 + 1?")
    assert messages == [{"role": "user", "content": expected}]


def test_every_evaluation_task_is_there(config: RunConfig) -> None:
    assert config.evaluation.tasks == ("gsm8k", "math500", "aime24", "amc23")
    for name in config.evaluation.tasks:
        assert (ROOT / config.evaluation.include_path / f"{name}.yaml").is_file()


def test_the_proposers_prompt_shows_the_format_it_asks_for(config: RunConfig) -> None:
    system, user = proposer_messages(config.roles)
    assert (system["role"], user["role"]) == ("system", "user")
    shown = parse_proposal(system["content"], config.roles)
    assert shown.valid
    assert shown.answer is not None


def test_smoke_is_small_and_passes_through_every_phase(config: RunConfig) -> None:
    smoke = load_config("smollm2", smoke=True)[0]
    assert smoke.profile == "smollm2-smoke"
    assert sum(tokens_at_most(smoke).values()) < 100_000 < sum(tokens_at_most(config).values())
    assert min(smoke.proposer.steps, smoke.solver.steps, smoke.iterations) >= 1
    assert smoke.evaluation.max_new_tokens is not None
    assert smoke.evaluation.limit is not None
    assert smoke.model == config.model
    assert smoke.roles == config.roles


def test_the_cpu_size_is_the_same_loop_made_small(config: RunConfig) -> None:
    small = load_config("smollm2-cpu")[0]
    for same in ("suite", "model", "roles", "protected", "iterations", "baseline", "control"):
        assert getattr(small, same) == getattr(config, same)
    assert small.evaluation.tasks == config.evaluation.tasks
    window = (small.curriculum.window_low, small.curriculum.window_high)
    assert window == (config.curriculum.window_low, config.curriculum.window_high)
    assert small.votes.n * small.curriculum.window_low > 1  # one vote alone is no majority
    stages = (small.proposer, small.curriculum, small.votes, small.solver)
    assert len({stage.temperature for stage in stages}) == 1
    assert sum(tokens_at_most(small).values()) < sum(tokens_at_most(config).values()) / 50


@pytest.mark.slow
def test_a_smoke_run_on_a_real_language_model(tmp_path: Path) -> None:
    """Every phase on COEVOLUTION_TEST_MODEL, best a warm-started checkpoint of it."""
    model, data = os.environ.get("COEVOLUTION_TEST_MODEL"), os.environ.get("COEVOLUTION_DATA")
    if not model or not data:
        pytest.skip("set COEVOLUTION_TEST_MODEL and COEVOLUTION_DATA")
    runs = tmp_path / "runs"
    arguments = ["--profile", "smollm2", "--smoke", "--seeds", "1", "--runs", str(runs)]
    arguments += ["--out", str(tmp_path / "out"), "--set", f"model.path={model}"]
    assert main(["run", "--method", "vocab_dropout", *arguments]) == 0
    folders = sorted(runs.glob("*/manifest.json"))
    assert len(folders) == 2
    for manifest in folders:
        folder = manifest.parent
        done = json.loads((folder / "done.json").read_text())
        assert done["status"] in ("completed", "curriculum_exhausted")
        declared = (Path(model) / "warmstart.json").is_file()
        assert read_json(manifest)["zero_data"] is not declared
        evaluation = read_parquet(folder / "eval" / "00.parquet")
        assert set(evaluation["task"]) == {"gsm8k", "math500", "aime24", "amc23"}
        metrics = read_json(folder / "iterations" / "01" / "metrics.json")
        assert 0 <= metrics["proposer/valid"] <= 1
        if done["status"] == "completed":
            assert metrics["train/solver/steps"] >= 1
            assert metrics["solver/macro/greedy"] is not None
