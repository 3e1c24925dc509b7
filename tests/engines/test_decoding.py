"""The fixed, compiled decoder against the growing one."""

from __future__ import annotations

import pytest
import tiny
import torch

from harness.engines import SamplingParams, decoding
from harness.engines.decoding import COMPILE
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError
from harness.policy import Policy
from harness.rng import keys64


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of the fixed decoder, not compiled: the same shapes, without the wait."""
    monkeypatch.setattr(decoding, "_compiled", lambda: decoding._forward)


def decoders(
    policy: Policy, prompts: list[list[int]], new_tokens: int
) -> tuple[decoding.GrowingDecoder, decoding.FixedDecoder]:
    """Both after the same prompts."""
    made = []
    for compiled in (False, True):
        engine = TorchEngine(policy.model, policy.tokenizer, compiled=compiled)
        with torch.no_grad():
            made.append(engine._prefill(prompts, new_tokens)[0])
    growing, fixed = made
    assert isinstance(growing, decoding.GrowingDecoder)
    assert isinstance(fixed, decoding.FixedDecoder)
    return growing, fixed


@pytest.mark.parametrize(
    "lengths",
    [[7] * 5, [3, 9, 30, 1, 12, 70, 5], [4]],
    ids=["unpadded", "padded", "single"],
)
@torch.no_grad()
def test_the_same_logits_step_by_step_and_after_rows_leave(
    tiny_policy: Policy, lengths: list[int], interpreted: None
) -> None:
    draw = torch.Generator().manual_seed(len(lengths))
    prompts = [torch.randint(5, 600, (n,), generator=draw).tolist() for n in lengths]
    growing, fixed = decoders(tiny_policy, prompts, 12)
    rows = len(prompts)
    for t in range(12):
        if t in (4, 8) and rows > 1:
            kept = torch.arange(rows)[(t // 4) % 2 :: 2]  # 5 -> 2 -> 1 of 1 ... of 7 -> 3 -> 2
            growing.take(kept)
            fixed.take(kept)
            rows = len(kept)
        token = torch.randint(5, 600, (rows,), generator=draw)
        torch.testing.assert_close(fixed.step(token), growing.step(token), atol=2e-5, rtol=1e-4)


def test_the_cache_has_few_shapes(tiny_policy: Policy, interpreted: None) -> None:
    """Each shape is compiled, or recorded, once: rows are powers of two, lengths multiples."""
    shapes = set()
    for rows in range(1, 34):
        _, fixed = decoders(tiny_policy, [[5, 6, 7]] * rows, 10 + rows % 7)
        shapes.add(tuple(fixed.cache.layers[0].keys.shape))
    assert {s[0] for s in shapes} == {1, 2, 4, 8, 16, 32, 64}
    assert {s[2] for s in shapes} == {64}


def test_a_sliding_window_is_kept(tiny_policy: Policy, interpreted: None) -> None:
    """A mask of full attention would show such a model what it must not see."""
    model = tiny.make_sliding_model(seed=0)
    engine = TorchEngine(model, tiny_policy.tokenizer, compiled=True)
    engine.stop_ids = [-1]
    prompts = tiny.make_prompts(4, longest=12)
    found = engine.generate(prompts, SamplingParams(12), row_keys=keys64(0, "rows", n=4))
    for row, (prompt, response) in enumerate(zip(prompts, found.response_ids, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
        logp = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, response[:, None])[:, 0]
        torch.testing.assert_close(found.logprobs[row], logp, atol=1e-4, rtol=0)


@pytest.mark.skipif(decoding.compiler() is None, reason="no C++ compiler: nothing is compiled")
def test_compiled_samples_are_the_same_and_of_the_present_weights(
    tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny.clone(tiny_policy)
    prompts, params, keys = tiny.make_prompts(6), SamplingParams(24, n=2), keys64(5, "rows", n=12)
    plain = TorchEngine(policy.model, policy.tokenizer)
    assert not plain.compiled
    monkeypatch.setenv(COMPILE, "1")
    compiled = TorchEngine(policy.model, policy.tokenizer)
    assert compiled.compiled
    found = []
    for _ in range(2):
        want, got = (e.generate(prompts, params, row_keys=keys) for e in (plain, compiled))
        assert torch.equal(got.response_ids, want.response_ids)
        torch.testing.assert_close(got.logprobs, want.logprobs, atol=1e-4, rtol=0)
        found.append(got.response_ids)
        with torch.no_grad():  # a compiled step must hold no copy of the weights
            for i, p in enumerate(policy.model.parameters()):
                p += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i))
    assert not torch.equal(*found)


def test_without_a_compiler_one_line_says_so(
    tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "compiler", lambda: None)
    with pytest.raises(HarnessError, match=f"unset {COMPILE}"):
        TorchEngine(tiny_policy.model, tiny_policy.tokenizer, compiled=True)
