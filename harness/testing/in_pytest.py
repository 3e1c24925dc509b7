"""One line in a test file: the checks of a method as a parametrised test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.methods import Method
from harness.testing.checks import Check, checks_of
from harness.testing.subject import Subject, subjects


def conformance(*methods: type[Method] | str | Path) -> Callable[[Subject, Check], None]:
    """A pytest test function with an id for each check, such as ``my_method-mask-honoured``.

    Args:
        methods: classes, registered names or Python files that register methods; ``all`` for all
            that are registered.

    Raises:
        HarnessError: unknown name, or a file that registers nothing.
    """
    import pytest  # a tool of those who write tests, not of those who run the harness

    cases = [
        pytest.param(subject, check, id=f"{subject.name}-{check.name}")
        for named in methods
        for subject in subjects(named)
        for check in checks_of(subject)
    ]

    @pytest.mark.parametrize(("subject", "check"), cases)
    def test(subject: Subject, check: Check) -> None:
        result = check.run(subject)
        if result.status == "skipped":
            pytest.skip(result.reason)
        if result.status == "failed":
            pytest.fail(result.reason, pytrace=False)

    return test
