"""A whole small run with everything of ``training`` that one process can do."""

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
