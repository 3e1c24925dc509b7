"""Log-probs against the plain formula, chunked or not, masked or not; loading and saving."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import BASE
from torch import Tensor

from harness.engines import SamplingParams
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError, RunFailedError
from harness.masks import VocabMask
from harness.policy import Policy, TokenBatch
from harness.roles import render
from harness.store.run_folder import file_hash

GRANULARITIES = ("step", "group", "sequence")


def plain(policy: Policy, batch: TokenBatch, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Row by row: the model's own head, a softmax over the kept tokens, the textbook entropy."""
    logp = torch.zeros(batch.response_mask.shape)
    entropy = torch.zeros_like(logp)
    for i, prompt in enumerate(batch.prompt_ids):
        n = int(batch.response_mask[i].sum())
        response = batch.response_ids[i, :n]
        ids = torch.cat([torch.tensor(prompt), response])[None]
        logits = policy.model(ids).logits[0, len(prompt) - 1 : -1] / batch.temperature
        columns = torch.arange(logits.shape[1]) if keep is None else keep[i].nonzero()[:, 0]
        rows = torch.log_softmax(logits[:, columns], dim=-1)
        place = torch.searchsorted(columns, response)
        logp = logp.index_put(
            (torch.tensor(i), torch.arange(n)), rows[torch.arange(n), place].float()
        )
        h = -(rows.exp() * rows).sum(dim=-1)
        entropy = entropy.index_put((torch.tensor(i), torch.arange(n)), h.float())
    return logp, entropy


def gradients(policy: Policy, logp: Tensor, entropy: Tensor) -> Tensor:
    """Of a weighted sum of both outputs, by all parameters."""
    weight = torch.linspace(-1, 1, logp.numel()).view_as(logp)
    policy.model.zero_grad()
    (weight * logp + weight.flip(0) * entropy).sum().backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])


@pytest.fixture(scope="module")
def double(base_policy: Policy) -> Policy:
    """A float64 copy that gradients may be taken of."""
    return tiny.make_policy(base_policy.tokenizer, seed=3, dtype=torch.float64)


@pytest.mark.parametrize("chunk", [2**23, 3 * tiny.HEAD, 1])
@pytest.mark.parametrize("granularity", [None, *GRANULARITIES])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_are_the_plain_formula_s(
    double: Policy, monkeypatch, chunk: int, granularity: Any, temperature: float
) -> None:
    monkeypatch.setattr("harness.policy._CHUNK_ELEMENTS", chunk)
    mask = tiny.make_mask(0.5, granularity, seed=2) if granularity else None
    batch = tiny.make_batch(double, new=7, mask=mask, temperature=temperature, seed=1).tokens
    keep = mask.keep(batch.mask_rows, tiny.HEAD) if mask else None
    expected = plain(double, batch, keep)
    found = double.logprobs(batch)
    for ours, reference in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, reference, atol=1e-5)
        assert (ours[~batch.response_mask] == 0).all()
    reference = gradients(double, *expected)
    ours = gradients(double, *found)
    assert torch.isfinite(ours).all()
    assert (ours - reference).norm() < 1e-5 * reference.norm()


def test_gradients_through_a_tied_head(base_policy: Policy, monkeypatch) -> None:
    """The shipped model ties head and embeddings: both ways into the weight count."""
    policy = tiny.clone(base_policy)
    batch = tiny.make_batch(policy, new=6, mask=tiny.make_mask(0.8), seed=5).tokens
    keep = batch.mask.keep(batch.mask_rows, 767)
    reference = gradients(policy, *plain(policy, batch, keep))
    monkeypatch.setattr("harness.policy._CHUNK_ELEMENTS", 4 * 767)
    ours = gradients(policy, *policy.logprobs(batch))
    assert (ours - reference).norm() < 1e-4 * reference.norm()


@given(
    seed=st.integers(0, 10**6),
    alpha=st.floats(0.05, 1.0),
    granularity=st.sampled_from(GRANULARITIES),
    temperature=st.floats(0.3, 3.0),
)
@settings(max_examples=25, deadline=None)
def test_engine_and_policy_agree(tiny_policy, seed, alpha, granularity, temperature) -> None:
    mask = tiny.make_mask(alpha, granularity, seed=seed)
    batch = tiny.make_batch(tiny_policy, new=6, mask=mask, temperature=temperature, seed=seed)
    with torch.no_grad():
        logp, entropy = tiny_policy.logprobs(batch.tokens)
    assert (logp - batch.rollouts.logprobs).abs().max() < 1e-4
    # entropy of a distribution over k tokens is at most ln k
    kept = mask.keep_numpy(batch.tokens.mask_rows.tolist()).sum(axis=1)
    assert (entropy >= -1e-5).all()
    assert (entropy.max(dim=1).values <= torch.as_tensor(kept).log() + 1e-5).all()


def test_engine_and_base_policy_agree_without_a_mask(base_policy: Policy) -> None:
    batch = tiny.make_batch(base_policy, groups=4, new=30, seed=8)
    with torch.no_grad():
        logp, _ = base_policy.logprobs(batch.tokens)
    assert (logp - batch.rollouts.logprobs).abs().max() < 1e-4


class HalfRule:
    """-inf on half of the tokens, by row key and by the last token: replayable."""

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        last = prefix[:, -1] if prefix.shape[1] else torch.zeros(len(prefix), dtype=torch.long)
        shift = last + torch.tensor([k % 97 for k in row_keys])
        odd = (torch.arange(logits.shape[-1]) + shift[:, None]) % 2 == 1
        return logits.masked_fill(odd, -torch.inf) * 1.25


@pytest.mark.parametrize("granularity", [None, *GRANULARITIES])
@pytest.mark.parametrize("chunk", [2**23, 5 * tiny.HEAD])
def test_a_rule_is_replayed_as_the_engine_applied_it(tiny_policy, monkeypatch, granularity, chunk):
    monkeypatch.setattr("harness.policy._CHUNK_ELEMENTS", chunk)
    policy = tiny.clone(tiny_policy)
    mask = tiny.make_mask(0.7, granularity) if granularity else None
    batch = tiny.make_batch(policy, mask=mask, rule=HalfRule(), temperature=0.8, new=8, seed=4)
    logp, entropy = policy.logprobs(batch.tokens)
    assert (logp - batch.rollouts.logprobs).abs().max() < 1e-4
    assert torch.isfinite(gradients(policy, logp, entropy)).all()
    shuffled = batch.tokens.rows(torch.tensor([7, 2, 9]))
    again, _ = policy.logprobs(shuffled)
    width = again.shape[1]
    assert (again - batch.rollouts.logprobs[[7, 2, 9], :width]).abs().max() < 1e-4


def test_full_support_ignores_mask_and_rule(tiny_policy: Policy) -> None:
    batch = tiny.make_batch(
        tiny_policy, mask=tiny.make_mask(0.5, "group"), rule=HalfRule(), temperature=0.7
    ).tokens
    with torch.no_grad():
        found = tiny_policy.logprobs(batch, full_support=True)
        expected = plain(tiny_policy, batch)
    for ours, reference in zip(found, expected, strict=True):
        assert torch.allclose(ours, reference, atol=1e-4)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_mask_outside_log_probs_scores_the_full_softmax(tiny_policy, granularity) -> None:
    mask = tiny.make_mask(0.5, granularity, in_logprobs=False)
    batch = tiny.make_batch(tiny_policy, mask=mask).tokens
    with torch.no_grad():
        assert torch.allclose(
            tiny_policy.logprobs(batch)[0], plain(tiny_policy, batch)[0], atol=1e-4
        )


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_another_mask_than_the_rollouts_own_is_refused(tiny_policy, granularity) -> None:
    batch = tiny.make_batch(tiny_policy, mask=tiny.make_mask(0.5, granularity, seed=1)).tokens
    batch.mask = tiny.make_mask(0.5, granularity, seed=2)
    with pytest.raises(RunFailedError, match="replay the mask of the rollouts"):
        tiny_policy.logprobs(batch)


def test_rows_and_lengths(tiny_policy: Policy) -> None:
    mask = tiny.make_mask(0.5, "sequence")
    batch = tiny.make_batch(tiny_policy, mask=mask, new=9).tokens
    with torch.no_grad():
        whole = tiny_policy.logprobs(batch)[0]
        for index in ([3], [11, 0, 5], [2, 2]):
            part = batch.rows(torch.tensor(index))
            assert len(part) == len(index)
            found = tiny_policy.logprobs(part)[0]
            assert torch.allclose(found, whole[index, : found.shape[1]], atol=1e-5)


class TestFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(BASE, tmp_path / "model"))

    def test_round_trip(self, tiny_policy: Policy, tmp_path: Path) -> None:
        tiny_policy.save(tmp_path / "saved")
        assert (tmp_path / "saved" / "model.safetensors").is_file()
        loaded = Policy.load(tmp_path / "saved")
        assert torch.equal(tiny.weights(loaded), tiny.weights(tiny_policy))
        assert loaded.tokenizer.get_vocab() == tiny_policy.tokenizer.get_vocab()
        assert loaded.tokenizer.chat_template == tiny_policy.tokenizer.chat_template
        assert not loaded.model.training
        assert loaded.parameters == len(tiny.weights(tiny_policy))
        loaded.save(tmp_path / "again")
        assert file_hash(tmp_path / "again") == file_hash(tmp_path / "saved")

    def test_dtype(self) -> None:
        assert Policy.load(BASE).model.dtype == torch.float32
        assert Policy.load(BASE, torch.bfloat16).model.dtype == torch.bfloat16

    @pytest.mark.parametrize(
        "files", [("tokenizer.json", "tokenizer_config.json"), ("tokenizer.json",)]
    )
    def test_without_a_tokenizer(self, folder: Path, files: tuple[str, ...]) -> None:
        """Also where transformers makes up an empty one from the model's type."""
        for name in files:
            (folder / name).unlink()
        with pytest.raises(HarnessError, match=r"no usable tokenizer.*tokenizer\.json") as caught:
            Policy.load(folder)
        assert "\n" not in str(caught.value)

    def test_a_tokenizer_larger_than_the_model(self, folder: Path, base_policy: Policy) -> None:
        tokenizer = copy.deepcopy(base_policy.tokenizer)
        tokenizer.add_tokens(["one more"])
        tokenizer.save_pretrained(folder)
        with pytest.raises(HarnessError, match="768 tokens, the model only 767"):
            Policy.load(folder)

    def test_without_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(HarnessError, match=r"cannot load the weights.*safetensors") as caught:
            Policy.load(folder)
        assert "\n" not in str(caught.value)

    def test_pickled_weights_are_not_even_opened(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save(Trap(folder / "sprung"), folder / "pytorch_model.bin")
        with pytest.raises(HarnessError, match="cannot load the weights"):
            Policy.load(folder)
        assert not (folder / "sprung").exists()

    def test_truncated_weights(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(HarnessError, match="cannot load the weights"):
            Policy.load(folder)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(HarnessError, match="no usable tokenizer"):
            Policy.load(tmp_path / "nowhere")

    @pytest.mark.parametrize("data", [b"", b"no GGUF", b"GGUF" + bytes(60)])
    def test_a_broken_gguf_file(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "model.gguf").write_bytes(data)
        with pytest.raises(HarnessError, match=r"model\.gguf: .*the file is incomplete") as caught:
            Policy.load(tmp_path / "model.gguf")
        assert "\n" not in str(caught.value)

    def test_gguf_without_its_packages(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "model.gguf").write_bytes(b"GGUF")
        monkeypatch.setattr("harness.loading.find_spec", lambda name: None)
        with pytest.raises(HarnessError, match=r"needs gguf and accelerate; pip install"):
            Policy.load(tmp_path / "model.gguf")

    @pytest.mark.slow
    def test_a_gguf_file_becomes_an_ordinary_checkpoint(self, tmp_path: Path) -> None:
        """COEVOLUTION_TEST_MODEL: greedy responses of the saved folder are those of the file."""
        path = os.environ.get("COEVOLUTION_TEST_MODEL", "")
        if not path.endswith(".gguf"):
            pytest.skip("set COEVOLUTION_TEST_MODEL to a .gguf file")
        loaded = Policy.load(path)
        loaded.save(tmp_path / "saved")
        again = Policy.load(tmp_path / "saved")
        prompt = render(loaded.tokenizer, [{"role": "user", "content": "What is 2 + 3?"}])
        first, second = (
            TorchEngine(p.model, p.tokenizer).generate(
                [prompt], SamplingParams(12, temperature=0.0), row_keys=[0]
            )
            for p in (loaded, again)
        )
        assert again.tokenizer.chat_template == loaded.tokenizer.chat_template
        assert first.response_ids.tolist() == second.response_ids.tolist()
        assert not hasattr(again.model.config, "quantization_config")

    def test_soft_capped_logits_are_refused(self, tiny_policy: Policy) -> None:
        model = copy.deepcopy(tiny_policy.model)
        model.config.final_logit_softcapping = 30.0
        with pytest.raises(HarnessError, match="soft-cap"):
            Policy(model, tiny_policy.tokenizer)


class Trap:
    """Leaves a file behind when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_mask_of_one_row_is_shared(tiny_policy: Policy) -> None:
    """Under a step mask the head is cut to the kept rows; a group mask of one group is the same."""
    step = tiny.make_mask(0.5, "step")
    batch = tiny.make_batch(tiny_policy, mask=step).tokens
    with torch.no_grad():
        cut = tiny_policy.logprobs(batch)
        batch.mask = VocabMask(step.key, step.alpha, step.protected, step.vocab_size, "group")
        masked = tiny_policy.logprobs(batch)
    for a, b in zip(cut, masked, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
