"""The table of a sweep in progress, drawn on consoles of many sizes."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_run
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from harness.cli.progress import SweepProgress
from harness.cli.table import LiveTable, Overall, duration, sweep_table
from harness.tracking import RunView

NOW = 1_800_000_000.0
TOPICS = "diversity/functional/topic_entropy"
RUNNING = RunView(
    run="a",
    method="vocab_dropout:alpha=0.9",
    seed=12,
    state="running",
    iteration=2,
    iterations=5,
    phase="curriculum",
    share=0.36,
    seconds=400.0,
    left=3723.0,
    accuracy={"sampled": 0.312, "greedy": 0.2904},
    base={"sampled": 0.271, "greedy": 0.26},
    diversity=(TOPICS, 2.9546),
    well_posed=0.824,
    last_event=NOW,
)
STARTING = RunView(run="b", method="rzero", seed=0, state="running", iterations=5)
DONE = replace(RUNNING, run="c", method="aepo", state="completed", seconds=411.0, ended=NOW)
EXHAUSTED = replace(DONE, run="d", method="cure", state="curriculum_exhausted", ended=NOW - 1)
BROKEN = RunView(run="e", method="darling", seed=3, state="error", last_event=NOW - 2)
WAITING = RunView(run="f", method="temperature", seed=1, state="waiting")
VIEWS = [RUNNING, STARTING, DONE, EXHAUSTED, BROKEN, WAITING, WAITING, WAITING]


def drawn(views: list[RunView], width: int, height: int = 24, jobs: int = 2) -> list[str]:
    """The lines of the table on such a terminal."""
    console = Console(
        width=width,
        height=height,
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(sweep_table(views, Overall.of(views, jobs, 500.0), console, NOW))
    return console.export_text().splitlines()


def line_of(lines: list[str], start: str) -> str:
    (found,) = [line for line in lines if line.startswith(start)]
    return found


@pytest.mark.parametrize("width", [80, 140])
def test_what_it_says(width: int) -> None:
    lines = drawn(VIEWS, width)
    assert lines[0].startswith("2 done · 1 failed · 2 running · 3 waiting · 1:02:03 left, until ")
    assert lines[1].rstrip().endswith("%")
    text = "\n".join(lines)
    row = line_of(lines, "vocab_dropout:alpha=")
    for cell in ("12", "2/5 curriculum", "1:02:03", "31.2/29", "2.955", "82"):
        assert cell in row
    assert "starting" in line_of(lines, "rzero")
    assert "6:51" in line_of(lines, "aepo   ")
    assert "error" in line_of(lines, "darling")
    assert "exhausted" in text
    assert "temperature" not in text  # those that wait are a count
    assert "27.1/26" in text  # the base's
    assert "topics: entropy, nats" in " ".join(text.split())
    assert all(cell_len(line) <= width for line in lines)
    if width == 140:
        assert "27.1/26" in row
        assert "36%" in row


def test_the_order_is_running_then_the_latest_to_end() -> None:
    lines = drawn(VIEWS, 140)
    starts = [next(i for i, x in enumerate(lines) if x.startswith(m)) for m in ("vocab", "rzero")]
    ended = [i for i, x in enumerate(lines) if "completed" in x or "exhausted" in x or "error" in x]
    assert max(starts) < min(ended)
    assert ended == sorted(ended)
    assert "completed" in lines[ended[0]]
    assert "error" in lines[ended[-1]]


def test_a_large_sweep_fits_a_small_terminal() -> None:
    many = [replace(RUNNING, run=f"r{i}", seed=i) for i in range(40)]
    many += [replace(DONE, run=f"d{i}", seed=i, ended=NOW - i) for i in range(120)]
    for width, height in ((80, 24), (80, 10), (140, 50), (40, 24)):
        lines = drawn([*many, *[WAITING] * 35], width, height)
        assert len(lines) < height
        text = "\n".join(lines)
        said = " ".join(text.split())
        assert "120 done" in said
        assert "35 waiting" in said
        if height < 40:
            hidden = int(text.split("and ")[1].split(" more running")[0])
            assert hidden + sum("curriculum" in x for x in lines) == 40
        else:
            assert "completed" in text


def test_names_are_never_markup_and_move_no_cursor() -> None:
    names = ["[bold red]x[/]", "[/]", "a\x1b[2Jb", "e\nf", "[link=file:///etc]l[/link]", "漢" * 30]
    file = io.StringIO()
    console = Console(width=80, height=40, file=file, force_terminal=True, color_system=None)
    views = [replace(DONE, run=str(i), method=name) for i, name in enumerate(names)]
    console.print(sweep_table(views, Overall.of(views, 1, None), console, NOW))
    said = file.getvalue()
    assert "[bold red]x[/]" in said
    assert "a?[2Jb" in said
    assert "e?f" in said
    assert "\x1b[2J" not in said
    assert "\x1b]8" not in said
    assert all(cell_len(line) <= 80 for line in said.splitlines())


def test_vendi_where_nothing_has_topics() -> None:
    views = [replace(DONE, diversity=("diversity/semantic/vendi", 52.7035))]
    text = "\n".join(drawn(views, 100))
    assert "Vendi" in text
    assert "52.7" in text
    assert "topics" not in text


@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(30, 200),
    height=st.integers(8, 60),
    views=st.lists(
        st.builds(
            replace,
            st.sampled_from(VIEWS),
            method=st.text(max_size=90),
            seed=st.none() | st.integers(0, 10**9),
            left=st.none() | st.floats(0, 1e9),
            share=st.floats(0, 1),
        ),
        max_size=20,
    ),
)
def test_any_size_and_any_runs(width: int, height: int, views: list[RunView]) -> None:
    lines = drawn(views, width, height)
    assert all(cell_len(line) <= width for line in lines)


def test_the_end_of_a_sweep_by_hand() -> None:
    """Each waiting run takes the first free worker."""
    running = [replace(RUNNING, left=10.0), replace(RUNNING, left=40.0)]
    assert Overall.of([*running, *[WAITING] * 3], 2, 20.0).left == 60.0  # 10+20+20 | 40+20
    assert Overall.of([*running, WAITING], 3, 20.0).left == 40.0
    assert Overall.of(running, 2, None).left == 40.0
    assert Overall.of([WAITING], 2, None).left is None
    assert Overall.of([DONE], 2, 20.0).left == 0.0
    shares = Overall.of([DONE, BROKEN, WAITING, replace(RUNNING, share=0.5)], 1, None)
    assert shares.share == pytest.approx(2.5 / 4)
    assert Overall.of([], 1, None).share == 0.0


def test_durations() -> None:
    assert [duration(x) for x in (None, 0.4, 61, 3600, 359_999, 360_000)] == [
        "-",
        "0:00",
        "1:01",
        "1:00:00",
        "99:59:59",
        "4d 4h",
    ]


def test_a_sweep_of_real_runs(tmp_path: Path) -> None:
    """One that has ended, one whose launcher was killed mid-line and that goes on, one to come."""
    done, going, waiting = (tiny_run.spec("rzero", seed) for seed in range(3))
    shutil.copytree(tiny_run.finished("rzero").path, done.folder(tmp_path).path)
    events = (tiny_run.finished("rzero").path / "events.jsonl").read_bytes()
    until = events.index(b'"phase": "solve"')
    partial = events[: until + 5]
    going.folder(tmp_path).path.mkdir()
    (going.folder(tmp_path).path / "events.jsonl").write_bytes(partial)
    for width in (80, 140):
        console = Console(
            width=width, height=24, record=True, file=io.StringIO(), force_terminal=True
        )
        progress = SweepProgress([done, going, waiting], tmp_path, 1, console)
        with progress:
            progress.update([going])
        console.export_text(clear=True)
        console.print(progress.table())
        lines = console.export_text().splitlines()
        assert lines[0].startswith("1 done · 0 failed · 1 running · 1 waiting · ")
        (row,) = [x for x in lines if "1/2 " in x]
        assert row.startswith("rzero")
        assert "1/2 curriculum" in row
        (ended,) = [x for x in lines if "completed" in x]
        told = tiny_run.metrics(done.folder(tmp_path), 2)
        accuracy = (
            f"{100 * told['solver/macro/sampled']:.3g}/{100 * told['solver/macro/greedy']:.3g}"
        )
        assert accuracy in ended
        assert f"{100 * told['proposer/well_posed']:.0f}" in ended
        assert all(cell_len(line) <= width for line in lines)


def test_nothing_is_drawn_where_nothing_ran(tmp_path: Path) -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True)
    with SweepProgress([tiny_run.spec("rzero", 0)], tmp_path, 1, console):
        pass
    assert file.getvalue() == ""


def test_plain_lines_without_a_terminal(tmp_path: Path) -> None:
    spec, other = tiny_run.spec("rzero", 0), tiny_run.spec("rzero", 1)
    shutil.copytree(tiny_run.finished("rzero").path, spec.folder(tmp_path).path)
    file = io.StringIO()
    with SweepProgress([spec, other], tmp_path, 1, Console(file=file, width=20)) as progress:
        for _ in range(3):
            progress.update([other])
        assert file.getvalue() == "rzero seed 0: completed\n"
        progress.update([])  # the other was stopped by an error: said at the end, by others
    assert file.getvalue() == "rzero seed 0: completed\n"


def test_a_table_is_drawn_in_place_and_anew_when_the_window_changes() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, height=24, force_terminal=True, color_system=None)
    with LiveTable(console) as live:
        for _ in range(2):
            live.draw(sweep_table(VIEWS, Overall.of(VIEWS, 1, None), console, NOW))
        assert "\x1b[2J" not in file.getvalue()
        console.width = 100
        live.draw(sweep_table(VIEWS, Overall.of(VIEWS, 1, None), console, NOW))
        assert file.getvalue().count("\x1b[2J") == 1
    quiet = io.StringIO()
    with LiveTable(Console(file=quiet)) as live:
        live.draw("anything")
    assert quiet.getvalue() == ""
