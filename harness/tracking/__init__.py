"""Runs watched from outside: their progress from their events, and experiment trackers."""

from harness.tracking.events import (
    EventReader,
    Scalars,
    count,
    number,
    printable,
    read_object,
    read_status,
    scalars,
)
from harness.tracking.mirrors import FOLDER, Mirror, Tracking, mirror
from harness.tracking.progress import Plan, RunProgress, RunView, view
from harness.tracking.writers import RunInfo, Tracker, Writer, trackers

__all__ = [
    "FOLDER",
    "EventReader",
    "Mirror",
    "Plan",
    "RunInfo",
    "RunProgress",
    "RunView",
    "Scalars",
    "Tracker",
    "Tracking",
    "Writer",
    "count",
    "mirror",
    "number",
    "printable",
    "read_object",
    "read_status",
    "scalars",
    "trackers",
    "view",
]
