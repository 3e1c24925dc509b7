"""What a token loss sees: statistics, candidates, rows and scopes, checked on a real model."""

from __future__ import annotations

import dataclasses
import math

import pytest
import tiny
import torch
from torch import Tensor

from harness.grpo import Coefficients, TokenInputs, TokenLoss
from harness.methods import HookContext, Method, RolloutBatch, TokenTools
from harness.policy import Policy
from harness.training import GrpoTrainer

CTX = tiny.make_context()


class Recorder(Method):
    """Keeps every micro-batch's inputs, and names token 11 and the sampled one everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[TokenInputs] = []
        self.stats: dict[str, Tensor] = {}
        self.named: Tensor | None = None

    def token_stats(
        self, ctx: HookContext, batch: RolloutBatch, stats: dict[str, Tensor], tools: TokenTools
    ) -> dict[str, Tensor]:
        self.stats = {
            **stats,
            "as_is": tools.logprobs(lambda logits: logits),
            "even_only": tools.logprobs(_even_only),
        }
        return self.stats

    def candidates(
        self, ctx: HookContext, batch: RolloutBatch, candidates: Tensor | None
    ) -> Tensor | None:
        ids = batch.tokens.response_ids
        self.named = torch.stack([torch.full_like(ids, 11), ids, torch.full_like(ids, -1)], dim=2)
        return self.named

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        self.seen.append(x)
        return loss


def _even_only(logits: Tensor) -> Tensor:
    """Drops every second token."""
    kept = logits.clone()
    kept[:, 1::2] = -torch.inf
    return kept


class TestWhatATokenLossSees:
    @pytest.fixture(scope="class")
    def run(self, tiny_policy: Policy) -> tuple[RolloutBatch, Recorder, GrpoTrainer]:
        """Two epochs of two updates on 20 rows of a temperature of .8, 3 rows at a time."""
        batch = tiny.make_batch(tiny_policy, groups=5, temperature=0.8)
        # lengths from 1 to 10, so that micro-batches differ in width
        keep = torch.arange(10) < (torch.arange(20) % 10 + 1)[:, None]
        batch.tokens.response_mask &= keep[:, : batch.tokens.response_mask.shape[1]]
        recorder = Recorder()
        stage = tiny.make_stage(minibatches=2, epochs=2, micro_rows=3)
        trainer = GrpoTrainer(tiny.clone(tiny_policy), stage)
        trainer.update(batch, recorder, CTX)
        return batch, recorder, trainer

    def test_log_probs_under_a_rule(self, run, tiny_policy: Policy) -> None:
        """Recomputed here with a plain forward pass of each row."""
        batch, recorder, trainer = run
        stats, mask = recorder.stats, batch.tokens.response_mask
        assert torch.equal(stats["as_is"], stats["old"])
        assert stats["even_only"].shape == mask.shape
        assert trainer.extra_scans == 2
        for row in (0, 7, 19):
            n, prompt = int(mask[row].sum()), batch.tokens.prompt_ids[row]
            ids = batch.tokens.response_ids[row, :n]
            whole = torch.cat([torch.tensor(prompt), ids])[None]
            with torch.no_grad():
                logits = tiny_policy.model(whole).logits[0, len(prompt) - 1 : -1]
            for t in range(n):
                even = int(ids[t]) % 2 == 0
                expected = (logits[t] / 0.8)[::2].log_softmax(dim=0)[int(ids[t]) // 2]
                found = float(stats["even_only"][row, t])
                assert found == (pytest.approx(float(expected), abs=1e-4) if even else -math.inf)

    def test_candidates(self, run, tiny_policy: Policy) -> None:
        """The sampled token's is logp itself; none is -inf; token 11's, by a plain forward pass."""
        batch, recorder, _ = run
        for x in recorder.seen:
            logp = x.candidate_logp
            assert logp is not None
            assert logp.shape == (*x.mask.shape, 3)
            assert torch.equal(logp[..., 1][x.mask], x.logp[x.mask])
            assert (logp[..., 2] == -math.inf).all()
            assert (logp[~x.mask] == -math.inf).all()
        x = recorder.seen[0]  # before the first update
        for i, row in enumerate(x.rows.tolist()):
            prompt, n = batch.tokens.prompt_ids[row], int(x.mask[i].sum())
            whole = torch.cat([torch.tensor(prompt), batch.tokens.response_ids[row, :n]])[None]
            with torch.no_grad():
                logits = tiny_policy.model(whole).logits[0, len(prompt) - 1 : -1]
            expected = (logits / 0.8).log_softmax(dim=1)[:, 11]
            assert (x.candidate_logp[i, :n, 0] - expected).abs().max() < 1e-4

    def test_rows_minibatch_step_and_place(self, run) -> None:
        batch, recorder, _ = run
        seen = recorder.seen
        for x in seen:
            width = x.mask.shape[1]
            assert set(x.rows.tolist()) <= set(x.minibatch.tolist())
            assert torch.equal(x.response_ids, batch.tokens.response_ids[x.rows, :width])
            assert torch.equal(x.mask, batch.tokens.response_mask[x.rows, :width])
            assert not batch.tokens.response_mask[x.rows, width:].any()
            assert torch.equal(x.old, x.step.old[x.rows, :width])
            assert torch.equal(x.advantages, x.step.advantages[:, x.rows, :width])
            assert torch.equal(x.stats["even_only"], recorder.stats["even_only"][x.rows, :width])
            assert torch.equal(x.step.logp, recorder.stats["old"])  # the old policy's
            assert torch.equal(x.step.mask, batch.tokens.response_mask)
        places = [x.place for x in seen]
        assert len(set(places)) == len(places)
        assert {p[:2] for p in places} == {(0, 0), (0, 1), (1, 0), (1, 1)}
        for epoch in range(2):
            rows = [x.rows for x in seen if x.place[0] == epoch]
            assert sorted(torch.cat(rows).tolist()) == list(range(20))
        for update in {p[:2] for p in places}:
            parts = [x for x in seen if x.place[:2] == update]
            assert [x.place[2] for x in parts] == list(range(len(parts)))
            assert sorted(torch.cat([x.rows for x in parts]).tolist()) == sorted(
                parts[0].minibatch.tolist()
            )

    @pytest.mark.parametrize("scope", ["mini", "rollout"])
    def test_a_choice_within_a_scope_is_the_same_from_every_part(self, run, scope) -> None:
        """The micro-batches of an update (or epoch) share out one choice, here of 7 tokens."""
        _, recorder, _ = run

        def lowest(wide: TokenInputs) -> Tensor:
            logp = wide.logp.masked_fill(~wide.mask, math.inf)
            return logp <= logp.flatten().sort().values[6]

        parts = 2 if scope == "mini" else 1
        chosen: dict[tuple[int, ...], int] = {}
        for x in recorder.seen:
            place = x.place[:parts]
            chosen[place] = chosen.get(place, 0) + int(x.within(scope, lowest).sum())
        assert set(chosen.values()) == {7}
        assert len(chosen) == {"mini": 4, "rollout": 2}[scope]


def test_a_step_s_coefficients_are_those_that_were_set(tiny_policy: Policy) -> None:
    """They reach every micro-batch and its step."""
    recorder = Recorder()
    trainer = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage(kl_coef=0.02))
    assert trainer.coefficients == Coefficients(0.2, 0.3, 3.0, 0.02)
    trainer.coefficients = dataclasses.replace(trainer.coefficients, clip_high=0.5, entropy=0.1)
    trainer.update(tiny.make_batch(tiny_policy), recorder, CTX)
    expected = Coefficients(0.2, 0.5, 3.0, 0.02, entropy=0.1)
    for x in recorder.seen:
        assert x.coefficients == expected
        assert x.step is not None
        assert x.step.coefficients == expected
