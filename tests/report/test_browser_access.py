"""In a real browser: the keyboard reaches everything, and phones, darkness and paper are served."""

from __future__ import annotations

import numpy as np
import pytest
from chromium import ENTER, SPACE, TAB, Page

from harness.report import ReportData

VIEWS = ("leaderboard", "diversity", "tradeoffs", "tasks", "questions", "runs")


def test_sorting_by_keyboard(page: Page) -> None:
    button = page.focus("#board thead th:first-child button")
    button.send_keys(ENTER)
    names = [row[0].split("\n")[0] for row in page.rows("#board")]
    assert names == sorted(names)
    state = "return [...document.querySelectorAll('#board th[aria-sort]')].map(h => h.ariaSort)"
    assert page.run(state)[0] == "ascending"
    button.send_keys(SPACE)
    assert [row[0].split("\n")[0] for row in page.rows("#board")] == sorted(names, reverse=True)
    assert page.run(state)[0] == "descending"
    assert set(page.run(state)[1:]) == {"none"}
    focused = page.run("return document.activeElement.closest('th') !== null")
    assert focused  # the keyboard's place isn't lost


def test_unknown_values_come_last_whichever_way(page: Page) -> None:
    heads = page.run(
        "return [...document.querySelectorAll('#board thead th')].map(h => h.innerText)"
    )
    head = next(i for i, text in enumerate(heads, 1) if text.startswith("difference"))
    button = page.focus(f"#board thead th:nth-child({head}) button")
    for _ in range(2):
        button.send_keys(ENTER)
        assert {row[head - 1] for row in page.rows("#board")[-2:]} == {"\u2013"}


def test_filtering_by_keyboard_reaches_every_view(page: Page, published: ReportData) -> None:
    page.focus("#filter").send_keys("Static, only")
    wanted = [m for m in published.methods if "static" in m or "only" in m]
    assert 0 < len(wanted) < len(published.methods)
    assert {row[0] for row in page.rows("#board")} == set(wanted)
    assert {row[0] for row in page.rows("[data-numbers=matched]")} == set(wanted)
    assert page.run("return document.getElementById('filter-count').value") == f"{len(wanted)} of 5"
    seen = "return [...document.querySelectorAll('.card .where')].map(n => n.textContent)"
    assert all(any(line.startswith(m) for m in wanted) for line in page.run(seen))
    runs = page.run("return [...document.querySelectorAll('.run strong')].map(n => n.textContent)")
    assert sorted(runs) == sorted(wanted * 3)
    page.wait(
        "return document.querySelectorAll('[data-chart=leaderboard] "
        f"[aria-roledescription=point]').length === {3 * len(wanted)}"
    )


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    page.run("document.activeElement.blur()")
    body = page.driver.find_element("tag name", "body")
    body.send_keys(TAB)
    assert page.run("return document.activeElement.className") == "skip"
    page.driver.switch_to.active_element.send_keys(ENTER)
    assert page.run("return document.activeElement.id") == "main"
    mute = page.run(
        "return [...document.querySelectorAll('input, select')].filter(n => !n.labels.length)"
        ".map(n => n.outerHTML)"
    )
    assert mute == []
    levels = page.run(
        "return [...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    unscrollable = page.run(
        "return [...document.querySelectorAll('.scroll')].filter(n => n.tabIndex !== 0).length"
    )
    assert unscrollable == 0
    assert page.run("return document.documentElement.lang") == "en"


def contrast(page: Page, selector: str) -> float:
    """WCAG's contrast of an element's text with the page's background."""
    script = (
        "const n = document.querySelector(arguments[0]);"
        "return [getComputedStyle(n).color, getComputedStyle(document.body).backgroundColor]"
    )
    lights = []
    for colour in page.run(script, selector):
        channels = [float(c) / 255 for c in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        lights.append(float(np.dot([0.2126, 0.7152, 0.0722], linear)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_readable(page: Page, scheme: str) -> None:
    page.media(prefers_color_scheme=scheme)
    background = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    for selector in ("h1", ".lead", "figcaption", "nav a", "td .span", "#runs .run strong"):
        assert contrast(page, selector) >= 4.5, selector
    # The charts follow without being drawn again.
    axis = page.run(
        "return getComputedStyle(document.querySelector('[data-chart] .role-axis-label text')).fill"
    )
    light = np.mean([int(c) for c in axis[axis.index("(") + 1 : -1].split(",")[:3]])
    assert (light > 128) == (scheme == "dark")


def test_a_phone_scrolls_tables_and_not_the_page(page: Page) -> None:
    page.size(360, 740)
    page.run("document.querySelectorAll('.numbers, #how').forEach(d => { d.open = true })")
    page.wait("return document.querySelectorAll('.numbers table').length === 3")
    assert page.run("return document.documentElement.scrollWidth") <= 360
    wide = page.run(
        "return [...document.querySelectorAll('body *')]"
        ".filter(n => !n.closest('.scroll, nav, pre') && n.getBoundingClientRect().right > 361)"
        ".map(n => n.outerHTML.slice(0, 80))"
    )
    assert wide == []
    assert page.run(
        "const b = document.querySelector('#board .scroll');return b.scrollWidth > b.clientWidth"
    )


def test_paper_shows_all_views_and_no_controls(page: Page) -> None:
    page.media(media="print", prefers_color_scheme="dark")
    heights = {
        view: page.run("return document.getElementById(arguments[0]).offsetHeight", view)
        for view in VIEWS
    }
    assert min(heights.values()) > 100
    assert (
        page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    shown = page.run(
        "return [...document.querySelectorAll('.bar, .pager, form, #metric')]"
        ".filter(n => n.checkVisibility()).length"
    )
    assert shown == 0
    assert page.run("return document.querySelectorAll('.canvas svg').length") == 5
