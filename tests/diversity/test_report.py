"""The measurement of one iteration: fixed n, well-posed subset, history, table of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.diversity import diversity_table, measure, metric_names, snapshot
from harness.diversity.embedders import HashingEmbedder
from harness.diversity.functional import topic_entropy
from harness.diversity.lexical import distinct_n
from harness.errors import HarnessError

EMBED = HashingEmbedder(64)
WORDS = ["area", "sum", "prime", "angle", "pens", "books", "speed", "train", "price", "tank"]


@dataclass(frozen=True)
class Finding:
    topic: str
    tier: int | None
    well_posed: bool
    answer: str | None


class ByFirstWord:
    topics = tuple(WORDS)

    def check(self, question: str) -> Finding:
        word, good = question.split()[0], question.endswith("?")
        return Finding(word if good else "other", 1 if good else None, good, "1" if good else None)


def questions(seed: int, n: int, posed: float = 0.5) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        f"{rng.choice(WORDS)} of the {rng.choice(WORDS)} {'?' if rng.random() < posed else '.'}"
        for _ in range(n)
    ]


def run(texts: list[str], **changes: object) -> dict[str, float | None]:
    arguments: dict[str, object] = {
        "p_hat": np.linspace(0, 1, len(texts)),
        "answers": ["4"] * len(texts),
        "checks": [ByFirstWord().check(t) for t in texts],
        "embed": EMBED,
        "history": [],
        "n": 20,
        "n_well_posed": 8,
        "votes": 10,
        "seed": 0,
    }
    return measure(texts, **{**arguments, **changes})  # type: ignore[arg-type]


def test_all_names_are_there_whatever_is_missing() -> None:
    texts = questions(0, 40)
    for values in (run(texts), run([]), run(texts, checks=None, p_hat=None, answers=None)):
        assert tuple(values) == metric_names()


def test_exactly_n_questions_enter() -> None:
    texts = questions(1, 20)
    values = run(texts)  # n of n: the subsample is everything
    assert values["diversity/lexical/distinct_1"] == distinct_n(texts, 1)
    assert values["diversity/functional/topic_entropy"] == topic_entropy(
        [ByFirstWord().check(t).topic for t in texts]
    )
    assert values["diversity/functional/answer_entropy"] == 0.0


def test_fewer_than_n_is_none_and_never_another_n() -> None:
    values = run(questions(2, 19, posed=0.9))
    for name, value in values.items():
        if name.startswith("diversity/"):
            assert value is None, name
    assert values["diversity_wellposed/lexical/distinct_1"] is not None
    few_posed = run(questions(2, 40, posed=0.05))
    assert few_posed["diversity/lexical/distinct_1"] is not None
    assert all(v is None for k, v in few_posed.items() if k.startswith("diversity_wellposed/"))


def test_without_a_checker_there_is_no_topic_and_no_well_posed_subset() -> None:
    values = run(questions(3, 40), checks=None)
    assert values["diversity/functional/topic_entropy"] is None
    assert values["diversity/functional/difficulty_entropy"] is not None
    assert all(v is None for k, v in values.items() if k.startswith("diversity_wellposed/"))


def test_well_posed_subset_excludes_word_salad() -> None:
    posed = ["area of the sum ?"] * 10
    salad = [f"{w} of {v} ." for w in WORDS for v in WORDS][:30]
    values = run(posed + salad)
    assert values["diversity_wellposed/semantic/vendi"] == pytest.approx(1, abs=1e-6)
    assert values["diversity_wellposed/functional/topic_entropy"] == 0.0
    vendi = values["diversity/semantic/vendi"]
    assert vendi is not None
    assert vendi > 3


def test_seeded() -> None:
    texts = questions(4, 60)
    assert run(texts) == run(texts)
    assert run(texts, seed=1) != run(texts)


def test_history() -> None:
    first, second = questions(5, 30), ["how fast does a rocket fly to mars ?"] * 30
    checks = [ByFirstWord().check(t) for t in first]
    at_first = run(first)
    assert at_first["diversity/semantic/novelty_rate"] is None
    assert at_first["diversity/semantic/vendi_cumulative"] == at_first["diversity/semantic/vendi"]
    later = run(second, history=[snapshot(first, checks, EMBED)])
    assert later["diversity/semantic/novelty_rate"] == 1.0
    assert later["diversity/semantic/vendi"] == pytest.approx(1, abs=1e-6)
    cumulative, before = later["diversity/semantic/vendi_cumulative"], at_first
    assert cumulative is not None
    assert before["diversity/semantic/vendi"] is not None
    assert cumulative > 1.5
    again = run(second, history=[snapshot(second, None, EMBED)])
    assert again["diversity/semantic/novelty_rate"] == 0.0
    # The earlier iteration can't say what was well posed there, so nothing is claimed about it.
    assert again["diversity_wellposed/semantic/novelty_rate"] is None
    assert again["diversity_wellposed/semantic/vendi"] is not None


def test_a_short_earlier_iteration_leaves_cumulative_metrics_empty() -> None:
    short = snapshot(questions(6, 10), None, EMBED)
    values = run(questions(7, 40), history=[short])
    assert values["diversity/semantic/vendi"] is not None
    assert values["diversity/semantic/vendi_cumulative"] is None
    assert values["diversity/semantic/novelty_rate"] is None


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(HarnessError, match="40 texts but 3 answers"):
        run(questions(8, 40), answers=["1"] * 3)


def test_table_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    texts = questions(9, 60)
    frame = pd.DataFrame(
        {"question": [*texts, None], "iteration": [1] * 30 + [2] * 31, "p_hat": [0.5] * 61}
    )
    frame.to_parquet(path)
    table = diversity_table(path, embed=EMBED, n=20, n_well_posed=8, checker=ByFirstWord(), seed=0)
    assert list(table.columns) == ["iteration", "metric", "value"]
    assert len(table) == 2 * len(metric_names())
    values = table.set_index(["iteration", "metric"])["value"]
    expected = run(texts[:30])
    assert values[1, "diversity/semantic/vendi"] == expected["diversity/semantic/vendi"]
    assert values[2, "diversity/semantic/novelty_rate"] >= 0
    assert np.isnan(values[1, "diversity/functional/answer_entropy"])


def test_table_refuses_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    pd.DataFrame({"text": ["a"]}).to_parquet(path)
    with pytest.raises(HarnessError, match="no column 'question'"):
        diversity_table(path, embed=EMBED, n=2, n_well_posed=2)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(HarnessError, match=r"q\.parquet"):
        diversity_table(path, embed=EMBED, n=2, n_well_posed=2)


def test_topics_and_solutions_where_they_are_given() -> None:
    texts = questions(10, 40)
    solutions = ["1 + 2 = 3" if i % 2 else "4 * 5 - 1 = 19" for i in range(40)]
    given = run(texts, n=40, topics=["a"] * 20 + ["b"] * 20, solutions=solutions)
    assert given["diversity/functional/topic_entropy"] == pytest.approx(np.log(2))
    assert given["diversity/functional/skeleton_entropy"] == pytest.approx(np.log(2))
    assert given["diversity/functional/skeleton_distinct"] == 2 / 40
    plain = run(texts, n=40)
    assert plain["diversity/functional/skeleton_entropy"] is None
    ours = ("topic_entropy", "skeleton_entropy", "skeleton_distinct")
    assert all(k.endswith(ours) for k in plain if plain[k] != given[k])
    without = run(texts, checks=None, topics=["a"] * 40)
    assert without["diversity/functional/topic_entropy"] == 0.0
    with pytest.raises(HarnessError, match="40 texts but 3 topics"):
        run(texts, topics=["a"] * 3)


def test_every_metric_is_of_the_set_and_not_of_its_order() -> None:
    texts = questions(11, 20)
    solutions = [f"{i} + 1" if i % 3 else f"{i} * 2" for i in range(20)]
    back = run(texts[::-1], p_hat=np.linspace(1, 0, 20), solutions=solutions[::-1])
    for name, value in run(texts, solutions=solutions).items():
        if name.startswith("diversity/"):  # n of n: the subsample is everything
            assert back[name] == pytest.approx(value), name


def test_table_of_json_lines(tmp_path: Path) -> None:
    texts = questions(12, 30)
    frame = pd.DataFrame({"problem": texts, "solution": ["1 + 1"] * 30, "id": range(30)})
    path = tmp_path / "problems.jsonl.gz"
    frame.to_json(path, orient="records", lines=True, compression="gzip")
    table = diversity_table(path, embed=EMBED, n=20, n_well_posed=8, text="problem")
    values = table.set_index("metric")["value"]
    assert values["diversity/functional/skeleton_entropy"] == 0.0
    assert values["diversity/functional/code_length"] > 0
    with pytest.raises(HarnessError, match="no column 'question'"):
        diversity_table(path, embed=EMBED, n=20, n_well_posed=8)
    (tmp_path / "bad.jsonl").write_text('{"question": "a"}\n{')
    with pytest.raises(HarnessError, match="line 2: not JSON"):
        diversity_table(tmp_path / "bad.jsonl", embed=EMBED, n=2, n_well_posed=2)
