"""Pages that are made from the code are current."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.methods_page import current_page, methods_table
from harness.errors import HarnessError
from harness.methods import entries

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
SHIPPED = [e for e in entries() if e.origin.startswith("baselines.")]


def test_the_table_of_methods_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert current_page(text, methods_table(SHIPPED)) == text, (
        "python -m harness methods --write docs/methods.md"
    )


def test_every_entry_is_in_it_once() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for entry in SHIPPED:
        assert text.count(f"\n| `{entry.name}` |") == 1


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    assert main(["methods", "--write", str(page)]) == 2
    assert page.read_text(encoding="utf-8") == "nothing"
    with pytest.raises(HarnessError, match="needs the lines"):
        current_page("nothing", "")
