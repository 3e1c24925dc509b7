"""Overlap of a curriculum with test sets: by hand, on hostile text, and where it is known."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import main
from harness.contamination import LONG, SHORT, compare, printable, read_questions, words
from harness.data import load_items
from harness.diversity.embedders import HashingEmbedder
from harness.errors import HarnessError

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
needs_data = pytest.mark.skipif(
    not os.environ.get("COEVOLUTION_DATA"), reason="COEVOLUTION_DATA names no folder of data sets"
)


def items(*problems: str) -> list[dict[str, str]]:
    return [{"id": f"item{i}", "problem": p} for i, p in enumerate(problems)]


def letters(start: int, n: int) -> str:
    return " ".join(ALPHABET[start : start + n])


def test_words_are_letters_and_digits() -> None:
    assert words("If $x^2 = 16$, FIND_x!") == ["if", "x", "2", "16", "find", "x"]
    assert words("\0\u202e ...") == []


@pytest.mark.parametrize(
    ("question", "item", "shared"),
    [
        (letters(0, 20), letters(0, 20), 8),  # 20 words have 8 sequences of 13
        (letters(0, 20), letters(7, 13), 1),
        (letters(0, 20), letters(8, 13), 0),  # 12 words in common are not 13
        (letters(0, 20), letters(0, 12), 5),  # a short item: sequences of 8
        (letters(0, 12), letters(0, 20), 5),  # a short question
        (letters(0, 8), letters(1, 8), 0),
        (letters(0, 7), letters(0, 7), 0),  # too short for a sequence, but a copy
    ],
)
def test_shared_sequences(question: str, item: str, shared: int) -> None:
    found = compare("t", [question], items("nothing of the kind", item))
    copy = question == item
    assert found.copies == copy
    assert found.questions_shared == float(copy or shared > 0)
    assert found.items_shared == 0.5 * (copy or shared > 0)
    if shared or copy:
        pair = found.pairs.iloc[0]
        assert (pair["item"], pair["shared"], pair["copy"]) == ("item1", shared, copy)


def test_copies_may_differ_in_signs() -> None:
    found = compare("t", ["What is $x + 3$?", "what is x-3", "what is x 4"], items("What is x3?"))
    assert found.copies == 2
    assert found.items_covered == 1.0


def test_coverage_tells_a_phrase_from_an_item() -> None:
    phrase = letters(0, 13)
    long_item = phrase + " " + " ".join(f"w{i}" for i in range(40))
    found = compare("t", [f"q0 q1 {phrase}"], items(long_item, f"{phrase} end"))
    assert (found.items_shared, found.items_covered) == (1.0, 0.5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("ab"), max_size=20), min_size=1, max_size=5),
    st.lists(st.lists(st.sampled_from("ab"), max_size=20), min_size=1, max_size=5),
)
def test_as_by_brute_force(questions: list[list[str]], problems: list[list[str]]) -> None:
    def overlap(a: list[str], b: list[str]) -> bool:
        n = LONG if min(len(a), len(b)) >= LONG else SHORT
        grams = [{tuple(x[i : i + n]) for i in range(len(x) - n + 1)} for x in (a, b)]
        return bool(grams[0] & grams[1]) or (bool(a) and a == b)

    hits = np.array([[overlap(q, p) for p in problems] for q in questions])
    found = compare("t", [" ".join(q) for q in questions], items(*(" ".join(p) for p in problems)))
    assert found.questions_shared == hits.any(axis=1).mean()
    assert found.items_shared == hits.any(axis=0).mean()
    assert found.items_covered <= found.items_shared


def test_embeddings() -> None:
    embed = HashingEmbedder(128)
    ours = ["the area of a circle", "trains meet at noon"]
    theirs = items("the area of a circle", "prime numbers below ten")
    found = compare("t", ours, theirs, embed=embed, embedded=embed(ours))
    assert found.cosine_mean is not None
    assert 0.5 <= found.cosine_mean < 1
    assert found.close == 0.5
    assert found.cosine_p95 == pytest.approx(1.0, abs=0.06)
    assert compare("t", ours, theirs).close is None
    assert found.pairs["cosine"].iloc[0] == pytest.approx(1.0)
    assert len(compare("t", ours, theirs, embed=embed, top=1).pairs) == 1


@given(st.text())
def test_excerpts_hold_nothing_that_acts(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()  # no lone surrogate is left
    assert len(shown) <= 160 * 10


def test_hostile_questions() -> None:
    hostile = ["", "\0", "\x1b[2J" * 50, "\ud800", "a " * 10**5, "[red]x[/red]", "=cmd|' /C'!A0"]
    found = compare("t", hostile, items("a b", "\u202e"), embed=HashingEmbedder(16))
    assert found.copies == 0
    assert found.questions == len(hostile)
    with pytest.raises(HarnessError, match="nothing to compare"):
        compare("t", [], items("a"))


def table(tmp_path: Path, questions: list[str]) -> Path:
    path = tmp_path / "questions.parquet"
    pd.DataFrame({"question": questions}).to_parquet(path)
    return path


def test_questions_of_a_run_folder(tmp_path: Path) -> None:
    for t, questions in ((1, ["a", "b"]), (2, ["c"])):
        folder = tmp_path / "run" / "iterations" / f"{t:02d}"
        folder.mkdir(parents=True)
        pd.DataFrame({"question": questions}).to_parquet(folder / "curriculum.parquet")
    assert read_questions(tmp_path / "run", "question") == ["a", "b", "c"]


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, empty = table(tmp_path, ["What is 3 + 4?"]), tmp_path / "e" / "empty"
    empty.mkdir(parents=True)
    cases = [
        ([str(tmp_path / "none.parquet")], "missing"),
        ([str(empty)], "curriculum.parquet"),
        ([str(good), "--text", "problem"], "no column 'problem'"),
        ([str(good), "--tasks", "gsm8k_tset"], "no data set 'gsm8k_tset'"),
        ([str(good), "--tasks", ","], "at least one"),
        ([str(good), "--tasks", "aime24,aime24"], "twice"),
        ([str(good), "--tasks", "aime24"], "missing"),
        ([str(good)], "no test set"),
        ([str(good), "--threshold", "2"], "[-1, 1]"),
        ([str(good), "--threshold", "nan"], "[-1, 1]"),
        ([str(good), "--out", "pairs.txt"], ".parquet file"),
        ([str(good), "--data", str(tmp_path / "nowhere")], "no such folder"),
        ([str(good), "--top", "0"], "top"),
        ([str(good), "--embedder", "./nowhere"], "no test set"),
    ]
    for arguments, told in cases:
        folder = [] if "--data" in arguments else ["--data", str(empty)]
        assert main(["contamination", *arguments, *folder]) == 2, arguments
        said = capsys.readouterr().err
        assert told in said, said
        assert said.count("\n") == 1
        assert said.startswith("error: ")


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data` sets the variable for the process; every test gets its own back."""
    monkeypatch.setenv("COEVOLUTION_DATA", os.environ.get("COEVOLUTION_DATA", ""))


@needs_data
def test_known_overlaps() -> None:
    """What the README of the data sets states of the collisions between them."""
    math_test, train = load_items("math_test"), load_items("math_train")
    subset = [i["problem"] for i in load_items("math500")]
    found = compare("math_test", subset, math_test)
    assert found.copies == 500
    assert found.items_covered >= 0.1
    ids = {i["id"] for i in load_items("math500")}
    assert ids <= set(compare("math_test", subset, math_test, top=500).pairs["item"])
    assert compare("math_test", [i["problem"] for i in train], math_test).copies == 10
    olympiad = load_items("olympiadbench")
    both = compare("olympiadbench", [i["problem"] for i in [*math_test, *train]], olympiad)
    copies = set(both.pairs.loc[both.pairs["copy"], "item"])
    known = {"olympiadbench_2713", "olympiadbench_2791", "olympiadbench_2890"}
    assert copies == known & {i["id"] for i in olympiad}
    assert copies


@needs_data
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_command(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aime = [i["problem"] for i in load_items("aime24")]
    path = table(tmp_path, [*aime[:3], "=1+2 \x1b[2J", "How many pens?"])
    out = tmp_path / f"pairs{suffix}"
    told = ["--tasks", "aime24,amc23", "--out", str(out)]
    assert main(["contamination", str(path), *told, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    by_task = {o["task"]: o for o in report["overlap"]}
    assert by_task["aime24"]["copies"] == 3
    assert by_task["aime24"]["close"] == pytest.approx(0.6)
    assert by_task["amc23"]["copies"] == 0
    assert report["embedder"] == "hashing"
    pairs = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    assert set(pairs["row"][:3]) == {0, 1, 2}
    assert pairs["question"].map(str.isprintable).all()
    assert pairs["question"].str.startswith("'=1+2").any() == (suffix == ".csv")
    assert main(["contamination", str(path), *told[:2], "--embedder", "none"]) == 0
    printed = capsys.readouterr().out
    assert "copy of aime24" in printed
    assert "\x1b[2J" not in printed
