"""The torch engine against transformers, against itself in other batches, and in its errors."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from harness.engines import Rollouts, SamplingParams
from harness.engines.sampling import sample
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError
from harness.masks import uniforms
from harness.policy import Policy
from harness.rng import keys64
from harness.roles import render

TEST_ITEMS = Path(__file__).resolve().parents[2] / "tasks" / "ladder" / "test.jsonl"


def engine(policy: Policy, **kwargs: int) -> TorchEngine:
    return TorchEngine(policy.model, policy.tokenizer, **kwargs)


def rows(out: Rollouts) -> list[list[int]]:
    """Each row's own tokens."""
    return [ids[: int(n)].tolist() for ids, n in zip(out.response_ids, out.lengths, strict=True)]


def ladder_prompts(policy: Policy, n: int) -> list[list[int]]:
    """Real chats of different lengths: the proposer's, and questions to the solver."""
    items = [json.loads(line) for line in TEST_ITEMS.read_text(encoding="utf-8").splitlines()]
    chats = ["write a question."]
    chats += [f"solve: {item['question']}" for item in items[:: len(items) // n][: n - 1]]
    return [render(policy.tokenizer, [{"role": "user", "content": c}]) for c in chats]


@pytest.mark.parametrize("max_rows", [512, 3])
def test_a_stop_string_ends_a_response_and_no_other(base_policy: Policy, max_rows: int) -> None:
    prompts = ladder_prompts(base_policy, 8)
    keys = keys64(0, "stop", n=len(prompts))
    sampler = engine(base_policy, max_rows=max_rows)

    def texts(*stop: str) -> tuple[Rollouts, list[str]]:
        params = SamplingParams(90, temperature=1.0, stop=stop)
        out = sampler.generate(prompts, params, row_keys=keys)
        return out, out.texts(base_policy.tokenizer)

    free, whole = texts()
    stop = max(whole, key=len)[20:24]
    holding = [stop in text for text in whole]
    assert any(holding)
    out, cut = texts(stop, "never said")
    early = 0
    for i, holds in enumerate(holding):
        if not holds:
            assert rows(out)[i] == rows(free)[i]
            continue
        assert whole[i].startswith(cut[i])
        assert stop in cut[i]
        assert not out.truncated[i]
        early += int(out.lengths[i]) < int(free.lengths[i])
    assert early


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(HarnessError, match="no empty stop string"):
        SamplingParams(3, stop=("",))


class TestGreedy:
    def reference(self, policy: Policy, prompts: list[list[int]], new: int) -> list[list[int]]:
        """transformers' own generate, one prompt at a time, cut after its end token."""
        found = []
        for prompt in prompts:
            out = policy.model.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=new, pad_token_id=0
            )
            found.append(out[0, len(prompt) :].tolist())
        return found

    @pytest.mark.parametrize("max_rows", [512, 3])
    def test_equals_transformers_on_mixed_lengths(self, base_policy: Policy, max_rows: int) -> None:
        prompts = ladder_prompts(base_policy, 8)
        assert len({len(p) for p in prompts}) > 3
        out = engine(base_policy, max_rows=max_rows).generate(
            prompts, SamplingParams(40, temperature=0.0), row_keys=[0] * 8
        )
        assert rows(out) == self.reference(base_policy, prompts, 40)

    def test_equals_transformers_on_a_random_model(self, tiny_policy: Policy) -> None:
        prompts = tiny.make_prompts(6, seed=2)
        out = engine(tiny_policy).generate(
            prompts, SamplingParams(12, temperature=0.0), row_keys=[0] * 6
        )
        assert rows(out) == self.reference(tiny_policy, prompts, 12)


class TestRowsAreIndependent:
    PARAMS = SamplingParams(12, top_p=0.95)

    @pytest.fixture(scope="class")
    def whole(self, tiny_policy: Policy) -> tuple[list[list[int]], list[int], list[list[int]]]:
        prompts = [*tiny.make_prompts(9, seed=5), tiny.make_prompts(1, seed=5)[0]]
        keys = keys64(7, "rows", n=10)
        out = engine(tiny_policy).generate(prompts, self.PARAMS, row_keys=keys)
        return prompts, keys, rows(out)

    @given(st.permutations(range(10)), st.integers(1, 10), st.integers(1, 12))
    @settings(max_examples=15, deadline=None)
    def test_of_subset_order_and_batch_size(self, tiny_policy, whole, order, size, max_rows):
        prompts, keys, expected = whole
        part = order[:size]
        out = engine(tiny_policy, max_rows=max_rows).generate(
            [prompts[i] for i in part], self.PARAMS, row_keys=[keys[i] for i in part]
        )
        assert rows(out) == [expected[i] for i in part]

    def test_of_grouping_by_n(self, tiny_policy: Policy) -> None:
        prompts, keys = tiny.make_prompts(3, seed=8), keys64(1, "rows", n=12)
        grouped = engine(tiny_policy).generate(prompts, SamplingParams(9, n=4), row_keys=keys)
        flat = engine(tiny_policy).generate(
            [p for p in prompts for _ in range(4)], SamplingParams(9), row_keys=keys
        )
        assert rows(grouped) == rows(flat)
        assert grouped.prompt_ids == flat.prompt_ids
        assert len({tuple(r) for r in rows(grouped)}) == 12  # each row draws from its own key

    @pytest.mark.parametrize("granularity", ["step", "group", "sequence"])
    def test_under_a_mask(self, tiny_policy: Policy, granularity: str) -> None:
        mask = tiny.make_mask(0.4, granularity)  # type: ignore[arg-type]
        prompts, keys = tiny.make_prompts(6, seed=3), keys64(2, "rows", n=6)
        mask_rows = mask.row_ids([0, 0, 1, 1, 2, 2])
        run = engine(tiny_policy).generate
        whole = run(prompts, self.PARAMS, row_keys=keys, mask=mask, mask_rows=mask_rows)
        for i in (4, 0, 3):
            alone = run(
                [prompts[i]], self.PARAMS, row_keys=[keys[i]], mask=mask, mask_rows=[mask_rows[i]]
            )
            assert rows(alone)[0] == rows(whole)[i]

    def test_real_rows_finish_at_different_times(self, base_policy: Policy) -> None:
        """Finished rows leave the batch; whoever stays is not disturbed."""
        prompts = ladder_prompts(base_policy, 6)
        keys = keys64(3, "rows", n=24)
        params = SamplingParams(60, n=4)
        together = engine(base_policy).generate(prompts, params, row_keys=keys)
        assert len(set(together.lengths.tolist())) > 5
        flat = [p for p in prompts for _ in range(4)]
        for i in range(0, 24, 3):
            alone = engine(base_policy).generate([flat[i]], SamplingParams(60), row_keys=[keys[i]])
            assert rows(alone)[0] == rows(together)[i]
            n = int(alone.lengths[0])
            gap = alone.logprobs[0, :n] - together.logprobs[i, :n]
            assert gap.abs().max() < 1e-4

    def test_dropping_rows_changes_nothing(self, base_policy: Policy, monkeypatch) -> None:
        prompts, keys = ladder_prompts(base_policy, 8), keys64(9, "rows", n=8)
        found = []
        for share in (0.0, 0.65, 1.1):  # never, as shipped, at every step
            monkeypatch.setattr("harness.engines.torch_engine._COMPACT_BELOW", {"small": share})
            out = engine(base_policy).generate(prompts, SamplingParams(60), row_keys=keys)
            found.append(rows(out))
        assert found[0] == found[1] == found[2]

    def test_other_keys_other_samples(self, tiny_policy: Policy) -> None:
        prompts = tiny.make_prompts(4)
        drawn = {
            str(
                rows(
                    engine(tiny_policy).generate(
                        prompts, self.PARAMS, row_keys=keys64(seed, "rows", n=4)
                    )
                )
            )
            for seed in range(5)
        }
        assert len(drawn) == 5

    def test_the_global_random_state_is_neither_read_nor_moved(self, tiny_policy: Policy) -> None:
        before = torch.random.get_rng_state()
        args = (tiny.make_prompts(3), SamplingParams(5))
        first = engine(tiny_policy).generate(*args, row_keys=[1, 2, 3])
        assert torch.equal(before, torch.random.get_rng_state())
        with torch.random.fork_rng():
            torch.manual_seed(99)
            assert rows(engine(tiny_policy).generate(*args, row_keys=[1, 2, 3])) == rows(first)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_first_tokens_are_distributed_as_the_softmax(tiny_policy: Policy, temperature) -> None:
    n, prompt = 6000, [4, 20, 300]
    out = engine(tiny_policy, max_rows=6000).generate(
        [prompt], SamplingParams(1, n=n, temperature=temperature), row_keys=keys64(3, "chi", n=n)
    )
    with torch.no_grad():
        logits = tiny_policy.model(torch.tensor([prompt])).logits[0, -1]
    expected = (logits / temperature).softmax(dim=-1).double().numpy() * n
    counts = np.bincount(out.response_ids[:, 0].numpy(), minlength=tiny.HEAD)
    often = expected >= 20
    observed = [*counts[often], counts[~often].sum()]
    wanted = np.array([*expected[often], expected[~often].sum()])
    assert stats.chisquare(observed, wanted * n / wanted.sum()).pvalue > 1e-4


def test_every_position_inverts_its_own_uniform(tiny_policy: Policy) -> None:
    """Position t of a row is the token whose interval holds the row's t-th uniform."""
    keys, params = keys64(6, "rows", n=4), SamplingParams(8, temperature=0.9)
    out = engine(tiny_policy).generate(tiny.make_prompts(4, seed=6), params, row_keys=keys)
    for prompt, ids, key in zip(out.prompt_ids, rows(out), keys, strict=True):
        with torch.no_grad():
            logits = tiny_policy.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 :]
        for t, token in enumerate(ids):
            u = uniforms(np.array([key], dtype=np.uint64), t)
            assert int(sample(logits[t : t + 1], params, u)[0]) == token


class TestMask:
    @pytest.mark.parametrize("granularity", ["step", "group", "sequence"])
    @pytest.mark.parametrize("temperature", [0.0, 1.3])
    def test_masked_tokens_are_never_sampled(self, tiny_policy, granularity, temperature) -> None:
        mask = tiny.make_mask(0.2, granularity, seed=4)
        mask_rows = mask.row_ids([g for g in range(6) for _ in range(4)])
        out = engine(tiny_policy).generate(
            tiny.make_prompts(6),
            SamplingParams(15, n=4, temperature=temperature),
            row_keys=keys64(0, "rows", n=24),
            mask=mask,
            mask_rows=mask_rows,
        )
        assert int(out.response_ids.max()) < 767
        keep = mask.keep_numpy(mask_rows)
        for row, ids in enumerate(rows(out)):
            assert keep[row, ids].all()

    def test_alpha_one_only_drops_the_head_s_padding(self, base_policy: Policy) -> None:
        prompts, keys = ladder_prompts(base_policy, 4), keys64(1, "rows", n=4)
        params = SamplingParams(30)
        plain = engine(base_policy).generate(prompts, params, row_keys=keys)
        masked = engine(base_policy).generate(
            prompts, params, row_keys=keys, mask=tiny.make_mask(1.0)
        )
        assert rows(plain) == rows(masked)


class TestEnd:
    def test_end_token_closes_a_row_and_truncation_is_told(self, base_policy: Policy) -> None:
        prompts = ladder_prompts(base_policy, 6)
        keys = keys64(5, "rows", n=18)
        long = engine(base_policy).generate(prompts, SamplingParams(100, n=3), row_keys=keys)
        eos = base_policy.tokenizer.eos_token_id
        for ids, cut in zip(rows(long), long.truncated, strict=True):
            assert (ids[-1] == eos) is (not bool(cut))
            assert eos not in ids[:-1]
        assert not bool(long.truncated.all())
        shorter = int(long.lengths.median())
        short = engine(base_policy).generate(prompts, SamplingParams(shorter, n=3), row_keys=keys)
        for cut_row, ids in zip(rows(short), rows(long), strict=True):
            assert cut_row == ids[:shorter]
        # One token short of its end is truncated; exactly at its end is not.
        assert short.truncated.tolist() == [len(ids) > shorter for ids in rows(long)]

    def test_shapes_padding_and_mask(self, base_policy: Policy) -> None:
        out = engine(base_policy).generate(
            ladder_prompts(base_policy, 5), SamplingParams(100), row_keys=[1, 2, 3, 4, 5]
        )
        width = int(out.lengths.max())
        assert out.response_ids.shape == out.response_mask.shape == out.logprobs.shape == (5, width)
        pad = base_policy.tokenizer.pad_token_id
        assert (out.response_ids[~out.response_mask] == pad).all()
        assert (out.logprobs[~out.response_mask] == 0).all()
        assert (out.logprobs[out.response_mask] <= 0).all()
        assert out.texts(base_policy.tokenizer)[0].count("<|end|>") == 0

    def test_every_configured_end_token_stops(self, tiny_policy: Policy) -> None:
        policy = tiny.clone(tiny_policy)
        prompts, params = tiny.make_prompts(4), SamplingParams(10, n=5)
        keys = keys64(0, "rows", n=20)
        free = rows(engine(policy).generate(prompts, params, row_keys=keys))
        stop = free[0][4]
        policy.model.generation_config = copy.deepcopy(policy.model.generation_config)
        policy.model.generation_config.eos_token_id = [759, stop]
        stopped = rows(engine(policy).generate(prompts, params, row_keys=keys))
        for ids, expected in zip(stopped, free, strict=True):
            end = expected.index(stop) + 1 if stop in expected else len(expected)
            assert ids == expected[:end]
        assert len(stopped[0]) <= 5

    def test_select_keeps_rows_together(self, tiny_policy: Policy) -> None:
        out = engine(tiny_policy).generate(
            tiny.make_prompts(4), SamplingParams(6), row_keys=[5, 6, 7, 8]
        )
        picked = out.select([2, 0, 2])
        assert rows(picked) == [rows(out)[i] for i in (2, 0, 2)]
        assert picked.prompt_ids == [out.prompt_ids[i] for i in (2, 0, 2)]
        assert len(picked) == 3


class AlternatingRule:
    """Forbids the last token written and, on odd positions, a row-dependent half."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, logits: Tensor, prefix: Tensor, row_keys: Sequence[int]) -> Tensor:
        t = prefix.shape[1]
        self.seen.append(t)
        token = torch.arange(logits.shape[-1])
        for i, key in enumerate(row_keys):
            if t % 2:
                logits = logits.index_put(
                    (torch.tensor(i), token[(token + key) % 2 == 0]), torch.tensor(-torch.inf)
                )
            if t:
                logits = logits.index_put(
                    (torch.tensor(i), prefix[i, -1]), torch.tensor(-torch.inf)
                )
        return logits


def test_a_logits_rule_binds_every_position(tiny_policy: Policy) -> None:
    rule, keys = AlternatingRule(), keys64(0, "rows", n=6)
    out = engine(tiny_policy).generate(
        tiny.make_prompts(6), SamplingParams(8), row_keys=keys, logits_rule=rule
    )
    for ids, key in zip(rows(out), keys, strict=True):
        assert all(a != b for a, b in pairwise(ids))
        assert all((token + key) % 2 for token in ids[1::2])
    assert set(rule.seen) == set(range(8))


class TestErrors:
    def test_wrong_number_of_keys(self, tiny_policy: Policy) -> None:
        with pytest.raises(HarnessError, match="4 rows but 3 row keys"):
            engine(tiny_policy).generate([[1], [2]], SamplingParams(2, n=2), row_keys=[1, 2, 3])

    def test_wrong_number_of_mask_rows(self, tiny_policy: Policy) -> None:
        mask = tiny.make_mask(granularity="sequence")
        with pytest.raises(HarnessError, match="2 rows but 1 mask rows"):
            engine(tiny_policy).generate(
                [[1], [2]], SamplingParams(2), row_keys=[1, 2], mask=mask, mask_rows=[0]
            )

    def test_a_mask_of_many_rows_needs_to_know_them(self, tiny_policy: Policy) -> None:
        mask = tiny.make_mask(granularity="group")
        with pytest.raises(HarnessError, match="mask_rows"):
            engine(tiny_policy).generate([[1]], SamplingParams(2), row_keys=[1], mask=mask)

    def test_empty_prompt(self, tiny_policy: Policy) -> None:
        with pytest.raises(HarnessError, match="empty prompt"):
            engine(tiny_policy).generate([[1], []], SamplingParams(2), row_keys=[1, 2])

    def test_no_end_token(self, tiny_policy: Policy) -> None:
        policy = Policy(copy.deepcopy(tiny_policy.model), copy.deepcopy(tiny_policy.tokenizer))
        policy.model.generation_config = copy.deepcopy(policy.model.generation_config)
        policy.model.generation_config.eos_token_id = None
        policy.tokenizer.eos_token = None
        with pytest.raises(HarnessError, match="no end-of-sequence token"):
            engine(policy)

    def test_no_prompts_no_rows(self, tiny_policy: Policy) -> None:
        out = engine(tiny_policy).generate([], SamplingParams(2), row_keys=[])
        assert len(out) == 0
        assert out.texts(tiny_policy.tokenizer) == []

    def test_the_model_s_mode_is_given_back(self, tiny_policy: Policy) -> None:
        policy = tiny.clone(tiny_policy)
        policy.model.train()
        engine(policy).generate([[1]], SamplingParams(2), row_keys=[1])
        assert policy.model.training
