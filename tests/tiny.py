"""A small real model, and what a trainer sees of its rollouts."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

from harness.config import StageConfig, load_config
from harness.engines import LogitsRule, SamplingParams
from harness.engines.torch_engine import TorchEngine
from harness.grading import Grader
from harness.grading.votes import tally
from harness.masks import Granularity, ProtectedSet, VocabMask
from harness.methods import HookContext, RolloutBatch
from harness.policy import Policy, TokenBatch
from harness.rng import keys64, stream
from harness.roles import Rewards

BASE = Path(__file__).resolve().parents[1] / "tasks" / "ladder" / "base"
HEAD = 800
"""Rows of the tiny model's head: more than its tokenizer has tokens, as in Qwen3."""


def make_policy(
    tokenizer: Any,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    head_dim: int = 16,
    tied: bool = False,
    longest: int = 256,
) -> Policy:
    """Two random layers with logits far enough apart that tokens differ in probability."""
    config = Qwen3Config(
        vocab_size=HEAD,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=head_dim,
        max_position_embeddings=longest,
        tie_word_embeddings=tied,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).to(dtype).eval()
    return Policy(model, tokenizer)


def make_sliding_model(seed: int) -> Any:
    """A layer that sees 4 tokens, and one that sees all."""
    config = Gemma3TextConfig(
        vocab_size=HEAD,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Gemma3ForCausalLM(config).eval()


def clone(policy: Policy) -> Policy:
    """A copy that may be trained."""
    return Policy(copy.deepcopy(policy.model), policy.tokenizer)


def make_prompts(n: int, seed: int = 0, longest: int = 9) -> list[list[int]]:
    """Random prompts of 1 to ``longest`` ordinary tokens."""
    draw = stream(seed, "test prompts")
    return [draw.integers(0, 700, draw.integers(1, longest + 1)).tolist() for _ in range(n)]


def make_mask(
    alpha: float = 0.6,
    granularity: Granularity = "step",
    seed: int = 0,
    in_logprobs: bool = True,
    vocab_size: int = 767,
) -> VocabMask:
    protected = ProtectedSet((3, 5, 759), (("format", 3),))
    return VocabMask.create(
        "test",
        seed=seed,
        alpha=alpha,
        protected=protected,
        vocab_size=vocab_size,
        granularity=granularity,
        in_logprobs=in_logprobs,
    )


def make_batch(
    policy: Policy,
    *,
    groups: int = 3,
    n: int = 4,
    new: int = 10,
    temperature: float = 1.0,
    mask: VocabMask | None = None,
    rule: LogitsRule | None = None,
    seed: int = 0,
    rewards: Sequence[float] | None = None,
) -> RolloutBatch:
    """Real rollouts with random (or the given) rewards."""
    group_id = [g for g in range(groups) for _ in range(n)]
    keys = keys64(seed, "rows", n=len(group_id))
    mask_rows = mask.row_ids(group_id) if mask else None
    rollouts = TorchEngine(policy.model, policy.tokenizer).generate(
        make_prompts(groups, seed),
        SamplingParams(new, n=n, temperature=temperature),
        row_keys=keys,
        mask=mask,
        mask_rows=mask_rows,
        logits_rule=rule,
    )
    tokens = TokenBatch(
        rollouts.prompt_ids,
        rollouts.response_ids,
        rollouts.response_mask,
        temperature,
        mask,
        torch.as_tensor(mask_rows) if mask_rows is not None else None,
        rule,
        keys,
    )
    values = rewards if rewards is not None else stream(seed, "rewards").random(len(group_id))
    return RolloutBatch(
        rollouts,
        tokens,
        group_id,
        list(group_id),
        rollouts.texts(policy.tokenizer),
        rewards=Rewards(np.asarray(values, dtype=np.float64), {}),
    )


def make_stage(**changes: Any) -> StageConfig:
    values: dict[str, Any] = {"lr": 1e-2, "weight_decay": 0.0, "kl_coef": 0.0, "micro_rows": 4}
    return StageConfig(**{**values, **changes})


def make_context(tokenizer: Any = None, **changes: Any) -> HookContext:
    values: dict[str, Any] = {
        "role": "proposer",
        "phase": "train",
        "iteration": 1,
        "step": 0,
        "seed": 0,
        "config": load_config("ladder")[0],
        "tokenizer": tokenizer,
        "protected": ProtectedSet((3, 5, 759), (("format", 3),)),
        "archive": (),
        "embed": lambda texts: np.zeros((len(texts), 1), dtype=np.float32),
        "tally": lambda answers: tally(answers, Grader()),
        "counts": Counter(),
    }
    return HookContext(**{**values, **changes})


def weights(policy: Policy) -> torch.Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().flatten().double() for p in policy.model.parameters()])
