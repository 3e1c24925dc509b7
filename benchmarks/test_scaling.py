"""How time and memory grow: one size after another, and the exponent of the line through them.

The exponent is the slope of log(time) over log(size) by least squares. 1 is linear; work that
compares all pairs (BLEU clusters) is quadratic by its definition, and says so in its name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.memory import peak_mb
from benchmarks.synthetic import Size, write_runs
from benchmarks.test_repetition import texts
from harness.base import resolve
from harness.diversity.epiplexity import prequential
from harness.diversity.lexical import self_bleu
from harness.engines import SamplingParams
from harness.engines.torch_engine import TorchEngine
from harness.kernels import linear_logprob
from harness.leaderboard import collect, find_runs, prepare
from harness.policy import Policy, TokenBatch
from harness.repetition import bleu_cluster_share
from harness.rng import keys64

Run = Callable[[], Any]


def _policy() -> Policy:
    torch.set_num_threads(1)
    return Policy.load(resolve("tasks/ladder/base"))


def sampling(rows: int) -> Run:
    """Rollouts of 32 tokens that don't end, each of a prompt of its own."""
    policy = _policy()
    engine = TorchEngine(policy.model, policy.tokenizer)
    engine.stop_ids = [-1]
    draw = np.random.default_rng(0)
    prompts = draw.integers(0, 700, (rows, 24)).tolist()
    keys = keys64(0, n=rows)
    return lambda: engine.generate(prompts, SamplingParams(32), row_keys=keys)


def _trained(rows: int, tokens: int) -> Run:
    policy = _policy()
    draw = np.random.default_rng(0)
    prompts = draw.integers(0, 700, (rows, 24)).tolist()
    ids = torch.as_tensor(draw.integers(0, 700, (rows, tokens)))
    batch = TokenBatch(prompts, ids, torch.ones(rows, tokens, dtype=torch.bool))

    def run() -> None:
        for part in torch.split(torch.arange(rows), 16):
            logp, entropy = policy.logprobs(batch.rows(part))
            (logp.sum() + entropy.sum()).backward()

    return run


def training_rows(rows: int) -> Run:
    """Log-probs and their gradient, 32 tokens a row, 16 rows at a time."""
    return _trained(rows, 32)


def training_tokens(tokens: int) -> Run:
    """The same for 16 rows of so many tokens; attention has a quadratic part."""
    return _trained(16, tokens)


def vocabulary(size: int) -> Run:
    """Log-prob and entropy of 256 tokens with gradients, d = 256."""
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(256, 256, generator=draw).requires_grad_()
    head = torch.randn(size, 256, generator=draw).requires_grad_()
    targets = torch.randint(0, size, (256,), generator=draw)

    def run() -> None:
        logp, entropy = linear_logprob(hidden, head, targets)
        (logp.sum() + entropy.sum()).backward()

    return run


def questions(n: int) -> Run:
    """Self-BLEU and the prequential code of so many questions."""
    asked = texts(n)

    def run() -> None:
        self_bleu(asked)
        prequential(asked, 0)

    return run


def bleu_pairs(n: int) -> Run:
    """BLEU clusters: all pairs, by definition."""
    asked = texts(n)
    return lambda: bleu_cluster_share(asked)


def methods(n: int) -> Run:
    """A leaderboard of so many methods x 3 seeds, read and computed; ranks compare all pairs."""
    folder = Path(tempfile.mkdtemp(prefix="scaling-"))
    write_runs(folder, Size(methods=n, seeds=3, items=0.2))
    return lambda: prepare(collect(find_runs(folder)))


CURVES: dict[Callable[[int], Run], tuple[int, ...]] = {
    sampling: (64, 128, 256, 512),
    training_rows: (32, 64, 128, 256),
    training_tokens: (32, 64, 128, 256),
    vocabulary: (32_000, 64_000, 128_000, 256_000),
    questions: (2000, 4000, 8000, 16_000),
    bleu_pairs: (512, 1024, 2048, 4096),
    methods: (5, 10, 20, 40),
}


@pytest.mark.parametrize(
    ("prepare_", "size"),
    [(f, size) for f, sizes in CURVES.items() for size in sizes],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_scaling(benchmark: Any, prepare_: Callable[[int], Run], size: int) -> None:
    benchmark.extra_info |= {
        "curve": prepare_.__name__,
        "size": size,
        "peak_mb": round(peak_mb(prepare_, size), 1),
    }
    benchmark.pedantic(prepare_(size), rounds=3)
