"""The tables of the findings: what separates, by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.findings import MARKS, compared, finals, silent, tables, write

SAMPLED, FLOPS = "solver/macro/sampled", "compute/flops"


def runs() -> pd.DataFrame:
    """Two iterations of three seeds: `far` is 10 points up, `near` is not, its control is."""
    values = {
        "rzero": [0.50, 0.51, 0.52],
        "far": [0.60, 0.61, 0.62],
        "near": [0.50, 0.52, 0.53],
        "near_control": [0.60, 0.61, 0.63],
    }
    rows = []
    for method, finals_ in values.items():
        for seed, value in enumerate(finals_):
            for t, now in ((1, 0.0), (2, value)):
                rows.append((method, seed, "completed", t, SAMPLED, now))
                rows.append((method, seed, "completed", t, FLOPS, 100.0 * (1 + (method == "far"))))
            rows.append((method, seed, "completed", 2, "method/touched", float(method != "near")))
    columns = ["method", "seed", "status", "iteration", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def test_the_last_iteration_counts_and_compute_adds_up() -> None:
    assert finals(runs(), SAMPLED)["far"] == [0.60, 0.61, 0.62]
    assert finals(runs(), FLOPS)["far"] == [400.0] * 3


def test_a_run_without_a_value_at_its_end_has_none() -> None:
    table = runs()
    gone = (table["method"] == "far") & (table["seed"] == 1) & (table["iteration"] == 2)
    table.loc[gone & (table["metric"] == SAMPLED), "value"] = float("nan")
    assert finals(table, SAMPLED)["far"] == [0.60, 0.62]
    assert "| `far` | 3 | 0.610 (2) |" in tables(table)


def test_what_separates() -> None:
    """Welch of equal spreads .01 and 3 runs each: half width t(4) * .01 * sqrt(2/3) = .0227."""
    found = compared(finals(runs(), SAMPLED), [("far", "rzero"), ("near", "rzero")])
    ((name, difference, p),) = found
    assert name == "far"
    assert difference.diff == pytest.approx(0.10)
    assert difference.low == pytest.approx(0.10 - 2.776 * 0.01 * (2 / 3) ** 0.5, abs=1e-4)
    assert p < 0.01


def test_the_page_is_written_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    start, end = MARKS
    page.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    write(tables(runs()), page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| sampled accuracy | `far` | +0.100 [+0.077, +0.123] | " in text
    assert "| `far` | 3 | 0.610 | - | - | - | - | - | 2.00 |" in text


def test_controls_and_silence_are_named() -> None:
    text = tables(runs())
    own = text.split("### From the method's own control")[1].split("###")[0]
    assert "`near` | -0.097" in own
    assert silent(runs()) == "- touched nothing in some run: `near`"
