"""The catalogue of question sets, a folder of them, the hub, and every bad input."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import data
from harness.data import Source, load_items, read_rows, sources
from harness.errors import HarnessError

ROWS = [
    {"id": f"q{i}", "problem": f"What is {i} + {i}?", "answer": str(2 * i), "solution": "add"}
    | {"level": 1 + i % 3, "subject": "Algebra"}
    for i in range(4)
]


def write(path: Path, rows: Sequence[object]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.ENV, raising=False)
    monkeypatch.delenv(data.UNVERIFIED, raising=False)


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """Replace the catalogue by one made-up set named 'quiz'."""

    def replace(**entry: Any) -> Source:
        source = Source(name="quiz", **{"file": "quiz.jsonl", "rows": 4} | entry)
        monkeypatch.setattr(data, "sources", lambda: {"quiz": source})
        return source

    return replace


def test_the_catalogue_names_the_sets_and_pins_them() -> None:
    names = "gsm8k_test gsm8k_train math500 math_test math_train aime24 aime25 amc23 minerva_math"
    assert set(sources()) == {*names.split(), "olympiadbench"}
    for source in sources().values():
        assert source.rows
        assert source.hub is None or source.revision is not None
        assert {"problem", "answer"} <= set(source.fields)
        assert source.licence
    assert {name for name, s in sources().items() if s.sha256 is None} == {"aime25"}


@pytest.mark.parametrize("file", ["quiz.jsonl", "quiz.jsonl.gz"])
def test_a_set_from_a_folder(
    file: str, tmp_path: Path, catalogue: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / file, ROWS)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert data.file_sha256(path) == digest
    catalogue(file=file, sha256=digest)
    items = load_items("quiz", tmp_path)
    assert items == ROWS
    assert data.data_folder() is None
    data.use_folder(None)
    assert data.ENV not in os.environ
    monkeypatch.setenv(data.ENV, "elsewhere")
    data.use_folder(tmp_path)
    assert load_items("quiz") == items


def test_ids_and_answers_become_strings(tmp_path: Path, catalogue: Callable[..., Source]) -> None:
    catalogue(rows=3, answer_form="integer")
    said = [7, "025", 27.0]
    rows = [{"id": i, "problem": "p\u2028q", "answer": a} for i, a in enumerate(said)]
    path = tmp_path / "quiz.jsonl"  # a line separator inside a string ends no line
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows) + "\n\n")
    items = load_items("quiz", tmp_path)
    assert [(i["id"], i["answer"]) for i in items] == [("0", "7"), ("1", "25"), ("2", "27")]


def test_several_values_follow_what_the_problem_asks_for(
    tmp_path: Path, catalogue: Callable[..., Source]
) -> None:
    several = {"answer": "3", "answer_full": "-3, 3", "all_boxed": ["-3", "3"]}
    asks = ["Enter all x, separated by commas.", "Enter one of them."]
    rows = [{"id": i, "problem": ask} | several for i, ask in enumerate(asks)]
    write(tmp_path / "quiz.jsonl", [*rows, ROWS[0], ROWS[1]])
    catalogue()
    every, one, plain, _ = load_items("quiz", tmp_path)
    assert (every["answer"], "also" in every) == ("-3, 3", False)
    assert (one["answer"], one["also"]) == ("3", ["-3"])
    assert "also" not in plain


@pytest.mark.parametrize(("said", "means"), [("1e-1", 0.1), (0.5, 0.5), ("1e-2,,1e-3", 0.001)])
def test_tolerance(
    said: object, means: float, tmp_path: Path, catalogue: Callable[..., Source]
) -> None:
    write(tmp_path / "quiz.jsonl", [row | {"tolerance": said} for row in ROWS])
    catalogue()
    assert [item["tolerance"] for item in load_items("quiz", tmp_path)] == [means] * 4


def test_known_empty_answers_are_left_out(tmp_path: Path, catalogue: Callable[..., Source]) -> None:
    write(tmp_path / "quiz.jsonl", [*ROWS[:3], ROWS[3] | {"answer": ""}])
    catalogue(empty_answers=1)
    assert [item["id"] for item in load_items("quiz", tmp_path)] == ["q0", "q1", "q2"]


def _line(text: str) -> bytes:
    return text.encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no items"),
        (b"\n\n", "no items"),
        (_line('{"id": "a"'), "line 1: not JSON"),
        (_line("[" * 100_000), "line 1: not JSON"),
        (_line("[1]"), "line 1: not a JSON object"),
        (b"\xff\xfe", "not readable"),
        ([*ROWS[:3], ROWS[3] | {"answer": " "}], "no answer in row 4"),
        ([*ROWS[:3], {"id": "x", "problem": "p"}], "no answer in row 4"),
        ([*ROWS[:3], ROWS[3] | {"answer": None}], "no answer in row 4"),
        ([*ROWS[:3], ROWS[3] | {"answer": ["1"]}], "row 4: the answer is list"),
        ([*ROWS[:3], ROWS[3] | {"problem": ""}], "row 4: no problem"),
        ([*ROWS[:3], ROWS[3] | {"problem": 3}], "row 4: the problem is not a string"),
        ([*ROWS[:3], ROWS[3] | {"id": None}], "row 4: no id"),
        ([*ROWS[:3], ROWS[1]], "an id occurs twice: 'q1' in rows 2 and 4"),
        ([*ROWS[:3], ROWS[3] | {"tolerance": "wide"}], "the tolerance 'wide' is no number"),
        ([*ROWS[:3], ROWS[3] | {"tolerance": "inf"}], "is not a size"),
        (ROWS[:3], "3 rows, expected 4"),
    ],
)
def test_bad_files(
    content: Any, said: str, tmp_path: Path, catalogue: Callable[..., Source]
) -> None:
    path = tmp_path / "quiz.jsonl"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    catalogue()
    with pytest.raises(HarnessError) as error:
        load_items("quiz", tmp_path)
    message = str(error.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message


def test_a_damaged_archive(tmp_path: Path, catalogue: Callable[..., Source]) -> None:
    catalogue(file="quiz.jsonl.gz")
    path = write(tmp_path / "quiz.jsonl.gz", ROWS)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(HarnessError, match=r"quiz\.jsonl\.gz: not readable"):
        load_items("quiz", tmp_path)


def test_another_copy_is_refused_unless_asked_for(
    tmp_path: Path, catalogue: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "quiz.jsonl", ROWS[:3])
    catalogue(sha256="0" * 64)
    with pytest.raises(HarnessError) as error:
        load_items("quiz", tmp_path)
    message = str(error.value)
    for part in (str(path), "0" * 64, data.file_sha256(path), f"{data.UNVERIFIED}=1"):
        assert part in message
    assert "\n" not in message
    monkeypatch.setenv(data.UNVERIFIED, "1")
    assert len(load_items("quiz", tmp_path)) == 3
    write(path, [*ROWS, ROWS[0]])
    with pytest.raises(HarnessError, match="an id occurs twice"):
        load_items("quiz", tmp_path)


def test_unknown_set_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"unknown set 'gsm9k'; known: gsm8k_test, "):
        load_items("gsm9k", tmp_path)
    with pytest.raises(HarnessError, match="nowhere: no such folder"):
        load_items("gsm8k_test", tmp_path / "nowhere")
    with pytest.raises(HarnessError, match="nowhere: no such folder"):
        data.use_folder(tmp_path / "nowhere")
    with pytest.raises(HarnessError, match="no such file"):
        read_rows(tmp_path / "none.jsonl", ("id",))


@pytest.mark.parametrize("name", ["aime25", "gsm8k_test", "math_test", "olympiadbench"])
def test_a_missing_set_says_what_to_fetch_and_where_to_put_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a folder was given, and the hub was asked")

    monkeypatch.setattr(datasets, "load_dataset", never)
    source = sources()[name]
    with pytest.raises(HarnessError) as error:
        load_items(name, tmp_path)
    message = str(error.value)
    assert "\n" not in message
    for part in (str(tmp_path / source.file), "JSON Lines with id, problem, answer"):
        assert part in message
    assert f"{source.rows} problems" in message
    if name == "olympiadbench":  # the file is a part of the hub's set
        assert source.origin in message
    else:
        assert str(source.hub) in message
        assert f"split {source.split}, revision {source.revision}" in message
    if source.sha256:
        assert source.sha256 in message


# ------------------------------------------------------------------------------------- the hub


class Hub:
    """Stands for ``datasets.load_dataset``: the same rows under every config."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, path: str, config: str | None, *, split: str, revision: str) -> Any:
        self.calls.append((path, config, split, revision))
        return datasets.Dataset.from_list(list(self.rows))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[dict[str, Any]]], Hub]:
    def install(rows: Sequence[dict[str, Any]]) -> Hub:
        stand_in = Hub(rows)
        monkeypatch.setattr(datasets, "load_dataset", stand_in)
        monkeypatch.setenv(data.UNVERIFIED, "1")  # so that few rows will do
        return stand_in

    return install


@pytest.mark.parametrize(
    ("name", "row", "item"),
    [
        (
            "gsm8k_test",
            {"question": "How many?", "answer": "1,000 + 8 = 1,008\n#### 1,008"},
            {"id": "gsm8k_test_0000", "problem": "How many?", "answer": "1008"}
            | {"solution": "1,000 + 8 = 1,008\n#### 1,008"},
        ),
        (
            "math500",
            {"problem": "P", "answer": "\\frac{1}{2}", "solution": "S", "subject": "Algebra"}
            | {"level": 5, "unique_id": "test/algebra/1.json"},
            {"id": "test/algebra/1.json", "problem": "P", "answer": "\\frac{1}{2}"}
            | {"solution": "S", "subject": "Algebra", "level": 5},
        ),
        (
            "aime24",
            {
                "id": 60,
                "problem": "P",
                "answer": "025",
                "solution": "S",
                "url": "u",
                "year": "2024",
            },
            {"id": "60", "problem": "P", "answer": "25", "solution": "S"},
        ),
        (
            "aime25",
            {"id": "3", "problem": "P", "answer": "70"},
            {"id": "3", "problem": "P"} | {"answer": "70"},
        ),
        (
            "amc23",
            {"id": 0, "question": "P", "answer": 27.0, "url": "u"},
            {"id": "0", "problem": "P", "answer": "27"},
        ),
        (
            "minerva_math",
            {"question": "P", "answer": "4.5e33"},
            {"id": "minerva_math_0000", "problem": "P", "answer": "4.5e33"},
        ),
        (
            "olympiadbench",
            {"id": 1606, "question": "P", "final_answer": ["$2n$"], "error": "1e-1"}
            | {"subfield": "Algebra"},
            {"id": "1606", "problem": "P", "answer": "2n", "subject": "Algebra", "tolerance": 0.1},
        ),
        (
            "olympiadbench",
            {"id": 1, "question": "P", "final_answer": ["$1$,$2$"], "error": None}
            | {"subfield": "Geometry"},
            {"id": "1", "problem": "P", "answer": "$1$,$2$", "subject": "Geometry"},
        ),
    ],
)
def test_a_row_of_the_hub(
    name: str,
    row: dict[str, Any],
    item: dict[str, Any],
    hub: Callable[[Sequence[dict[str, Any]]], Hub],
) -> None:
    stand_in = hub([row])
    assert load_items(name) == [item]
    source = sources()[name]
    config = source.configs[0] if source.configs else None
    assert stand_in.calls == [(source.hub, config, source.split, source.revision)]


def test_math_of_the_hub_is_seven_parts_with_boxed_answers(
    hub: Callable[[Sequence[dict[str, Any]]], Hub],
) -> None:
    def row(solution: str, level: str = "Level 5") -> dict[str, Any]:
        return {"problem": "P", "level": level, "type": "Algebra", "solution": solution}

    solutions = ["\\boxed{1} so \\boxed{\\frac{1}{2}}.", "it is $\\boxed 9$."]
    stand_in = hub(
        [row(s, level) for s, level in zip(solutions, ["Level 5", "Level ?"], strict=True)]
    )
    items = load_items("math_test")
    assert [call[1] for call in stand_in.calls] == list(sources()["math_test"].configs)
    assert len(items) == 14
    assert [item["answer"] for item in items[:2]] == ["\\frac{1}{2}", "9"]
    assert [item.get("level") for item in items[:2]] == [5, None]
    assert len({item["id"] for item in items}) == 14
    hub([row("nothing")])
    with pytest.raises(HarnessError, match="no answer in row 1, 2, 3"):
        load_items("math_test")
    hub([row("the answer 3 is not in the box: \\boxed{}")])
    with pytest.raises(HarnessError, match="no answer in row"):
        load_items("math_test")


def test_the_hub_s_client_is_called_as_it_is_made(
    tmp_path: Path, catalogue: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real ``datasets.load_dataset``, on a folder in the place of a hub id."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "quiz").mkdir()
    write(tmp_path / "quiz" / "test.jsonl", [{"q": r["problem"], "a": 27.0} for r in ROWS])
    fields = {"problem": "q", "answer": "a"}
    catalogue(hub=str(tmp_path / "quiz"), revision="0" * 40, fields=fields, answer_form="integer")
    items = load_items("quiz")
    assert [item["id"] for item in items] == [f"quiz_{i:04d}" for i in range(4)]
    assert [item["problem"] for item in items] == [row["problem"] for row in ROWS]
    assert {item["answer"] for item in items} == {"27"}


def test_a_hub_of_other_rows_or_columns_is_refused(
    hub: Callable[[Sequence[dict[str, Any]]], Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub([{"question": "P", "answer": "#### 1"}])
    monkeypatch.delenv(data.UNVERIFIED)
    with pytest.raises(HarnessError, match="1 rows, expected 1319"):
        load_items("gsm8k_test")
    monkeypatch.setenv(data.UNVERIFIED, "1")
    hub([{"text": "P"}])
    with pytest.raises(HarnessError, match="no column answer, question"):
        load_items("gsm8k_test")
    hub([{"id": 1, "problem": "P", "answer": "x + 1"}])
    with pytest.raises(HarnessError, match=r"row 1: the answer 'x \+ 1' is no integer"):
        load_items("aime25")


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(HarnessError) as error:
        load_items("amc23")
    message = str(error.value)
    assert "\n" not in message
    assert "Couldn't reach the hub" in message
    assert f"put amc23.jsonl into a folder and name it with --data DIR or {data.ENV}" in message


def test_a_set_without_a_pinned_revision_needs_a_file(catalogue: Callable[..., Source]) -> None:
    catalogue(hub="someone/quiz")
    with pytest.raises(HarnessError, match=r"no revision on the hub is pinned.*put quiz\.jsonl"):
        load_items("quiz")
    with pytest.raises(HarnessError, match="40 hex digits"):
        catalogue(hub="someone/quiz", revision="main")
    with pytest.raises(HarnessError, match="answer_form"):
        catalogue(answer_form="guess")


def test_a_malformed_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sources.toml"
    monkeypatch.setattr(data, "CATALOGUE", path)
    for text in (None, "[a", "[a]\nfile = 'a.jsonl'\ncolour = 'red'"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(HarnessError, match="not a readable catalogue"):
            sources.__wrapped__()
