"""Each broken method is found by the check that is meant for it, and by no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import broken
import pytest
import tiny_run

from harness.errors import HarnessError
from harness.methods import Method
from harness.testing import CHECKS, Subject, checks_of, conformance, run_checks, subjects

pytestmark = pytest.mark.filterwarnings("ignore:std")  # of the method that is to find nan
EXAMPLE = tiny_run.ROOT / "examples" / "my_method.py"


def by_class(case: broken.Case) -> str:
    return case.cls.__name__


@pytest.mark.parametrize("case", broken.RUN, ids=by_class)
def test_found_by_its_check_alone(case: broken.Case) -> None:
    found = {r.name: r for r in run_checks(Subject(case.cls))}
    assert {n for n, r in found.items() if r.status == "failed"} == {case.check}
    assert case.told in found[case.check].reason
    for result in found.values():
        assert "\n" not in result.reason
        assert bool(result.reason) == (result.status != "passed")


@pytest.mark.parametrize("case", broken.DECLARED, ids=by_class)
def test_found_without_a_run(case: broken.Case) -> None:
    subject = Subject(case.cls)
    first = [c.run(subject) for c in CHECKS[:3]]
    assert "smoke" not in vars(subject)
    assert [r.name for r in first if r.status == "failed"] == [case.check]
    (reason,) = [r.reason for r in first if r.reason]
    assert case.told in reason


def test_the_base_method_skips_what_it_cannot_show() -> None:
    subject = Subject(Method)
    found = {r.name: r for r in run_checks(subject)}
    assert found["something-touched"].reason == "overrides no hook"
    assert found["off-is-the-baseline"].reason == "declares no off"
    assert found["smoke-run-completes"].status == "passed"
    assert found["state-survives-a-kill"].status == "passed"
    # The kit does what it says: it kills after phases and inside stages.
    assert not subject.smoke.trouble
    assert subject.killed.starts == 11  # 4 phases and a step of the solver, twice, and the end
    assert subject.smoke.starts == 1


def test_a_method_that_refuses_the_small_world() -> None:
    """Nothing of it ran, so nothing is wrong, and every check that needs a run says so."""
    found = {r.name: r for r in run_checks(Subject(broken.Picky))}
    assert "failed" not in {r.status for r in found.values()}
    for name in ("smoke-run-completes", "off-is-the-baseline", "outputs-well-formed"):
        assert (
            found[name].reason == "it refuses the small world: picky: needs a profile with teachers"
        )
    assert found["deterministic-per-seed"].status == "skipped"


test_my_method = conformance(EXAMPLE)


def test_ids_name_the_checks() -> None:
    (mark,) = test_my_method.pytestmark  # type: ignore[attr-defined]
    ids = [case.id for case in mark.args[1]]
    assert "short_questions-off-is-the-baseline" in ids
    assert "short_questions-gradients-finite-on-edges" in ids
    assert "short_questions-mask-honoured" not in ids
    assert len(ids) == len(set(ids))


def test_checks_are_chosen_by_what_is_overridden() -> None:
    names = {c.name for c in checks_of(Subject(broken.LeakyMask))}
    assert {"mask-honoured", "sampler-and-trainer-agree"} <= names
    assert "edge-pools-selected" not in names
    assert {c.name for c in checks_of(Subject(broken.NeedsAPool))} - names == {
        "edge-pools-selected"
    }
    for check in CHECKS:
        assert check.work.__doc__


def test_a_class_that_is_not_registered() -> None:
    (subject,) = subjects(broken.FalseOff)
    assert (subject.name, subject.registered) == ("false_off", False)
    assert subjects("rzero")[0].registered


def test_what_nobody_knows() -> None:
    with pytest.raises(HarnessError, match="did you mean rzero"):
        conformance("rzerro")
    with pytest.raises(HarnessError, match="no such file"):
        conformance("nowhere.py")


def test_one_line_fails_and_skips_in_a_test_run(tmp_path: Path) -> None:
    """As an outsider uses it: a file of their own beside a test file of one line."""
    (tmp_path / "mine.py").write_text(
        "from harness.methods import *\n"
        "@register('mine')\n"
        "class Mine(Method):\n"
        "    '''A summary without the parts that it needs.'''\n"
        "    def steps(self, ctx, steps):\n"
        "        return steps\n"
    )
    (tmp_path / "test_mine.py").write_text(
        "from harness.testing import conformance\ntest_mine = conformance('mine.py')\n"
    )
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "-rfs", "-p", "no:cacheprovider", "-q")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tiny_run.ROOT), "COLUMNS": "200"},
    )
    assert done.returncode == 1
    assert "test_mine.py::test_mine[mine-docstring-complete] - Failed: no part `Equ" in done.stdout
    assert "declares no off" in done.stdout
    assert "2 failed" in done.stdout  # nothing is counted, either
    assert "Traceback" not in done.stdout


def test_the_kit_works_without_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from harness.testing import run_checks, subjects, CHECKS\n"
        f"(s,) = subjects({str(EXAMPLE)!r})\n"
        "assert [c.run(s).status for c in CHECKS[:3]] == ['passed'] * 3\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tiny_run.ROOT, check=True)
