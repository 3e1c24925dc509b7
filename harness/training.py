"""GRPO updates of one role over one stage, hooks included."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.config.schema import StageConfig
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
from harness.methods.base import HookContext, Method, TokenTools
from harness.methods.batch import RolloutBatch
from harness.policy import Policy, TokenBatch
from harness.store import atomic_folder
from harness.support import Support

RATIO_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest |logp - old| allowed before the first update: rounding, not off-policy drift."""
GAP_ALARM = {torch.float32: 1e-2, torch.bfloat16: 0.2}
"""Mean |engine - trainer| log-prob gap above which an alarm is logged."""

SCAN = 4
"""Micro-batches that are read at once where no gradient is kept."""


class DivergedError(RunFailedError):
    """Too many consecutive updates were not finite."""


class GrpoTrainer:
    """Trains one policy over one stage; the reference is the stage's initial model.

    Args:
        policy: what is trained, in place.
        stage: its configuration.
    """

    def __init__(self, policy: Policy, stage: StageConfig) -> None:
        self.policy = policy
        self.stage = stage
        self.reference = Policy(copy.deepcopy(policy.model), policy.tokenizer)
        self.reference.model.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            policy.model.parameters(), lr=stage.lr, weight_decay=stage.weight_decay
        )
        self.coefficients = stage_coefficients(stage)
        self.nonfinite_in_a_row = 0
        self.moved = False
        self.extra_scans = 0
        """Passes over the last step's tokens that a method made necessary."""
        self.loss: float | None = None
        """Mean token loss over the last step's updates; to look at, no result."""

    def measure(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies [R, T] of rollouts under the policy as it is."""
        return self._scan(self.policy, tokens)

    def update(self, batch: RolloutBatch, method: Method, ctx: HookContext) -> dict[str, float]:
        """All optimiser updates on one scored batch.

        Returns:
            Flat metrics of the step.

        Raises:
            DivergedError: ``max_nonfinite`` updates in a row were not finite.
            RunFailedError: the first ratio isn't 1: trainer and old policy disagree.
        """
        self.loss = None
        if not len(batch):
            return {"updates_skipped": 1.0}  # a method dropped every row: nothing to learn from
        assert batch.rewards is not None
        self.extra_scans = 0
        if replay_of(batch.tokens.logits_rule) == "behaviour" and batch.tokens.support is None:
            batch.tokens.support = self._support_of(batch.tokens)
            self.extra_scans += 1
        tokens = batch.tokens
        mask = tokens.response_mask
        old, entropy = self._scan(self.policy, tokens)
        apart = self.moved and self.coefficients.kl  # until then the reference is the policy
        ref = self._scan(self.reference, tokens)[0] if apart else old
        values, flat = group_advantages(batch.rewards.total, batch.group_id)
        base = torch.as_tensor(values, dtype=torch.float32)[None, :, None] * mask[None]
        advantages, blend = method.advantage(ctx, batch, base, torch.ones(1, len(batch)))
        stats = {"old": old, "ref": ref, "entropy": entropy}

        def old_logprobs(rule: Callable[[Tensor], Tensor]) -> Tensor:
            self.extra_scans += 1
            return self._scan(self.policy, tokens, extra=rule)[0]

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
        metrics["clip_fraction"] = totals["clipped"] / max(1.0, totals["tokens"])
        metrics["grad_norm"] = totals["grad_norm"] / max(1.0, totals["updates"])
        metrics["updates_skipped"] = totals["skipped"]
        if totals["updates"]:
            self.loss = totals["loss"] / totals["updates"]
        return metrics

    def _scan(
        self,
        policy: Policy,
        tokens: TokenBatch,
        *,
        full_support: bool = False,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-prob and entropy [R, T] without gradient, a few rows at a time."""
        logp = torch.zeros(tokens.response_mask.shape)
        entropy = torch.zeros_like(logp)
        with torch.no_grad():
            order = tokens.arranged(torch.arange(len(tokens)))
            for rows in torch.split(order, SCAN * self.stage.micro_rows):
                part = tokens.rows(rows)
                scores = policy.score(part, full_support=full_support, extra=extra)
                width = part.response_mask.shape[1]
                logp[rows, :width] = scores.logp.cpu()
                entropy[rows, :width] = scores.entropy.cpu()
        return logp, entropy

    def _support_of(self, tokens: TokenBatch) -> Support:
        """The support that the rollouts' rule left, a few rows at a time."""
        parts = torch.split(torch.arange(len(tokens)), self.stage.micro_rows)
        return Support.join([self.policy.support(tokens.rows(rows)) for rows in parts])

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
            full = self._scan(self.policy, tokens, full_support=True)[0]
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
        self.optimizer.zero_grad(set_to_none=True)
        finite, weight, lost = True, 0.0, 0.0
        micro = torch.split(batch.tokens.arranged(rows), self.stage.micro_rows)
        per_microbatch = self.stage.loss_mean == "microbatch"
        for i, part in enumerate(micro):
            x = replace(self._inputs(part, batch, *inputs), minibatch=rows, place=(*place, i))
            if check:
                self._assert_on_policy(x)
            loss = method.token_loss(ctx, x, base_token_loss(x))
            total, count = (loss.loss * loss.denominator).sum(), loss.denominator.sum()
            clip = clipped_tokens(x.ratio, x.advantages[0], x.coefficients)
            totals["clipped"] += float((clip & x.mask).sum())
            totals["tokens"] += float(x.mask.sum())
            if not bool(torch.isfinite(total)):
                finite = False
                break
            weight += float(count)
            lost += float(total.detach())
            scale = 1.0 / (count.clamp(min=1.0) * len(micro)) if per_microbatch else 1.0
            (total * scale).backward()  # type: ignore[no-untyped-call]
        parameters = [p for p in self.policy.model.parameters() if p.grad is not None]
        if finite and not per_microbatch:
            for p in parameters:  # the mean over the whole minibatch, known only now
                p.grad /= max(weight, 1.0)
        if finite and parameters:
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.stage.max_grad_norm)
            finite = bool(torch.isfinite(norm))
        if not finite:
            totals["skipped"] += 1
            self.nonfinite_in_a_row += 1
            self.optimizer.zero_grad(set_to_none=True)
            if self.nonfinite_in_a_row >= self.stage.max_nonfinite:
                raise DivergedError(
                    f"{ctx.role}, iteration {ctx.iteration}, step {ctx.step}: "
                    f"{self.nonfinite_in_a_row} updates in a row were not finite; "
                    f"lower {ctx.role}.lr"
                )
            return
        self.nonfinite_in_a_row = 0
        if parameters:
            self.optimizer.step()
            self.policy.version += 1
            self.moved = True
            totals["grad_norm"] += float(norm)
            totals["loss"] += lost / max(weight, 1.0)
            totals["updates"] += 1

    def _inputs(
        self,
        rows: Tensor,
        batch: RolloutBatch,
        step: TokenInputs,
        candidates: Tensor | None,
    ) -> TokenInputs:
        part = batch.tokens.rows(rows)
        width = part.response_mask.shape[1]
        asked = None if candidates is None else candidates[rows, :width]
        scores = self.policy.score(part, candidates=asked)
        device = scores.logp.device

        def cut(value: Tensor) -> Tensor:
            return value[..., rows, :width].to(device)

        return TokenInputs(
            logp=scores.logp,
            old=cut(step.old),
            ref=cut(step.ref),
            entropy=scores.entropy,
            mask=part.response_mask.to(device),
            advantages=cut(step.advantages),
            blend=step.blend[:, rows].to(device),
            response_ids=part.response_ids.to(device),
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
        tensors: dict[str, Tensor] = {}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors.update({f"{i}.{k}": v.contiguous() for k, v in state.items()})
        with atomic_folder(path) as folder:
            self.policy.save(folder / "policy")
            save_file(tensors, folder / "optimizer.safetensors")
            record = {
                "step": step,
                "nonfinite_in_a_row": self.nonfinite_in_a_row,
                "extra": dict(extra),
            }
            (folder / "state.json").write_text(json.dumps(record), encoding="utf-8")

    def load(self, path: Path) -> tuple[int, dict[str, Any]]:
        """Take back what `save` wrote: (next step, extra)."""
        record = json.loads((path / "state.json").read_text(encoding="utf-8"))
        saved = Policy.load(path / "policy", self.policy.model.dtype)
        self.policy.model.load_state_dict(saved.model.state_dict())
        self.policy.version += 1
        full = self.optimizer.state_dict()
        for name, tensor in load_file(path / "optimizer.safetensors").items():
            index, _, key = name.partition(".")
            full["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(full)
        self.nonfinite_in_a_row = record["nonfinite_in_a_row"]
        self.moved = bool(full["state"])
        return int(record["step"]) + 1, record["extra"]


def stage_coefficients(stage: StageConfig) -> Coefficients:
    """What a stage's configuration says; a method may change it from step to step."""
    return Coefficients(stage.clip_low, stage.clip_high, stage.dual_clip, stage.kl_coef)


def _mean(values: Tensor, mask: Tensor) -> float:
    return float((values * mask).sum() / mask.sum().clamp(min=1))
