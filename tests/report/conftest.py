"""One browser for all tests of the page, and the page of the published runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from chromium import Page

from harness import leaderboard as boards
from harness.report import ReportData, board_data, page_bytes

RESULTS = Path(__file__).resolve().parents[2] / "leaderboards" / "results"
BASELINE = "rzero"
METHODS = (BASELINE, "static_proposer", "vocab_dropout", "vocab_dropout_train_only")


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("selenium")
    if why := chromium.missing():
        pytest.skip(why)
    started = chromium.start(tmp_path_factory.mktemp("chromium"))
    yield started
    started.quit()


@pytest.fixture(scope="session")
def published() -> ReportData:
    """Four methods of the published ladder runs, three seeds each."""
    found = boards.find_runs(RESULTS, profile="ladder")
    runs = [p for p in found if p.name.rsplit("-", 3)[0] in METHODS]
    runs = [p for p in runs if p.name.rsplit("-", 2)[1] in ("s0", "s1", "s2")]
    [board] = boards.prepare(boards.collect(runs), BASELINE)
    return board_data(board)


@pytest.fixture(scope="session")
def real(driver: Any, published: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_bytes(page_bytes(published))
    return Page(driver, path)


@pytest.fixture
def page(real: Page) -> Page:
    """The page of the published runs, opened afresh on a large screen."""
    real.size(1280)
    real.media()
    return real.open()
