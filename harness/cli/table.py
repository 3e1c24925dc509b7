"""The table of a sweep in progress: what is drawn, from what is known of its runs."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, SegmentLines
from rich.table import Table
from rich.text import Text

from harness.tracking import RunView, printable

FAILED = ("error", "failed", "diverged", "interrupted")
_STYLES = {"completed": "green", "running": "", "interrupted": "yellow", "waiting": "dim"}
_NARROWEST_METHOD, _WIDEST_METHOD = 20, 48
_CAPTION = (
    "time: left, or taken · accuracy: sampled/greedy, %{base} · {diversity} · posed: well-posed, %"
)


class _Column(NamedTuple):
    """A column beside the method's; those of the highest ``spare`` go first where it's narrow."""

    title: str
    width: int
    spare: int
    right: bool = True


_COLUMNS = (
    _Column("seed", 4, 0),
    _Column("phase", 14, 0, right=False),
    _Column("done", 4, 5),
    _Column("bar", 6, 3, right=False),
    _Column("time", 7, 2),
    _Column("accuracy", 9, 0),
    _Column("base", 9, 6),
    _Column("diversity", 6, 1),
    _Column("posed", 5, 1),
)


@dataclass(frozen=True)
class Overall:
    """A sweep as a whole.

    Attributes:
        counts: runs by state.
        share: of the work that is done, 0 to 1.
        left: estimated seconds to the end.
    """

    counts: Mapping[str, int]
    share: float
    left: float | None

    @classmethod
    def of(cls, views: Sequence[RunView], jobs: int, typical: float | None) -> Overall:
        """Sum up runs, done ``jobs`` at a time, of which one takes ``typical`` seconds."""
        counts: dict[str, int] = {}
        for view in views:
            counts[view.state] = counts.get(view.state, 0) + 1
        running = [view for view in views if view.state == "running"]
        unfinished = ("running", "waiting", "interrupted")
        shares = [view.share if view.state in unfinished else 1.0 for view in views]
        share = sum(shares) / max(1, len(views))
        left = _makespan([view.left for view in running], counts.get("waiting", 0), jobs, typical)
        return cls(counts, share, left)


def _makespan(
    running: Sequence[float | None], waiting: int, jobs: int, typical: float | None
) -> float | None:
    """Seconds until the last run ends, each taking the first worker that is free."""
    known = [seconds for seconds in (*running, typical) if seconds is not None]
    if not known or (waiting and typical is None):
        return None
    free = [seconds if seconds is not None else known[-1] for seconds in running]
    free += [0.0] * (jobs - len(free))
    heapq.heapify(free)
    for _ in range(waiting):
        heapq.heappush(free, heapq.heappop(free) + (typical or 0.0))
    return max(free)


def sweep_table(
    views: Sequence[RunView],
    overall: Overall,
    console: Console,
    now: float | None = None,
    recent: int | None = 8,
) -> RenderableType:
    """What fits the console: totals, runs in progress, the ``recent`` ones that ended last.

    It's rendered here, once, for this console's size.
    """
    running = [view for view in views if view.state == "running"]
    ended = sorted(
        (view for view in views if view.state not in ("running", "waiting")),
        key=lambda view: view.ended or view.last_event or 0.0,
        reverse=True,
    )[:recent]
    head = _totals(overall, console.width, time.time() if now is None else now)
    # Where the console is too low: first those go that ended, the oldest first, then the rest.
    room = max(3, console.height - 5)
    while True:
        shown = [*running[:room], *ended[: max(0, room - len(running))]]
        body = _runs(shown, len(running) - len(running[:room]), console.width)
        lines = console.render_lines(Group(*head, *body), pad=False)
        spare = console.height - 1 - len(lines)
        if spare >= 0 or room == 1:
            return SegmentLines(lines, new_lines=True)
        room = max(1, min(room, len(shown)) + min(-1, spare // 3))  # a row may take some lines


def _totals(overall: Overall, width: int, now: float) -> list[RenderableType]:
    counts = dict(overall.counts)
    done = counts.pop("completed", 0) + counts.pop("curriculum_exhausted", 0)
    failed = sum(counts.pop(state, 0) for state in FAILED if state != "interrupted")
    parts = [(f"{done} done", "green"), (f"{failed} failed", "red" if failed else "")]
    parts += [(f"{n} {state}", _STYLES.get(state, "")) for state, n in sorted(counts.items())]
    line = Text(" · ").join(Text(text, style) for text, style in parts)
    if overall.left is not None and (counts.get("running") or counts.get("waiting")):
        at = time.strftime("%a %H:%M", time.localtime(now + overall.left))
        line.append(f" · {duration(overall.left)} left, until {at}")
    bar = ProgressBar(total=1.0, completed=overall.share, width=max(10, min(width, 100) - 6))
    row = Table.grid(padding=(0, 1))
    row.add_row(bar, f"{_percent(overall.share)}")
    return [line, row]


def _runs(views: Sequence[RunView], hidden: int, width: int) -> list[RenderableType]:
    if not views:
        return []
    vendi = all(view.diversity is None or "vendi" in view.diversity[0] for view in views)
    names = [printable(view.method, 80) for view in views]
    longest = max(6, *map(len, names))
    columns = _fitting(width, min(longest, _NARROWEST_METHOD))
    used = sum(column.width + 1 for column in columns)
    method = min(longest, _WIDEST_METHOD, max(4, width - used))
    extra = max(0, min(14, width - used - method))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("method", width=method, overflow="fold")
    for column in columns:
        title = {"bar": "", "diversity": "Vendi" if vendi else "topics"}.get(
            column.title, column.title
        )
        table.add_column(
            Text(title),
            width=column.width + (extra if column.title == "bar" else 0),
            justify="right" if column.right else "left",
            overflow="fold",
        )
    for view, name in zip(views, names, strict=True):
        cells = _cells(view)
        table.add_row(Text(name), *(cells[column.title] for column in columns))
    said: list[RenderableType] = [table]
    if hidden:
        said.append(Text(f"and {hidden} more running", "dim"))
    diversity = "Vendi: Vendi score" if vendi else "topics: entropy, nats"
    hides_base = all(column.title != "base" for column in columns)
    base = f" (base {_accuracy(_mean_base(views))})" if hides_base else ""
    said.append(Text(_CAPTION.format(base=base, diversity=diversity), "dim"))
    return said


def _cells(view: RunView) -> dict[str, RenderableType]:
    running = view.state == "running"
    place = f"{view.iteration}/{view.iterations or '?'} {view.phase}" if view.phase else "starting"
    state = printable(view.state).replace("_", " ")
    style = _STYLES.get(view.state, "red" if view.state in FAILED else "green")
    bar = ProgressBar(total=1.0, completed=view.share) if running else Text("")
    return {
        "seed": Text("-" if view.seed is None else str(view.seed)),
        "phase": Text(place if running else state, style),
        "done": Text(_percent(view.share)),
        "bar": bar,
        "time": Text(duration(view.left) if running else duration(view.seconds), style),
        "accuracy": Text(_accuracy(view.accuracy)),
        "base": Text(_accuracy(view.base), "dim"),
        "diversity": Text(f"{view.diversity[1]:.4g}" if view.diversity else "-"),
        "posed": Text("-" if view.well_posed is None else f"{100 * view.well_posed:.0f}"),
    }


def _fitting(width: int, method: int) -> list[_Column]:
    columns = list(_COLUMNS)
    while sum(c.width + 1 for c in columns) + method > width and any(c.spare for c in columns):
        columns.remove(max(columns, key=lambda c: c.spare))
    return columns


def _accuracy(modes: Mapping[str, float]) -> str:
    """``31.2/29.0``; a mode that isn't measured is ``-``."""
    if not modes:
        return "-"
    both = (modes.get("sampled"), modes.get("greedy"))
    return "/".join("-" if x is None else f"{100 * x:.3g}" for x in both)


def _mean_base(views: Sequence[RunView]) -> dict[str, float]:
    """The base model's accuracy, which differs between seeds alone."""
    modes = {mode for view in views for mode in view.base}
    values = {mode: [v.base[mode] for v in views if mode in v.base] for mode in modes}
    return {mode: sum(known) / len(known) for mode, known in values.items()}


def _percent(share: float) -> str:
    return f"{100 * min(share, 1.0):.0f}%"


def duration(seconds: float | None) -> str:
    """``1:02:33``, ``2:33``, ``3d 4h``; ``-`` where it isn't known."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole >= 100 * 3600:
        return f"{whole // 86400}d {whole % 86400 // 3600}h"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class LiveTable:
    """A renderable that replaces itself; drawn only when told to, so that it doesn't flicker."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
        self._size = console.size

    def __enter__(self) -> LiveTable:
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def draw(self, table: RenderableType) -> None:
        """Show this in place of what was shown; nothing where there is no terminal."""
        if not self.console.is_terminal:
            return
        self._live.start()  # once
        if self.console.size != self._size:
            # The terminal has folded the old table's lines: nobody knows where it began.
            self._size = self.console.size
            self.console.control(Control(ControlType.CLEAR, ControlType.HOME))
        self._live.update(table, refresh=True)
