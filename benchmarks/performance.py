"""The tables of `docs/performance.md`: ``python -m benchmarks.performance [RESULTS]``.

RESULTS is what ``make benchmarks`` writes: pytest-benchmark's JSON, times in CPU seconds of one
thread. A peer's row says how many times this harness' time it took.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.findings import write

RESULTS, PAGE = Path("benchmarks/results.json"), Path("docs/performance.md")
OURS = ("harness", "engine")
Row = dict[str, Any]


def rows(results: Path) -> list[Row]:
    """Each benchmark: its file, what it was of, the way, median seconds, and what it recorded."""
    found = []
    for one in json.loads(results.read_text(encoding="utf-8"))["benchmarks"]:
        test = one["name"].split("[", 1)[0].removeprefix("test_")
        found.append(
            {
                "file": Path(one["fullname"].split("::")[0]).stem.removeprefix("test_"),
                "test": test,
                "params": one["params"] or {},
                "seconds": one["stats"]["median"],
                **one["extra_info"],
            }
        )
    return found


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of log(value) over log(size) by least squares."""
    return round(float(np.polyfit(np.log(sizes), np.log(values), 1)[0]), 2) + 0.0


def compared(part: list[Row], case: str) -> str:
    """A table of one case: each way's time, tokens per second where it made some, and the ratio."""
    ours = [r for r in part if r["way"] in OURS]
    unit = _cost(ours[0]) if ours else math.nan
    clock = "seconds" if any("wall_s" in r for r in part) else "CPU seconds"
    head = ["way", clock, "tokens per CPU-second", "peak memory, MB", "of ours"]
    used = [i for i, key in ((2, "tokens"), (3, "peak_mb")) if any(key in r for r in part)]
    shown = [0, 1, *used, *([4] if ours else [])]
    lines = [f"**{case}**", "", _line([head[i] for i in shown]), "|" + "---|" * len(shown)]
    for r in sorted(part, key=_cost):
        cells = [
            f"**{r['way']}**" if r["way"] in OURS else r["way"],
            _number(r["seconds"]),
            f"{r['tokens'] / r['seconds']:,.0f}" if "tokens" in r else "",
            f"{r['peak_mb']:,.0f}" if "peak_mb" in r else "",
            f"{_cost(r) / unit:.2f}",
        ]
        lines.append(_line([cells[i] for i in shown]))
    return "\n".join(lines)


def curves(part: list[Row]) -> str:
    """One line per curve: sizes, times, and the exponents of time and memory."""
    by: defaultdict[str, list[Row]] = defaultdict(list)
    for r in part:
        by[r["curve"]].append(r)
    head = ["curve", "sizes", "CPU seconds", "exponent", "peak memory, MB", "exponent"]
    lines = [_line(head), "|" + "---|" * len(head)]
    for name, points in by.items():
        points.sort(key=lambda r: r["size"])
        sizes = [float(r["size"]) for r in points]
        seconds = [r["seconds"] for r in points]
        memory = [max(r["peak_mb"], 1.0) for r in points]
        cells = [
            name.replace("_", " "),
            ", ".join(f"{s:,.0f}" for s in sizes),
            ", ".join(f"{s:.3g}" for s in seconds),
            f"**{exponent(sizes, seconds):.2f}**",
            ", ".join(f"{m:.0f}" for m in memory),
            f"**{exponent(sizes, memory):.2f}**",
        ]
        lines.append(_line(cells))
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _cost(r: Row) -> float:
    """Seconds, or seconds per token where runs need not make the same number of tokens."""
    return float(r["seconds"]) / float(r.get("tokens", 1))


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cases(found: list[Row]) -> dict[str, list[Row]]:
    """Rows that are compared with each other, by the name of what they did."""
    cases: defaultdict[str, list[Row]] = defaultdict(list)
    for r in found:
        p = r["params"]
        if r["file"] == "lm_head":
            cases[f"masked linear log-prob, {p['kept']:.0%} kept"].append({**r, "way": p["way"]})
        elif r["file"] == "repetition":
            cases[f"BLEU clusters, {p['n']:,} questions"].append({**r, "way": r["test"]})
        elif r["file"] == "sampling":
            case = f"sampling, {p['model']}, {p['case']}"
            way = r["test"].replace("_", " ") + ", compiled" * bool(p.get("compiled"))
            cases[case].append({**r, "way": way})
        elif r["file"] == "grpo_step":
            way = r["test"].removeprefix("grpo_")
            cases[f"GRPO, {p['size']}, steps: {r['steps']}"].append({**r, "way": way})
        elif r["file"] == "vote_grading":
            wall = {"way": r["test"], "seconds": r["wall_s"]}  # the work is done in child processes
            cases["80,000 votes on 8,000 questions, by the clock"].append({**r, **wall})
        elif r["file"] == "diversity":
            name = p.get("metric", r["test"])
            cases["diversity of 8,000 questions"].append({**r, "way": name})
    return cases


def tables(results: Path) -> str:
    """All tables as Markdown."""
    found = rows(results)
    scaling = [r for r in found if r["file"] == "scaling"]
    parts = [compared(part, case) for case, part in _cases(found).items()]
    return "\n\n".join([*parts, "**How it grows**", curves(scaling)])


if __name__ == "__main__":
    write(tables(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS), PAGE)
