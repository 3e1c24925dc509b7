"""Figures and tables on disk: what is in the files, hostile names, nothing half-written."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from benchmarks.synthetic import Size as Runs
from benchmarks.synthetic import write_runs
from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard import collect, find_runs
from harness.report import latex
from harness.report.charts import CHARTS, DOUBLE, SINGLE
from harness.report.data import ReportData, report_data
from harness.report.figures import FIGURES, only, write_figures

HOSTILE = r"\input{/etc/passwd}%$&#_{}~^<b>'\"--`|"
SVG = "{http://www.w3.org/2000/svg}"
TEX = shutil.which("pdflatex")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, names = tmp_path_factory.mktemp("runs"), ("rzero", HOSTILE, "vocab_dropout")
    size = Runs(methods=3, seeds=3, iterations=2, questions=2, items=0.02, named=names)
    write_runs(root, size)
    return root


@pytest.fixture(scope="module")
def data(runs: Path) -> ReportData:
    return report_data(collect(find_runs(runs)), "rzero")


@pytest.fixture(scope="module")
def folder(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("figures") / "new"
    written = write_figures(data, target)
    assert written == sorted(target.iterdir())
    return target


def both() -> list[str]:
    return [f"{f.name}{end}" for f in FIGURES for end in ("", "-column")]


def test_every_chart_as_svg_and_pdf(folder: Path) -> None:
    assert {c.name for c in CHARTS} < {f.name for f in FIGURES}
    for name in both():
        if name == "tasks-column":
            continue  # eight tasks with their numbers need both columns
        assert (folder / f"{name}.svg").is_file()
        assert (folder / f"{name}.pdf").is_file()
    assert not (folder / "tasks-column.svg").exists()
    assert not list(folder.glob("*partial*"))


def test_pictures_hold_names_on_white_at_the_size_of_a_column(folder: Path) -> None:
    for path in sorted(folder.glob("*.svg")):
        picture = ElementTree.parse(path).getroot()
        size = SINGLE if "-column" in path.name else DOUBLE
        width, height = picture.get("width", ""), picture.get("height", "")
        assert width.endswith("pt")
        assert height.endswith("pt")
        assert float(width[:-2]) <= size.width
        box = [float(x) for x in picture.get("viewBox", "").split()]
        scale = float(width[:-2]) / box[2]
        written = list(picture.iter(f"{SVG}text"))
        fonts = [float(e.get("font-size", "inf").removesuffix("px")) for e in written]
        assert min(fonts) * scale >= 7
        names = {"".join(e.itertext()) for e in written}
        assert {"rzero", "vocab_dropout"} <= names
        background = next(picture.iter(f"{SVG}rect"))
        assert background.get("fill") == "#FFFFFF"
        assert float(background.get("width", "0")) == pytest.approx(box[2])


def test_a_dot_for_every_run(folder: Path) -> None:
    for name in ("leaderboard.svg", "leaderboard-column.svg"):
        picture = ElementTree.parse(folder / name).getroot()
        groups = [g for g in picture.iter() if "runs_0_marks" in g.get("class", "").split()]
        assert [len(list(g)) for g in groups] == [8]  # nine runs; one failed and measured nothing


def test_pdfs_have_one_page_of_the_same_size(folder: Path) -> None:
    for path in sorted(folder.glob("*.pdf")):
        content = path.read_bytes()
        assert content.startswith(b"%PDF-")
        assert len(re.findall(rb"/Type\s*/Page\b", content)) == 1
        box = re.search(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", content)
        assert box is not None
        picture = ElementTree.parse(path.with_suffix(".svg")).getroot()
        assert float(box[1]) == pytest.approx(float(picture.get("width", "")[:-2]), abs=0.01)
        assert float(box[2]) == pytest.approx(float(picture.get("height", "")[:-2]), abs=0.01)


def test_some_methods_and_the_same_bytes_again(data: ReportData, tmp_path: Path) -> None:
    some = ["rzero", "vocab_dropout"]
    for target in (tmp_path / "one", tmp_path / "two"):
        (target / "kept.txt").parent.mkdir()
        (target / "kept.txt").write_text("of another")
        write_figures(replace(only(data, some), runs=data.runs.iloc[:0]), target)
    files = sorted(p.name for p in (tmp_path / "one").iterdir() if p.suffix != ".pdf")
    assert "diversity.svg" not in files  # nothing measured
    assert {"leaderboard.svg", "kept.txt", "README.txt"} <= set(files)
    for name in files:
        first, second = ((tmp_path / t / name).read_bytes() for t in ("one", "two"))
        assert first == second
        assert b"passwd" not in first
    assert "vocab_dropout" in (tmp_path / "one" / "leaderboard.svg").read_text()


def test_an_unknown_method_writes_nothing(data: ReportData, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no run of 'vocab_drop' in synthetic; nearest: vocab_"):
        write_figures(data, tmp_path / "figures", ["rzero", "vocab_drop"])
    assert not (tmp_path / "figures").exists()


def test_the_command_with_an_unknown_method(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "pages"), "--figures", str(tmp_path / "figures")]
    assert main(["report", "--runs", str(runs), *out, "--methods", "rzero vocab"]) == 2
    assert "no run of 'vocab' in synthetic; nearest: vocab_dropout" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_readme_names_captions_and_provenance(folder: Path, data: ReportData) -> None:
    text = (folder / "README.txt").read_text()
    for figure in FIGURES:
        assert f"{figure.name}.svg, {figure.name}.pdf" in text
        assert figure.caption in text
    for path in folder.glob("*.tex"):
        assert path.name in text
    for line in ("baseline: rzero", "intervals: 95 %", "config_hash: 5y57he71c000"):
        assert line in text
    assert "vocab_dropout (completed:2;failed:1)" in text


def cells(path: Path) -> list[list[str]]:
    """A table's rows, its head first."""
    body = path.read_text().split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    return [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in rows]


def test_tables_are_whole_and_escaped(folder: Path) -> None:
    paths = sorted(folder.glob("table_*.tex"))
    names = ["table_greedy", "table_matched", "table_sampled", "table_tasks"]
    assert [p.stem for p in paths] == names
    for path in paths:
        text = path.read_text()
        bare = re.sub(r"\\[\\{}$&#%_]", "", text)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert re.findall(r"[%#_^~<>|]", bare.replace("$<$", "")) == []
        assert r"\input" not in text
        rows = cells(path)
        columns = re.search(r"\\begin{tabular}{(\w+)}", text)
        assert columns is not None
        assert {len(row) for row in rows} == {len(columns[1])}
        for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\label{tab:"):
            assert text.count(rule) == 1


def test_numbers_of_a_table(folder: Path, data: ReportData) -> None:
    rows = {row[0].strip(): [c.strip() for c in row] for row in cells(folder / "table_sampled.tex")}
    board = data.board[data.board["metric"] == "solver/macro/sampled"].set_index("method")
    ours = board.loc["vocab_dropout"]
    mean, low, high = (f"{100 * ours[c]:.1f}" for c in ("mean", "ci_low", "ci_high"))
    row = rows[r"vocab\_dropout"]
    assert row[1:3] == ["2 + 1 failed", f"{mean} [{low}, {high}]"]
    assert row[3].startswith(f"${100 * ours['diff']:+.1f}$ [")
    assert rows["rzero"][3:6] == ["--", "--", "--"]  # not compared with itself
    assert rows["base model"][1:4] == ["--", f"{100 * board.loc['base', 'mean']:.1f}", "--"]


def test_what_is_unknown_has_no_number(data: ReportData) -> None:
    board = data.board.assign(ci_low=np.nan, ci_high=np.nan, p_holm=np.nan, rank=np.nan)
    unknown = replace(data, board=board, matched=data.matched.iloc[:0])
    tables = latex.tables(unknown)
    assert "table_matched" not in tables
    line = next(x for x in tables["table_greedy"].splitlines() if x.startswith("vocab"))
    mean = board[(board["metric"] == "solver/macro/greedy") & (board["method"] == "vocab_dropout")]
    assert f"& {100 * mean['mean'].iloc[0]:.1f} &" in line
    assert "nan" not in "".join(tables.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        (r"\x{y}", r"\textbackslash{}x\{y\}"),
        ("é中\u202e\n", "éU+4E2DU+202E "),
        ("--", "{-}{-}"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert latex.escape(text) == expected


@pytest.mark.skipif(TEX is None, reason="no TeX here")
def test_tables_compile(folder: Path, tmp_path: Path) -> None:
    inputs = "\n".join(path.read_text() for path in sorted(folder.glob("*.tex")))
    page = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}"
    page += r"\end{document}"
    (tmp_path / "page.tex").write_text(page)
    command = [
        str(TEX),
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-no-shell-escape",
        "page.tex",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


def test_frames_of_texts() -> None:
    text = latex.table(pd.DataFrame({"A": ["x"], "B": [r"1\%"]}), "c", "tab:c", "lr")
    assert r"\begin{table}[t]" in text
    assert "A & B \\\\\n\\midrule\nx & 1\\% \\\\\n\\bottomrule" in text
