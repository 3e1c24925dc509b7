"""In a real browser, every view of the page shows the numbers of the board."""

from __future__ import annotations

import json

import pytest
from chromium import ENTER, Page, shares

from harness.leaderboard.cells import FINAL
from harness.report import ReportData

SAMPLED = "solver/macro/sampled"


def test_the_leaderboard_shows_the_boards_numbers(page: Page, published: ReportData) -> None:
    final = published.board[
        (published.board["metric"] == SAMPLED) & (published.board["iteration"] == FINAL)
    ]
    expected = final.sort_values("mean", ascending=False, kind="stable")
    rows = page.rows("#board")
    assert [row[0].split("\n")[0] for row in rows] == list(expected["method"])
    assert [row[1].split("\n")[0] for row in rows] == shares(expected["mean"])
    by_method = {row[0].split("\n")[0]: row for row in rows}
    for r in expected.dropna(subset=["diff"]).to_dict("records"):
        row = by_method[r["method"]]
        assert row[1].split("\n")[1] == f"[{r['ci_low']:.3f}, {r['ci_high']:.3f}]"
        bounds = [f"{r[c]:+.3f}".replace("-", "\u2212") for c in ("diff_ci_low", "diff_ci_high")]
        assert row[3] == f"{r['diff']:+.3f}".replace("-", "\u2212") + f"\n[{', '.join(bounds)}]"
        assert row[4] == f"{r['p_holm']:.3f}"
        assert row[5] == f"{r['rank_low']:.0f}\u2013{r['rank_high']:.0f}"
        assert row[6] == r["tie_group"]
    dots = page.run(
        "return [...document.querySelectorAll('#board tbody tr')].map(r => "
        "r.querySelectorAll('.seed').length)"
    )
    seeds = dict(zip([row[0].split("\n")[0] for row in rows], dots, strict=True))
    assert {m: seeds[m] for m in published.methods} == dict.fromkeys(published.methods, 3)


def test_another_metric_can_be_chosen(page: Page, published: ReportData) -> None:
    metric = "diversity/lexical/self_bleu"
    page.choose("metric", metric)
    final = published.board[
        (published.board["metric"] == metric) & (published.board["iteration"] == FINAL)
    ]
    rows = [row for row in page.rows("#board") if row[1] != "\u2013"]
    best_first = final.sort_values("mean", kind="stable")  # lower is better
    assert [row[1].split("\n")[0] for row in rows] == shares(best_first["mean"])
    assert "lower is better" in page.run(
        "return document.querySelector('#board caption').innerText"
    )


def test_intervals_over_new_items_are_the_boards(page: Page, published: ReportData) -> None:
    page.choose("interval", "items")
    final = published.board[
        (published.board["metric"] == SAMPLED) & (published.board["iteration"] == FINAL)
    ]
    expected = final.dropna(subset=["new_ci_low"]).set_index("method")
    assert len(expected) == len(published.methods)
    for row in page.rows("#board"):
        method = row[0].split("\n")[0]
        if method in expected.index:
            r = expected.loc[method]
            assert row[1].split("\n")[1] == f"[{r['new_ci_low']:.3f}, {r['new_ci_high']:.3f}]"


def test_the_charts_show_the_boards_numbers(page: Page, published: ReportData) -> None:
    final = published.board[published.board["iteration"] == FINAL].set_index(["metric", "method"])[
        "mean"
    ]
    last = published.runs["iteration"].max()
    ends = published.runs[
        (published.runs["metric"] == SAMPLED) & (published.runs["iteration"] == last)
    ]
    dots = {
        (mark["method"], int(mark["seed"])): float(mark["sampled accuracy (share)"])
        for mark in page.marks("leaderboard", "point")
    }
    expected = {(r.method, r.seed): r.value for r in ends.itertuples()}
    assert dots == pytest.approx(expected, rel=1e-4)
    assert len(dots) == 12
    entropy = published.runs[published.runs["metric"] == "diversity/functional/topic_entropy"]
    means = {
        (mark["method"], int(mark["iteration"])): float(mark["mean topic entropy (nats)"])
        for mark in page.marks("diversity", "point")
        if "mean topic entropy (nats)" in mark
    }
    by_iteration = entropy.groupby(["method", "iteration"])["value"].mean()
    assert means == pytest.approx(by_iteration.to_dict(), rel=1e-3)
    cells = page.run(
        "return [...document.querySelectorAll('[data-chart=tasks] text')].map(n => n.textContent)"
    )
    for method in published.methods:
        value = f"{final['solver/ladder/sampled', method]:.3f}"
        assert any(value in cell for cell in cells)
    against = page.marks("accuracy_vs_diversity", "point")
    spent = page.marks("accuracy_vs_compute", "point")
    for marks in (against, spent):
        shown = {(m["method"], m["seed"]): m for m in marks if m.get("iteration") == f"{last}"}
        for (method, seed), value in expected.items():
            mark = shown[method, f"{seed}"]
            assert float(mark["sampled accuracy (share)"]) == pytest.approx(value, abs=5e-4)


def test_the_tables_below_the_charts(page: Page, published: ReportData) -> None:
    page.run("document.querySelectorAll('.numbers').forEach(d => { d.open = true })")
    page.wait("return document.querySelectorAll('.numbers table').length === 3")
    means = published.runs[published.runs["metric"] == "diversity/functional/topic_entropy"]
    expected = means.groupby(["method", "iteration"])["value"].mean()
    for row in page.rows("[data-numbers=diversity]"):
        assert row[1:] == shares(expected[row[0].split("\n")[0]])
    final = published.board[published.board["iteration"] == FINAL].set_index(["metric", "method"])[
        "mean"
    ]
    for row in page.rows("[data-numbers=tasks]"):
        mean = final["solver/ladder/sampled", row[0].split("\n")[0]]
        assert row[1].split("\n")[0] == f"{mean:.3f}"
    matched = published.matched[
        (published.matched["metric"] == SAMPLED) & (published.matched["by"] == "tokens")
    ]
    common = matched[matched["at"] == "common"].set_index("method")["mean"]
    for row in page.rows("[data-numbers=matched]"):
        assert row[1].split("\n")[0] == f"{common[row[0].split(chr(10))[0]]:.3f}"


def test_the_question_browser(page: Page, published: ReportData) -> None:
    sample = published.questions.frame
    status = "return document.querySelector('#questions-list [role=status]').textContent"
    assert page.run(status) == f"1 to 12 of {len(sample):,} questions"
    told = page.run("return document.getElementById('questions-sample').textContent")
    assert f"{len(sample):,} of {published.questions.generated:,} generated questions" in told
    for name, value in (("method", "1"), ("seed", "2"), ("iteration", "3")):
        page.choose(f"q-{name}", value)
    method = list(dict.fromkeys(sample["method"]))[1]
    chosen = sample[
        (sample["method"] == method) & (sample["seed"] == 2) & (sample["iteration"] == 3)
    ]
    assert page.run(status) == f"1 to 12 of {len(chosen)} questions"
    texts = "return [...document.querySelectorAll('.card .text')].map(n => n.textContent)"
    assert page.run(texts) == list(chosen["question"][:12])
    page.focus("#questions-list .pager button:nth-child(2)").send_keys(ENTER)
    assert page.run(texts) == list(chosen["question"][12:24])
    word = chosen["question"].iloc[0].split(".")[0]
    page.focus("#q-text").send_keys(word.upper())
    found = chosen[chosen["question"].str.contains(word, regex=False)]
    assert page.run(texts) == list(found["question"])
    first = found.iloc[0]
    card = page.run("return document.querySelector('.card').innerText")
    assert f"seed 2 · iteration 3 · question {first['question_id']}" in card
    assert f"{round(first['p_hat'] * first['votes'])} of {first['votes']}" in card
    assert first["nearest"] in card
    assert f"similarity {first['similarity']:.2f}" in card
    for value in (first["label"], first["topic"]):
        assert value in card


def test_every_manifest(page: Page, published: ReportData) -> None:
    assert page.run("return document.querySelectorAll('.run').length") == len(published.manifests)
    page.focus(".run:nth-child(2) summary").send_keys(ENTER)
    page.wait("return document.querySelectorAll('.run:nth-child(2) pre').length >= 3")
    blocks = page.run(
        "return [...document.querySelectorAll('.run:nth-child(2) pre')].map(n => n.textContent)"
    )
    assert json.loads(blocks[2]) == published.manifests[1]["manifest"]
    assert blocks[0] == published.manifests[1]["command"]
    assert f"numpy {published.manifests[1]['manifest']['versions']['numpy']}" in blocks[1]
