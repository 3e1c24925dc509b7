"""The weights in this process: masters, adapters, recomputed layers, memory that runs out."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Qwen3ForCausalLM

from harness.config.schema import LoraConfig, TrainingConfig
from harness.errors import HarnessError, RunFailedError
from harness.learner import check_training
from harness.methods import Method
from harness.policy import Policy
from harness.training import GrpoTrainer

CTX = tiny.make_context()
LORA = TrainingConfig(lora=LoraConfig(rank=4, alpha=8.0))


def make_trainer(policy: Policy, training: TrainingConfig, **stage: Any) -> GrpoTrainer:
    return GrpoTrainer(tiny.clone(policy), tiny.make_stage(**stage), training)


class TestMasters:
    """The largest weights are near 1, so bfloat16 loses updates below 1/512 of that."""

    @pytest.fixture(scope="class")
    def policy(self, base_policy: Policy) -> Policy:
        return tiny.make_policy(base_policy.tokenizer, dtype=torch.bfloat16)

    def test_small_updates_add_up(self, policy: Policy) -> None:
        """AdamW moves a weight by about lr a step: by 40 lr in 40 steps in the same direction."""
        lr, steps = 1e-4, 40
        trainer = make_trainer(policy, TrainingConfig(), lr=lr, weight_decay=0.0)
        before = policy.model.lm_head.weight.detach().float()
        rows, columns = (before.abs() > 0.5).nonzero(as_tuple=True)
        assert len(rows) > 100
        assert (before[rows, columns].bfloat16() + lr == before[rows, columns].bfloat16()).all()
        for _ in range(steps):
            trainer.learner.zero_grad()
            weight = trainer.policy.model.lm_head.weight
            weight.sum().backward()  # the same gradient for every weight
            trainer.learner.step(1.0, 1e9)
        moved = (before - weight.detach().float())[rows, columns]
        assert float(moved.mean()) == pytest.approx(steps * lr, rel=0.1)

    def test_the_gradient_is_summed_in_float32(self, policy: Policy) -> None:
        """1 + 256 times 1/256 is 2; in bfloat16 it stays 1."""
        trainer = make_trainer(policy, TrainingConfig())
        weight = trainer.policy.model.lm_head.weight
        for scale in (1.0, *[1 / 256] * 256):
            (weight[0, 0] * scale).backward()
        masters = trainer.learner._masters.copies
        assert float(masters["lm_head.weight"].grad[0, 0]) == 2.0
        assert weight.grad is None
        trainer.close()
        weight.sum().backward()
        assert weight.grad is not None  # nothing takes it away any more

    def test_goes_on_as_if_never_stopped(self, policy: Policy, tmp_path: Path) -> None:
        stage = {"lr": 1e-5, "kl_coef": 0.05}
        batches = [tiny.make_batch(policy, seed=s) for s in range(2)]
        first = make_trainer(policy, TrainingConfig(), **stage)
        first.update(batches[0], Method(), CTX)
        first.save(tmp_path / "state", 0, {})
        resumed = make_trainer(policy, TrainingConfig(), **stage)
        resumed.load(tmp_path / "state")
        assert first.update(batches[1], Method(), CTX) == resumed.update(batches[1], Method(), CTX)
        masters = [t.learner._masters.copies for t in (first, resumed)]
        for name, weight in masters[0].items():
            assert weight.dtype == torch.float32
            assert torch.equal(weight, masters[1][name])
        assert torch.equal(tiny.weights(first.policy), tiny.weights(resumed.policy))


class TestLora:
    def test_adapters_alone_learn_and_the_policy_holds_the_merged_weights(
        self, tiny_policy: Policy, tmp_path: Path
    ) -> None:
        trainer = make_trainer(tiny_policy, LORA, lr=1e-2, kl_coef=0.05)
        batch = tiny.make_batch(tiny_policy, mask=tiny.make_mask(0.7))
        metrics = [trainer.update(batch, Method(), CTX) for _ in range(3)]
        assert metrics[0]["kl"] == 0.0
        assert metrics[2]["kl"] > 1e-5  # the reference is the model without the adapters
        adapted = trainer.learner.trained.model
        learning = {n for n, p in adapted.named_parameters() if p.grad is not None}
        assert learning == {n for n, _ in adapted.named_parameters() if "lora_" in n}
        trainer.policy.save(tmp_path / "merged")
        plain = Policy.load(tmp_path / "merged")
        assert type(plain.model) is Qwen3ForCausalLM
        ids = torch.arange(40).reshape(2, 20)
        with torch.no_grad():
            logits = [m(ids).logits for m in (plain.model, adapted, tiny_policy.model)]
        assert (logits[0] - logits[1]).abs().max() < 1e-4  # rounding of W x + B A x
        assert (logits[0] - logits[2]).abs().max() > 1e-2
        assert torch.equal(tiny.weights(plain), tiny.weights(trainer.policy))

    def test_goes_on_as_if_never_stopped(self, tiny_policy: Policy, tmp_path: Path) -> None:
        batches = [tiny.make_batch(tiny_policy, seed=s) for s in range(2)]
        first = make_trainer(tiny_policy, LORA)
        first.update(batches[0], Method(), CTX)
        first.save(tmp_path / "state", 0, {})
        resumed = make_trainer(tiny_policy, LORA)
        resumed.load(tmp_path / "state")
        assert torch.equal(tiny.weights(first.policy), tiny.weights(resumed.policy))
        assert first.update(batches[1], Method(), CTX) == resumed.update(batches[1], Method(), CTX)
        assert torch.equal(tiny.weights(first.policy), tiny.weights(resumed.policy))
        (tmp_path / "state" / "adapters.safetensors").unlink()
        with pytest.raises(HarnessError, match=r"adapters\.safetensors: missing"):
            resumed.load(tmp_path / "state")

    def test_its_first_values_come_from_the_seed_alone(self, tiny_policy: Policy) -> None:
        def drawn(seed: int) -> Tensor:
            trainer = GrpoTrainer(tiny.clone(tiny_policy), tiny.make_stage(), LORA, seed)
            weights = trainer.learner.trained.model.named_parameters()
            return torch.cat([p.detach().flatten() for n, p in weights if "lora_A" in n])

        state = torch.random.get_rng_state()
        first = drawn(0)
        assert torch.equal(state, torch.random.get_rng_state())
        torch.rand(7)
        assert torch.equal(first, drawn(0))
        assert not torch.equal(first, drawn(1))

    def test_a_bfloat16_base_has_float32_adapters(self, base_policy: Policy) -> None:
        policy = tiny.make_policy(base_policy.tokenizer, dtype=torch.bfloat16)
        trainer = make_trainer(policy, LORA, lr=1e-2)
        trainer.update(tiny.make_batch(policy), Method(), CTX)
        kinds = {
            ("lora_" in n, p.dtype) for n, p in trainer.learner.trained.model.named_parameters()
        }
        assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
        assert trainer.policy.model.dtype == torch.bfloat16
        assert not torch.equal(tiny.weights(trainer.policy), tiny.weights(policy))

    @pytest.mark.parametrize("targets", [("no_such_layer",), ("embed_tokens",)])
    def test_targets_that_cannot_be_adapted(self, tiny_policy: Policy, targets: Any) -> None:
        training = TrainingConfig(lora=LoraConfig(targets=targets))
        with pytest.raises(HarnessError, match=r"training\.lora\.targets") as told:
            make_trainer(tiny_policy, training)
        assert "\n" not in str(told.value)

    def test_without_peft(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(HarnessError, match=r"pip install 'coevolution-harness\[lora\]'"):
            check_training(LORA)
        check_training(TrainingConfig())


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_training(TrainingConfig(processes=2))
    with pytest.raises(HarnessError, match="processes=3: 2 GPUs are visible"):
        check_training(TrainingConfig(processes=3))


class TestRecomputing:
    def test_the_gradient_is_the_same_and_layers_run_twice(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, new=6)
        found, calls = [], []
        for on in (False, True):
            trainer = make_trainer(tiny_policy, TrainingConfig(gradient_checkpointing=on))
            layer = trainer.policy.model.model.layers[0].mlp  # inside what is recomputed
            seen: list[bool] = []
            layer.register_forward_pre_hook(lambda m, *_, seen=seen: seen.append(m.training))
            trainer.update(batch, Method(), CTX)
            found.append(trainer.policy)
            calls.append(len(seen))
            assert not any(seen)  # dropout stays off
            assert not any(m.training for m in trainer.policy.model.modules())
        assert calls[1] - calls[0] == 3  # once more for each micro-batch, not in the scan
        gradients = [[p.grad for p in policy.model.parameters()] for policy in found]
        for plain, again in zip(*gradients, strict=True):
            assert (plain - again).abs().max() <= 1e-6 * plain.abs().max()

    def test_a_model_without_such_layers_is_refused(self, tiny_policy: Policy) -> None:
        policy = tiny.clone(tiny_policy)
        policy.model.model.layers = torch.nn.ModuleList()
        trainer = GrpoTrainer(
            policy, tiny.make_stage(), TrainingConfig(gradient_checkpointing=True)
        )
        batch = tiny.make_batch(tiny_policy, new=3)
        with pytest.raises(HarnessError, match="no layers that can be computed again"):
            trainer.update(batch, Method(), CTX)


class TestMicroTokens:
    def test_the_update_does_not_depend_on_it(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, new=12)
        after = []
        for tokens in (None, 30, 1):
            trainer = make_trainer(tiny_policy, TrainingConfig(micro_tokens=tokens), lr=1e-5)
            trainer.update(batch, Method(), CTX)
            after.append(tiny.weights(trainer.policy))
        assert all((after[0] - other).abs().max() < 1e-6 for other in after[1:])
        assert (after[0] - tiny.weights(tiny_policy)).abs().max() > 5e-6


class Small(Qwen3ForCausalLM):
    """Has room for a few rows at a time, as a GPU has; the rows' sequences are counted."""

    room = 3
    largest = 0

    def sized(self, _: Any, __: Any, kwargs: dict[str, Any]) -> None:
        rows = len(kwargs["input_ids"])
        if torch.is_grad_enabled():
            self.largest = max(self.largest, rows) if rows <= self.room else self.largest
            if rows > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


class TestOutOfMemory:
    @pytest.fixture(autouse=True)
    def _a_row_a_sequence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COEVOLUTION_PLAIN", "1")

    def small(self, policy: Policy, room: int) -> Policy:
        model = Small(policy.model.config).eval()
        model.load_state_dict(policy.model.state_dict())
        model.room = room
        model.model.register_forward_pre_hook(model.sized, with_kwargs=True)
        return Policy(model, policy.tokenizer)

    def trainer(self, policy: Policy, room: int, **training: Any) -> GrpoTrainer:
        stage = tiny.make_stage(micro_rows=4, minibatches=2, lr=1e-3)
        return GrpoTrainer(self.small(policy, room), stage, TrainingConfig(**training))

    def test_half_the_micro_batch_does(self, tiny_policy: Policy, tmp_path: Path) -> None:
        batch = tiny.make_batch(tiny_policy, groups=4)
        trainer = self.trainer(tiny_policy, room=3)
        first, second = (trainer.update(batch, Method(), CTX) for _ in range(2))
        assert first["oom_halvings"] == 1.0
        assert "oom_halvings" not in second
        assert trainer.policy.model.largest == 2
        roomy = self.trainer(tiny_policy, room=99)
        expected = [roomy.update(batch, Method(), CTX) for _ in range(2)]
        assert "oom_halvings" not in expected[0]
        for found, wanted in ((first, expected[0]), (second, expected[1])):
            assert found["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-4)
            assert found["clip_fraction"] == wanted["clip_fraction"]  # no row counted twice
        difference = tiny.weights(trainer.policy) - tiny.weights(roomy.policy)
        assert difference.abs().max() < 2e-5
        trainer.save(tmp_path / "state", 0, {})
        assert json.loads((tmp_path / "state" / "state.json").read_text())["halved"] is True
        resumed = self.trainer(tiny_policy, room=3)
        resumed.load(tmp_path / "state")
        assert "oom_halvings" not in resumed.update(batch, Method(), CTX)

    def test_a_second_time_ends_the_run(self, tiny_policy: Policy) -> None:
        batch = tiny.make_batch(tiny_policy, groups=4)
        trainer = self.trainer(tiny_policy, room=1)
        with pytest.raises(RunFailedError, match=r"^out of memory at micro_rows=2; lower "):
            trainer.update(batch, Method(), CTX)
        nothing = self.trainer(tiny_policy, room=0, micro_tokens=1)
        with pytest.raises(RunFailedError, match="out of memory at micro_tokens=1"):
            nothing.update(batch, Method(), CTX)

    def test_other_errors_are_left_alone(self, tiny_policy: Policy) -> None:
        policy = tiny.clone(tiny_policy)
        trainer = GrpoTrainer(policy, tiny.make_stage())
        batch = copy.deepcopy(tiny.make_batch(tiny_policy))
        batch.tokens.response_ids[0, 0] = 10**6
        with pytest.raises((IndexError, RuntimeError)) as told:
            trainer.update(batch, Method(), CTX)
        assert not isinstance(told.value, HarnessError)
        assert not trainer.passes.halved


def test_files_of_a_state(tiny_policy: Policy, tmp_path: Path) -> None:
    """The optimiser's state by the weight's place, as before there were other learners."""
    trainer = make_trainer(tiny_policy, TrainingConfig())
    trainer.update(tiny.make_batch(tiny_policy), Method(), CTX)
    trainer.save(tmp_path / "state", 0, {})
    found = load_file(tmp_path / "state" / "optimizer.safetensors")
    for i, p in enumerate(trainer.policy.model.parameters()):
        assert found[f"{i}.exp_avg"].shape == p.shape
    assert {p.name for p in (tmp_path / "state").iterdir()} == {
        "policy", "optimizer.safetensors", "state.json",
    }  # fmt: skip
