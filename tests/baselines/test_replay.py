"""A bank of earlier curricula, and how much of it is replayed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pools
import tiny
from hypothesis import given
from hypothesis import strategies as st

from harness.methods import Curriculum, Method, build
from harness.store import read_json, read_parquet


def iteration(method: Method, t: int, n: int, *, start: int = 0, **changes: Any) -> Curriculum:
    """Select questions ``q<start>..`` (their labels ``<t>:<question>``), then end iteration t."""
    names = [f"q{start + i}" for i in range(n)]
    pool = pools.make([5] * n, questions=names)
    pool.tallies[:] = [
        type(x)(f"{t}:{q}", x.p_hat, x.cluster, x.n_answers)
        for x, q in zip(pool.tallies, names, strict=True)
    ]
    ctx = pools.context(iteration=t, **changes)
    found = method.select(ctx, pool, Curriculum(np.arange(n)))
    end = tiny.make_context(role="solver", phase="train", iteration=t)
    method.on_iteration_end(end, {})
    return found


def test_defaults() -> None:
    params = build("replay")[0].params
    assert (params.share, params.capacity, params.eviction) == (0.3, 4096, "reservoir")


def test_three_of_ten_rows_are_replayed_with_the_labels_they_had() -> None:
    method = build("replay")[0]
    assert iteration(method, 1, 20).replay == ()
    # 14 fresh rows: .3 / .7 * 14 = 6 old ones, that is 6 of 20
    found = iteration(method, 2, 14, start=100)
    assert found.index.tolist() == list(range(14))
    assert len(found.replay) == 6
    assert len(set(found.replay)) == 6
    assert set(found.replay) <= {(f"q{i}", f"1:q{i}") for i in range(20)}
    assert len(found) == 20


def test_a_question_of_today_is_not_replayed_and_a_small_bank_gives_what_it_has() -> None:
    method = build("replay")[0]
    iteration(method, 1, 4)
    found = iteration(method, 2, 30, start=2)  # q2 and q3 are asked again
    assert set(found.replay) == {("q0", "1:q0"), ("q1", "1:q1")}


def test_old_rows_never_stand_in_for_missing_ones() -> None:
    method = build("replay")[0]
    iteration(method, 1, 20)
    found = iteration(method, 2, 5, start=50, min_survivors=6)
    assert found.replay == ()


def test_what_is_selected_is_banked_at_the_end_only_and_once() -> None:
    method = build("replay")[0]
    pool = pools.make([5, 5, 5], questions=["a", "b", "a"])
    for rows in ([0], [0, 1, 2]):  # two rounds of one iteration: the second one counts
        method.select(pools.context(), pool, Curriculum(np.array(rows)))
        assert method.bank == []
    method.on_iteration_end(tiny.make_context(role="solver"), {})
    assert method.bank == [("a", "2"), ("b", "1")]
    method.on_iteration_end(tiny.make_context(role="solver"), {})
    assert len(method.bank) == 2


def test_first_in_first_out() -> None:
    method = build("replay:capacity=3,eviction=fifo")[0]
    iteration(method, 1, 2)
    iteration(method, 2, 2, start=10)
    assert [q for q, _ in method.bank] == ["q1", "q10", "q11"]


def test_a_reservoir_keeps_every_row_with_the_same_chance() -> None:
    kept = np.zeros(12)
    for seed in range(600):
        method = build("replay:capacity=3")[0]
        pool = pools.make([5] * 12)
        method.select(pools.context(seed=seed), pool, Curriculum(np.arange(12)))
        method.on_iteration_end(tiny.make_context(role="solver", seed=seed), {})
        assert len(method.bank) == 3
        assert method.seen == 12
        kept[[int(q[1:]) for q, _ in method.bank]] += 1
    # 600 * 3 / 12 = 150 each; a binomial's standard deviation is 10.6
    assert np.abs(kept - 150).max() < 45


rows = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=5)


@given(rows, rows, st.integers(0, 99))
def test_state_round_trips(bank: list[Any], pending: list[Any], seen: int) -> None:
    method = build("replay")[0]
    method.bank, method.pending, method.seen = bank, pending, seen
    state = json.loads(json.dumps(method.state_dict()))
    fresh = build("replay")[0]
    fresh.load_state_dict(state)
    assert fresh.state_dict() == method.state_dict()
    assert (fresh.bank, fresh.pending) == (bank, pending)


def test_pending_rows_survive_a_kill_between_the_phases() -> None:
    method, killed = build("replay")[0], build("replay")[0]
    method.select(pools.context(), pools.make([5] * 3), Curriculum(np.arange(3)))
    killed.load_state_dict(json.loads(json.dumps(method.state_dict())))
    for m in (method, killed):
        m.on_iteration_end(tiny.make_context(role="solver"), {})
    assert killed.state_dict() == method.state_dict()
    assert len(killed.bank) == 3


def test_off_is_the_base() -> None:
    method = build("replay:share=0")[0]
    base = Curriculum(np.arange(2))
    assert method.select(pools.context(), pools.make([5, 5]), base) is base
    method.on_iteration_end(tiny.make_context(role="solver"), {})
    assert method.bank == []


def test_a_run_replays_what_its_first_iteration_was_trained_on() -> None:
    import tiny_run

    run = tiny_run.finished("replay")
    first = read_parquet(run.iteration(1) / "curriculum.parquet")
    second = read_parquet(run.iteration(2) / "curriculum.parquet")
    old = second[second["question_id"] == -1]
    fresh = len(second) - len(old)
    assert len(old) == round(0.3 / 0.7 * fresh) > 0
    known = set(zip(first["question"], first["label"], strict=True))
    assert set(zip(old["question"], old["label"], strict=True)) <= known
    assert tiny_run.metrics(run, 2)["method/rows_replayed"] == len(old)
    saved = read_json(run.iteration(2) / "curriculum.json")["method"]
    assert {tuple(row) for row in saved["bank"]} == known
