"""Two processes that share a model do what one does: steps, states, and what goes wrong.

All on the CPU, with gloo. A pair of processes takes seconds to start, so tests share them.
"""

from __future__ import annotations

import math
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor
from transformers import Qwen3ForCausalLM

from harness.config.schema import LoraConfig, TrainingConfig
from harness.engines.base import Replay
from harness.errors import HarnessError, RunFailedError
from harness.grpo import TokenInputs, TokenLoss
from harness.methods import HookContext, Method, RolloutBatch
from harness.policy import Policy
from harness.training import DivergedError, GrpoTrainer

CTX = tiny.make_context()
CLOSE = 2e-5
"""Of weights that moved by lr = 1e-3 an update. Sums of float32 in another order differ by about
1e-7 of a gradient's size, and AdamW hands that on times lr; measured: up to 5e-7."""


class Pair:
    """The same policy trained by one process and by two."""

    def __init__(self, policy: Policy, folder: Path, training: dict[str, Any], **stage: Any):
        said = tiny.make_stage(**{"lr": 1e-3, "kl_coef": 0.05, "minibatches": 2, **stage})
        self.initial = policy
        self.make: Callable[[int], GrpoTrainer] = lambda n: GrpoTrainer(
            tiny.clone(policy), said, TrainingConfig(processes=n, **training)
        )
        self.one, self.two = self.make(1), self.make(2)
        self._start = folder / "start"
        self.one.save(self._start, 0, {})

    def restart(self) -> Pair:
        for trainer in (self.one, self.two):
            trainer.load(self._start)
        return self

    def update(
        self, batch: RolloutBatch, method: Method | None = None
    ) -> tuple[dict[str, float], dict[str, float]]:
        first, second = (t.update(batch, method or Method(), CTX) for t in (self.one, self.two))
        return first, second

    def apart(self) -> float:
        """Largest difference between the policies' own weights."""
        return distance(self.one.policy, self.two.policy)

    def moved(self) -> float:
        return distance(self.two.policy, self.initial)


def distance(a: Policy, b: Policy) -> float:
    return float((tiny.weights(a) - tiny.weights(b)).abs().max())


def assert_alike(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.fixture(scope="module")
def shared(tiny_policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tiny_policy, tmp_path_factory.mktemp("pair"), {})
    yield made
    made.two.close()


@pytest.fixture
def pair(shared: Pair) -> Pair:
    return shared.restart()


@dataclass(frozen=True)
class TopK:
    """The k largest logits."""

    k: int = 50
    replay: Replay = "behaviour"

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        floor = logits.topk(self.k, dim=-1).values[:, -1:]
        return logits.masked_fill(logits < floor, -math.inf)


class PullToCandidates(Method):
    """Raises two further tokens and the entropy at every place."""

    def candidates(
        self, ctx: HookContext, batch: RolloutBatch, named: Tensor | None
    ) -> Tensor | None:
        ids = batch.tokens.response_ids
        return torch.stack([ids, (ids + 7) % 700, torch.full_like(ids, -1)], dim=-1)

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        assert x.candidate_logp is not None
        further = x.candidate_logp[..., 1]
        return TokenLoss(loss.loss - 0.1 * further - 0.01 * x.entropy, loss.denominator)


class Spoiled(Method):
    """A loss that isn't finite in every minibatch's second micro-batch."""

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        return TokenLoss(loss.loss * (math.nan if x.place[2] else 1.0), loss.denominator)


class TestSteps:
    @pytest.mark.parametrize("granularity", [None, "step", "group"])
    def test_the_same_loss_and_the_same_weights(self, pair: Pair, granularity: Any) -> None:
        """5 groups of 3: minibatches of 3 and 2 micro-batches, so one process idles once."""
        mask = tiny.make_mask(0.6, granularity) if granularity else None
        batch = tiny.make_batch(pair.initial, groups=5, n=3, mask=mask)
        for _ in range(2):
            expected, found = pair.update(batch)
            assert pair.two.loss == pytest.approx(pair.one.loss, abs=1e-6)
            assert_alike(found, expected)
        assert found["kl"] > 1e-3  # the second step's reference is another model than its policy
        assert pair.apart() < CLOSE
        assert pair.moved() > 100 * CLOSE

    def test_a_stored_support_and_further_tokens(self, pair: Pair) -> None:
        ruled = tiny.make_batch(pair.initial, rule=TopK(), new=5)
        assert_alike(*reversed(pair.update(ruled)))
        assert ruled.tokens.support is not None
        plain = tiny.make_batch(pair.initial, new=5)
        assert_alike(*reversed(pair.update(plain, PullToCandidates())))
        assert pair.apart() < CLOSE
        assert pair.moved() > 50 * CLOSE

    def test_a_rule_that_is_code_is_refused(self, pair: Pair) -> None:
        batch = tiny.make_batch(pair.initial, rule=TopK(replay="current"), new=3)
        with pytest.raises(HarnessError, match=r"TopK .* set training\.processes=1"):
            pair.two.update(batch, Method(), CTX)

    def test_a_loss_that_is_not_finite_is_skipped_and_counted(self, pair: Pair) -> None:
        batch = tiny.make_batch(pair.initial, groups=4)
        (metrics, _), version = pair.update(batch, Spoiled()), pair.two.policy.version
        assert metrics["updates_skipped"] == 2.0
        assert pair.two.nonfinite_in_a_row == 2
        assert pair.moved() == 0.0
        with pytest.raises(DivergedError, match="3 updates in a row were not finite"):
            pair.two.update(batch, Spoiled(), CTX)
        assert pair.two.policy.version == version
        pair.restart().update(batch)  # nothing of it is left in the gradient
        assert pair.apart() < CLOSE
        assert pair.moved() > 10 * CLOSE

    def test_a_state_goes_from_two_to_one_and_back(self, pair: Pair, tmp_path: Path) -> None:
        batches = [tiny.make_batch(pair.initial, groups=4, seed=s) for s in range(2)]
        pair.two.update(batches[0], Method(), CTX)
        pair.two.save(tmp_path / "by two", 0, {"note": 1})
        alone = pair.make(1)
        assert alone.load(tmp_path / "by two") == (1, {"note": 1})
        assert distance(alone.policy, pair.two.policy) == 0.0
        alone.save(tmp_path / "by one", 0, {"note": 1})
        found = [t.update(batches[1], Method(), CTX) for t in (pair.two, alone)]
        assert_alike(*found)
        assert distance(alone.policy, pair.two.policy) < CLOSE
        pair.two.load(tmp_path / "by one")
        assert_alike(pair.two.update(batches[1], Method(), CTX), found[1])
        assert distance(alone.policy, pair.two.policy) < CLOSE


def tied(policy: Policy) -> Policy:
    """The same, with one weight for embeddings and head."""
    model = Qwen3ForCausalLM(policy.model.config.__class__(**{
        **policy.model.config.to_dict(), "tie_word_embeddings": True,
    })).eval()  # fmt: skip
    own = {k: v for k, v in policy.model.state_dict().items() if k != "lm_head.weight"}
    model.load_state_dict(own, strict=False)
    model.tie_weights()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    return Policy(model, policy.tokenizer)


def test_tied_heads_with_recomputed_layers_and_then_no_memory(
    tiny_policy: Policy, tmp_path: Path
) -> None:
    policy = tied(tiny_policy)
    made = Pair(policy, tmp_path, {"gradient_checkpointing": True})
    try:
        batch = tiny.make_batch(policy, groups=4, mask=tiny.make_mask(0.7))
        for _ in range(2):
            assert_alike(*reversed(made.update(batch)))
        assert made.apart() < CLOSE
        assert made.moved() > 50 * CLOSE
        # Processes that get no more memory than they have: the allocator's own error, as it is.
        for child in made.two.learner._children:
            size = int(Path(f"/proc/{child.pid}/statm").read_text().split()[0])
            room = size * resource.getpagesize() + 2**20
            resource.prlimit(child.pid, resource.RLIMIT_AS, (room, room))
        large = tiny.make_batch(policy, groups=1, n=100, new=40)
        made.two.passes.limit = made.two.passes.limit.times(100)
        with pytest.raises(RunFailedError, match=r"^out of memory at micro_rows=400; lower "):
            made.two.update(large, Method(), CTX)
    finally:
        made.two.close()


@pytest.mark.slow  # one more pair of processes
def test_adapters(tiny_policy: Policy, tmp_path: Path) -> None:
    training = {"lora": LoraConfig(rank=4, alpha=8.0)}
    made = Pair(tiny_policy, tmp_path, training, lr=1e-2)
    try:
        batch = tiny.make_batch(tiny_policy, groups=4)
        for _ in range(2):
            assert_alike(*reversed(made.update(batch)))
        assert made.apart() < CLOSE
        assert made.moved() > 100 * CLOSE
        made.two.save(tmp_path / "state", 0, {})
        alone = made.make(1)
        alone.load(tmp_path / "state")
        assert distance(alone.policy, made.two.policy) == 0.0
        assert_alike(alone.update(batch, Method(), CTX), made.two.update(batch, Method(), CTX))
        assert distance(alone.policy, made.two.policy) < CLOSE
    finally:
        made.two.close()


class Killing(Method):
    """Kills the second process between a forward and its backward pass."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid = pid

    def token_loss(self, ctx: HookContext, x: TokenInputs, loss: TokenLoss) -> TokenLoss:
        os.kill(self.pid, signal.SIGKILL)
        return loss


def test_bfloat16_masters_and_then_a_process_is_killed(base_policy: Policy, tmp_path: Path) -> None:
    """Updates too small for bfloat16 are kept between updates, and in a state that one reads."""
    policy = tiny.make_policy(base_policy.tokenizer, dtype=torch.bfloat16)
    made = Pair(policy, tmp_path, {}, lr=1e-5, kl_coef=0.0)
    try:
        batch = tiny.make_batch(policy, groups=4)
        for _ in range(2):
            expected, found = made.update(batch)
            assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.05)
        made.two.save(tmp_path / "state", 0, {})
        alone = made.make(1)
        alone.load(tmp_path / "state")
        own, other = (t.learner._masters.copies for t in (made.one, alone))
        start = {k: p.detach().float() for k, p in policy.model.named_parameters()}
        for name, weight in own.items():
            moved = float((weight.detach() - start[name]).abs().max())
            assert 2e-5 < moved < 8e-5  # four updates of about lr
            assert (weight - other[name]).detach().abs().mean() < 0.2 * moved
        assert distance(alone.policy, made.two.policy) == 0.0
        method = Killing(made.two.learner._children[1].pid)
        with pytest.raises(HarnessError, match="training process 2 of 2: ended by signal 9") as e:
            made.two.update(batch, method, CTX)
        assert not isinstance(e.value, RunFailedError)  # the same command may go on
        assert "\n" not in str(e.value)
    finally:
        made.two.close()
