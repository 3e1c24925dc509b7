"""The sample of generated questions: even, capped, the same every time, with true neighbours."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from run_folders import write_run

from harness.errors import HarnessError
from harness.leaderboard import Run, collect, find_runs
from harness.report.questions import COLUMNS, MOST_CHARACTERS, read_questions

ITERATIONS = ("01", "02", "03")


def runs_with(root: Path, texts: dict[str, list[list[str]]]) -> tuple[Run, ...]:
    """Finished runs, one a method, that asked the given texts in their iterations."""
    for method, asked in texts.items():
        metrics = [{"curriculum/questions": 50.0} for _ in asked]
        folder = write_run(root, method, iterations=metrics, config={"votes": {"n": 10}})
        for t, questions in zip(ITERATIONS, asked, strict=False):
            frame = pd.DataFrame({"question": questions, "question_id": range(len(questions))})
            frame.assign(valid=True).to_parquet(folder / "iterations" / t / "questions.parquet")
    return collect(find_runs(root)).runs


def many(n: int, words: str) -> list[list[str]]:
    return [[f"{words} {t} number {i}" for i in range(n)] for t in range(3)]


def test_every_run_and_iteration_has_its_share(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"a": many(20, "apples"), "b": many(4, "bees"), "c": many(20, "c")})
    sample = read_questions(runs, most_rows=60)
    assert (sample.kept, sample.generated, sample.runs, sample.recorded) == (132, 450, 3, 0)
    assert tuple(sample.frame.columns) == COLUMNS
    counts = Counter(zip(sample.frame["method"], sample.frame["iteration"], strict=True))
    assert sum(counts.values()) == 60
    assert {counts["b", t] for t in (1, 2, 3)} == {4}  # all it has
    assert {counts[m, t] for m in "ac" for t in (1, 2, 3)} == {8}


def test_the_sample_is_the_same_every_time_and_in_order(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"a": many(30, "apples"), "b": many(30, "bees")})
    first = read_questions(runs, most_rows=40).frame
    pd.testing.assert_frame_equal(first, read_questions(runs[::-1], most_rows=40).frame)
    keys = first[["method", "seed", "iteration", "question_id"]].apply(tuple, axis=1)
    assert list(keys) == sorted(keys)
    assert not keys.duplicated().any()


def test_bytes_are_capped(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"a": [["ü" * 500] * 20] * 3})
    sample = read_questions(runs, most_bytes=25_000)
    # 1000 bytes each, and as much for the nearest one except in the first iteration.
    sizes = [1000 if n is None else 2000 for n in sample.frame["nearest"]]
    assert 23_000 <= sum(sizes) <= 25_000


def test_long_texts_are_cut_and_say_so(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"a": [["y" * 100_000]]})
    [text] = read_questions(runs).frame["question"]
    assert text == "y" * MOST_CHARACTERS + "… (98000 more characters)"


def test_the_nearest_is_an_earlier_question_of_the_same_run(tmp_path: Path) -> None:
    asked = [
        ["how many pears are in the red box", "a train leaves the station at noon"],
        ["how many pears are in the blue box"],
        ["a train leaves the station at 9", "how many pears are in the blue box"],
    ]
    other = [["a train leaves the station at 9"], ["unlike"], ["all"]]
    frame = read_questions(runs_with(tmp_path, {"a": asked, "b": other})).frame
    own = frame[frame["method"] == "a"]
    found = {
        (r["iteration"], r["question"]): (r["nearest"], r["nearest_iteration"], r["similarity"])
        for r in own.to_dict("records")
    }
    assert found[1, asked[0][0]] == (None, None, None)
    nearest, iteration, similarity = found[2, asked[1][0]]
    assert (nearest, iteration) == (asked[0][0], 1)
    assert 0.5 < similarity < 1
    # Numbers don't count, and the same text is as close as can be.
    assert found[3, asked[2][0]][:2] == (asked[0][1], 1)
    assert found[3, asked[2][1]] == (asked[1][0], 2, 1.0)


def test_what_a_run_recorded_itself_is_kept(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"a": [["first"], ["second"]]})
    frame = pd.DataFrame(
        {
            "question_id": [7],
            "question": ["second"],
            "valid": [True],
            "nearest_question": ["one that wasn't kept"],
            "nearest_iteration": [1],
            "nearest_similarity": [0.25],
        }
    )
    frame.to_parquet(runs[0].folder / "iterations" / "02" / "questions.parquet")
    sample = read_questions(runs)
    assert sample.recorded == 1
    row = sample.frame.iloc[1]
    assert list(row[["nearest", "nearest_iteration", "similarity"]]) == [
        "one that wasn't kept",
        1,
        0.25,
    ]


def test_checks_and_votes_of_whole_runs(tmp_path: Path) -> None:
    runs = runs_with(tmp_path, {"a": [["one", "two", "three"]]})
    folder = runs[0].folder / "iterations" / "01"
    asked = pd.read_parquet(folder / "questions.parquet")
    asked["label"], asked["p_hat"] = ["4", "1/2", None], [0.5, 0.25, None]
    asked.to_parquet(folder / "questions.parquet")
    pd.DataFrame(
        {
            "question_id": [1, 0],
            "topic": ["halves", "sums"],
            "well_posed": [True, False],
            "true_answer": ["0.5", "5"],
        }
    ).to_parquet(folder / "checks.parquet")
    pd.DataFrame(
        {
            "question_id": [0, 0, 0, 0, 1],
            "answer": ["5", "4", "4.0", None, "1/2"],
            "cluster": [1, 0, 0, -1, 0],
        }
    ).to_parquet(folder / "votes.parquet")
    rows = read_questions(runs).frame.to_dict("records")
    assert [r["topic"] for r in rows] == ["sums", "halves", None]
    assert [r["well_posed"] for r in rows] == [False, True, None]
    assert [r["right"] for r in rows] == [False, True, None]
    assert [r["votes"] for r in rows] == [10, 10, 10]
    assert rows[0]["answers"] == [("4", 2), ("5", 1), ("no answer", 1)]
    assert rows[1]["answers"] == [("1/2", 1)]
    assert rows[2]["answers"] is None
    assert rows[2]["p_hat"] is None


def test_an_unfinished_run_shows_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, "a", 0, {"proposer/valid": 1.0}, status=None)
    sample = read_questions(collect(find_runs(tmp_path)).runs)
    assert sample.frame.empty
    assert (sample.kept, sample.runs) == (0, 0)


@pytest.mark.parametrize("damage", ["truncated", "another table"])
def test_a_bad_table_is_named_in_one_line(tmp_path: Path, damage: str) -> None:
    runs = runs_with(tmp_path, {"a": many(3, "apples")})
    path = runs[0].folder / "iterations" / "02" / "questions.parquet"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(HarnessError) as error:
        read_questions(runs)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
