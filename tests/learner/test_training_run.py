"""A whole small run with everything of `training`: in one process, and in two."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import tiny_run
import torch

from harness.learner.local import LocalLearner
from harness.policy import Policy
from harness.run import execute
from harness.store import Status

SETTINGS = (
    "iterations=1",
    "curriculum.questions=12",
    "evaluation.limit=2",
    "solver.steps=1",
    "proposer.steps=2",
    "proposer.checkpoint_every=1",
    "proposer.lr=0.001",
    "training.lora={rank: 4, alpha: 8}",
    "training.gradient_checkpointing=true",
    "training.micro_tokens=2000",
)


def test_a_run_with_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[LocalLearner] = []
    close = LocalLearner.close
    monkeypatch.setattr(LocalLearner, "close", lambda own: (closed.append(own), close(own)))
    spec = tiny_run.spec("vocab_dropout", 0, *SETTINGS)
    assert execute(spec, tmp_path) is Status.COMPLETED
    assert len(closed) == 2  # proposer and solver
    folder = spec.folder(tmp_path)
    before, after = Policy.load(tiny.BASE), Policy.load(folder.iteration(1) / "proposer")
    changed = {
        name
        for (name, a), b in zip(
            before.model.named_parameters(), after.model.parameters(), strict=True
        )
        if not torch.equal(a, b)
    }
    assert changed
    assert all(".self_attn." in name or ".mlp." in name for name in changed)
    metrics = tiny_run.metrics(folder, 1)
    assert metrics["train/proposer/logprob_gap_alarm"] == 0.0
    assert metrics["train/proposer/grad_norm"] > 0
    assert not any("oom_halvings" in name for name in metrics)


@pytest.mark.slow  # what it joins is tested apart: the sharded updates, and a run's phases
@pytest.mark.parametrize("seed", [1, 4])
def test_a_run_in_two_processes_is_that_in_one(seed: int, tmp_path: Path) -> None:
    settings = (*SETTINGS[:5], "proposer.lr=0.001", "solver.lr=0.001")
    one = tiny_run.finished("vocab_dropout", seed, *settings)
    spec = tiny_run.spec("vocab_dropout", seed, *settings, "training.processes=2")
    assert execute(spec, tmp_path) is Status.COMPLETED
    two = spec.folder(tmp_path)
    weights = [Policy.load(run.iteration(1) / "proposer").model.state_dict() for run in (one, two)]
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=0, atol=2e-4, msg=name)
    first, second = tiny_run.metrics(one, 1), tiny_run.metrics(two, 1)
    for name in (n for n in first if n.startswith("train/proposer/")):
        assert second[name] == pytest.approx(first[name], rel=1e-4, abs=1e-6), name
