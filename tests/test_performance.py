"""The tables of the performance page, from small results worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.performance import PAGE, RESULTS, exponent, tables

ROOT = Path(__file__).resolve().parents[1]


def one(name: str, file: str, seconds: float, params: dict[str, Any], **extra: Any) -> dict:
    return {
        "name": name,
        "fullname": f"benchmarks/{file}.py::{name}",
        "params": params,
        "stats": {"median": seconds},
        "extra_info": extra,
    }


def test_exponent_of_a_power() -> None:
    assert exponent([1, 2, 4], [5, 20, 80]) == pytest.approx(2)


def test_tables(tmp_path: Path) -> None:
    votes = {"model": "ladder", "case": "votes"}
    found = [
        one("test_engine[ladder-votes]", "test_sampling", 2.0, votes, tokens=1000),
        one("test_transformers[ladder-votes]", "test_sampling", 6.0, votes, tokens=1500),
        one("test_scaling[a-1]", "test_scaling", 1.0, {}, curve="rows", size=10, peak_mb=4),
        one("test_scaling[a-2]", "test_scaling", 4.0, {}, curve="rows", size=20, peak_mb=4),
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"benchmarks": found}))
    text = tables(path)
    assert "| **engine** | 2 | 500 | 1.00 |" in text
    assert "| transformers | 6 | 250 | 2.00 |" in text
    assert "| rows | 10, 20 | 1, 4 | **2.00** | 4, 4 | **0.00** |" in text


def test_the_page_shows_the_published_results() -> None:
    assert tables(ROOT / RESULTS) in (ROOT / PAGE).read_text(encoding="utf-8")


def test_no_ratio_without_a_row_of_ours_and_readable_seconds(tmp_path: Path) -> None:
    found = [
        one("test_math_verify", "test_vote_grading", 40.0, {}, wall_s=3317.6),
        one("test_lexical", "test_diversity", 2.5, {}),
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"benchmarks": found}))
    text = tables(path)
    assert "| way | seconds |\n|---|---|\n| math_verify | 3,318 |" in text
    assert "| lexical | 2.5 |" in text
    assert "nan" not in text
