"""The table of all entries in `docs/methods.md`, made from the docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.methods import MethodEntry, entries, load_plugin
from harness.methods.base import overridden
from harness.store import write_bytes

START, END = "<!-- entries -->", "<!-- end of entries -->"
"""What stands between them is written by the command; all else by people."""
_SECTIONS = {
    "Rollouts": ("after_rollout",),
    "Rewards": ("reward", "jury"),
    "Curriculum": ("select", "label"),
    "Masks, prompts and decoding": ("mask", "logits_rule", "sampling", "prompts"),
    "Token loss and advantage": (
        "token_loss",
        "token_stats",
        "candidates",
        "advantage",
        "coefficients",
    ),
}
"""A method stands in the first section whose hooks it overrides."""
_WHOLE, _CONTROLS = "The baseline, and the loop as a whole", "Controls"


def section(entry: MethodEntry) -> str:
    """Where an entry belongs in the table."""
    if entry.name.endswith("_control"):
        return _CONTROLS
    hooks = set(overridden(entry.cls))
    found = [name for name, own in _SECTIONS.items() if hooks & set(own)]
    return found[0] if 1 <= len(found) <= 2 else _WHOLE


def methods_table(found: Sequence[MethodEntry]) -> str:
    """Markdown: a section with a table for each family of entries."""
    lines: list[str] = []
    for name in (_WHOLE, *_SECTIONS, _CONTROLS):
        own = [e for e in found if section(e) == name]
        if not own:
            continue
        lines += [
            "",
            f"### {name}",
            "",
            "| entry | in a line | paper | hooks |",
            "|---|---|---|---|",
        ]
        lines += [_row(entry) for entry in own]
    return "\n".join(lines).strip() + "\n"


def _row(entry: MethodEntry) -> str:
    paper = entry.cls.paper
    cells = (
        f"`{entry.name}`",
        entry.summary.replace("|", "\\|"),
        f"[{paper}](https://arxiv.org/abs/{paper})" if paper else "-",
        ", ".join(f"`{hook}`" for hook in overridden(entry.cls)) or "-",
    )
    return f"| {' | '.join(cells)} |"


def current_page(text: str, table: str) -> str:
    """The page with the table in its place.

    Raises:
        HarnessError: the page doesn't have the two marks, in order.
    """
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise HarnessError(f"the page needs the lines {START} and {END}; put them in")
    return f"{head}{START}\n{table}{END}{tail}"


def write_methods_page(path: Path, plugins: Sequence[str]) -> None:
    """Bring the page's table up to date.

    Raises:
        HarnessError: no such page, or one without the marks.
    """
    for plugin in plugins:
        load_plugin(plugin)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}; name an existing page") from error
    write_bytes(path, current_page(text, methods_table(entries())).encode())
