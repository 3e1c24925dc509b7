"""A folder of invented compact runs, for measuring: ``python -m benchmarks.synthetic FOLDER``.

Sizes are those of real comparisons: 40 methods x 10 seeds, 8 tasks with the item counts of the
usual mathematics benchmarks, 5 iterations with 24 questions each. The numbers are drawn from a
model with method, seed, seed x task and item effects; nothing in them says anything about methods.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from harness.evaluation.summary import summary
from harness.rng import stream
from harness.store import RunFolder, write_json, write_parquet

Floats = NDArray[np.float64]

TASKS = {
    "math500": (500, 1),
    "gsm8k": (1319, 1),
    "minerva_math": (272, 1),
    "olympiadbench": (675, 1),
    "amc23": (40, 32),
    "aime24": (30, 32),
    "aime25": (30, 32),
    "ladder": (400, 8),
}
"""Items and sampled answers per item; every task is answered greedily as well."""
METHODS = (
    *("rzero", "static_proposer", "vocab_dropout", "vocab_dropout_train_only"),
    *("vocab_dropout_generation_only", "temperature", "entropy_bonus", "vendi_reward", "aepo"),
    *("aepo_control", "adaptive_entropy", "azr_reward", "darling", "darling_control", "clip_cov"),
    *("clip_cov_control", "kl_cov", "kl_cov_control", "no_repetition_penalty", "paper_reward"),
    *("valid_zero", "well_posed_guard", "persona", "map_elites", "min_p", "top_h", "mirostat"),
    *("locally_typical", "novelty_search", "dqo", "r_diverse", "prism", "dpp_select"),
    *("farthest_point", "seed_grpo:role=both", "copo", "cure+dynamic_sampling:role=both+hicra"),
    *("window:low=0.3,high=0.7", "replay", "surprisal_select"),
)
MODEL = "Qwen3-4B-Base"
TOPICS = ("algebra", "geometry", "number theory", "counting", "probability", "other")
_OPENINGS = (
    "A train leaves with {a} passengers and picks up {b} at each of {c} stations.",
    "Let $f(x) = {a}x^2 - {b}x + {c}$ for all real $x$.",
    "A bag holds {a} red, {b} blue and {c} green marbles; two are drawn without replacement.",
    "In triangle $ABC$, $AB = {a}$, $BC = {b}$ and $\\angle B = {c}^\\circ$.",
    "How many integers $n$ with $1 \\le n \\le {a}00$ leave remainder {b} on division by {c}?",
)
_CLOSINGS = (
    "Find the remainder of the result on division by {d}.",
    "What is the sum of all possible values, as a fraction in lowest terms with denominator {d}?",
    "How much is left if {d} of them are taken away at the end?",
    "Give the answer as an integer modulo {d}.",
)
_FAILURES = {(2, 1): ("failed", 0), (3, 0): ("curriculum_exhausted", 3), (3, 1): ("diverged", 2)}
"""Status and iterations of the runs that didn't end well, by numbers of method and seed."""


@dataclass(frozen=True)
class Size:
    """How much is invented."""

    methods: int = 40
    seeds: int = 10
    iterations: int = 5
    questions: int = 24
    items: float = 1.0
    """Share of every task's items."""
    named: tuple[str, ...] = ()
    """Names of the first methods, the baseline first, instead of `METHODS`."""

    def tasks(self) -> dict[str, tuple[int, int]]:
        """Items and samples per task."""
        return {t: (max(4, round(n * self.items)), k) for t, (n, k) in TASKS.items()}

    def names(self) -> list[str]:
        """The methods' names."""
        given = self.named or METHODS
        more = [f"method_{i}" for i in range(len(given), self.methods)]
        return [*given, *more][: self.methods]


def write_runs(root: Path, size: Size | None = None, seed: int = 0) -> list[Path]:
    """Write compact runs that `harness.leaderboard.collect` accepts.

    Args:
        root: gets a folder per run.
        size: how many of each.
        seed: of all numbers; equal arguments give equal files.

    Returns:
        The run folders, methods in order, each with its seeds in order.
    """
    size = size or Size()
    frames = {t: _items(t, n, k) for t, (n, k) in size.tasks().items()}
    hardness = {t: stream(seed, "items", t).normal(0, 1.4, n) for t, (n, _) in size.tasks().items()}
    bases = {}
    for s in range(size.seeds):  # one base model: its evaluations differ in sampling only
        drawn = _scores(frames, hardness, dict.fromkeys(frames, 0.0), stream(seed, "base", s))
        bases[s] = (drawn, summary(drawn))
    folders = []
    for m, method in enumerate(size.names()):
        for s in range(size.seeds):
            rng = stream(seed, "run", method, s)
            status, iterations = _FAILURES.get((m, s), ("completed", size.iterations))
            iterations = min(iterations, size.iterations)
            run = RunFolder.named(root, method, "synthetic", s, "5y57he71c000")
            _records(run, method, s, status, iterations, size, rng)
            write_parquet(run.evaluation(0), bases[s][0])
            gain = float(stream(seed, "method", method).normal(0.3, 0.15) * (m != 0))
            for t in range(1, iterations + 1):
                metrics = _metrics(m, t, size.iterations, rng)
                if t == iterations:
                    skill = {k: gain + rng.normal(0, 0.05) for k in frames}
                    final = _scores(frames, hardness, skill, rng)
                    write_parquet(run.evaluation(t), final)
                    metrics |= summary(final)
                write_json(run.iteration(t) / "metrics.json", dict(sorted(metrics.items())))
                write_parquet(run.iteration(t) / "questions.parquet", _questions(size, rng))
            folders.append(run.path)
    return folders


def _items(task: str, items: int, samples: int) -> pd.DataFrame:
    """Rows of a task's evaluation, without scores: greedy, then sampled."""
    parts = [("greedy", 1), *([("sampled", samples)] if samples > 1 else [])]
    frames = [
        pd.DataFrame(
            {
                "task": task,
                "mode": mode,
                "doc_id": np.repeat(np.arange(items), k),
                "sample": np.tile(np.arange(k), items),
                "group": np.repeat([f"level {1 + i % 5}" for i in range(items)], k),
            }
        )
        for mode, k in parts
    ]
    return pd.concat(frames, ignore_index=True)


def _scores(
    frames: dict[str, pd.DataFrame],
    hardness: dict[str, Floats],
    skill: dict[str, float],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """An evaluation: a logistic model of skill and an item's hardness."""
    parts = []
    for task, frame in frames.items():
        chance = expit(skill[task] - hardness[task])[frame["doc_id"].to_numpy()]
        right = rng.random(len(frame)) < chance
        found = np.where(rng.random(len(frame)) < 0.02, "none", "box")
        right &= found == "box"
        verdict = np.where(right, "correct", np.where(found == "box", "wrong", "no_answer"))
        parts.append(
            frame.assign(
                found=found, verdict=verdict, score=right.astype(float), truncated=found == "none"
            )
        )
    return pd.concat(parts, ignore_index=True)


def _metrics(m: int, t: int, last: int, rng: np.random.Generator) -> dict[str, float]:
    """An iteration's metrics: diversity falls, faster for some methods than for others."""
    kept = np.exp(-(0.05 + 0.02 * (m % 7)) * (t - 1)) * rng.normal(1, 0.03)
    well = float(np.clip(0.8 - 0.05 * (m % 5) * t / last + rng.normal(0, 0.03), 0, 1))
    metrics = {
        "diversity/lexical/self_bleu": float(np.clip(1 - 0.6 * kept, 0, 1)),
        "diversity/semantic/vendi": float(80 * kept + rng.normal(0, 2)),
        "diversity/functional/topic_entropy": float(2.8 * kept),
        "diversity/functional/answer_entropy": float(4 * kept),
        "diversity_wellposed/semantic/vendi": float(45 * kept + rng.normal(0, 1)),
        "proposer/valid": 0.97,
        "proposer/well_posed": well,
        "curriculum/well_posed": well,
        "curriculum/label_accuracy": float(np.clip(well * 0.8 + rng.normal(0, 0.04), 0, 1)),
        "curriculum/survivors": float(rng.integers(120, 200)),
        "compute/flops": float(1.2e15 * (1 + 0.02 * m) * rng.normal(1, 0.02)),
    }
    for name in _SMALL:
        metrics[name] = float(rng.random())
    for role, what in _SPENT:
        tokens = rng.integers(400_000, 600_000) * (1 + 0.02 * m)
        metrics[f"compute/{role}/{what}/tokens"] = float(round(tokens))
    return metrics


_SPENT = (
    *(("proposer", "generate"), ("proposer", "train"), ("proposer", "trained")),
    *(("solver", "vote"), ("solver", "label"), ("solver", "train"), ("solver", "trained")),
)
_SMALL = tuple(
    f"{prefix}/{name}"
    for prefix, names in {
        "diversity/lexical": ("distinct_1", "distinct_2", "distinct_3", "compression_ratio"),
        "diversity/semantic": ("novelty_rate", "log_det", "vendi_cumulative"),
        "diversity/functional": ("code_length", "difficulty_entropy", "epiplexity"),
        "diversity_wellposed/lexical": ("distinct_1", "distinct_2", "self_bleu"),
        "diversity_wellposed/functional": ("topic_entropy", "answer_entropy", "epiplexity"),
        "train/proposer": ("clip_fraction", "entropy", "grad_norm", "kl", "reward", "surprisal"),
        "train/solver": ("clip_fraction", "entropy", "grad_norm", "kl", "reward", "surprisal"),
    }.items()
    for name in names
)


def _questions(size: Size, rng: np.random.Generator) -> pd.DataFrame:
    n = size.questions
    numbers = rng.integers(2, 97, (n, 4))
    texts = [
        f"{_OPENINGS[int(rng.integers(len(_OPENINGS)))]} "
        f"{_CLOSINGS[int(rng.integers(len(_CLOSINGS)))]}".replace("{a}", str(a))
        .replace("{b}", str(b))
        .replace("{c}", str(c))
        .replace("{d}", str(d))
        for a, b, c, d in numbers
    ]
    labels = rng.integers(0, 500, n)
    right = rng.random(n) < 0.7
    return pd.DataFrame(
        {
            "question_id": np.arange(n) * 10,
            "question": texts,
            "valid": True,
            "label": labels.astype(str),
            "p_hat": rng.integers(1, 11, n) / 10,
            "selected": rng.random(n) < 0.7,
            "topic": [TOPICS[int(i)] for i in rng.integers(0, len(TOPICS), n)],
            "tier": pd.array(rng.integers(1, 5, n), dtype="Int64"),
            "well_posed": rng.random(n) < 0.8,
            "true_answer": np.where(right, labels, labels + 1).astype(str),
        }
    )


def _records(
    run: RunFolder,
    method: str,
    seed: int,
    status: str,
    iterations: int,
    size: Size,
    rng: np.random.Generator,
) -> None:
    """``manifest.json``, ``done.json`` and ``cost.json``."""
    tasks = list(size.tasks())
    digits = {task: f"{i:064x}" for i, task in enumerate(tasks, 1)}
    manifest: dict[str, Any] = {
        "schema": 1,
        "method": method,
        "profile": "synthetic",
        "suite": "synthetic",
        "seed": seed,
        "config": {
            "baseline": size.names()[0],
            "iterations": size.iterations,
            "model": {"path": MODEL, "revision": None, "dtype": "bfloat16"},
            "proposer": {"lr": 1e-6, "steps": 5, "group_size": 4, "temperature": 1.0},
            "solver": {"lr": 1e-6, "steps": 15, "group_size": 5, "temperature": 1.0},
            "evaluation": {"tasks": tasks, "every": 0},
        },
        "config_hash": "5y57he71c000",
        "base_model": MODEL,
        "base_model_hash": "b" * 16,
        "data_hashes": digits,
        "prompt_hash": digits,
        "engine": {"name": "torch", "dtype": "bfloat16"},
        "git": {"commit": "0" * 40, "dirty": False},
        "hardware": {"cpus": 32, "gpu": "H200", "machine": "x86_64"},
        "harness": "0.1.0",
        "versions": {"python": "3.11", "torch": "2.11"},
        "zero_data": True,
    }
    write_json(run.manifest_path, manifest)
    detail = "" if status == "completed" else "invented"
    run_ended = {"schema": 1, "status": status, "iterations": iterations, "detail": detail}
    write_json(run.done_path, run_ended)
    phases = ("propose", "curriculum", "solve", "measure", "evaluate")
    seconds = {name: round(float(rng.normal(3000, 200)), 3) for name in phases}
    total = round(sum(seconds.values()), 3)
    write_json(
        run.cost_path,
        {
            "phases": seconds,
            "cpu_seconds": total,
            "wall_seconds": total,
            "peak_rss_bytes": 20_000_000_000,
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the runs and say how many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--items", type=float, default=1.0, help="share of every task's items")
    given = parser.parse_args(arguments)
    size = Size(methods=given.methods, seeds=given.seeds, items=given.items)
    folders = write_runs(given.folder, size)
    print(f"{given.folder}: {len(folders)} runs")


if __name__ == "__main__":
    main()
