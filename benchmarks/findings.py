"""The tables of `docs/findings.md`: ``python -m benchmarks.findings [RUNS_CSV] [PAGE]``.

From every number of every run: what differs from the baseline, and from a method's own control,
beyond its 95 % Welch interval, before and after Holm's correction.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from harness.statistics import Difference, holm, welch

BASELINE, STATIC = "rzero", "static_proposer"
METRICS = {
    "solver/macro/sampled": "sampled accuracy",
    "solver/macro/greedy": "greedy accuracy",
    "diversity/functional/topic_entropy": "topic entropy, nats",
    "diversity_wellposed/functional/topic_entropy": "the same, well-posed only",
    "proposer/well_posed": "well-posed share",
    "curriculum/label_accuracy": "correct labels",
    "compute/flops": "compute, FLOPs of a run",
}
START, END = "<!-- tables -->", "<!-- end of tables -->"
ByMethod = dict[str, list[float]]


def finals(runs: pd.DataFrame, metric: str) -> ByMethod:
    """Each method's values at its runs' last iteration; compute is the sum of all iterations."""
    part = runs[(runs["metric"] == metric) & (runs["iteration"] > 0) & runs["value"].notna()]
    part = part.sort_values("iteration")
    per_run = part.groupby(["method", "seed"], sort=True)["value"]
    value = per_run.sum() if metric.startswith("compute/") else per_run.last()
    return {str(m): rows.tolist() for m, rows in value.groupby("method")}


def compared(values: ByMethod, pairs: list[tuple[str, str]]) -> list[tuple[str, Difference, float]]:
    """(method, difference from the other, Holm-adjusted p) of those whose interval excludes 0."""
    found = [(a, welch(values[a], values[b])) for a, b in pairs if a in values and b in values]
    adjusted = holm([d.p for _, d in found])
    return [
        (name, d, 1.0 if p is None else p)
        for (name, d), p in zip(found, adjusted, strict=True)
        if d.low is not None and d.high is not None and d.low * d.high > 0
    ]


def separations(runs: pd.DataFrame, pairs: list[tuple[str, str]]) -> str:
    """A table with a row for each method and metric that separates."""
    lines = ["| metric | entry | difference [95 % interval] | p, Holm |", "|---|---|---|---|"]
    for metric, label in METRICS.items():
        if metric.startswith("compute/"):
            continue
        rows = sorted(compared(finals(runs, metric), pairs), key=lambda r: -(r[1].diff or 0.0))
        for name, d, p in rows:
            interval = f"{d.diff:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            lines.append(f"| {label} | `{name}` | {interval} | {p:.3f} |")
        if not rows:
            lines.append(f"| {label} | none | | |")
    return "\n".join(lines)


def everything(runs: pd.DataFrame) -> str:
    """One row for each method: means at the end, and compute relative to the baseline."""
    head = ["entry", "runs", *METRICS.values()]
    head[-1] = "compute, of the baseline's"
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    per_metric = {metric: finals(runs, metric) for metric in METRICS}
    names = [m for m in dict.fromkeys(runs["method"]) if m != "base"]
    compute = per_metric["compute/flops"]
    unit = sum(compute[BASELINE]) / len(compute[BASELINE])
    for name in sorted(names, key=lambda m: (m != BASELINE, m)):
        cells = [f"`{name}`", str(runs[runs["method"] == name]["seed"].nunique())]
        for metric in METRICS:
            values = per_metric[metric].get(name, [])
            mean = sum(values) / len(values) if values else None
            if mean is not None and metric.startswith("compute/"):
                mean /= unit
            digits = 3 if metric.startswith("solver/") else 2
            cells.append("-" if mean is None else f"{mean:.{digits}f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def silent(runs: pd.DataFrame) -> str:
    """Entries whose counts were 0 in a whole run, and what ended early."""
    counted = runs[runs["metric"].str.startswith("method/")]
    totals = counted.groupby(["method", "seed"])["value"].sum()
    idle = sorted({str(m) for (m, _), total in totals.items() if not total})
    ended = runs[["method", "seed", "status"]].drop_duplicates()
    early = ended[ended["status"] != "completed"].groupby(["method", "status"]).size()
    lines = [f"- touched nothing in some run: {', '.join(f'`{m}`' for m in idle) or 'no entry'}"]
    lines += [f"- `{m}`: {n} of its runs ended as {status}" for (m, status), n in early.items()]
    return "\n".join(lines)


def tables(runs: pd.DataFrame) -> str:
    """All tables as Markdown."""
    names = [str(m) for m in dict.fromkeys(runs["method"]) if m != "base"]
    against = [(m, BASELINE) for m in names if m != BASELINE]
    static = [(m, STATIC) for m in names if m != STATIC]
    controls = [(m, f"{m}_control") for m in names if f"{m}_control" in names]
    return "\n\n".join(
        [
            "### Beyond the interval of the difference from the baseline",
            separations(runs, against),
            "### From the proposer that is never trained",
            separations(runs, static),
            "### From the method's own control",
            separations(runs, controls),
            "### Silent or early",
            silent(runs),
            "### All entries",
            everything(runs),
        ]
    )


def write(source: Path, page: Path) -> None:
    """Put the tables into the page, between the marks."""
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(START, 1)
    tail = rest.split(END, 1)[1]
    made = tables(pd.read_csv(source))
    page.write_text(f"{head}{START}\n{made}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    arguments = [Path(a) for a in sys.argv[1:]]
    defaults = [Path("leaderboards/ladder.runs.csv"), Path("docs/findings.md")]
    write(*(arguments + defaults[len(arguments) :]))
