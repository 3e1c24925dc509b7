"""One role's GRPO stage in one iteration: steps, resumable state, metrics."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from harness.engines.base import Engine
from harness.methods.base import HookContext
from harness.methods.batch import RolloutBatch
from harness.phases.workbench import Workbench
from harness.policy import Policy
from harness.roles import Role
from harness.store import read_json
from harness.training import GrpoTrainer, stage_coefficients


class Stage:
    """Trains ``policy`` as ``role`` in iteration ``t``.

    With ``checkpoint_every`` set, a killed stage goes on after its last saved step. A context
    manager: what trains is let go of at the end of the block, however it ends.
    """

    def __init__(self, bench: Workbench, role: Role, t: int, policy: Policy) -> None:
        self.bench, self.role, self.t = bench, role, t
        self.config = bench.config.proposer if role == "proposer" else bench.config.solver
        self.engine: Engine = bench.engine(policy)
        self.ledger = bench.ledger()
        self.history: list[dict[str, float]] = []
        self._state = bench.folder.iteration(t) / f"{role}.stage"
        self._earlier = self._steps_before()
        self.trainer = GrpoTrainer(policy, self.config, bench.config.training, bench.seed)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self.trainer.close()

    def steps(self) -> Iterator[HookContext]:
        """The contexts of the steps still to do."""
        context = self.bench.context(self.role, "train", self.t)
        total = self.bench.method.steps(context, self.config.steps)
        start = self._resume() if self._state.exists() else 0
        for step in range(start, total):
            self.bench.folder.event("step", role=self.role, iteration=self.t, step=step, of=total)
            ctx = self.bench.context(self.role, "train", self.t, step)
            self.trainer.coefficients = self.bench.method.coefficients(
                ctx, stage_coefficients(self.config)
            )
            yield ctx
            every = self.config.checkpoint_every
            if every and (step + 1) % every == 0 and step + 1 < total:
                self._save(step)

    def measure(self, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies [R, T] under the policy as it is; counted."""
        self.ledger.measured(self.role, _tokens_read(batch))
        return self.trainer.measure(batch.tokens)

    def update(self, ctx: HookContext, batch: RolloutBatch) -> None:
        """The optimiser updates of one step."""
        with self.bench.engines.resting():
            metrics = self.trainer.update(batch, self.bench.method, ctx)
        read = _tokens_read(batch)
        scans = (2 if self.trainer.coefficients.kl else 1) + self.trainer.extra_scans
        epochs = self.config.epochs
        self.ledger.trained(self.role, read, forwards=scans + epochs, backwards=epochs)
        self.history.append(metrics)
        if "oom_halvings" in metrics:
            where = {"role": self.role, "iteration": self.t, "step": ctx.step}
            self.bench.folder.event(
                "out_of_memory", **where, halved_to=str(self.trainer.passes.limit)
            )
        self.bench.method.on_step_end(ctx, metrics)
        self._report(ctx.step, {**metrics, "loss": self.trainer.loss})

    def metrics(self) -> dict[str, float]:
        """Means over the steps as ``train/<role>/...``, with the compute."""
        names = sorted({name for row in self.history for name in row})
        means = {
            f"train/{self.role}/{n}": float(np.mean([r[n] for r in self.history if n in r]))
            for n in names
        }
        means[f"train/{self.role}/steps"] = float(len(self.history))
        return {**means, **self.ledger.metrics()}

    def _report(self, step: int, scalars: Mapping[str, float | None]) -> None:
        """The step's scalars as an event; what isn't finite is null, which JSON has a word for."""
        self.bench.folder.event(
            "step_end",
            role=self.role,
            iteration=self.t,
            step=step,
            global_step=self._earlier + step,
            metrics={
                k: float(v) if v is not None and math.isfinite(v) else None
                for k, v in scalars.items()
            },
        )

    def _steps_before(self) -> int:
        """Steps of this role in earlier iterations."""
        phase = "propose" if self.role == "proposer" else "solve"
        paths = (self.bench.folder.iteration(t) / f"{phase}.json" for t in range(1, self.t))
        records = [read_json(path)["metrics"] for path in paths if path.exists()]
        return sum(int(r.get(f"train/{self.role}/steps", 0)) for r in records)

    def _save(self, step: int) -> None:
        extra: dict[str, Any] = {
            "history": self.history,
            "tokens": dict(self.ledger.tokens),
            "flops": self.ledger.flops,
            "method": self.bench.method.state_dict(),
            "counts": dict(self.bench.counts),
        }
        self.trainer.save(self._state, step, extra)

    def _resume(self) -> int:
        step, extra = self.trainer.load(self._state)
        self.history = extra["history"]
        self.ledger.tokens.update(extra["tokens"])
        self.ledger.flops = extra["flops"]
        self.bench.method.load_state_dict(extra["method"])
        self.bench.counts = Counter(extra["counts"])
        return step


def _tokens_read(batch: RolloutBatch) -> int:
    return sum(map(len, batch.rollouts.prompt_ids)) + int(batch.tokens.response_mask.sum())
