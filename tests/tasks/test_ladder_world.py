"""The ladder's grammar: generator and parser agree, and hostile text is only 'other'."""

from __future__ import annotations

import re
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ladder.checker import LadderChecker
from tasks.ladder.heldout import TEST, items, text
from tasks.ladder.pretrain import Sampler, corpus, error_rate
from tasks.ladder.tokenizer import build
from tasks.ladder.wordings import ALSO_READ, ASK, SLOTS, STEPS, STORIES
from tasks.ladder.world import (
    MAX_CHARS,
    OTHER,
    STORY_STEPS,
    TIERS,
    TOPICS,
    Problem,
    fill,
    parse,
    parse_clause,
    render,
    sample_problem,
    solve,
    tier_of,
    training_problem,
)

TEMPLATES = [
    *(("story", name, t) for name, texts in STORIES.items() for t in texts),
    *(("step", name, t) for name, texts in STEPS.items() for t in texts),
    *(("story" if n in STORIES else "step", n, t) for n, texts in ALSO_READ.items() for t in texts),
    *(("ask", "ask", t) for t in ASK),
]


def test_size_of_the_world() -> None:
    assert len(TOPICS) == len(set(TOPICS)) == 24
    assert Counter(map(tier_of, TOPICS)) == {1: 6, 2: 6, 3: 6, 4: 6}
    assert tier_of(OTHER) is None
    assert all(len(words) >= 3 and len(set(words)) == len(words) for words in SLOTS.values())
    assert all(len(t) >= 3 for t in (*STORIES.values(), *STEPS.values(), ASK))
    used = {slot for _, _, t in TEMPLATES for slot in re.findall(r"\{(\w+)\}", t)}
    assert used == set(SLOTS)
    assert all(len(STORY_STEPS[story]) >= 3 for story in STORIES)


@pytest.mark.parametrize(("kind", "name", "template"), TEMPLATES)
def test_every_wording_of_every_slot_is_read_back(kind: str, name: str, template: str) -> None:
    rng = np.random.default_rng(0)
    numbers = {"a": 31, "b": 7, "c": 12, "k": 5}
    for slot in re.findall(r"\{(\w+)\}", template):
        for words in SLOTS[slot]:
            chosen = template.replace(f"{{{slot}}}", words, 1)
            clause = parse_clause(fill(rng, chosen, numbers))
            assert clause is not None
            assert (clause.kind, clause.name) == (kind, name)
            assert clause.numbers == {k: numbers[k] for k in re.findall(r"<(\w)>", template)}


def test_no_sentence_is_two_clauses() -> None:
    rng = np.random.default_rng(1)
    numbers = {"a": 31, "b": 7, "c": 12, "k": 5}
    from tasks.ladder.world import _PATTERNS

    for _, _, template in TEMPLATES:
        for _ in range(60):
            sentence = fill(rng, template, numbers)
            read = {
                (kind, name)
                for kind, name, patterns in _PATTERNS
                for pattern in patterns
                if pattern.fullmatch(sentence)
            }
            assert len(read) == 1, sentence


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TOPICS))
def test_generator_and_parser_agree(seed: int, topic: str) -> None:
    rng = np.random.default_rng(seed)
    problem = sample_problem(rng, topic)
    question = render(rng, problem)
    parsed = parse(question)
    assert parsed.problem == problem
    assert (parsed.topic, parsed.tier, parsed.well_posed) == (topic, tier_of(topic), True)
    assert parsed.answer == problem.answer >= 0
    assert question.isascii()
    assert question == question.lower()
    assert len(question) <= MAX_CHARS
    assert solve(problem).endswith(f"\\boxed{{{problem.answer}}}")


def test_evaluators_agree_on_thousands_and_texts_stay_below_the_cap() -> None:
    rng = np.random.default_rng(2)
    longest = 0
    for topic in TOPICS:
        for _ in range(250):
            problem = sample_problem(rng, topic)
            question = render(rng, problem)
            assert parse(question).answer == problem.answer, question
            longest = max(longest, len(question))
    assert longest < MAX_CHARS


@given(st.sampled_from(TOPICS), st.integers(0, 10**6))
def test_steps_of_a_clean_solution_are_true(topic: str, seed: int) -> None:
    problem = sample_problem(np.random.default_rng(seed), topic)
    lines = solve(problem).split(";")[:-1]
    assert len(lines) == problem.tier
    value = 0
    for i, line in enumerate(lines):
        match = re.fullmatch(r"(\d*)(\+|-|\*|/|%|min)(\d+)=(\d+)", line)
        assert match is not None
        assert bool(match[1]) == (i == 0)
        left, right = int(match[1] or value), int(match[3])
        value = int(match[4])
        true = {
            "+": left + right,
            "-": left - right,
            "*": left * right,
            "/": left // max(right, 1),
            "%": left % max(right, 1),
            "min": min(left, right),
        }
        assert value == true[match[2]]
    assert value == problem.answer


def test_injected_errors_have_their_rate_and_stay_consistent() -> None:
    rng = np.random.default_rng(3)
    problem = Problem("gain", (12, 9), (("mul", 3),))
    answers = Counter(solve(problem, rng, 0.2).split("=")[-1] for _ in range(4000))
    right = answers.most_common(1)[0]
    assert right[0] == "63;\\boxed{63}"
    assert right[1] / 4000 == pytest.approx(0.64, abs=0.04)
    assert all(re.fullmatch(r"(\d+);\\boxed\{\1\}", a) for a in answers)
    rates = [error_rate(topic) for topic in TOPICS]
    assert 0.05 <= min(rates) < max(rates) <= 0.35


ILL_POSED = [
    ("tom has 5 apples and gets 7 more.", "gain-1"),  # no question
    ("tom has 5 apples and gets 7 more", "gain-1"),
    ("tom has 5 apples and gets 7 more. then 3 are lost.", "gain-2"),
    ("tom has 5 apples and gets 7 more. how many are there.", "gain-1"),  # no question mark
    ("tom has 5 apples and gets 7 more?", "gain-1"),
    ("tom had 5 apples but lost 7. how many are there?", "lose-1"),  # more than there is
    ("tom has 5 apples and gets 7 more. 13 leave. how many are there?", "gain-2"),
    ("the list goes 3, 5, 9 and so on. what is the answer?", "list-1"),  # unequal steps
    ("the list goes 5, 5, 5 and so on. what is the answer?", "list-1"),
    ("tom has 5 apples and gets 7 more. how many are there? how many are there?", OTHER),
    ("tom has 5 apples and gets 7 more. how many are there. then 3 leave?", "gain-2"),
    ("tom has 5 apples and gets 7 more. how many are there. how many are there?", "gain-1"),
    ("tom takes 9 nuts in sets of 1, with a rest. how many are there?", "rest-1"),
    ("tom has 5 apples and gets 7 more" + ". 3 more come" * 4 + ". how many are there?", "gain-4"),
]


@pytest.mark.parametrize(("question", "topic"), ILL_POSED)
def test_ill_posed(question: str, topic: str) -> None:
    checked = LadderChecker().check(question)
    assert (checked.topic, checked.tier) == (topic, tier_of(topic))
    assert not checked.well_posed
    assert checked.answer is None


@pytest.mark.parametrize(
    "question",
    [
        "",
        " ",
        "?",
        ".",
        "how many are there?",
        "then 3 are lost. how many are there?",  # no story
        "tom has 5 aples and gets 7 more. how many are there?",
        "tom has 5 apples and gets 7 more. something odd. how many are there?",
        "tom has 05 apples and gets 7 more. how many are there?",
        "tom has 5 apples and gets 0 more. how many are there?",
        "tom has 1234 apples and gets 7 more. how many are there?",
        "tom has \u0665 apples and gets 7 more. how many are there?",
        "Tom has 5 apples and gets 7 more. how many are there?",
        "tom has 5 apples and gets 7 more.\nhow many are there?",
        "\x00\ud800\u202e",
    ],
)
def test_other(question: str) -> None:
    checked = LadderChecker().check(question)
    assert checked.topic == OTHER
    assert checked.tier is None
    assert not checked.well_posed
    assert checked.answer is None


def test_every_step_is_accepted_in_every_story() -> None:
    rng = np.random.default_rng(4)
    for story in STORIES:
        base = sample_problem(rng, f"{story}-1")
        for step in STEPS:
            question = render(rng, Problem(story, base.numbers, ((step, 2),)))
            value = base.answer
            wanted = {
                "add": value + 2,
                "sub": value - 2,
                "mul": value * 2,
                "div": value // 2,
                "mod": value % 2,
                "cap": min(value, 2),
            }[step]
            answer = parse(question).answer
            assert answer == (wanted if wanted >= 0 else None), question


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=500) | st.text(alphabet="tomhas 0123456789.,?", max_size=450))
def test_any_text_gets_a_verdict(question: str) -> None:
    checked = LadderChecker().check(question)
    assert checked.topic in (*TOPICS, OTHER)
    assert checked.well_posed == (checked.answer is not None)


def test_megabytes_of_hostile_text_take_no_time() -> None:
    started = time.perf_counter()
    for unit in ("a", "tom has 5 ", ". ", "?", "9", "then 3 are lost. ", " \n", "\U0001f600"):
        long = unit * (1_000_000 // len(unit))
        assert LadderChecker().check(long).topic == OTHER
        assert LadderChecker().check(long[:MAX_CHARS]).topic == OTHER
    assert time.perf_counter() - started < 2.0


def test_held_out_file_is_what_the_seed_gives() -> None:
    assert TEST.read_text(encoding="utf-8") == text()
    rows = items()
    assert len(rows) == 1200
    assert Counter(row["tier"] for row in rows) == dict.fromkeys(TIERS, 300)
    assert set(Counter(row["topic"] for row in rows).values()) == {50}
    assert len({row["id"] for row in rows}) == len({row["question"] for row in rows}) == 1200
    for row in rows:
        checked = LadderChecker().check(str(row["question"]))
        assert checked.answer == row["answer"]
        assert (checked.topic, checked.tier) == (row["topic"], row["tier"])


def test_pretraining_never_sees_a_held_out_problem() -> None:
    held = {parse(str(row["question"])).problem for row in items()}
    assert all(problem is not None and problem.held_out for problem in held)
    rng = np.random.default_rng(5)
    for topic in TOPICS:
        for _ in range(100):
            problem = training_problem(rng, topic)
            assert not problem.held_out
            assert problem not in held


def test_pretraining_rows_hold_no_held_out_question_and_no_top_tier_solution() -> None:
    tokenizer = build(corpus(0, per_topic=60))
    sampler = Sampler(tokenizer, 1)
    for _ in range(300):
        for row in (sampler.proposer(), sampler.solver()):
            assert len(row.ids) == len(row.weights)
            written = tokenizer.decode(row.ids)
            match = re.search(r"<question>(.*)</question>|solve: (.*)<\|assistant\|>", written)
            assert match is not None
            parsed = parse(match[1] or match[2])
            assert parsed.problem is not None
            assert not parsed.problem.held_out
            assert match[1] or parsed.tier != TIERS[-1]
