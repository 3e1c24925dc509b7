"""Every shipped entry passes every check that applies to it; there are no exceptions."""

from __future__ import annotations

from harness.methods import entries
from harness.testing import conformance
from harness.testing.world import parts

SHIPPED = [e.cls for e in entries() if e.origin.startswith("baselines.")]

test_shipped_entries = conformance(*SHIPPED)


def test_no_entry_refuses_the_kit() -> None:
    """A method that refuses the kit's small world would pass by saying nothing."""
    for cls in SHIPPED:
        cls(cls.active).check(parts().config)
