"""`check`: a table or JSON, exit code 1 where a check failed, one line where the input is bad."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_run

from harness.cli import main
from harness.methods import registry

EXAMPLE = str(tiny_run.ROOT / "examples" / "my_method.py")
BAD = '''
from harness.methods import Method, register

@register("bad_method")
class BadMethod(Method):
    """Too short [x]."""
    def steps(self, ctx, steps):
        return -1
'''


@pytest.mark.slow  # two whole checks; the page's command below is one
def test_a_file_and_a_name_side_by_side_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", EXAMPLE, "rzero", "--jobs", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert list(dict.fromkeys(r["method"] for r in rows)) == ["short_questions", "rzero"]
    assert {r["status"] for r in rows if r["method"] == "short_questions"} == {"passed"}
    assert {r["status"] for r in rows if r["method"] == "rzero"} == {"passed", "skipped"}
    for row in rows:
        assert bool(row["reason"]) == (row["status"] != "passed")
    assert "off-is-the-baseline" in {r["check"] for r in rows}


def test_a_table_and_exit_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bad_method.py"
    file.write_text(BAD)
    try:
        assert main(["check", str(file)]) == 1
    finally:
        del registry._ENTRIES["bad_method"]  # other tests look at all methods
    out = " ".join(capsys.readouterr().out.split())
    assert "bad_method" in out
    assert "docstring-complete" in out
    assert "steps: -1 steps" in out
    assert "failed" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "NAME"),
        (["rzerro"], "did you mean rzero"),
        (["nowhere.py"], "nowhere.py: no such file"),
        (["broken.py"], "SyntaxError"),
        (["rzero", "--nonsense"], "nonsense"),
        (["rzero", "--jobs", "-1"], "jobs"),
    ],
)
def test_bad_input(
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def broken(:")
    assert main(["check", *arguments]) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert told in said


def test_the_command_on_the_page() -> None:
    """As the page for newcomers gives it; the real process."""
    page = (tiny_run.ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
    (line,) = [x for x in page.splitlines() if x.startswith("python -m harness check")]
    done = subprocess.run(
        [sys.executable, *line.split()[1:]], cwd=tiny_run.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "short_questions" in done.stdout
    assert "failed" not in done.stdout
