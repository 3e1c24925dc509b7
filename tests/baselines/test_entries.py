"""Every shipped entry: documented, sourced, and changing only the hooks it says."""

from __future__ import annotations

import pytest
import tiny

from harness.engines import SamplingParams
from harness.methods import MethodEntry, build, entries
from harness.methods.base import HOOKS, overridden

SHIPPED = [e for e in entries() if e.origin.startswith("baselines.")]

HOOKS_OF = {
    "rzero": (),
    "rzero_code": ("sampling", "label", "reward", "select"),
    "static_proposer": ("steps",),
    "random_label": ("label",),
    "vocab_dropout": ("mask",),
    "vocab_dropout_train_only": ("mask",),
    "vocab_dropout_generation_only": ("mask",),
}


def test_the_list() -> None:
    assert set(HOOKS_OF) <= {e.name for e in SHIPPED}


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
def test_is_documented(entry: MethodEntry) -> None:
    shown = entry.describe()
    assert 20 < len(shown["summary"]) <= 100
    assert shown["summary"].endswith((".", "?", ";", ":"))
    assert len(shown["doc"]) > len(shown["summary"])
    # A paper's number, or a control of our own.
    paper = shown["paper"]
    assert paper == "" or (len(paper) == 10 and paper[4] == "." and paper in shown["doc"])
    assert set(shown["hooks"]) <= set(HOOKS)
    for parameter in shown["parameters"].values():
        assert "default" in parameter


@pytest.mark.parametrize("name", HOOKS_OF)
def test_changes_only_its_hooks(name: str) -> None:
    (entry,) = [e for e in SHIPPED if e.name == name]
    assert tuple(entry.describe()["hooks"]) == HOOKS_OF[name]


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
def test_is_built_from_its_name_and_starts_without_state(entry: MethodEntry) -> None:
    method, name = build(entry.name)
    assert name == entry.name
    assert type(method) is entry.cls
    state = method.state_dict()
    method.load_state_dict(state)
    assert method.state_dict() == state


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
@pytest.mark.parametrize("role", ["proposer", "solver"])
def test_the_solver_is_always_trained_and_left_out_steps_are_counted(
    entry: MethodEntry, role: str
) -> None:
    ctx = tiny.make_context(role=role)
    steps = build(entry.name)[0].steps(ctx, 5)
    assert 0 <= steps <= 5
    if role == "solver" or "steps" not in overridden(entry.cls):
        assert steps == 5
        assert not ctx.counts
    else:
        assert sum(ctx.counts.values()) == 5 - steps


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
def test_can_be_switched_off_and_made_active(entry: MethodEntry) -> None:
    """Both are settings that the entry accepts, and its defaults are neither by accident."""
    assert entry.cls.off is not None
    defaults = entry.cls().params
    off, active = entry.cls(entry.cls.off).params, entry.cls(entry.cls.active).params
    assert (off == defaults) is (entry.name == "rzero")
    assert (active == defaults) is (not entry.cls.active)


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda e: e.name)
def test_says_what_is_known_and_what_is_not(entry: MethodEntry) -> None:
    """Equation, defaults, insertion point and what is unconfirmed, in that file."""
    doc = entry.describe()["doc"]
    missing = [x for x in ("Equation:", "Defaults:", "Hook:", "Unconfirmed:") if x not in doc]
    assert not missing


def test_rzero_samples_as_the_profile_says() -> None:
    params = SamplingParams(5, n=3)
    assert build("rzero")[0].sampling(tiny.make_context(), params) is params
