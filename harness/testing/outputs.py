"""What the loop may rely on: the promise of each hook, as assertions with a reason.

Each function gets the hook's arguments (the context first) and what it returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.engines.base import SamplingParams, replay_of
from harness.grading.votes import Tally
from harness.grpo import Coefficients, TokenInputs, TokenLoss
from harness.masks import VocabMask
from harness.methods import (
    Ballots,
    Curriculum,
    HookContext,
    Pool,
    RolloutBatch,
    RolloutTools,
    TokenTools,
)
from harness.roles import Message, Rewards


def _tensor(value: object, what: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    assert isinstance(value, Tensor), f"{what} is a {type(value).__name__}, not a tensor"
    assert tuple(value.shape) == shape, f"{what} has shape {list(value.shape)}, not {list(shape)}"
    assert value.dtype == dtype, f"{what} is {value.dtype}, not {dtype}"
    return value


def _array(value: object, what: str, rows: int) -> None:
    assert isinstance(value, np.ndarray), f"{what} is a {type(value).__name__}, not an array"
    assert value.shape == (rows,), f"{what} has shape {list(value.shape)}, not [{rows}]"
    assert value.dtype == np.float64, f"{what} is {value.dtype}, not float64"
    assert np.isfinite(value).all(), f"{what} holds values that are not finite"


def steps(ctx: HookContext, given: int, result: object) -> None:
    assert isinstance(result, int), f"returned a {type(result).__name__}"
    assert result >= 0, f"{result} steps"


def jury(ctx: HookContext, given: tuple[int, ...], result: object) -> None:
    assert isinstance(result, tuple), f"returned a {type(result).__name__}"
    assert result, "no solver votes"
    known = range(ctx.iteration)
    assert all(s in known for s in result), f"{result} names solvers other than {list(known)}"


def coefficients(ctx: HookContext, given: Coefficients, result: object) -> None:
    assert isinstance(result, Coefficients), f"returned a {type(result).__name__}"
    for name, value in vars(result).items():
        assert np.isfinite(value), f"{name} is {value}"
        assert name == "entropy" or value >= 0, f"{name} is {value}"


def prompts(ctx: HookContext, given: list[list[Message]], result: object) -> None:
    assert isinstance(result, list), f"returned a {type(result).__name__}"
    assert len(result) == len(given), f"{len(result)} chats for {len(given)} prompts"
    for chat in result:
        assert chat, "a chat without messages"
        for message in chat:
            assert {"role", "content"} <= set(message), "a message without role or content"
            assert all(isinstance(v, str) for v in message.values()), "a message that isn't text"


def sampling(ctx: HookContext, given: SamplingParams, result: object) -> None:
    assert isinstance(result, SamplingParams), f"returned a {type(result).__name__}"


def mask(ctx: HookContext, given: VocabMask | None, result: object) -> None:
    if result is None:
        return
    assert isinstance(result, VocabMask), f"returned a {type(result).__name__}"
    size = len(ctx.tokenizer)
    assert result.vocab_size == size, f"a mask over {result.vocab_size} of {size} tokens"


def logits_rule(ctx: HookContext, given: object, result: Any) -> None:
    assert result is None or callable(result), f"returned a {type(result).__name__}"
    known = ("current", "behaviour", "none")
    assert replay_of(result) in known, f"replay {replay_of(result)!r} is none of {known}"


def label(ctx: HookContext, ballots: Ballots, given: list[Tally], result: object) -> None:
    assert isinstance(result, list), f"returned a {type(result).__name__}"
    n = len(ballots.questions)
    assert len(result) == n, f"{len(result)} tallies for {n} questions"
    for tally, votes in zip(result, ballots.answers, strict=True):
        assert isinstance(tally, Tally), f"a {type(tally).__name__} among the tallies"
        assert 0.0 <= tally.p_hat <= 1.0, f"p_hat is {tally.p_hat}"
        assert tally.answer is None or isinstance(tally.answer, str), "an answer that isn't text"
        assert len(tally.cluster) == len(votes), "a tally with another number of votes"


def reward(ctx: HookContext, batch: RolloutBatch, given: Rewards, result: object) -> None:
    assert isinstance(result, Rewards), f"returned a {type(result).__name__}"
    _array(result.total, "the total", len(batch))
    for name, values in result.components.items():
        _array(values, f"component {name}", len(batch))
    if result.components:
        apart = np.abs(sum(result.components.values()) - result.total).max(initial=0.0)
        assert apart <= 1e-9, f"the components miss the total by up to {apart:.2g}"


def after_rollout(
    ctx: HookContext, batch: RolloutBatch, tools: RolloutTools, result: object
) -> None:
    assert isinstance(result, RolloutBatch), f"returned a {type(result).__name__}"
    n = len(result)
    assert result.rewards is not None, "rows without rewards; use tools.score"
    _array(result.rewards.total, "the rewards", n)
    lists = {
        "tokens": result.tokens,
        "rollouts": result.rollouts,
        "group_id": result.group_id,
        "prompt_id": result.prompt_id,
        **{f"marks[{k!r}]": v for k, v in result.marks.items()},
    }
    lists |= (
        {"proposals": result.proposals, "tallies": result.tallies}
        if ctx.role == "proposer"
        else {"questions": result.questions, "gold": result.gold}
    )
    for name, values in lists.items():
        assert len(values) == n, f"{name} has {len(values)} of {n} rows"  # type: ignore[arg-type]
    assert result.tokens.response_mask.any(dim=1).all(), "a row without a response token"


def advantage(
    ctx: HookContext, batch: RolloutBatch, given: Tensor, blend: Tensor, result: object
) -> None:
    assert isinstance(result, tuple), f"returned a {type(result).__name__}"
    assert len(result) == 2, f"returned {len(result)} values, not 2"
    values, weights = result
    shape = tuple(batch.tokens.response_mask.shape)
    k = values.shape[0] if isinstance(values, Tensor) and values.dim() == 3 else 1
    _tensor(values, "the advantages", (k, *shape), torch.float32)
    _tensor(weights, "the blend", (k, shape[0]), torch.float32)
    assert bool(torch.isfinite(values).all()), "the advantages hold values that are not finite"
    apart = float((weights.sum(dim=0) - 1.0).abs().max())
    assert apart <= 1e-5, f"the blend's weights of a row sum to 1 +- {apart:.2g}"


def token_stats(
    ctx: HookContext,
    batch: RolloutBatch,
    given: Mapping[str, Tensor],
    tools: TokenTools,
    result: object,
) -> None:
    assert isinstance(result, dict), f"returned a {type(result).__name__}"
    lost = sorted({"old", "ref", "entropy"} - set(result))
    assert not lost, f"{', '.join(lost)} got lost"
    valid = batch.tokens.response_mask
    for name, values in result.items():
        assert isinstance(values, Tensor), f"{name} is a {type(values).__name__}, not a tensor"
        shape = list(values.shape)
        assert shape == list(valid.shape), f"{name} has shape {shape}, not {list(valid.shape)}"
        assert not bool(values[valid].isnan().any()), f"{name} holds nan"


def candidates(ctx: HookContext, batch: RolloutBatch, given: Tensor | None, result: object) -> None:
    if result is None:
        return
    shape = tuple(batch.tokens.response_mask.shape)
    c = result.shape[2] if isinstance(result, Tensor) and result.dim() == 3 else 1
    found = _tensor(result, "the candidates", (*shape, c), torch.long)
    size = len(ctx.tokenizer)
    inside = bool(((found >= -1) & (found < size)).all())
    assert inside, f"the candidates hold ids outside -1 to {size - 1}"


def token_loss(ctx: HookContext, x: TokenInputs, given: TokenLoss, result: object) -> None:
    assert isinstance(result, TokenLoss), f"returned a {type(result).__name__}"
    shape = tuple(x.mask.shape)
    _tensor(result.loss, "the loss", shape, torch.float32)
    weights = _tensor(result.denominator, "the denominator", shape, torch.float32)
    assert not weights.requires_grad, "the denominator carries a gradient"
    assert bool((weights >= 0).all()), "the denominator holds negative weights"
    assert not bool(weights[~x.mask].any()), "the denominator counts places without a token"


def select(ctx: HookContext, pool: Pool, given: Curriculum, result: object) -> None:
    assert isinstance(result, Curriculum), f"returned a {type(result).__name__}"
    index, n = result.index, len(pool.questions)
    assert isinstance(index, np.ndarray), f"the index is a {type(index).__name__}, not an array"
    assert index.ndim == 1, f"the index has {index.ndim} dimensions"
    assert np.issubdtype(index.dtype, np.integer), f"the index is {index.dtype}, not int64"
    assert bool(((index >= 0) & (index < n)).all()), f"the index leaves the pool of {n}"
    named = all(pool.tallies[int(i)].answer is not None for i in index)
    assert named, "a question without a label was selected"
    for row in result.replay:
        pair = isinstance(row, tuple) and len(row) == 2 and all(isinstance(v, str) for v in row)
        assert pair, "replay holds what is no (question, answer)"


def on_step_end(ctx: HookContext, metrics: Mapping[str, float], result: object) -> None:
    assert result is None, f"returned a {type(result).__name__}"


on_iteration_end = on_step_end

PROMISES: dict[str, Callable[..., None]] = {
    "steps": steps,
    "jury": jury,
    "coefficients": coefficients,
    "prompts": prompts,
    "sampling": sampling,
    "mask": mask,
    "logits_rule": logits_rule,
    "label": label,
    "reward": reward,
    "after_rollout": after_rollout,
    "advantage": advantage,
    "token_stats": token_stats,
    "candidates": candidates,
    "token_loss": token_loss,
    "select": select,
    "on_step_end": on_step_end,
    "on_iteration_end": on_iteration_end,
}
