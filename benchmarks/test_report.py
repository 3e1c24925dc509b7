"""What a report of 40 methods x 10 seeds x 8 tasks costs: time to make it, size, time to use it.

By hand, on an idle machine::

    python -m pytest benchmarks/test_report.py -s --benchmark-time-unit=s

The runs are invented (`benchmarks.synthetic`); ``REPORT_RUNS=DIR`` keeps them for the next time.
The page is measured in a headless Chromium, from the start of navigation.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.synthetic import write_runs
from harness import leaderboard as boards
from harness.leaderboard import Board, Table
from harness.report import board_data, page_bytes
from harness.report.data import ReportData

STATISTICS_S, PAGE_MB, INTERACTIVE_S = 10.0, 5.0, 1.0
"""Targets."""
LOADS = 7
_WATCH = """
window.seen = { longest: 0 };
const note = (name, then) => {
  if (window.seen[name] !== undefined) return;
  window.seen[name] = performance.now();
  then?.();
};
new MutationObserver(() => {
  if (document.querySelector('#leaderboard tbody tr, tbody tr')) note('row');
  if (document.documentElement.dataset.ready) {
    note('ready', () => document.querySelector('[data-chart]').scrollIntoView());
  }
  if (document.querySelector('[data-drawn]')) note('chart');
  const charts = [...document.querySelectorAll('[data-chart]')];
  if (document.documentElement.dataset.ready && charts.every((c) => c.dataset.drawn)) note('all');
}).observe(document, { subtree: true, childList: true, attributes: true });
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) {
    window.seen.longest = Math.max(window.seen.longest, task.duration);
  }
}).observe({ type: 'longtask', buffered: true });
"""
"""Notes when the first row, the filled page, the first and the last chart are there.

The first chart lies below forty rows: a page that is ready is scrolled to it at once.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("REPORT_RUNS")
    root = Path(kept) if kept else tmp_path_factory.mktemp("runs")
    if not root.is_dir() or not any(root.iterdir()):
        write_runs(root)
    return root


@pytest.fixture(scope="module")
def table(folder: Path) -> Table:
    return boards.collect(boards.find_runs(folder))


@pytest.fixture(scope="module")
def board(table: Table) -> Board:
    [one] = boards.prepare(table, None)
    return one


@pytest.fixture(scope="module")
def data(board: Board) -> ReportData:
    return board_data(board)


def once(benchmark: Any, work: Any, *arguments: Any) -> float:
    """Run it once (it takes seconds, and the second time would find caches); its seconds."""
    benchmark.pedantic(work, args=arguments, rounds=1, iterations=1)
    return float(benchmark.stats.stats.mean)


def test_loading(benchmark: Any, folder: Path) -> None:
    once(benchmark, lambda: boards.collect(boards.find_runs(folder)))


def test_statistics_after_loading(benchmark: Any, table: Table) -> None:
    assert once(benchmark, boards.prepare, table, None) <= STATISTICS_S


def test_data_of_the_page(benchmark: Any, board: Board) -> None:
    once(benchmark, board_data, board)


def test_making_the_page(benchmark: Any, data: ReportData) -> None:
    once(benchmark, page_bytes, data)
    size = len(page_bytes(data)) / 1e6
    benchmark.extra_info["MB"] = round(size, 2)
    print(f"\npage: {size:.2f} MB")
    assert size <= PAGE_MB


def test_time_to_interactive(benchmark: Any, data: ReportData, tmp_path: Path) -> None:
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    import chromium

    if why := chromium.missing():
        pytest.skip(why)
    path = tmp_path / "page.html"
    path.write_bytes(page_bytes(data))
    driver = chromium.start(tmp_path / "profile")
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
        loads = [_load(driver, path) for _ in range(LOADS)]
    finally:
        driver.quit()
    benchmark.pedantic(lambda: None, rounds=1)  # the browser's clock counts, not this one
    for name in loads[0]:
        values = sorted(load[name] for load in loads)
        benchmark.extra_info[name] = round(values[len(values) // 2] / 1000, 3)
        middle, low, high = (v / 1000 for v in (values[len(values) // 2], values[0], values[-1]))
        print(f"{name}: median {middle:.2f} s [{low:.2f}, {high:.2f}]")
    assert benchmark.extra_info["ready"] <= INTERACTIVE_S
    assert benchmark.extra_info["chart"] <= INTERACTIVE_S


def _load(driver: Any, path: Path) -> dict[str, float]:
    """Milliseconds from the start of navigation; ``sorted``: how long a click then takes."""
    driver.get("about:blank")
    driver.get(path.as_uri())
    end = time.monotonic() + 60
    while "all" not in (seen := driver.execute_script("return window.seen")):
        assert time.monotonic() < end, seen
        time.sleep(0.02)
    clicked = """
        const start = performance.now();
        document.querySelector('thead button, thead th').click();
        return performance.now() - start;"""
    return {**seen, "sorted": float(driver.execute_script(clicked))}
