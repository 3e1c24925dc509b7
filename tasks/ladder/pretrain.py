"""Rebuild the ladder's base model from a fixed seed: ``python -m tasks.ladder.pretrain``.

One CPU core, one thread. Writes an ordinary Hugging Face folder (config, tokenizer, bf16
safetensors): a proposer ("write a question.") and a solver ("solve: ...") in one set of weights.
Half of the proposer's rows are tokenised with BPE-dropout; the solver's steps carry injected
errors at a rate that varies by topic, so that a majority of samples knows more than one sample.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from tasks.ladder import tokenizer as tk
from tasks.ladder.wordings import STORIES
from tasks.ladder.world import (
    TIERS,
    TOPICS,
    render,
    solve,
    training_problem,
)

BASE: Final = Path(__file__).parent / "base"
SEED: Final = 20260
# chance that one step of a solution is wrong, by story (first tier), and its growth per tier
ERROR_RATE: Final = {
    "gain": 0.06,
    "lose": 0.10,
    "rows": 0.14,
    "pack": 0.22,
    "rest": 0.26,
    "list": 0.18,
}
ERROR_GROWTH: Final = 0.02
TIER_SHARE: Final = (0.55, 0.41, 0.04, 0.0)  # of the solver's rows
PROPOSER_SHARE: Final = 0.55
# BPE-dropout of a proposer row, drawn uniformly: half of the rows have none
DROPOUTS: Final = (0.0, 0.0, 0.0, 0.05, 0.1, 0.15)
QUESTION_WEIGHT: Final = 0.2  # loss weight of a solver prompt's question text


@dataclass(frozen=True)
class Row:
    """One training sequence: token ids and the loss weight of each."""

    ids: list[int]
    weights: list[float]


def error_rate(topic: str) -> float:
    """The chance that a step of a pre-training solution of `topic` is wrong."""
    story, tier = topic.rsplit("-", 1)
    return ERROR_RATE[story] + ERROR_GROWTH * (int(tier) - 1)


def solver_topic(rng: np.random.Generator) -> str:
    """A topic for a solver row: the tier by `TIER_SHARE`, the story uniformly."""
    tier = TIERS[int(np.searchsorted(np.cumsum(TIER_SHARE), rng.random(), side="right"))]
    return f"{tuple(STORIES)[int(rng.random() * len(STORIES))]}-{tier}"


def corpus(seed: int, per_topic: int = 800) -> Iterator[str]:
    """The text that the tokenizer is trained on."""
    rng = np.random.default_rng([seed, 1])
    for topic in TOPICS:
        for _ in range(per_topic):
            problem = training_problem(rng, topic)
            yield render(rng, problem)
            yield tk.SOLVER_PROMPT.format(question=solve(problem))
            yield tk.PROPOSER_PROMPT


class Sampler:
    """Endless training rows, a pure function of the seed."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 2])
        self.segment = tk.Segmenter(tokenizer, np.random.default_rng([seed, 3]))
        self.ask = self.segment(f"<|user|>{tk.PROPOSER_PROMPT}<|assistant|>")

    def proposer(self) -> Row:
        """A question to write, topics uniform."""
        rng = self.rng
        text = render(rng, training_problem(rng, TOPICS[int(rng.random() * len(TOPICS))]))
        dropout = DROPOUTS[int(rng.random() * len(DROPOUTS))]
        answer = self.segment(f"<question>{text}</question>{tk.EOS}", dropout)
        return Row(self.ask + answer, [0.0] * len(self.ask) + [1.0] * len(answer))

    def solver(self) -> Row:
        """A question to solve, low tiers often, the top tier never."""
        rng = self.rng
        topic = solver_topic(rng)
        problem = training_problem(rng, topic)
        question = tk.SOLVER_PROMPT.format(question=render(rng, problem))
        prompt = self.segment(f"<|user|>{question}<|assistant|>")
        answer = self.segment(solve(problem, rng, error_rate(topic)) + tk.EOS)
        return Row(
            prompt + answer,
            [0.0] * 4 + [QUESTION_WEIGHT] * (len(prompt) - 4) + [1.0] * len(answer),
        )

    def batch(self, rows: int) -> list[Row]:
        """`rows` rows, shortest first (micro-batches cut from it pad little)."""
        drawn = [
            self.proposer() if self.rng.random() < PROPOSER_SHARE else self.solver()
            for _ in range(rows)
        ]
        return sorted(drawn, key=lambda row: len(row.ids))


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """The untrained network (Qwen3 architecture, about 0.9 M parameters)."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def backward(model: Qwen3ForCausalLM, rows: list[Row], pad: int, micro: int) -> float:
    """Accumulate the gradient of the weighted token mean over `rows`; returns that loss (nats)."""
    total = sum(sum(row.weights[1:]) for row in rows)
    loss_sum = 0.0
    for start in range(0, len(rows), micro):
        part = rows[start : start + micro]
        width = max(len(row.ids) for row in part)
        ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in part])
        weights = torch.tensor([row.weights + [0.0] * (width - len(row.ids)) for row in part])
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        kept = weights[:, 1:] > 0
        logits = model.lm_head(hidden[kept])
        losses = functional.cross_entropy(logits, ids[:, 1:][kept], reduction="none")
        loss = (losses * weights[:, 1:][kept]).sum() / total
        torch.autograd.backward(loss)
        loss_sum += loss.item()
    return loss_sum


def learning_rate(step: int, steps: int) -> float:
    """Factor of the peak rate: 2 % warm-up, constant, linear decay over the last 30 %."""
    warm, decay = max(1, steps // 50), max(1, int(0.3 * steps))
    return min(1.0, (step + 1) / warm, max(0.0, (steps - step) / decay))


def save(
    model: Qwen3ForCausalLM,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
) -> None:
    """Write `weights` in bf16 as a Hugging Face folder, file by file atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = Qwen3ForCausalLM(model.config)
    copy.load_state_dict(weights)
    copy = copy.to(torch.bfloat16)
    copy.generation_config.do_sample = True
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copy.save_pretrained(scratch)
        tk.save(tokenizer, Path(scratch))
        for path in Path(scratch).iterdir():
            path.chmod(0o644)
            path.replace(folder / path.name)


def train(
    out: Path,
    *,
    steps: int,
    rows: int,
    micro: int,
    seed: int,
    peak: float,
    muon_peak: float,
    snapshot_seconds: float,
) -> None:
    """Pre-train and write `out`; a snapshot of the averaged weights replaces it now and then."""
    torch.set_num_threads(1)
    tokenizer = tk.build(corpus(seed))
    sampler = Sampler(tokenizer, seed)
    model = build_model(tokenizer, seed)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.0), peak),
        (torch.optim.Muon(matrices, lr=muon_peak, weight_decay=0.01), muon_peak),
    ]
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    started = saved = time.monotonic()
    running, tokens = math.nan, 0
    for step in range(steps):
        factor = learning_rate(step, steps)
        batch = sampler.batch(rows)
        loss = backward(model, batch, int(tokenizer.pad_token_id), micro)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in optimizers:
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        keep = min(0.995, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        tokens += sum(len(row.ids) for row in batch)
        running = loss if math.isnan(running) else 0.98 * running + 0.02 * loss
        now = time.monotonic()
        if step % 50 == 0 or step == steps - 1:
            print(
                json.dumps(
                    {
                        "step": step,
                        "of": steps,
                        "loss": round(running, 4),
                        "tokens": tokens,
                        "seconds": round(now - started),
                    }
                ),
                flush=True,
            )
        if now - saved > snapshot_seconds:
            saved = now
            save(model, average, tokenizer, out)
    save(model, average, tokenizer, out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=BASE)
    parser.add_argument("--steps", type=int, default=1900)
    parser.add_argument("--rows", type=int, default=128, help="sequences a step")
    parser.add_argument("--micro", type=int, default=32, help="sequences a micro-batch")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--peak", type=float, default=3e-3, help="AdamW's rate (embeddings, norms)")
    parser.add_argument("--muon-peak", type=float, default=2e-2, help="Muon's rate (matrices)")
    parser.add_argument("--snapshot-seconds", type=float, default=240.0)
    train(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
