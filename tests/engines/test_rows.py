"""The step that draws inside another engine, without that engine: against the torch engine's."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_context, make_mask

from harness.cli import main
from harness.engines import SamplingParams
from harness.engines.base import PortableRule, remake_rule
from harness.engines.rows import Row, Slot, draw, mask_of, mask_record
from harness.engines.sampling import sample
from harness.errors import HarnessError
from harness.masks import VocabMask, uniforms
from harness.methods import build
from harness.phases.rules import portable
from harness.policy import Policy

V = 60
GREEDY = SamplingParams(4, temperature=0.0)
ALL = (SamplingParams(4), SamplingParams(4, temperature=0.5, top_p=0.8, min_p=0.01), GREEDY)
MASKS = (None, make_mask(vocab_size=V - 3), make_mask(0.4, "sequence", vocab_size=V - 3))
MASKS = tuple(
    m and mask_of(mask_record(m) | {"protected": {"ids": [3, 5], "counts": [["format", 2]]}})
    for m in MASKS
)

rows = st.lists(
    st.tuples(
        st.integers(0, 2**64 - 1),  # key
        st.integers(0, 6),  # mask row
        st.integers(0, 5),  # position
        st.sampled_from(ALL),
    ),
    min_size=1,
    max_size=8,
)


def no_token_twice(
    logits: torch.Tensor, prefix: torch.Tensor, row_keys: Sequence[int]
) -> torch.Tensor:
    return logits.scatter(1, prefix, -torch.inf)


@given(rows, st.sampled_from(MASKS), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_each_row_is_drawn_as_if_it_were_alone(
    stated: list[tuple[int, int, int, SamplingParams]],
    mask: VocabMask | None,
    ruled: bool,
    seed: int,
) -> None:
    """Whatever its neighbours' masks, positions and parameters; by the torch engine's formula."""
    logits = torch.randn(len(stated), V, generator=torch.Generator().manual_seed(seed))
    written = [[int(i) for i in range(10, 10 + t)] for _, _, t, _ in stated]
    slots = [
        Slot(Row.of_argument(json.loads(json.dumps(Row(key, row, params).as_argument()))), mask)
        for key, row, _, params in stated
    ]
    rule = no_token_twice if ruled else None
    drawn = draw(logits.clone(), slots, [len(w) for w in written], written, rule)
    for i, (key, row, t, params) in enumerate(stated):
        alone = logits[i : i + 1]
        if mask is not None:
            keep = mask.keep(torch.tensor([row]), V)
            alone = alone.masked_fill(~keep, -torch.inf)
        if ruled:
            alone = no_token_twice(alone, torch.tensor([written[i]], dtype=torch.long), [key])
        uniform = uniforms(np.asarray([key], dtype=np.uint64), np.asarray([t]))
        token, logprob = sample(alone, params, uniform)
        assert int(drawn[i].argmax()) == int(token)
        assert float(drawn[i].max()) == pytest.approx(float(logprob), abs=1e-6)
        assert int(torch.isfinite(drawn[i]).sum()) == 1


def test_a_mask_survives_its_record() -> None:
    for granularity in ("step", "mini", "group", "sequence"):
        mask = make_mask(0.3, granularity, seed=5, in_logprobs=False)  # type: ignore[arg-type]
        again = mask_of(json.loads(json.dumps(mask_record(mask))))
        assert again == mask


def test_a_remade_rule_is_the_rule(base_policy: Policy) -> None:
    """Made again from what JSON carries: the same logits, the same counts."""
    method, entry = build("temperature:tau=1.4+min_p:p_base=0.3")
    ctx = make_context(base_policy.tokenizer)
    params = method.sampling(ctx, SamplingParams(8))
    assert params.temperature == 1.4
    ctx.counts.clear()
    rule = portable(method.logits_rule(ctx, None), entry, method, ctx, params)
    assert isinstance(rule, PortableRule)
    again = remake_rule(json.loads(json.dumps(rule.record())))
    for t in range(3):
        logits = torch.randn(5, 800, generator=torch.Generator().manual_seed(t))
        prefix = torch.full((5, t), 40)
        assert torch.equal(again(logits, prefix, range(5)), rule(logits, prefix, range(5)))
    counts = again.counts  # type: ignore[attr-defined]
    assert counts == ctx.counts
    assert counts["tokens_cut"] > 0


def test_a_rule_that_asks_for_what_is_not_there(base_policy: Policy) -> None:
    from harness.phases.rules import _absent

    with pytest.raises(HarnessError, match="no embeddings in the engine's process"):
        _absent("embeddings", ["a text"])


def test_no_vllm_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is written, whether the interpreter or the package is missing."""
    from importlib.util import find_spec

    if find_spec("vllm"):
        pytest.skip("this environment has vLLM")
    for python, expected in ((sys.executable, "has no vLLM"), ("/nowhere/python", "can't run")):
        said = ["engine.name=vllm", f"engine.python={python}"]
        arguments = ["run", "--method", "rzero", "--seeds", "1", "--runs", str(tmp_path / "runs")]
        arguments += tiny_run.settings([*tiny_run.TINY, *said])
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
        _, error = capsys.readouterr()
        assert expected in error
        assert len(error.strip().splitlines()) == 1
        assert list(tmp_path.iterdir()) == []
