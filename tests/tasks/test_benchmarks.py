"""The benchmarks' YAMLs: what they load, ask and score, on made-up items and on the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import data
from harness.data import load_items, sources
from harness.errors import HarnessError
from harness.evaluation import Evaluator
from harness.grading import extract_answer
from tasks.benchmarks import load, process_results

TASKS = Path(__file__).resolve().parents[2] / "tasks"
SETS = {
    "gsm8k": "gsm8k_test",
    "math500": "math500",
    "math": "math_test",
    "minerva": "minerva_math",
    "olympiad": "olympiadbench",
    "aime24": "aime24",
    "aime25": "aime25",
    "amc23": "amc23",
}
CONTESTS = ("aime24", "aime25", "amc23")
NAMES = [n + v for n in SETS if n not in CONTESTS for v in ("", "_sampled", "_base")]
NAMES += [n + v for n in CONTESTS for v in ("_greedy", "_sampled", "_base")]


def made_up(i: int) -> dict[str, Any]:
    return {"id": f"q{i}", "problem": f"What is {i} + {i}?", "answer": str(2 * i)} | {
        "solution": "by counting",
        "subject": ["Algebra", "Geometry"][i % 2],
        "level": 1 + i,
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with three made-up items under every name."""
    text = "".join(json.dumps(made_up(i)) + "\n" for i in range(3))
    for name in SETS.values():
        (tmp_path / sources()[name].file).write_text(text)
    monkeypatch.setenv(data.ENV, str(tmp_path))
    monkeypatch.setenv(data.UNVERIFIED, "1")
    return tmp_path


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real data folder; ``aime25``, where it is absent, made up."""
    if (given := data.data_folder()) is None:
        pytest.skip(f"{data.ENV} names no data folder")
    for source in sources().values():
        if (given / source.file).is_file():
            (tmp_path / source.file).symlink_to((given / source.file).resolve())
    if not (tmp_path / "aime25.jsonl").exists():
        rows = [json.dumps(made_up(i)) for i in range(30)]
        (tmp_path / "aime25.jsonl").write_text("\n".join(rows))
    monkeypatch.setenv(data.ENV, str(tmp_path))
    monkeypatch.delenv(data.UNVERIFIED, raising=False)
    return tmp_path


def test_every_yaml_is_a_template_or_a_known_task() -> None:
    files = {path.stem for path in TASKS.glob("*.yaml") if not path.stem.startswith("_")}
    assert files == {*NAMES, *CONTESTS}


def test_what_the_tasks_say(folder: Path) -> None:
    tasks = Evaluator(NAMES, TASKS).tasks
    assert set(tasks) == set(NAMES)
    for name, task in tasks.items():
        stem, _, variant = name.partition("_")
        config = task.config
        sampled, plain = variant == "sampled", variant == "base"
        repeats = {True: 32 if stem in CONTESTS else 4, False: 1}[sampled]
        assert config.repeats == repeats, name
        assert config.num_fewshot == 0
        kwargs = config.generation_kwargs
        assert kwargs["do_sample"] is sampled
        assert kwargs["temperature"] == (0.6 if sampled else 0.0)
        assert kwargs.get("top_p") == (0.95 if sampled else None)
        assert kwargs["max_gen_toks"] == (4096 if stem in (*CONTESTS, "olympiad") else 2048)
        assert kwargs["until"] == (["\n\nProblem:"] if plain else [])
        assert list(task.aggregation()) == ["exact_match", "no_answer", "timeout", "fallback"]
        metadata = config.metadata
        assert metadata["benchmark"] == (f"{stem}_base" if plain else stem)
        assert metadata.get("chat_template", True) is not plain
        grouped = {"math": ["subject", "level"], "math500": ["subject", "level"]}
        grouped |= {"minerva": "subject", "olympiad": "subject"}
        assert metadata.get("group_field") == grouped.get(stem)
        docs = task.eval_docs
        assert len(docs) == 3
        assert "solution" not in docs.column_names
        assert docs[1]["level"] == "level_2"
        assert docs[1]["rel_tol"] == (0.01 if stem == "minerva" else 0)


def test_the_prompts(folder: Path) -> None:
    tasks = Evaluator(["gsm8k", "gsm8k_sampled", "gsm8k_base"], TASKS).tasks
    prompts = {name: task.doc_to_text(task.eval_docs[1]) for name, task in tasks.items()}
    assert prompts["gsm8k"] == prompts["gsm8k_sampled"]
    assert prompts["gsm8k"] == (
        "What is 1 + 1?\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    assert prompts["gsm8k_base"] == (
        "Problem:\nWhat is 1 + 1?\n\nPut your final answer within \\boxed{}.\n\nSolution:"
    )


@pytest.mark.parametrize("name", CONTESTS)
def test_a_contest_is_greedy_and_sampled(name: str, folder: Path) -> None:
    assert set(Evaluator([name], TASKS).tasks) == {f"{name}_greedy", f"{name}_sampled"}


def test_ours_win_over_lm_evals_own_of_the_same_name() -> None:
    import lm_eval.tasks

    shipped = Path(lm_eval.tasks.__file__).parent
    assert (shipped / "gsm8k" / "gsm8k.yaml").is_file()  # else this test says nothing
    assert (shipped / "aime" / "aime24.yaml").is_file()
    index = lm_eval.tasks.TaskManager(include_path=str(TASKS)).task_index
    for name in (*NAMES, *CONTESTS):
        assert index[name].yaml_path.parent == TASKS, name


def test_text_that_looks_like_a_template_stays_text(folder: Path) -> None:
    problem = "Let {{x}} be {% raw %} and \\boxed{2}. What is x?"
    (folder / "aime24.jsonl").write_text(json.dumps(made_up(0) | {"problem": problem}))
    task = Evaluator(["aime24_greedy"], TASKS).tasks["aime24_greedy"]
    assert task.doc_to_text(task.eval_docs[0]).startswith(problem + "\n\nPlease")


# ------------------------------------------------------------------------------------ scoring


def _doc(answer: str, **more: Any) -> dict[str, Any]:
    return {"answer": answer, "also": [], "rel_tol": 0.0, "abs_tol": 0.0} | more


@pytest.mark.parametrize(
    ("doc", "response", "score"),
    [
        (_doc("18"), "so \\boxed{18}", 1),
        (_doc("18"), "so \\boxed{18.1}", 0),
        (_doc("18", rel_tol=0.01), "so \\boxed{18.1}", 1),
        (_doc("18", rel_tol=0.01), "so \\boxed{18.3}", 0),
        (_doc("18", abs_tol=0.2), "so \\boxed{18.1}", 1),
        (_doc("18", abs_tol=0.05), "so \\boxed{18.1}", 0),
        (_doc("3", also=["-3"]), "\\boxed{-3}", 1),
        (_doc("3", also=["-3"]), "\\boxed{3}", 1),
        (_doc("3", also=["-3"]), "\\boxed{4}", 0),
        (_doc("-3, 3"), "\\boxed{3}", 0),
        (_doc("-3, 3"), "\\boxed{3, -3}", 1),
    ],
)
def test_a_response_is_scored(doc: dict[str, Any], response: str, score: float) -> None:
    expected = {"exact_match": score, "no_answer": 0, "timeout": 0, "fallback": 0}
    assert process_results(doc, [response]) == expected


def test_samples_are_averaged() -> None:
    said = ["\\boxed{-3}", "no idea", "\\boxed{4}", "\\boxed{3}"]
    one = process_results(_doc("3"), [said])
    assert one == {"exact_match": 0.25, "no_answer": 0.25, "timeout": 0, "fallback": 0}
    either = process_results(_doc("3", also=["-3"]), [said])
    assert either == {"exact_match": 0.5, "no_answer": 0.25, "timeout": 0, "fallback": 0}


# ------------------------------------------------------------------------------------ bad input


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{name}.jsonl").unlink()


def _with(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{name}.jsonl").write_text(text) and None


@pytest.mark.parametrize(
    ("task", "spoil", "said"),
    [
        ("aime25", _without("aime25"), "aime25.jsonl is missing; fetch math-ai/aime25"),
        ("gsm8k", _with("gsm8k_test", ""), "no items"),
        ("gsm8k", _with("gsm8k_test", '{"id": 1, "problem": "p"}'), "no answer in row 1"),
        ("gsm8k", _with("gsm8k_test", 2 * (json.dumps(made_up(1)) + "\n")), "occurs twice"),
    ],
)
def test_bad_input_is_one_line(
    task: str, spoil: Callable[[Path], None], said: str, folder: Path
) -> None:
    spoil(folder)
    with pytest.raises(HarnessError) as error:
        _ = Evaluator([task], TASKS).tasks
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_checksum_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data.UNVERIFIED)
    with pytest.raises(HarnessError, match=r"math500\.jsonl: sha256 is [0-9a-f]{64}, expected"):
        _ = Evaluator(["math500"], TASKS).tasks


# ------------------------------------------------------------------------------- the real items


def test_every_task_has_the_items_the_catalogue_says(real: Path) -> None:
    for name, task in Evaluator(NAMES, TASKS).tasks.items():
        source = sources()[SETS[name.partition("_")[0]]]
        assert len(task.eval_docs) == (source.rows or 0) - source.empty_answers, name
    assert len(load_items("math_train")) == 7498
    assert len(load_items("gsm8k_train")) == 7473


def test_math500_is_a_part_of_math_with_the_same_answers(real: Path) -> None:
    whole = {item["id"]: item for item in load_items("math_test")}
    for item in load_items("math500"):
        other = whole[item["id"]]
        assert (item["problem"], item["answer"]) == (other["problem"], other["answer"])


def test_several_required_values(real: Path) -> None:
    items = load_items("math_test")
    assert sum("also" in item for item in items) == 4
    docs = load("math_test")["test"]
    listed = [doc["answer"] for doc in docs if doc["id"] == "test/precalculus/1227.json"]
    assert listed == ["-1, 2"]


@pytest.mark.parametrize("name", ["math500", "minerva_math"])
def test_true_solutions_are_right(name: str, real: Path) -> None:
    solutions = {item["id"]: item["solution"] for item in load_items(name)}
    docs = load(name)["test"]
    wrong = [
        (doc["id"], doc["answer"])
        for doc in docs
        if process_results(doc, [solutions[doc["id"]]])["exact_match"] != 1
    ]
    assert wrong == []


def test_true_solutions_of_math_are_right_but_for_several_values_in_boxes_apart(real: Path) -> None:
    items = {item["id"]: item for item in load_items("math_test")}
    several = {i for i, x in items.items() if extract_answer(x["solution"]) != x["answer"]}
    assert len(several) == 8
    wrong = {
        doc["id"]
        for doc in load("math_test")["test"]
        if process_results(doc, [items[doc["id"]]["solution"]])["exact_match"] != 1
    }
    assert wrong <= several


def test_true_solutions_of_gsm8k_are_right_and_those_of_the_next_item_are_not(real: Path) -> None:
    items = load_items("gsm8k_test")[:200]
    docs = list(load("gsm8k_test")["test"])[:200]
    for said in ("so \\boxed{{{}}}.", "It costs \\boxed{{\\${}}}", "\\[\\boxed{{{}.00}}\\]"):
        scores = [
            process_results(doc, [said.format(item["answer"])])["exact_match"]
            for doc, item in zip(docs, items, strict=True)
        ]
        assert sum(scores) == len(docs), said
    others = items[1:] + items[:1]
    for doc, mine, other in zip(docs, items, others, strict=True):
        score = process_results(doc, [f"\\boxed{{{other['answer']}}}"])["exact_match"]
        assert score == (mine["answer"] == other["answer"])
