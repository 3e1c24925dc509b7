"""Every shipped entry: documented, sourced, and changing only the hooks it says."""

from __future__ import annotations

import pytest
import tiny

from harness.engines import SamplingParams
from harness.methods import MethodEntry, build, entries
from harness.methods.base import HOOKS

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
def test_only_the_static_proposer_leaves_out_training(entry: MethodEntry, role: str) -> None:
    ctx = tiny.make_context(role=role)
    steps = build(entry.name)[0].steps(ctx, 5)
    assert steps == (0 if (entry.name, role) == ("static_proposer", "proposer") else 5)
    assert ctx.counts["proposer_steps_skipped"] == 5 - steps


def test_rzero_samples_as_the_profile_says() -> None:
    params = SamplingParams(5, n=3)
    assert build("rzero")[0].sampling(tiny.make_context(), params) is params
