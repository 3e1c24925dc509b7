"""The tables of `docs/findings.md` and `README.md`: ``python -m benchmarks.findings``.

From the published files: what differs from the baseline, and from a method's own control, beyond
its 95 % Welch interval, before and after Holm's correction; and the first five entries' rows. The
same of the runs of a real language model, which are measured by other metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console

from harness.leaderboard import terminal_table
from harness.statistics import Difference, holm, welch

BASELINE, STATIC = "rzero", "static_proposer"
DROPOUT = "vocab_dropout"
FIRST = (BASELINE, STATIC, DROPOUT, f"{DROPOUT}_train_only", f"{DROPOUT}_generation_only")
METRICS = {
    "solver/macro/sampled": "sampled accuracy",
    "solver/macro/greedy": "greedy accuracy",
    "diversity/functional/topic_entropy": "topic entropy, nats",
    "diversity_wellposed/functional/topic_entropy": "the same, well-posed only",
    "proposer/well_posed": "well-posed share",
    "curriculum/label_accuracy": "correct labels",
    "compute/flops": "compute, FLOPs of a run",
}
REAL_METRICS = {
    "solver/macro/sampled": "sampled accuracy",
    "solver/macro/greedy": "greedy accuracy",
    "diversity/semantic/vendi": "Vendi score of 16 questions",
    "diversity/lexical/self_bleu": "self-BLEU",
    "proposer/valid": "valid proposals",
    "votes/no_answer": "votes without an answer",
    "curriculum/survivors": "questions in the window",
    "compute/flops": "compute, FLOPs of a run",
}
LADDER, REAL = Path("leaderboards/ladder-ladder.csv"), Path("leaderboards/math-smollm2-cpu.csv")
MARKS = ("<!-- tables -->", "<!-- end of tables -->")
REAL_MARKS = ("<!-- real model -->", "<!-- end of real model -->")
Metrics = Mapping[str, str]
ByMethod = dict[str, list[float]]


def finals(runs: pd.DataFrame, metric: str) -> ByMethod:
    """Each method's values at its runs' last iteration; compute is the sum of all iterations.

    A run that has no value there has none: an earlier one would be another quantity.
    """
    last = runs.groupby(["method", "seed"])["iteration"].transform("max")
    part = runs[(runs["metric"] == metric) & (runs["iteration"] > 0) & runs["value"].notna()]
    if not metric.startswith("compute/"):
        part = part[part["iteration"] == last[part.index]]
    value = part.groupby(["method", "seed"], sort=True)["value"].sum()
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


def separations(
    runs: pd.DataFrame, pairs: list[tuple[str, str]], metrics: Metrics = METRICS
) -> str:
    """A table with a row for each method and metric that separates."""
    lines = ["| metric | entry | difference [95 % interval] | p, Holm |", "|---|---|---|---|"]
    for metric, label in metrics.items():
        if metric.startswith("compute/"):
            continue
        rows = sorted(compared(finals(runs, metric), pairs), key=lambda r: -(r[1].diff or 0.0))
        for name, d, p in rows:
            interval = f"{d.diff:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            lines.append(f"| {label} | `{name}` | {interval} | {p:.3f} |")
        if not rows:
            lines.append(f"| {label} | none | | |")
    return "\n".join(lines)


def everything(runs: pd.DataFrame, metrics: Metrics = METRICS) -> str:
    """One row for each method: means at the end, and compute relative to the baseline.

    In brackets the number of runs that have a value, where others have none.
    """
    head = ["entry", "runs", *metrics.values()]
    head[-1] = "compute, of the baseline's"
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    per_metric = {metric: finals(runs, metric) for metric in metrics}
    names = [m for m in dict.fromkeys(runs["method"]) if m != "base"]
    compute = per_metric["compute/flops"]
    unit = sum(compute[BASELINE]) / len(compute[BASELINE])
    for name in sorted(names, key=lambda m: (m != BASELINE, m)):
        n = runs[runs["method"] == name]["seed"].nunique()
        cells = [f"`{name}`", str(n)]
        for metric in metrics:
            values = per_metric[metric].get(name, [])
            few = f" ({len(values)})" if len(values) < n else ""
            mean = sum(values) / len(values) if values else None
            if mean is not None and metric.startswith("compute/"):
                mean /= unit
            digits = 3 if metric.startswith("solver/") else 2
            cells.append("-" if mean is None else f"{mean:.{digits}f}{few}")
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


def real_tables(board: pd.DataFrame, runs: pd.DataFrame) -> str:
    """All tables of the real model's runs as Markdown."""
    names = [str(m) for m in dict.fromkeys(runs["method"]) if m != "base"]
    against = [(m, BASELINE) for m in names if m != BASELINE]
    return "\n\n".join(
        [
            terminal(board),
            "### At the last iteration",
            everything(runs, REAL_METRICS),
            "### Beyond the interval of the difference from the baseline",
            separations(runs, against, REAL_METRICS),
            "### Silent or early",
            silent(runs),
        ]
    )


def terminal(board: pd.DataFrame) -> str:
    """What the terminal shows of a board."""
    console = Console(width=140, no_color=True)
    with console.capture() as captured:
        console.print(terminal_table(board.fillna({"baseline": ""})))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return "\n".join(["```", *(line for line in lines if line), "```"])


def five(board: pd.DataFrame) -> str:
    """The base model and the first five entries."""
    return terminal(board[board["method"].isin(["base", *FIRST])])


def write(made: str, page: Path, marks: tuple[str, str] = MARKS) -> None:
    """Put text into the page, between the marks."""
    start, end = marks
    head, rest = page.read_text(encoding="utf-8").split(start, 1)
    tail = rest.split(end, 1)[1]
    page.write_text(f"{head}{start}\n{made}\n{end}{tail}", encoding="utf-8")


def runs_of(board: Path) -> pd.DataFrame:
    """Every number of every run of a board."""
    return pd.read_csv(board.with_suffix(".runs.csv"))


if __name__ == "__main__":
    findings = Path("docs/findings.md")
    write(tables(runs_of(LADDER)), findings)
    write(real_tables(pd.read_csv(REAL), runs_of(REAL)), findings, REAL_MARKS)
    write(five(pd.read_csv(LADDER)), Path("README.md"))
