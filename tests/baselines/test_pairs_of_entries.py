"""``a+b`` for every two shipped entries: they compose, or the error says which hook both claim."""

from __future__ import annotations

from itertools import permutations

import pytest
import tiny_run

from harness.errors import HarnessError
from harness.methods import Composite, build, entries
from harness.methods.base import EXCLUSIVE, overridden
from harness.store import Status

SHIPPED = {e.name: e.cls for e in entries() if e.origin.startswith("baselines.")}


def test_every_two_entries_compose_or_say_why_not() -> None:
    composed = refused = 0
    for a, b in permutations(SHIPPED, 2):
        both = [
            hook
            for hook in EXCLUSIVE
            if hook in overridden(SHIPPED[a]) and hook in overridden(SHIPPED[b])
        ]
        if both:
            with pytest.raises(
                HarnessError, match=rf"{a} and {b} both replace the hook '{both[0]}'"
            ):
                build(f"{a}+{b}")
            refused += 1
        else:
            method, name = build(f"{a}+{b}")
            assert isinstance(method, Composite)
            assert name == f"{a}+{b}"
            composed += 1
    assert composed > refused > 0


@pytest.mark.parametrize(
    "entry",
    [
        "vocab_dropout:granularity=mini+temperature+min_p+kl_cov",
        "cure+dynamic_sampling:role=both+hicra+dqo+dpp_select",
        "aepo+copo+paper_reward+best_of_majority+replay+entropy_bonus",
        "solver_ensemble+vendi_reward+seed_grpo:role=both+unlikelihood+window",
    ],
)
def test_many_at_once_run(entry: str) -> None:
    """Each family beside the others; every part still reports what it touched."""
    run = tiny_run.finished(build(entry)[1], 3)
    assert run.status in {Status.COMPLETED, Status.CURRICULUM_EXHAUSTED}
    touched = {k: v for t in (1, 2) for k, v in tiny_run.metrics(run, t).items() if "method/" in k}
    assert sum(1 for value in touched.values() if value) >= 3
