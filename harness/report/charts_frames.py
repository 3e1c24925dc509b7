"""Tables behind the charts: tidy, a row per mark, unknown values missing and never 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.leaderboard import BASE, describe
from harness.report.charts_style import HEADS, Marks
from harness.report.data import ReportData

SELF_BLEU, VENDI = "diversity/lexical/self_bleu", "diversity/semantic/vendi"
TOPICS, ANSWERS = "diversity/functional/topic_entropy", "diversity/functional/answer_entropy"
WELL_POSED, LABELS = "proposer/well_posed", "curriculum/label_accuracy"
FINAL = "final"
UNTRAINED = "base model"
"""What the rows of the board's `BASE` are called."""

NAMES = {
    SELF_BLEU: "self-BLEU (lower: more diverse)",
    VENDI: "Vendi score (texts)",
    TOPICS: "topic entropy (nats)",
    ANSWERS: "answer entropy (nats)",
    WELL_POSED: "well-posed questions (share)",
    LABELS: "correct pseudo-labels (share)",
    "solver/macro/sampled": "sampled accuracy (share)",
    "solver/macro/greedy": "greedy accuracy (share)",
}
"""Metrics as axes call them, with their units."""

Records = list[dict[str, Any]]


def families(data: ReportData) -> tuple[str, ...]:
    """One diversity metric a family, of those measured: lexical, semantic, functional.

    Topics are known where a checker reads questions; elsewhere they are guessed, and the answers'
    entropy stands for the functional family (docs/diversity.md).
    """
    there = _measured(data)
    functional = TOPICS if {TOPICS, WELL_POSED} <= there else ANSWERS
    return tuple(metric for metric in (SELF_BLEU, VENDI, functional) if metric in there)


def guards(data: ReportData) -> tuple[str, ...]:
    """What diversity is read beside, of what was measured: well-posed share, label accuracy."""
    there = _measured(data)
    return tuple(metric for metric in (WELL_POSED, LABELS) if metric in there)


def _measured(data: ReportData) -> set[str]:
    known = data.runs.loc[data.runs["value"].notna() & (data.runs["iteration"] > 0), "metric"]
    return set(known.unique())


def marks(data: ReportData) -> Marks:
    """Colours and symbols, by name; by rank where there are too many for all to differ in colour.

    By name a method keeps its colour when runs are added; by rank the best ones differ.
    """
    methods = list(standing(data)["method"])
    return Marks(tuple(methods if len(methods) > HEADS else sorted(methods)), data.baseline)


def standing(data: ReportData) -> pd.DataFrame:
    """A row per method, best headline accuracy first, methods without one last.

    Columns: method, order, head (whether in colour where all are shown), mean, ci_low, ci_high,
    diff, diff_ci_low, diff_ci_high, p_holm, rank, rank_low, rank_high, tie_group, n_seeds,
    status.
    """
    board = data.board[(data.board["iteration"] == FINAL) & (data.board["method"] != BASE)]
    methods = list(dict.fromkeys(board["method"]))
    known = board[board["metric"] == data.headline].set_index("method")
    columns = ["mean", "ci_low", "ci_high", "diff", "diff_ci_low", "diff_ci_high", "p_holm"]
    columns += ["rank", "rank_low", "rank_high", "tie_group", "n_seeds", "status"]
    frame = known.reindex(index=methods, columns=columns).rename_axis("method").reset_index()
    status = board.drop_duplicates("method").set_index("method")["status"]
    frame["status"] = frame["method"].map(status)
    frame["tie_group"] = [x if isinstance(x, str) else "" for x in frame["tie_group"]]
    frame = frame.sort_values(["mean", "method"], ascending=[False, True], ignore_index=True)
    first = frame["method"] == data.baseline
    # The baseline is always among those in colour.
    order = [*frame.index[first], *frame.index[~first]]
    heads = set(frame.loc[order[:HEADS], "method"])
    return frame.assign(order=range(len(frame)), head=frame["method"].isin(heads))


def base_value(data: ReportData, metric: str) -> float | None:
    """The untrained base model's value of a metric; None if it wasn't measured."""
    rows = data.board[(data.board["method"] == BASE) & (data.board["metric"] == metric)]
    values = rows["mean"].dropna()
    return float(values.iloc[0]) if len(values) else None


def final_values(data: ReportData, metrics: Sequence[str]) -> pd.DataFrame:
    """A row per trained run: method, seed, status, iteration, and its last values as m0, m1...

    The last iteration is the last one that anything was measured in: a metric without a value
    there has none.
    """
    trained = data.runs[data.runs["iteration"] > 0]
    last = trained.groupby(["method", "seed"], sort=False)["iteration"].max().rename("iteration")
    frame = _wide(trained, metrics)
    return frame.merge(last.reset_index(), on=["method", "seed", "iteration"])


def over_iterations(data: ReportData, metrics: Sequence[str]) -> pd.DataFrame:
    """A row per trained run and iteration: method, seed, status, iteration, m0, m1..."""
    return _wide(data.runs[data.runs["iteration"] > 0], metrics)


def _wide(runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    keys = ["method", "seed", "status", "iteration"]
    chosen = runs[runs["metric"].isin(list(metrics))]
    frame = chosen.pivot_table(
        index=keys, columns="metric", values="value", aggfunc="first", dropna=False, observed=True
    )
    frame = frame.reindex(columns=list(metrics)).reset_index()
    frame.columns = pd.Index([*keys, *(f"m{i}" for i in range(len(metrics)))])
    # A product of all keys isn't meant: only what was run.
    ran = chosen[keys].drop_duplicates()
    return ran.merge(frame, on=keys, how="left")


def broken(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs as one line per method: a row without values after each, and their order as place.

    A mark for each of hundreds of runs would cost a page more than all else on it.
    """
    ordered = frame.sort_values(["method", "seed", "iteration"], kind="stable")
    kept = ["method", "seed", "order", "head"]
    ends = ordered.drop_duplicates(["method", "seed"], keep="last")[kept]
    joined = pd.concat([ordered, ends], ignore_index=True)
    # A missing iteration sorts last within its run.
    joined = joined.sort_values(["method", "seed", "iteration"], kind="stable", ignore_index=True)
    return joined.assign(place=range(len(joined)))


def means(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over runs of the columns m0, m1..., with how many runs each is over as n0, n1..."""
    values = [name for name in frame.columns if name.startswith("m") and name[1:].isdigit()]
    groups = frame.groupby(list(by), sort=False)[values]
    counts = groups.count().rename(columns=lambda name: f"n{name[1:]}")
    return groups.mean().join(counts).reset_index()


def intervals(data: ReportData, metrics: Sequence[str]) -> pd.DataFrame:
    """A row per method: method, and per metric its final m0, low0, high0, n0..."""
    final = data.board[(data.board["iteration"] == FINAL) & (data.board["method"] != BASE)]
    frame = pd.DataFrame({"method": list(dict.fromkeys(final["method"]))})
    for i, metric in enumerate(metrics):
        part = final.loc[
            final["metric"] == metric, ["method", "mean", "ci_low", "ci_high", "n_seeds"]
        ]
        part.columns = pd.Index(["method", f"m{i}", f"low{i}", f"high{i}", f"n{i}"])
        frame = frame.merge(part, on="method", how="left")
    return frame


def in_colour(frame: pd.DataFrame, data: ReportData) -> pd.DataFrame:
    """The frame with `standing`'s columns order and head."""
    return frame.merge(standing(data)[["method", "order", "head"]], on="method", how="left")


def tasks(data: ReportData) -> list[tuple[str, str]]:
    """Columns of the table of tasks: label and metric, in alphabetical order.

    Every task by its sampled accuracy, else its greedy one; of a single task its groups as well.
    """
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for metric in sorted(set(data.board["metric"])):
        parts = metric.split("/")
        if parts[0] == "solver" and len(parts) > 2 and parts[-1] in ("sampled", "greedy"):
            found.setdefault(tuple(parts[1:-1]), {})[parts[-1]] = metric
    whole = {name for name in found if len(name) == 1 and name != ("macro",)}
    names = [name for name in found if name in whole or (len(whole) == 1 and len(name) > 1)]
    chosen = []
    for name in names:
        mode = "sampled" if "sampled" in found[name] else "greedy"
        chosen.append((f"{' / '.join(name)} ({mode})", found[name][mode]))
    return chosen


def unit(metric: str) -> str:
    """The axis title of a metric."""
    known = NAMES.get(metric)
    return known or f"{metric}{f' ({u})' if (u := describe(metric).unit) else ''}"


_SHORT = {"curriculum_exhausted": "exhausted"}


def ended(status: str) -> str:
    """``completed:2;failed:1`` in few words: 2 + 1 failed; the tooltip has all of them."""
    counts = {name: int(n) for name, n in (p.rsplit(":", 1) for p in status.split(";") if p)}
    good = counts.pop("completed", 0)
    if not counts:
        return str(good)
    kind = _SHORT.get(next(iter(counts)), next(iter(counts))) if len(counts) == 1 else "others"
    rest = f"{sum(counts.values())} {kind}"
    return f"{good} + {rest}" if good else rest


def records(frame: pd.DataFrame, digits: int = 5) -> Records:
    """Rows as JSON values: rounded to significant digits; what is missing or not finite is null."""
    rows = frame.to_dict("records")
    return [{str(k): _plain(v, digits) for k, v in row.items()} for row in rows]


def _plain(value: Any, digits: int) -> Any:
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str | bool):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = float(f"{value:.{digits}g}")
        return int(value) if value.is_integer() else value
    return value
