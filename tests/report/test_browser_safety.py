"""In a real browser: nothing is loaded, and what models wrote is text and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chromium import ENTER, Page
from run_folders import write_run

from harness import leaderboard as boards
from harness.report import board_data, page_bytes

SAMPLED = "solver/macro/sampled"
NAME = "<img src=x onerror=window.__hacked=1>{{7*7}}${7*7}</script><script>window.__hacked=2"
HOSTILE = (
    "</script><script>window.__hacked = 3</script>",
    "<img src=x onerror='window.__hacked = 4'><svg onload=window.__hacked=5>",
    "<a href='javascript:window.__hacked=6'>click</a> javascript:window.__hacked=6",
    "<!--<script>window.__hacked=7</script>--> ]]> &lt;b&gt;",
    "right\u202eto left\u202c, isolate\u2067 x\u2069, zero\u200bwidth, NUL\x00 and \x1b[31mred\x07",
    "line\u2028paragraph\u2029end",
    "{{7*7}} {% print(7*7) %} ${7*7} #{7*7} `${window.__hacked=8}`",
    '=HYPERLINK("http://example.invalid/?"&A1) @SUM(1) +1 -1',
    "'); window.__hacked = 9; ('",
    "x" * 100_000,
)


@pytest.fixture(scope="module")
def hostile(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Two methods, one of them named to do harm, with questions and answers that try it too."""
    runs = tmp_path_factory.mktemp("hostile")
    metrics = {SAMPLED: 0.5, "solver/ladder/sampled": 0.5, "diversity/semantic/vendi": 3.0}
    for method in ("rzero", NAME):
        for seed in (0, 1):
            shifted = {k: v + 0.01 * seed for k, v in metrics.items()}
            folder = write_run(
                runs, method, seed, shifted, name=f"{len(method)}-{seed}", base_model=HOSTILE[0]
            )
            for t in (1, 2):
                frame = pd.DataFrame({"question": HOSTILE, "label": HOSTILE, "topic": HOSTILE})
                frame["question_id"] = range(len(HOSTILE))
                frame["true_answer"] = frame["label"]
                frame["valid"], frame["selected"], frame["p_hat"] = True, True, 0.5
                frame.to_parquet(folder / "iterations" / f"{t:02d}" / "questions.parquet")
    path = runs / "page.html"
    [board] = boards.prepare(boards.collect(boards.find_runs(runs)), "rzero")
    path.write_bytes(page_bytes(board_data(board)))
    return Page(driver, path)


def test_nothing_is_loaded_and_nothing_complains(page: Page) -> None:
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    assert page.network() == ({page.path.as_uri()}, set())
    assert page.driver.get_log("browser") == []
    assert page.run("return document.title").startswith("ladder")


def test_the_policy_stops_what_is_added_later(page: Page) -> None:
    """Also shows that the logs of the test above would have told."""
    outside = "http://example.invalid/x.png"
    page.run(
        "const s = document.createElement('script'); s.textContent = 'window.__hacked = 1';"
        "const i = new Image(); i.src = arguments[0];"
        "const b = document.createElement('button');"
        "b.setAttribute('onclick', 'window.__hacked = 2');"
        "document.body.append(s, i, b); b.click();",
        outside,
    )
    assert page.run("return window.__hacked") is None
    log = " ".join(entry["message"] for entry in page.driver.get_log("browser"))
    for directive in ("script-src", "img-src"):
        assert directive in log
    assert page.network() == ({page.path.as_uri(), outside}, {outside})


def test_hostile_texts_are_shown_and_not_run(hostile: Page) -> None:
    hostile.size(1280)
    hostile.media()
    page = hostile.open()
    page.run("document.querySelectorAll('.numbers, #how').forEach(d => { d.open = true })")
    shown: list[str] = []
    texts = "return [...document.querySelectorAll('.card')].map(n => n.innerText)"
    for _ in range(4):
        shown += page.run(texts)
        page.focus("#questions-list .pager button:nth-child(2)").send_keys(ENTER)
    seen = "\n".join(shown)
    for text in (*HOSTILE[:4], *HOSTILE[6:9]):
        assert text in seen
    for text in (
        *("right⟨U+202E⟩to left⟨U+202C⟩", "zero⟨U+200B⟩width", "98000 more characters"),
        "NUL⟨U+0000⟩ and ⟨U+001B⟩[31mred⟨U+0007⟩",
    ):
        assert text in seen
    assert max(map(len, shown)) < 8000
    for script in (
        "document.querySelectorAll('.run').forEach(d => { d.open = true })",
        "document.querySelectorAll('img').forEach(d => d.click())",
        "document.querySelectorAll('main a, .card *').forEach(d => d.click())",
    ):
        page.run(script)
    names = {row[0].split("\n")[0] for row in page.rows("#board")}
    assert NAME in {name.replace("\u200b", "") for name in names}
    assert NAME in page.run("return document.querySelector('#metric').closest('body').innerText")
    for chart in ("leaderboard", "diversity"):
        assert NAME in {mark["method"] for mark in page.marks(chart, "point")}
    assert page.hover("[data-chart=leaderboard] [aria-roledescription=point]", NAME)
    page.focus("#filter").send_keys("onerror")
    page.wait("return document.getElementById('filter-count').value.startsWith('1 of')")
    assert page.run("return document.querySelectorAll('img, main a[href], iframe').length") == 0
    assert page.run("return window.__hacked") is None
    assert page.driver.get_log("browser") == []
    assert page.network() == ({page.path.as_uri()}, set())


def test_a_table_with_little_in_it(driver: Any, tmp_path: Path) -> None:
    """One run, no solver, no checker; another method's run isn't finished."""
    write_run(tmp_path, "rzero", 0, {"diversity/semantic/vendi": 4.0, "proposer/valid": None})
    write_run(tmp_path, "vocab_dropout", 0, {}, status=None)
    [board] = boards.prepare(boards.collect(boards.find_runs(tmp_path)), "rzero")
    path = tmp_path / "page.html"
    path.write_bytes(page_bytes(board_data(board)))
    page = Page(driver, path)
    page.size(1280)
    page.open()
    assert page.driver.get_log("browser") == []
    assert page.rows("#missing")[0][:2] == ["vocab_dropout", "0"]
    assert page.rows("#board")[0][0].startswith("rzero")
    assert page.run("return document.querySelectorAll('.run').length") == 2


def test_a_sweep_that_has_only_begun(driver: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "rzero", seed, {}, status=None)
    [board] = boards.prepare(boards.collect(boards.find_runs(tmp_path)), "rzero")
    path = tmp_path / "page.html"
    path.write_bytes(page_bytes(board_data(board)))
    page = Page(driver, path).open()
    assert page.driver.get_log("browser") == []
    assert len(page.rows("#missing")) == 2
    assert "No finished run" in page.run("return document.getElementById('board').innerText")
    assert "0 of 2" in page.run("return document.querySelector('.top').innerText")
    assert "kept no questions" in page.run("return document.querySelector('#questions').innerText")
