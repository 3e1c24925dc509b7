"""The leaderboard for spreadsheets, for a README and for a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from run_folders import CHECKED, GREEDY, SAMPLED, TOPIC, write_run

from harness.leaderboard import build, collect, markdown, terminal_table, wide, write_csv
from harness.leaderboard.collect import Missing
from harness.leaderboard.views import escaped

VALUES = {"rzero": [0.40, 0.42, 0.44], "far": [0.60, 0.61, 0.62], "near": [0.41, 0.42, 0.46]}


@pytest.fixture
def board(tmp_path: Path) -> pd.DataFrame:
    folders = [
        write_run(
            tmp_path,
            method,
            seed,
            {SAMPLED: value, GREEDY: value + 0.1, TOPIC: 1.5, CHECKED: 0.5},
            first={TOPIC: 2.5},
            base_model="tasks/ladder/base",
        )
        for method, list_ in VALUES.items()
        for seed, value in enumerate(list_)
    ]
    return build(collect(folders), "rzero")


def hostile(board: pd.DataFrame, name: str) -> pd.DataFrame:
    """The board with another name for `far`, as a table from elsewhere might have."""
    return board.assign(method=board["method"].replace("far", name))


class TestWide:
    def test_one_row_per_method_with_the_values_of_the_board(self, board: pd.DataFrame) -> None:
        frame = wide(board).set_index("method")
        assert list(frame.index) == ["base", "rzero", "far", "near"]
        long = board.query("metric == @SAMPLED and iteration == 'final'").set_index("method")
        pairs = {"n": "n_seeds", "mean": "mean", "low": "ci_low", "high": "ci_high"}
        pairs |= {"diff": "diff", "diff low": "diff_ci_low", "p": "p_holm", "rank": "rank"}
        for short, column in pairs.items():
            for method in VALUES:
                got, expected = frame.loc[method, f"{SAMPLED} {short}"], long.loc[method, column]
                assert got == expected or (np.isnan(got) and np.isnan(expected))
        assert frame.loc["far", f"{SAMPLED} group"] == long.loc["far", "tie_group"]
        assert frame.loc["far", "status"] == "completed:3"

    def test_primary_metrics_that_are_there_only(self, board: pd.DataFrame) -> None:
        metrics = {name.rpartition(" ")[0] for name in wide(board) if name.endswith(" mean")}
        assert metrics == {SAMPLED, GREEDY, TOPIC, CHECKED}

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r\n=", "\uff1d", " ="])
    def test_no_text_is_a_formula(self, board: pd.DataFrame, tmp_path: Path, start: str) -> None:
        name = f"{start}cmd|' /C calc'!A0"
        frame = wide(hostile(board, name))
        write_csv(frame, tmp_path / "wide.csv")
        back = pd.read_csv(tmp_path / "wide.csv", keep_default_na=False)
        assert len(back) == len(frame)
        (shown,) = set(back["method"]) - {"base", "rzero", "near"}
        assert shown.startswith("'")
        assert shown.isprintable()
        assert shown.endswith("cmd|' /C calc'!A0")
        # Numbers stay numbers, negative ones as well.
        assert frame[f"{SAMPLED} diff"].dtype == "float64"

    @pytest.mark.parametrize("name", ["=1+1", 'quo"te', "a,b;c", "two\nlines"])
    def test_the_long_table_has_the_exact_name(
        self, board: pd.DataFrame, tmp_path: Path, name: str
    ) -> None:
        write_csv(hostile(board, name), tmp_path / "long.csv")
        assert name in set(pd.read_csv(tmp_path / "long.csv", keep_default_na=False)["method"])


def cells(line: str) -> list[str]:
    """The cells of a row of GitHub's Markdown: an escaped bar doesn't end one."""
    return [c.strip() for c in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


class TestMarkdown:
    def test_the_most_accurate_first(self, board: pd.DataFrame) -> None:
        lines = [line for line in markdown(board).splitlines() if line.startswith("|")]
        head, rows = cells(lines[0]), [cells(line) for line in lines[2:]]
        assert [r[0] for r in rows] == ["`base`", "`far`", "`near`", "`rzero`"]
        far = dict(zip(head, rows[1], strict=True))
        assert far["sampled accuracy"].startswith("0.610 [.585, .635]")
        assert far["sampled: difference"].startswith("+0.190, [")
        assert ", p = " in far["sampled: difference"]
        assert far["sampled: rank, group"] == "1 a"
        assert far["topic entropy, nats: first > last"] == r"2.50 \> 1.50"
        assert far["well-posed"] == "0.50"
        assert far["runs"] == "3"

    def test_the_caption_says_what_it_is(self, board: pd.DataFrame) -> None:
        caption = markdown(board).splitlines()[0]
        assert caption.startswith("**ladder** (base model: `tasks/ladder/base`)")
        assert "differences from `rzero`" in caption

    def test_missing_runs_are_listed_under_it(self, board: pd.DataFrame) -> None:
        gaps = [
            Missing("ladder", "near", 3, "no such run"),
            Missing("ladder", "far", 3, "incomplete, <b>2 of 5</b>"),
        ]
        text = markdown(board, gaps)
        assert "- `near`, seed 3: no such run\n" in text
        assert r"- `far`, seed 3: incomplete, \<b\>2 of 5\<\/b\>" in text
        assert "seed 3" not in markdown(board)

    def test_methods_with_the_same_gap_share_a_line(self, board: pd.DataFrame) -> None:
        gaps = [Missing("ladder", m, s, "no such run") for m in ("near", "far") for s in (3, 4)]
        text = markdown(board, [*gaps, Missing("ladder", "near", 5, "no such run")])
        assert "- `far`, seeds 3, 4: no such run\n" in text
        assert "- `near`, seeds 3, 4, 5: no such run\n" in text
        assert "- `near`, `far`, seeds 3, 4: no such run\n" in markdown(board, gaps)

    def test_a_mean_of_fewer_runs_says_how_many(self, board: pd.DataFrame) -> None:
        thin = board.copy()
        cell = (thin["method"] == "far") & (thin["metric"] == "proposer/well_posed")
        thin.loc[cell & (thin["iteration"] == "final"), "n_seeds"] = 2
        assert "| 0.50 (2) |" in markdown(thin)
        assert "(2)" not in markdown(board)

    @pytest.mark.parametrize(
        "name",
        [
            "a|b",
            "<script>alert(1)</script>",
            "[x](javascript:alert(1))",
            "![x](https://example.org/x.png)",
            "`code`",
            "two\nlines",
            "@somebody",
            "back\\|slash",
            "www.example.org | x",
            "\u202eright to left",
        ],
    )
    def test_names_are_inert(self, board: pd.DataFrame, name: str) -> None:
        lines = markdown(hostile(board, name)).splitlines()
        rows = [line for line in lines if line.startswith("|")]
        assert len(rows) == 2 + 4
        assert {len(cells(line)) for line in rows} == {len(cells(rows[0]))}
        shown = cells(rows[3])[0]
        if re.fullmatch(r"`[^`|\\]*`", shown):  # as code it means nothing
            return
        unescaped = re.sub(r"\\([!-/:-@\[-`{-~])", "", shown)
        assert re.search(r"[|<>\[\]()`@\\!\u202e\n]", unescaped) is None

    def test_a_table_without_accuracies(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "x", "rzero", 0, {TOPIC: 1.5, CHECKED: 0.5})
        board = build(collect([run]), None)
        trained = board[~board["metric"].str.startswith("solver/")]
        rows = [line for line in markdown(trained).splitlines() if line.startswith("|")]
        assert cells(rows[0])[:2] == ["method", "topic entropy, nats: first > last"]
        assert cells(rows[2])[:2] == ["`rzero`", r"1.50 \> 1.50"]

    def test_very_small_p(self, tmp_path: Path) -> None:
        folders = [
            write_run(tmp_path / "x", method, seed, {SAMPLED: value + seed / 1e4})
            for method, value in (("rzero", 0.4), ("far", 0.8))
            for seed in range(3)
        ]
        assert "p < 0.001" in markdown(build(collect(folders), "rzero"))

    def test_ordinary_names_are_code(self) -> None:
        name = "vocab_dropout:alpha=0.75,granularity=sequence+kl_cov"
        assert escaped(name) == f"`{name}`"


class TestTerminal:
    def printed(self, board: pd.DataFrame, width: int) -> str:
        stream = io.StringIO()
        Console(file=stream, width=width).print(terminal_table(board))
        return stream.getvalue()

    def test_ranks_stand_under_the_intervals(self, board: pd.DataFrame) -> None:
        lines = self.printed(board, 140).splitlines()
        row = next(i for i, line in enumerate(lines) if line.strip().startswith("far"))
        assert re.search(r"\[\.585, \.635\]", lines[row + 1])
        assert re.search(r"\b1 a\b", lines[row + 2])
        assert "not ordered" in self.printed(board, 140)

    @pytest.mark.parametrize("width", [80, 100, 140])
    def test_no_number_is_lost(self, board: pd.DataFrame, width: int) -> None:
        text = self.printed(board, width)
        assert max(map(len, text.splitlines())) <= width
        joined = re.sub(r"\s+", "", text)
        for number in ("0.610", "0.710", "+0.190", "[.585,", ".635]"):
            assert number in text
        assert "2.50" in joined
        assert "\u2026" not in text

    def test_a_table_without_ranks_goes_on_being_shown(self, board: pd.DataFrame) -> None:
        older = board.drop(columns=["split", "rank", "rank_low", "rank_high", "tie_group"])
        text = self.printed(older, 140)
        assert "0.610" in text
        assert "not ordered" not in text
