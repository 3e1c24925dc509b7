"""The checks: each is named for what holds of a method that passes it.

A check raises an error with a one-line reason, or `SkippedCheck`. Most read the few small runs of
`Subject`, so that the second of them costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch

from harness.engines.base import replay_of
from harness.errors import HarnessError, one_line
from harness.methods import Method
from harness.methods.base import overridden
from harness.roles import Role
from harness.testing import declared
from harness.testing.edges import EDGES, POOLS, label_silence, select_from, train_on
from harness.testing.subject import SkippedCheck, Subject
from harness.testing.world import Run, base_run, first_sample, parts

GAP_LIMIT = 1e-3
"""Largest mean |sampler - trainer| log-prob gap in float32, nats."""

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Result:
    """What a check found; ``reason`` is one line, empty where it passed."""

    name: str
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Check:
    """A named check.

    Attributes:
        applies: whether a method has what is checked; a check that doesn't apply isn't run.
    """

    name: str
    work: Callable[[Subject], None]
    applies: Callable[[Subject], bool]

    def run(self, subject: Subject) -> Result:
        """Check a method; never raises for what the method does."""
        try:
            self.work(subject)
        except SkippedCheck as skip:
            return Result(self.name, "skipped", one_line(skip))
        except (AssertionError, HarnessError) as error:
            return Result(self.name, "failed", one_line(error))
        except Exception as error:
            return Result(self.name, "failed", f"{type(error).__name__}: {one_line(error)}")
        return Result(self.name, "passed")


CHECKS: list[Check] = []


def _check(*hooks: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Add a check of methods that override one of these hooks; of all methods without any."""

    def add(work: Callable[[Subject], None]) -> Callable[[Subject], None]:
        name = work.__name__.removeprefix("check_").replace("_", "-")
        CHECKS.append(Check(name, work, lambda s: not hooks or s.overrides(*hooks)))
        return work

    return add


def checks_of(subject: Subject) -> list[Check]:
    """The checks that apply to a method."""
    return [check for check in CHECKS if check.applies(subject)]


def run_checks(subject: Subject) -> list[Result]:
    """Run every check that applies."""
    return [check.run(subject) for check in checks_of(subject)]


# What the class says of itself.


@_check()
def check_docstring_complete(subject: Subject) -> None:
    """The docstring has a one-line summary, the four labelled parts and the paper's number."""
    declared.docstring(subject)


@_check()
def check_hooks_spelt_right(subject: Subject) -> None:
    """No function is named almost like a hook; hooks take the arguments that they are given."""
    declared.hooks(subject)


@_check()
def check_parameters_validated(subject: Subject) -> None:
    """Parameters are explained, refuse what they should, and survive the entry's name."""
    declared.parameters(subject)


# What a small run shows.


@_check()
def check_smoke_run_completes(subject: Subject) -> None:
    """Two iterations end as completed, or with a used-up curriculum."""
    run = subject.smoke
    if run.refused:
        raise SkippedCheck(f"it refuses the small world: {run.detail}")
    if run.broken is not None:
        raise SkippedCheck("it was stopped; see outputs-well-formed")
    if _replay_failed(run):
        raise SkippedCheck("it was stopped; see sampler-and-trainer-agree")
    assert not run.trouble, f"{run.status}: {run.detail}"


@_check()
def check_something_touched(subject: Subject) -> None:
    """The method counts something that it touched in a small run (``ctx.count``)."""
    if not overridden(subject.cls):
        raise SkippedCheck("overrides no hook")
    counts = subject.finished().counts
    assert counts, "nothing is counted; call ctx.count with how much a hook changed"
    assert sum(counts.values()) > 0, (
        f"in a run with {dict(subject.cls.active) or 'its defaults'} all counts are 0: "
        f"{', '.join(sorted(counts))}; declare `active` parameters that touch something"
    )


@_check()
def check_off_is_the_baseline(subject: Subject) -> None:
    """With the ``off`` parameters samples, rewards, losses and weights are the base method's."""
    if subject.cls.off is None:
        raise SkippedCheck("declares no off")
    if subject.off.refused:
        raise SkippedCheck(f"it refuses the small world: {subject.off.detail}")
    found = subject.off.differs_from_base(base_run())
    assert not found, f"with {dict(subject.cls.off)} {found}"


@_check()
def check_deterministic_per_seed(subject: Subject) -> None:
    """The same seed gives the same files; another seed samples something else."""
    run = subject.finished()
    if _global_random(run):
        raise SkippedCheck("it uses global random state; see global-state-untouched")
    if run.differs(subject.killed):  # dearer than a plain run, but another check needs it anyway
        found = run.differs(subject.again)
        assert not found, f"two runs of one seed differ: {found}"
    if run.sampled:
        first, other = run.sampled[0].rollouts, first_sample(subject.make, 1)
        same = torch.equal(first.response_ids, other.response_ids)
        assert not same, "two seeds sample the same rollouts"


@_check()
def check_state_survives_a_kill(subject: Subject) -> None:
    """State is JSON, load_state_dict takes it back, and a killed run ends in the same files."""
    run = subject.finished()
    assert run.watch is not None
    for state in run.watch.states:
        _round_trip(subject, state)
    if _global_random(run):
        raise SkippedCheck("it uses global random state; see global-state-untouched")
    found = run.differs(subject.killed)
    if found and run.differs(subject.again):
        raise SkippedCheck("it isn't deterministic; see deterministic-per-seed")
    assert not found, f"a run that was killed and gone on with differs: {found}"


@_check()
def check_global_state_untouched(subject: Subject) -> None:
    """Hooks leave random states, modes and filters of Python, NumPy and torch as they were."""
    run = subject.smoke
    assert run.watch is not None
    touched = sorted(set(run.watch.touched))
    told = "; ".join(f"{hook} changes {what}" for hook, what in touched)
    assert not touched, f"{told}; draw from ctx.stream(name)"


@_check()
def check_outputs_well_formed(subject: Subject) -> None:
    """Every hook returns what the loop can use: types, shapes, ranges, finite values."""
    run = subject.smoke
    if run.refused:
        raise SkippedCheck(f"it refuses the small world: {run.detail}")
    if run.broken is not None:
        raise run.broken


@_check("mask")
def check_mask_honoured(subject: Subject) -> None:
    """Every sampled token is one that its mask keeps, and no protected token is masked."""
    run = subject.finished()
    calls = [c for c in run.sampled if c.mask is not None]
    if not calls:
        raise SkippedCheck("no batch of the small run was masked")
    for call in calls:
        assert call.mask is not None
        rows = sorted(set(call.mask_rows))
        keep = dict(zip(rows, call.mask.keep_numpy(rows), strict=True))
        ids, valid = call.rollouts.response_ids, call.rollouts.response_mask
        for row, tokens, there in zip(call.mask_rows, ids, valid, strict=True):
            dropped = sum(not keep[row][int(i)] for i in tokens[there])
            assert not dropped, f"{call.phase}: {dropped} tokens of a response are masked"
        protected = list(parts().protected.ids)
        lost = max(int((~row[protected]).sum()) for row in keep.values())
        assert not lost, f"{call.phase}: {lost} of the profile's protected tokens are masked"


@_check("mask", "logits_rule", "sampling", "after_rollout")
def check_sampler_and_trainer_agree(subject: Subject) -> None:
    """The trainer replays what tokens were sampled under: equal log-probs, ratio 1 at first."""
    if _replay_failed(subject.smoke):
        raise HarnessError(subject.smoke.detail)
    run = subject.finished()
    trained = [c for c in run.sampled if c.phase in ("propose", "solve")]
    if any(c.mask is not None and not c.mask.in_logprobs for c in trained):
        raise SkippedCheck("the mask is not replayed by choice (in_logprobs=False)")
    if any(c.rule is not None and replay_of(c.rule) == "none" for c in trained):
        raise SkippedCheck("the rule is not replayed by choice (replay='none')")
    for t, metrics in enumerate(run.metrics, 1):
        for role in ("proposer", "solver"):
            gap = metrics.get(f"train/{role}/logprob_gap_mean") or 0.0
            assert gap < GAP_LIMIT, f"{role}, iteration {t}: mean log-prob gap {gap:.2g}"


@_check("after_rollout", "jury")
def check_extra_tokens_counted(subject: Subject) -> None:
    """What is sampled beyond the step's own batch is in ``compute/<role>/extra/tokens``."""
    run = subject.finished()
    for t, metrics in enumerate(run.metrics, 1):
        calls = [c for c in run.sampled if c.iteration == t]
        sampled = sum(c.tokens for c in calls)
        counted = sum(
            value or 0.0
            for key, value in metrics.items()
            if key.startswith("compute/")
            and key.split("/")[-2] in ("train", "extra", "vote", "generate", "label")
        )
        assert sampled == counted, (
            f"iteration {t}: {sampled} tokens were sampled, {counted:.0f} are in the ledger"
        )


# What edge cases show.


@_check(
    *("sampling", "mask", "logits_rule", "after_rollout", "reward", "advantage", "token_stats"),
    *("candidates", "token_loss", "coefficients", "jury", "on_step_end"),
)
def check_gradients_finite_on_edges(subject: Subject) -> None:
    """Batches from the edge (`EDGES`) train either role with finite numbers."""
    if subject.smoke.broken is not None:
        raise SkippedCheck("see outputs-well-formed")
    if _replay_failed(subject.smoke):
        raise SkippedCheck("see sampler-and-trainer-agree")
    cases = {
        f"{role}, {edge.name}": partial(train_on, edge, role)
        for edge in EDGES
        for role in get_args(Role)
    }
    _all_of(cases, subject)


@_check("select", "label")
def check_edge_pools_selected(subject: Subject) -> None:
    """Pools from the edge (`POOLS`) are labelled and selected from without an error."""
    if subject.smoke.broken is not None:
        raise SkippedCheck("see outputs-well-formed")
    cases: dict[str, Callable[[Method], None]] = {
        name: partial(select_from, pool) for name, pool in POOLS.items()
    }
    _all_of({**cases, "questions that nobody answered": label_silence}, subject)


def _all_of(cases: Mapping[str, Callable[[Method], None]], subject: Subject) -> None:
    """Try them all, each with a method of its own; the error names each that fails."""
    told = []
    for name, work in cases.items():
        try:
            work(subject.make())
        except HarnessError as error:
            told.append(f"{name}: {one_line(error)}")
        except Exception as error:
            told.append(f"{name}: {type(error).__name__}: {one_line(error)}")
    assert not told, "; ".join(told)


def _replay_failed(run: Run) -> bool:
    """Whether the run was stopped because the trainer didn't replay the sampling rule."""
    return "ratio before the first update" in run.detail or "dropped by the mask" in run.detail


def _global_random(run: Run) -> bool:
    return run.watch is not None and any("random" in what for _, what in run.watch.touched)


def _round_trip(subject: Subject, state: Any) -> None:
    try:
        text = json.dumps(state)
    except (TypeError, ValueError) as error:
        raise HarnessError(f"state_dict is not JSON: {error}") from error
    assert json.loads(text) == state, "state_dict changes when it is written as JSON and read back"
    fresh = subject.make()
    fresh.load_state_dict(json.loads(text))
    assert fresh.state_dict() == state, "load_state_dict(state_dict()) gives another state"
