"""What a real vLLM samples for the harness: the same rows as the torch engine, whatever else is in
its batch. Twenty rows over eight places, so that places are used again and rows move.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from served_rows import KEYS, PROMPTS, agree, batch_of, gap_to_trainer, rows_of
from tiny import clone, make_mask, make_stage, weights

from harness.config import EngineConfig
from harness.engines import SamplingParams
from harness.engines.torch_engine import TorchEngine
from harness.engines.vllm_engine import VllmEngines
from harness.errors import HarnessError
from harness.masks import VocabMask
from harness.methods import build
from harness.policy import Policy
from harness.training import GrpoTrainer

MASKS: dict[str, VocabMask | None] = {
    "no mask": None,
    "one mask": make_mask(),
    "a mask per row": make_mask(0.4, "sequence", seed=3),
    "full support in the trainer": make_mask(in_logprobs=False),
}


def pair(
    engines: VllmEngines, policy: Policy, params: SamplingParams, **rule: Any
) -> tuple[Any, Any]:
    torch_engine = TorchEngine(policy.model, policy.tokenizer)
    return tuple(
        e.generate(PROMPTS, params, row_keys=KEYS, **rule)
        for e in (engines.of(policy), torch_engine)
    )


def masked(mask: VocabMask | None) -> dict[str, Any]:
    return {"mask": mask, "mask_rows": mask.row_ids(rows_of(4)) if mask else None}


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_rows_are_those_of_the_torch_engine(
    engines: VllmEngines, policy: Policy, mask: VocabMask | None, temperature: float
) -> None:
    """Tokens, ends, and log-probs under mask and temperature within 1e-4 in float32."""
    ours, theirs = pair(
        engines, policy, SamplingParams(12, n=4, temperature=temperature), **masked(mask)
    )
    agree(ours, theirs)
    if mask is None or mask.in_logprobs:
        assert gap_to_trainer(policy, ours, temperature, mask) < 1e-4
    if mask is not None:
        for row, (ids, n) in enumerate(zip(ours.response_ids, ours.lengths, strict=True)):
            keep = mask.keep_numpy(masked(mask)["mask_rows"][row : row + 1])[0]
            assert keep[ids[: int(n)].numpy()].all()


def test_truncation_takes_no_part_in_the_log_probs(engines: VllmEngines, policy: Policy) -> None:
    for params in (SamplingParams(8, n=4, top_p=0.7), SamplingParams(8, n=4, top_k=5, min_p=0.02)):
        agree(*pair(engines, policy, params))


def test_a_row_depends_on_its_key_alone(engines: VllmEngines, policy: Policy) -> None:
    params = SamplingParams(12, n=4)
    whole = engines.of(policy).generate(PROMPTS, params, row_keys=KEYS)
    alone = engines.of(policy).generate(PROMPTS[3:4], params, row_keys=KEYS[12:16])
    agree(alone, whole.select(range(12, 16)))


def test_a_stop_string_ends_a_response(engines: VllmEngines, base_policy: Policy) -> None:
    """What stands behind it is the caller's to cut: engines differ in when they look."""
    tokenizer = base_policy.tokenizer
    prompts: Sequence[list[int]] = [tokenizer("the", add_special_tokens=False)["input_ids"]]
    keys = KEYS[:6]
    free = engines.of(base_policy).generate(prompts, SamplingParams(40, n=6), row_keys=keys)
    text = max(free.texts(tokenizer), key=len)
    stop = text[4:8]
    params = SamplingParams(40, n=6, stop=(stop,))
    cut = engines.of(base_policy).generate(prompts, params, row_keys=keys)
    for before, after in zip(free.texts(tokenizer), cut.texts(tokenizer), strict=True):
        assert before.startswith(after)
        assert (stop in before) == (stop in after)
    assert int(cut.lengths.sum()) < int(free.lengths.sum())


def test_a_prompt_too_long_is_said_so(engines: VllmEngines, policy: Policy) -> None:
    with pytest.raises(HarnessError, match=r"vLLM: .*256"):
        engines.of(policy).generate([[5] * 300], SamplingParams(4), row_keys=KEYS[:1])
    agree(*pair(engines, policy, SamplingParams(4, n=4)))


def updated(policy: Policy) -> Policy:
    """The policy after weights moved far enough that greedy responses differ."""
    new = clone(policy)
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in new.model.parameters():
            p.add_(0.3 * p.std() * torch.randn(p.shape, generator=draw))
    new.version += 1
    return new


def test_greedy_match_with_transformers_after_an_update(
    engines: VllmEngines, policy: Policy
) -> None:
    """Whether anything stale is left: outputs that merely changed would not say."""
    greedy = SamplingParams(16, temperature=0.0)
    new = updated(policy)
    before = engines.of(policy).generate(PROMPTS, greedy, row_keys=KEYS[:5])
    after = engines.of(new).generate(PROMPTS, greedy, row_keys=KEYS[:5])
    assert not torch.equal(before.response_ids, after.response_ids)
    for prompt, ids, n in zip(PROMPTS, after.response_ids, after.lengths, strict=True):
        with torch.no_grad():
            expected = new.model.generate(
                torch.as_tensor([prompt]), max_new_tokens=16, do_sample=False
            )[0, len(prompt) :]
        assert ids[: int(n)].tolist() == expected.tolist()
    again = engines.of(policy).generate(PROMPTS, greedy, row_keys=KEYS[:5])
    assert torch.equal(before.response_ids, again.response_ids)


def test_an_update_in_place_is_seen(engines: VllmEngines, policy: Policy) -> None:
    moving = clone(policy)
    engine = engines.of(moving)
    params = SamplingParams(8, n=4)
    engine.generate(PROMPTS, params, row_keys=KEYS)
    with torch.no_grad():
        for p in moving.model.parameters():
            p.mul_(1.2)
    moving.version += 1
    torch_engine = TorchEngine(moving.model, moving.tokenizer)
    agree(
        engine.generate(PROMPTS, params, row_keys=KEYS),
        torch_engine.generate(PROMPTS, params, row_keys=KEYS),
    )


def test_the_alarm_rings_when_weights_are_stale(engines: VllmEngines, policy: Policy) -> None:
    """The trainer's gap to the engine: rounding as a rule, alarming where an update was missed."""
    params = SamplingParams(12, n=4)
    fresh = engines.of(policy).generate(PROMPTS, params, row_keys=KEYS)
    stale = engines.of(updated(policy)).generate(PROMPTS, params, row_keys=KEYS)
    gaps = {}
    for name, rollouts in (("fresh", fresh), ("stale", stale)):
        trained = clone(policy)
        trainer = GrpoTrainer(trained, make_stage())
        method, _ = build("rzero")
        metrics = trainer.update(*batch_of(policy, rollouts, method))
        gaps[name] = metrics
        assert not torch.equal(weights(trained), weights(policy))
    assert gaps["fresh"]["logprob_gap_alarm"] == 0
    assert gaps["fresh"]["logprob_gap_max"] < 1e-4
    assert gaps["stale"]["logprob_gap_alarm"] == 1


def test_two_servers_share_the_rows(engine_config: EngineConfig, base_policy: Policy) -> None:
    """The rows are those of one; an update reaches both."""
    engines = VllmEngines(engine_config.model_copy(update={"servers": 2}), "float32")
    try:
        params = SamplingParams(12, n=4)
        mask = masked(MASKS["a mask per row"])
        for policy in (base_policy, updated(base_policy)):
            ours = engines.of(policy).generate(PROMPTS, params, row_keys=KEYS, **mask)
            torch_engine = TorchEngine(policy.model, policy.tokenizer)
            agree(ours, torch_engine.generate(PROMPTS, params, row_keys=KEYS, **mask))
        assert len({server.pid for server in engines.servers}) == 2
        assert {server.holds for server in engines.servers} == {policy.key}
        one = engines.of(policy).generate(PROMPTS[:1], SamplingParams(4), row_keys=KEYS[:1])
        assert len(one) == 1
    finally:
        engines.close()
