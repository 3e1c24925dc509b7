"""GRPO updates of one role over one stage, hooks included."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.config.schema import StageConfig, TrainingConfig
from harness.engines.base import replay_of
from harness.errors import RunFailedError
from harness.grpo import (
    Coefficients,
    TokenInputs,
    base_token_loss,
    clipped_tokens,
    group_advantages,
    k3,
)
from harness.learner import Grads, Passes, make_learner
from harness.methods.base import HookContext, Method, TokenTools
from harness.methods.batch import RolloutBatch
from harness.microbatches import MicroLimit
from harness.policy import Policy, Scores, TokenBatch
from harness.store import atomic_folder

RATIO_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest |logp - old| allowed before the first update: rounding, not off-policy drift."""
GAP_ALARM = {torch.float32: 1e-2, torch.bfloat16: 0.2}
"""Mean |engine - trainer| log-prob gap above which an alarm is logged."""


class DivergedError(RunFailedError):
    """Too many consecutive updates were not finite."""


@dataclass
class _Sums:
    """What the micro-batches of one update add up to; ``weight`` is the denominators' sum."""

    weight: float = 0.0
    loss: float = 0.0
    clipped: float = 0.0
    tokens: float = 0.0
    finite: bool = True


class GrpoTrainer:
    """Trains one policy over one stage; the reference is the stage's initial model.

    Args:
        policy: what is trained, in place.
        stage: its configuration.
        training: how the updates are computed, and in how many processes.
        seed: of what a stage draws itself, which is its adapters' first values.
    """

    def __init__(
        self,
        policy: Policy,
        stage: StageConfig,
        training: TrainingConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.policy = policy
        self.stage = stage
        training = training or TrainingConfig()
        self.learner = make_learner(policy, stage, training, seed)
        limit = MicroLimit(stage.micro_rows, training.micro_tokens)
        self.passes = Passes(self.learner, limit)
        self.coefficients = stage_coefficients(stage)
        self.nonfinite_in_a_row = 0
        self.moved = False
        self.extra_scans = 0
        """Passes over the last step's tokens that a method made necessary."""
        self.loss: float | None = None
        """Mean token loss over the last step's updates; to look at, no result."""

    def measure(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies [R, T] of rollouts under the policy as it is."""
        return self.passes.scan("policy", tokens)

    def close(self) -> None:
        """Let go of all but the policy."""
        self.learner.close()

    def update(self, batch: RolloutBatch, method: Method, ctx: HookContext) -> dict[str, float]:
        """All optimiser updates on one scored batch.

        Returns:
            Flat metrics of the step.

        Raises:
            DivergedError: ``max_nonfinite`` updates in a row were not finite.
            RunFailedError: the first ratio isn't 1: trainer and old policy disagree; or memory ran
                out, also with micro-batches of half the size.
        """
        self.loss = None
        if not len(batch):
            return {"updates_skipped": 1.0}  # a method dropped every row: nothing to learn from
        assert batch.rewards is not None
        self.extra_scans = 0
        began, halved = self.policy.version, self.passes.halved
        if replay_of(batch.tokens.logits_rule) == "behaviour" and batch.tokens.support is None:
            batch.tokens.support = self.passes.support(batch.tokens)
            self.extra_scans += 1
        tokens = batch.tokens
        mask = tokens.response_mask
        old, entropy = self.passes.scan("policy", tokens)
        apart = self.moved and self.coefficients.kl  # until then the reference is the policy
        ref = self.passes.scan("reference", tokens)[0] if apart else old
        values, flat = group_advantages(batch.rewards.total, batch.group_id)
        base = torch.as_tensor(values, dtype=torch.float32)[None, :, None] * mask[None]
        advantages, blend = method.advantage(ctx, batch, base, torch.ones(1, len(batch)))
        stats = {"old": old, "ref": ref, "entropy": entropy}

        def old_logprobs(rule: Callable[[Tensor], Tensor]) -> Tensor:
            self.extra_scans += 1
            return self.passes.scan("policy", tokens, extra=rule)[0]

        stats = method.token_stats(ctx, batch, stats, TokenTools(old_logprobs))
        step = TokenInputs(
            logp=old,
            old=stats["old"],
            ref=stats["ref"],
            entropy=entropy,
            mask=mask,
            advantages=advantages,
            blend=blend,
            response_ids=tokens.response_ids,
            coefficients=self.coefficients,
            stats=stats,
        )
        candidates = method.candidates(ctx, batch, None)
        metrics = {
            "reward": float(batch.rewards.total.mean()),
            "entropy": _mean(entropy, mask),
            "surprisal": -_mean(old, mask),
            "kl": _mean(k3(ref, old), mask),
            "zero_variance_groups": flat / len(set(batch.group_id)),
            "truncated": float(batch.rollouts.truncated.float().mean()),
            "response_tokens": float(mask.sum() / len(batch)),
            **self._gap(batch, old),
            **(self._support(tokens, old) if ctx.step == 0 else {}),
            **{f"reward/{k}": float(v.mean()) for k, v in batch.rewards.components.items()},
        }
        counted = ("clipped", "tokens", "grad_norm", "loss", "updates", "skipped")
        totals = dict.fromkeys(counted, 0.0)
        first = True
        for epoch in range(self.stage.epochs):
            for i, rows in enumerate(self._minibatches(batch, ctx, epoch)):
                self._minibatch(
                    rows, batch, method, ctx, (step, candidates), totals, (epoch, i), check=first
                )
                first = False
        if self.policy.version != began:
            self.learner.sync()
        if self.passes.halved and not halved:
            metrics["oom_halvings"] = 1.0
        metrics["clip_fraction"] = totals["clipped"] / max(1.0, totals["tokens"])
        metrics["grad_norm"] = totals["grad_norm"] / max(1.0, totals["updates"])
        metrics["updates_skipped"] = totals["skipped"]
        if totals["updates"]:
            self.loss = totals["loss"] / totals["updates"]
        return metrics

    def _gap(self, batch: RolloutBatch, old: Tensor) -> dict[str, float]:
        """How far the engine's log-probs are from the trainer's."""
        mask = batch.tokens.response_mask
        if any(batch.off_policy):  # sampled under another rule than the one that is replayed
            mask = mask & ~torch.as_tensor(batch.off_policy)[:, None]
        gap = (batch.rollouts.logprobs - old).abs() * mask
        mean = _mean(gap, mask)
        used, rule = batch.tokens.mask, batch.tokens.logits_rule
        same_rule = used is None or used.in_logprobs
        same_rule = same_rule and (rule is None or replay_of(rule) != "none")
        alarm = same_rule and mean > GAP_ALARM[self.policy.model.dtype]
        return {
            "logprob_gap_mean": mean,
            "logprob_gap_max": float(gap.max()),
            "logprob_gap_alarm": float(alarm),
        }

    def _support(self, tokens: TokenBatch, old: Tensor) -> dict[str, float]:
        """How hard a mask bites (a stage's first step): tokens kept, unmasked mass on them."""
        mask = tokens.mask
        if mask is None:
            return {}
        kept = mask.keep_numpy(sorted(set(tokens.mask_rows.tolist()))).mean()  # type: ignore[union-attr]
        metrics = {"mask/kept_tokens": float(kept), "mask/protected": float(len(mask.protected))}
        if mask.in_logprobs:
            full = self.passes.scan("policy", tokens, full_support=True)[0]
            # logp under the mask = logp - log(allowed mass), token by token
            metrics["mask/allowed_mass"] = _mean((full - old).exp(), tokens.response_mask)
        return metrics

    def _minibatches(self, batch: RolloutBatch, ctx: HookContext, epoch: int) -> list[Tensor]:
        """Whole groups, shuffled, in ``minibatches`` parts of rows."""
        group_id = np.asarray(batch.group_id)
        parts = ctx.minibatches(batch.group_id, self.stage.minibatches, epoch)
        return [torch.as_tensor(np.flatnonzero(np.isin(group_id, part))) for part in parts]

    def _minibatch(
        self,
        rows: Tensor,
        batch: RolloutBatch,
        method: Method,
        ctx: HookContext,
        inputs: tuple[TokenInputs, Tensor | None],
        totals: dict[str, float],
        place: tuple[int, int],
        *,
        check: bool,
    ) -> None:
        """One optimiser update, skipped if it isn't finite."""
        sums = self.passes.fitting(
            lambda: self._gradient(rows, batch, method, ctx, inputs, place, check=check)
        )
        totals["clipped"] += sums.clipped
        totals["tokens"] += sums.tokens
        norm: float | None = None
        if sums.finite:
            # The mean over the whole minibatch is known only now.
            mean = 1.0 if self.stage.loss_mean == "microbatch" else max(sums.weight, 1.0)
            norm = self.learner.step(mean, self.stage.max_grad_norm)
        if not sums.finite or (norm is not None and not math.isfinite(norm)):
            totals["skipped"] += 1
            self.nonfinite_in_a_row += 1
            self.learner.zero_grad()
            if self.nonfinite_in_a_row >= self.stage.max_nonfinite:
                raise DivergedError(
                    f"{ctx.role}, iteration {ctx.iteration}, step {ctx.step}: "
                    f"{self.nonfinite_in_a_row} updates in a row were not finite; "
                    f"lower {ctx.role}.lr"
                )
            return
        self.nonfinite_in_a_row = 0
        if norm is not None:
            self.policy.version += 1
            self.moved = True
            totals["grad_norm"] += norm
            totals["loss"] += sums.loss / max(sums.weight, 1.0)
            totals["updates"] += 1

    def _gradient(
        self,
        rows: Tensor,
        batch: RolloutBatch,
        method: Method,
        ctx: HookContext,
        inputs: tuple[TokenInputs, Tensor | None],
        place: tuple[int, int],
        *,
        check: bool,
    ) -> _Sums:
        """Leave a minibatch's gradient with the learner, unless a loss isn't finite."""
        step, candidates = inputs
        tokens, sums = batch.tokens, _Sums()
        self.learner.zero_grad()
        micro = self.passes.split(tokens, tokens.arranged(rows))
        per_microbatch = self.stage.loss_mean == "microbatch"
        i = 0
        for group in self.passes.rounds(micro):
            parts = [tokens.rows(picked) for picked in group]
            widths = [part.response_mask.shape[1] for part in parts]
            asked = [
                None if candidates is None else candidates[picked, :width]
                for picked, width in zip(group, widths, strict=True)
            ]
            found = self.learner.forward(list(zip(parts, asked, strict=True)))
            for picked, scores in zip(group, found, strict=True):
                x = self._inputs(picked, tokens, step, scores)
                x = replace(x, minibatch=rows, place=(*place, i))
                if check:
                    self._assert_on_policy(x)
                loss = method.token_loss(ctx, x, base_token_loss(x))
                total, count = (loss.loss * loss.denominator).sum(), loss.denominator.sum()
                clip = clipped_tokens(x.ratio, x.advantages[0], x.coefficients)
                sums.clipped += float((clip & x.mask).sum())
                sums.tokens += float(x.mask.sum())
                if not bool(torch.isfinite(total)):
                    sums.finite = False
                    return sums
                sums.weight += float(count)
                sums.loss += float(total.detach())
                scale = 1.0 / (count.clamp(min=1.0) * len(micro)) if per_microbatch else 1.0
                (total * scale).backward()  # type: ignore[no-untyped-call]
                i += 1
            self.learner.backward([Grads.of(scores) for scores in found])
        return sums

    def _inputs(
        self, rows: Tensor, tokens: TokenBatch, step: TokenInputs, scores: Scores
    ) -> TokenInputs:
        width, device = scores.logp.shape[1], scores.logp.device

        def cut(value: Tensor) -> Tensor:
            return value[..., rows, :width].to(device)

        return TokenInputs(
            logp=scores.logp,
            old=cut(step.old),
            ref=cut(step.ref),
            entropy=scores.entropy,
            mask=cut(tokens.response_mask),
            advantages=cut(step.advantages),
            blend=step.blend[:, rows].to(device),
            response_ids=cut(tokens.response_ids),
            coefficients=self.coefficients,
            stats={k: cut(v) for k, v in step.stats.items()},
            candidate_logp=scores.candidates,
            rows=rows,
            step=step,
        )

    def _assert_on_policy(self, x: TokenInputs) -> None:
        """Ratio = 1 before the first update of a batch."""
        gap = float(((x.logp - x.old).abs() * x.mask).max().detach())
        limit = RATIO_TOLERANCE[self.policy.model.dtype]
        if gap > limit:
            raise RunFailedError(
                f"ratio before the first update is not 1 (|logp - old| up to {gap:.2g} > {limit}); "
                "the trainer does not replay the rule that the rollouts were sampled under"
            )

    def save(self, path: Path, step: int, extra: Mapping[str, Any]) -> None:
        """Everything needed to go on after ``step``, as safetensors and JSON."""
        with atomic_folder(path) as folder:
            self.policy.save(folder / "policy")
            self.learner.save(folder)
            record = {
                "step": step,
                "nonfinite_in_a_row": self.nonfinite_in_a_row,
                "halved": self.passes.halved,
                "extra": dict(extra),
            }
            (folder / "state.json").write_text(json.dumps(record), encoding="utf-8")

    def load(self, path: Path) -> tuple[int, dict[str, Any]]:
        """Take back what `save` wrote: (next step, extra)."""
        record = json.loads((path / "state.json").read_text(encoding="utf-8"))
        saved = Policy.load(path / "policy", self.policy.model.dtype)
        self.policy.model.load_state_dict(saved.model.state_dict())
        self.policy.version += 1
        self.moved = self.learner.load(path)
        self.nonfinite_in_a_row = record["nonfinite_in_a_row"]
        if record.get("halved"):
            self.passes.halve()
        return int(record["step"]) + 1, record["extra"]


def stage_coefficients(stage: StageConfig) -> Coefficients:
    """What a stage's configuration says; a method may change it from step to step."""
    return Coefficients(stage.clip_low, stage.clip_high, stage.dual_clip, stage.kl_coef)


def _mean(values: Tensor, mask: Tensor) -> float:
    return float((values * mask).sum() / mask.sum().clamp(min=1))
