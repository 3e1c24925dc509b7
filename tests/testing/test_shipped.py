"""Every shipped entry passes every check that applies to it; there are no exceptions.

Minutes of work: `.ci/run` does the same, two entries side by side, by `harness check all`.
"""

from __future__ import annotations

import pytest

from harness.methods import entries
from harness.testing import conformance
from harness.testing.world import parts

SHIPPED = [e.cls for e in entries() if e.origin.startswith("baselines.")]

test_shipped_entries = pytest.mark.slow(conformance(*SHIPPED))


def test_no_entry_refuses_the_kit() -> None:
    """A method that refuses the kit's small world would pass by saying nothing."""
    for cls in SHIPPED:
        cls(cls.active).check(parts().config)
