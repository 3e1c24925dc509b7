"""What a report says in words: its result, its size, and what its numbers go back to."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.leaderboard import BASE
from harness.leaderboard.cells import FINAL
from harness.report import payload
from harness.report.data import ReportData
from harness.report.questions import Questions
from harness.store import Status

Facts = list[dict[str, str]]
_UNKNOWN = "not recorded"
_FEW = 4
"""So many are named, more are counted."""


def summary(data: ReportData) -> dict[str, Any]:
    """What the top of the page says: ``sentence`` and ``facts``; ``questions`` is their sample."""
    finished = [m for m in data.manifests if m["status"] != Status.INCOMPLETE.value]
    seeds = sorted({m["manifest"]["seed"] for m in data.manifests})
    facts: dict[str, str] = {
        "methods": str(len(data.methods)),
        "finished runs": f"{len(finished)} of {len(finished) + len(data.missing)}",
        "seeds": _some([str(seed) for seed in seeds]),
        "iterations": str(data.runs["iteration"].max() if len(data.runs) else 0),
        "tasks": _some(_tasks(data)),
        "baseline": data.baseline or "none",
        "base model": data.base_model or _UNKNOWN,
    }
    return {
        "sentence": finding(data),
        "facts": _facts(facts),
        "questions": sampling(data.questions),
    }


def finding(data: ReportData) -> str:
    """The result in a sentence or two, with no more certainty than the tests give."""
    metric = data.headline
    final = data.board[(data.board["metric"] == metric) & (data.board["iteration"] == FINAL)]
    ranked = final[(final["method"] != BASE) & final["mean"].notna()]
    if not metric or ranked.empty:
        return "No solver was evaluated in these runs; what the proposers asked is below."
    best = ranked.sort_values("mean", kind="stable").iloc[-1]
    name = payload.label(metric)
    sentence = f"The highest mean {name} is {best['mean']:.3f}, by {best['method']}"
    if pd.notna(best["ci_low"]):
        percent = f"{100 * data.level:g} % interval over runs"
        sentence += f" ({percent}: {best['ci_low']:.3f} to {best['ci_high']:.3f})"
    start = final.loc[final["method"] == BASE, "mean"]
    if len(start) and pd.notna(start.iloc[0]):
        sentence += f"; the untrained model has {start.iloc[0]:.3f}"
    tested = ranked[ranked["p_holm"].notna()]
    if data.baseline is None or tested.empty:
        return f"{sentence}. No difference was tested."
    alpha = 1 - data.level
    found = tested[tested["p_holm"] < alpha]
    better, worse = int((found["diff"] > 0).sum()), int((found["diff"] < 0).sum())
    result = f"Of {len(tested)} methods compared with {data.baseline}, "
    if better or worse:
        result += f"{better} did better and {worse} worse"
    else:
        result += "none differs"
    return f"{sentence}. {result} at p < {alpha:.3g} after Holm's correction."


def sampling(sample: Questions) -> str:
    """How many questions the page has of how many, and where their neighbours come from."""
    if not len(sample.frame):
        return "These runs kept no questions."
    text = f"{len(sample.frame):,} of {sample.generated:,} generated questions are here"
    if len(sample.frame) < sample.generated:
        text += ", drawn evenly over methods, seeds and iterations"
    if sample.kept < sample.generated:
        text += f" from the {sample.kept:,} that were kept"
    own = (
        "the most similar one that the run had asked in an earlier iteration, by the embedder that "
        "its diversity was measured with"
    )
    numbers = ", which ignores numbers" if sample.embedder == "hashing" else ""
    ours = (
        "the most similar one that is kept of the run's earlier iterations, by the "
        f"{sample.embedder} embedder{numbers}"
    )
    if sample.recorded == sample.runs:
        how = own
    elif sample.recorded == 0:
        how = ours
    else:
        how = f"{own}; for {sample.runs - sample.recorded} of {sample.runs} runs, {ours}"
    return f"{text}. The nearest earlier question is {how}. Similarity is their cosine."


def provenance(data: ReportData) -> Facts:
    """What every number of the page goes back to."""
    recorded = [m["manifest"] for m in data.manifests]
    commits = []
    for manifest in recorded:
        git = manifest.get("git")
        if isinstance(git, dict) and git.get("commit"):
            commits.append(f"{git['commit']:.12}{' (changed)' if git.get('dirty') else ''}")
    hashes = {
        "configuration": "config_hash",
        "base model": "base_model_hash",
        "test items": "data_hash",
        "prompts": "prompt_hash",
        "engine": "engine",
    }
    return _facts(
        {
            "suite": data.suite or _UNKNOWN,
            "profile": data.profile,
            **({"part": data.split} if data.split else {}),
            **{name: _joined(data.board[column]) for name, column in hashes.items()},
            "harness": _joined(m.get("harness") for m in recorded),
            "commit": _joined(commits),
        }
    )


def _tasks(data: ReportData) -> list[str]:
    names = data.board["metric"].drop_duplicates().str.split("/")
    parts = [p for p in names if len(p) == 3 and p[0] == "solver" and p[1] != "macro"]
    return sorted({p[1] for p in parts})


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _FEW else str(len(names))


def _joined(values: Any) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values if value)) or _UNKNOWN


def _facts(values: dict[str, str]) -> Facts:
    return [{"name": name, "value": value} for name, value in values.items()]
