"""One grader for the whole room: starting a worker costs about a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.grading import Grader


@pytest.fixture(scope="package")
def grader() -> Iterator[Grader]:
    with Grader(workers=1, deadline_s=5.0) as shared:
        yield shared
