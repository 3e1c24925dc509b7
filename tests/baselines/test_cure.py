"""CURE: where a response branches, which rows give way, and what a branch is read with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rows
import tiny
import torch

from baselines.cure import branch_point
from harness.engines import SamplingParams
from harness.grpo import Coefficients
from harness.methods import RolloutBatch, RolloutTools, build
from harness.policy import Policy
from harness.roles import Rewards


@pytest.fixture(scope="module")
def tokenizer(base_policy: Policy) -> Any:
    return base_policy.tokenizer


@pytest.fixture(scope="module")
def spoken(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ordinary tokens of at least two characters, and of one."""
    texts = tokenizer.batch_decode([[i] for i in range(700)])
    special = set(tokenizer.all_special_ids)
    sizes = {i: len(t.strip()) for i, t in enumerate(texts) if i not in special}
    return [i for i, n in sizes.items() if n >= 2], [i for i, n in sizes.items() if n == 1]


class Branches:
    """Continuations of ``length`` tokens; notes what was asked and what was scored."""

    def __init__(self, entropy: Sequence[Sequence[float]], token: int, length: int = 2) -> None:
        self.entropy, self.token, self.length = entropy, token, length
        self.asked: list[Any] = []
        self.scored: list[RolloutBatch] = []

    def resample(self, batch: RolloutBatch, at: Sequence[int], params: Any, prefixes: Any):
        self.asked.append((list(at), params, prefixes))
        group_id = [batch.group_id[i] for i in at for _ in range(params.n)]
        size = min(self.length, params.max_new_tokens)
        new = rows.make(group_id, ids=[[self.token] * size for _ in group_id])
        heads = [p for p in prefixes for _ in range(params.n)]
        prompts = [[10 + g, *p] for g, p in zip(group_id, heads, strict=True)]
        new.rollouts.prompt_ids = new.tokens.prompt_ids = prompts
        return new

    def measure(self, batch: RolloutBatch):
        values = torch.tensor(self.entropy[: len(batch)])
        return torch.zeros_like(values), values

    def score(self, batch: RolloutBatch) -> RolloutBatch:
        assert batch.rewards is None
        self.scored.append(batch)
        return replace(batch, rewards=Rewards(np.zeros(len(batch)), {}))

    def tools(self, max_new: int = 8) -> RolloutTools:
        def refuse(*_: object):
            raise AssertionError("not asked for here")

        params = SamplingParams(max_new, n=4)
        return RolloutTools(params, self.resample, refuse, self.score, self.measure)


def of(group_id: Sequence[int], ids: Sequence[Sequence[int]]) -> RolloutBatch:
    return rows.make(group_id, [0.5] * len(group_id), ids=ids, questions=["q"] * len(group_id))


def test_the_branch_token_is_drawn_among_the_most_uncertain() -> None:
    entropy = np.array([0.1, 0.9, 0.5, 0.8, 0.7], dtype=np.float32)
    allowed = np.array([True, True, True, False, True])
    draw = np.random.Generator(np.random.PCG64(0))
    # the top two that are allowed: 1 (.9) and 4 (.7)
    found = [branch_point(entropy, allowed, 2, draw) for _ in range(200)]
    assert set(found) == {1, 4}
    assert 60 < found.count(1) < 140
    assert branch_point(entropy, allowed, 1, draw) == 1
    assert branch_point(entropy, np.zeros(5, dtype=bool), 2, draw) is None


def test_the_first_row_branches_and_the_others_give_way(tokenizer: Any, spoken: Any) -> None:
    # G = 4 = 1 (1 + 3): row 0 stays, rows 1 to 3 become continuations of its first two tokens.
    words = spoken[0]
    ids = [words[10 * i : 10 * i + 4] for i in range(8)]
    batch = of([0] * 4 + [1] * 4, ids)
    branches = Branches([[0.1, 0.2, 0.9, 0.3], [0.1, 0.9, 0.2, 0.3]], words[99])
    ctx = tiny.make_context(tokenizer)
    found = build("cure:top=1")[0].after_rollout(ctx, batch, branches.tools())
    ((at, params, prefixes),) = branches.asked
    assert at == [0, 4]
    assert prefixes == [ids[0][:2], ids[4][:1]]  # up to the branch token, without it
    assert params == SamplingParams(7, n=3)  # 8 less the shorter prefix
    assert found.group_id == batch.group_id
    assert [found.texts[i] for i in (0, 4)] == [batch.texts[i] for i in (0, 4)]
    assert found.rollouts.prompt_ids[1:4] == [[10, *ids[0][:2]]] * 3
    assert found.rollouts.response_ids[1:4, :2].tolist() == [[words[99]] * 2] * 3
    assert found.rollouts.prompt_ids[5:] == [[11, ids[4][0]]] * 3
    assert len(branches.scored) == 1  # all rows in one batch, as the repetition share needs
    assert len(branches.scored[0]) == 8
    assert ctx.counts == {"rows_without_branch_point": 0, "rows_branched": 6}


def test_a_group_of_16_has_4_heads_and_one_of_5_keeps_a_plain_row(
    tokenizer: Any, spoken: Any
) -> None:
    words = spoken[0]
    for size, heads, kept in ((16, [0, 1, 2, 3], 4), (5, [0], 2), (3, [0], 1), (2, [0], 1)):
        batch = of([0] * size, [words[i : i + 3] for i in range(size)])
        branches = Branches([[0.9, 0.1, 0.2]] * size, words[99])
        found = build("cure")[0].after_rollout(
            tiny.make_context(tokenizer), batch, branches.tools()
        )
        assert branches.asked[0][0] == heads
        assert found.texts[:kept] == batch.texts[:kept]
        assert (found.tokens.response_ids[kept:, 0] == words[99]).all()
        assert branches.asked[0][1].n == min(3, size - 1)
        assert len(found) == size


def test_special_and_short_tokens_never_branch(tokenizer: Any, spoken: Any) -> None:
    long, short = spoken
    end = tokenizer.eos_token_id
    ids = [[short[0], long[5], end]] * 4
    for chars, expected in ((2, {1}), (1, {0, 1})):
        seen = set()
        for step in range(12):
            branches = Branches([[0.9, 0.1, 0.95]], long[9])
            build(f"cure:min_chars={chars}")[0].after_rollout(
                tiny.make_context(tokenizer, step=step), of([0] * 4, ids), branches.tools()
            )
            seen.add(len(branches.asked[0][2][0]))
        assert seen == expected


def test_without_a_candidate_the_group_stays(tokenizer: Any, spoken: Any) -> None:
    end = tokenizer.eos_token_id
    for ids in (spoken[1][:2], [end, end]):  # short ones only; special ones only
        batch = of([0] * 4, [ids] * 4)
        ctx = tiny.make_context(tokenizer)
        found = build("cure")[0].after_rollout(ctx, batch, Branches([[0.9, 0.1]], 5).tools())
        assert found is batch
        assert ctx.counts == {"rows_without_branch_point": 1}


def test_prefix_and_continuation_share_the_limit(tokenizer: Any, spoken: Any) -> None:
    # Limit 4. Prefixes of 3 and 0 tokens: the first's continuations are cut to 1 token.
    words = spoken[0]
    ids = [words[10 * i : 10 * i + 4] for i in range(4)]
    batch = of([0, 0, 1, 1], ids)
    branches = Branches([[0.1, 0.2, 0.3, 0.9], [0.9, 0.1, 0.2, 0.3]], words[99], length=4)
    found = build("cure:top=1")[0].after_rollout(
        tiny.make_context(tokenizer), batch, branches.tools(max_new=4)
    )
    assert found.rollouts.lengths.tolist() == [4, 1, 4, 4]
    assert found.tokens.response_mask.sum(dim=1).tolist() == [4, 1, 4, 4]
    assert found.rollouts.truncated.tolist() == [False, True, False, False]
    assert found.texts[1] == tokenizer.decode([*ids[0][:3], words[99]])


def test_stage_two_is_plain(tokenizer: Any, spoken: Any) -> None:
    words, method = spoken[0], build("cure:until_iteration=2")[0]
    batch = of([0] * 4, [words[i : i + 3] for i in range(4)])
    for iteration, plain in ((2, False), (3, True)):
        ctx = tiny.make_context(tokenizer, iteration=iteration)
        branches = Branches([[0.9, 0.1, 0.2]], words[9])
        assert (method.after_rollout(ctx, batch, branches.tools()) is batch) == plain
        assert bool(branches.asked) != plain


def test_defaults_and_off() -> None:
    p = build("cure")[0].params
    assert (p.continuations, p.top, p.min_chars, p.until_iteration) == (3, 20, 2, None)
    assert p.role == "proposer"
    base = Coefficients(0.2, 0.3, 3.0, 0.01)
    for name in ("cure", "cure_control"):
        found = build(name)[0].coefficients(tiny.make_context(), base)
        assert found == Coefficients(0.2, 0.28, 3.0, 0.0)
        assert build(name)[0].coefficients(tiny.make_context(role="solver"), base) is base
    off, batch = build("cure:continuations=0,settings=rzero")[0], of([0] * 4, [[5, 6]] * 4)
    assert off.coefficients(tiny.make_context(), base) is base
    for method, role in ((off, "proposer"), (build("cure")[0], "solver")):
        ctx = tiny.make_context(role=role)
        assert method.after_rollout(ctx, batch, Branches([], 0).tools()) is batch
        assert not ctx.counts
