"""lm-eval's evaluator over engines: rows, scores, seeds, errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from miniature import ITEMS, LookupEngine, write_tasks
from pandas.testing import assert_frame_equal

from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError
from harness.evaluation import EVAL_COLUMNS, Evaluator, summary

BOTH = ["ladder", "ladder_sampled"]


def test_rows_of_a_perfect_engine(tasks_folder: Path, right_engine: LookupEngine) -> None:
    rows = Evaluator(BOTH, tasks_folder).evaluate(right_engine, seed=1)
    assert tuple(rows.columns) == EVAL_COLUMNS
    assert len(rows) == len(ITEMS) * (1 + 2)
    assert set(rows["task"]) == {"ladder"}
    assert rows.groupby("mode").size().to_dict() == {"greedy": 6, "sampled": 12}
    assert rows["score"].eq(1).all()
    assert rows["verdict"].eq("correct").all()
    assert rows["answer"].tolist()[:6] == [item["answer"] for item in ITEMS]
    assert rows["group"].tolist()[:2] == ["1", "2"]
    assert not rows["truncated"].any()
    assert rows["n_tokens"].tolist()[0] == len("so \\boxed{0}") + 1
    sampled = rows[rows["mode"] == "sampled"]
    assert sampled["sample"].tolist() == [0, 1] * 6
    keys = [key for _, key, params in right_engine.calls if params.temperature > 0]
    assert len(set(keys)) == 12


def test_prompt_is_the_chat_the_solver_is_trained_on(
    tasks_folder: Path, right_engine: LookupEngine
) -> None:
    evaluator = Evaluator(["ladder"], tasks_folder)
    rows = evaluator.evaluate(right_engine, seed=1, limit=2)
    assert [text for text, _, _ in right_engine.calls] == [
        f"<|user|>solve: {item['question']}<|assistant|>" for item in ITEMS[:2]
    ]
    hashes = evaluator.prompt_hashes(right_engine.tokenizer)
    assert hashes == {"ladder": rows["prompt_hash"][0]}
    assert rows["prompt_hash"].nunique() == 2


def test_verdicts_and_summary(tasks_folder: Path) -> None:
    said = [
        "\\boxed{0}",  # right
        "\\boxed{3}",  # wrong (2)
        "four",  # no answer
        "\\boxed{" + "1" * 60 + "}",  # cut: no answer
        "\\boxed{1} or \\boxed{16/2}",  # right (8)
        "The answer is 10.",  # right (10), without a box
    ]
    engine = LookupEngine({str(i["question"]): [s] for i, s in zip(ITEMS, said, strict=True)})
    rows = Evaluator(["ladder"], tasks_folder).evaluate(engine, seed=1)
    assert rows["verdict"].tolist() == [
        "correct",
        "wrong",
        "no_answer",
        "no_answer",
        "correct",
        "correct",
    ]
    assert rows["found"].tolist() == ["box", "box", "none", "none", "box", "stated"]
    assert rows["truncated"].tolist() == [False, False, False, True, False, False]
    assert rows["answer"].isna().tolist() == [False, False, True, True, False, False]
    assert summary(rows) == pytest.approx(
        {
            "solver/ladder/1/greedy": 2 / 3,
            "solver/ladder/2/greedy": 1 / 3,
            "solver/ladder/fallback": 1 / 6,
            "solver/ladder/greedy": 1 / 2,
            "solver/ladder/no_answer": 1 / 3,
            "solver/ladder/timeout": 0.0,
            "solver/ladder/truncated": 1 / 6,
            "solver/macro/greedy": 1 / 2,
        }
    )


def test_samples_are_scored_one_by_one(tasks_folder: Path) -> None:
    engine = LookupEngine(
        {str(i["question"]): [f"\\boxed{{{i['answer']}}}", "\\boxed{-1}"] for i in ITEMS}
    )
    rows = Evaluator(["ladder_sampled"], tasks_folder).evaluate(engine, seed=1)
    right = rows["response"] != "\\boxed{-1}"
    assert 0 < right.sum() < len(rows)
    assert rows["score"].eq(right.astype(float)).all()
    assert summary(rows)["solver/ladder/sampled"] == pytest.approx(right.mean())


def test_repeats_that_cannot_be_scored_are_refused(
    tasks_folder: Path, right_engine: LookupEngine
) -> None:
    yaml = tasks_folder / "ladder" / "ladder_sampled.yaml"
    text = yaml.read_text()
    yaml.write_text(text[: text.index("filter_list")])
    with pytest.raises(HarnessError, match="take_first_k"):
        Evaluator(["ladder_sampled"], tasks_folder).evaluate(right_engine, seed=1)


def test_macro_average_weighs_tasks_not_items() -> None:
    def part(task: str, scores: list[float]) -> pd.DataFrame:
        n = len(scores)
        return pd.DataFrame(
            {"task": [task] * n, "doc_id": range(n), "sample": [0] * n, "mode": ["greedy"] * n}
            | {"group": [""] * n, "verdict": ["wrong"] * n, "score": scores}
            | {"truncated": [False] * n, "found": ["box"] * n}
        )

    metrics = summary(pd.concat([part("a", [1.0]), part("b", [0.0, 0.0, 0.0])]))
    assert metrics["solver/macro/greedy"] == 0.5
    assert not any("//" in name for name in metrics)


def test_a_seed_repeats_and_another_differs(tasks_folder: Path, tiny_engine: TorchEngine) -> None:
    evaluator = Evaluator(BOTH, tasks_folder)
    first = evaluator.evaluate(tiny_engine, seed=7)
    assert_frame_equal(first, evaluator.evaluate(tiny_engine, seed=7))
    other = evaluator.evaluate(tiny_engine, seed=8)
    greedy = first["mode"] == "greedy"
    assert first["response"][greedy].equals(other["response"][greedy])
    assert not first["response"][~greedy].equals(other["response"][~greedy])
    per_item = first[~greedy].groupby("doc_id")["response"].nunique()
    assert (per_item > 1).all()


def test_a_sample_depends_neither_on_limit_nor_on_batches(
    tasks_folder: Path, tiny_engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Evaluator(BOTH, tasks_folder).evaluate(tiny_engine, seed=7)
    monkeypatch.setattr("harness.evaluation.lm.BATCH_ROWS", 3)
    seen: list[tuple[int, int]] = []
    few = Evaluator(["ladder_sampled"], tasks_folder).evaluate(
        tiny_engine, seed=7, limit=2, progress=lambda done, total: seen.append((done, total))
    )
    same = whole[(whole["mode"] == "sampled") & (whole["doc_id"] < 2)].reset_index(drop=True)
    assert_frame_equal(few, same)
    assert seen == [(3, 4), (4, 4)]


def test_hashes_follow_content_not_place(tmp_path: Path) -> None:
    here = Evaluator(BOTH, write_tasks(tmp_path / "a", ITEMS)).task_hashes()
    there = Evaluator(BOTH, write_tasks(tmp_path / "b", ITEMS)).task_hashes()
    fewer = Evaluator(BOTH, write_tasks(tmp_path / "c", ITEMS[:5])).task_hashes()
    assert here == there
    assert len({*here.values(), *fewer.values()}) == 4


def test_n_responses(tasks_folder: Path) -> None:
    evaluator = Evaluator(BOTH, tasks_folder)
    assert evaluator.n_responses() == 6 * 3
    assert evaluator.n_responses(limit=2) == 2 * 3


def _bad(field: str, value: Any) -> list[dict[str, Any]]:
    return [*ITEMS[:-1], {**ITEMS[-1], field: value}]


@pytest.mark.parametrize(
    ("items", "sha256", "message"),
    [
        (ITEMS, "0" * 64, "sha256"),
        ([], None, "no items"),
        (_bad("answer", ""), None, "row 6: no answer"),
        (_bad("id", "t0"), None, "an id occurs twice"),
    ],
)
def test_bad_data_is_one_clear_line(
    tmp_path: Path, items: list[dict[str, Any]], sha256: str | None, message: str
) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        _ = Evaluator(["ladder"], write_tasks(tmp_path, items, sha256)).tasks
    assert "\n" not in str(caught.value)


def test_missing_data_says_what_is_missing(tasks_folder: Path) -> None:
    (tasks_folder / "ladder" / "test.jsonl").unlink()
    with pytest.raises(HarnessError, match=r"test\.jsonl: no such file"):
        _ = Evaluator(["ladder"], tasks_folder).tasks


def test_bad_requests(tasks_folder: Path, right_engine: LookupEngine) -> None:
    with pytest.raises(HarnessError, match="no tasks"):
        Evaluator([], tasks_folder)
    with pytest.raises(HarnessError, match="no such task folder"):
        Evaluator(["ladder"], tasks_folder / "nowhere")
    with pytest.raises(HarnessError, match="limit 0"):
        Evaluator(["ladder"], tasks_folder).evaluate(right_engine, seed=1, limit=0)
    right_engine.tokenizer.chat_template = None
    with pytest.raises(HarnessError, match="chat template"):
        Evaluator(["ladder"], tasks_folder).evaluate(right_engine, seed=1)
    plain = Evaluator(["ladder"], tasks_folder, apply_chat_template=False)
    rows = plain.evaluate(right_engine, seed=1)
    assert rows["score"].eq(1).all()
    assert right_engine.calls[-1][0] == f"solve: {ITEMS[-1]['question']}"


@pytest.mark.slow
def test_an_unknown_task_suggests_near_names(tasks_folder: Path) -> None:
    with pytest.raises(HarnessError, match="unknown task 'laddder'; nearest: ladder"):
        _ = Evaluator(["laddder"], tasks_folder).tasks


def test_lm_eval_is_imported_late_and_says_nothing(tasks_folder: Path) -> None:
    code = (
        "import sys, harness.evaluation as e; assert 'lm_eval' not in sys.modules;"
        f"print(len(e.Evaluator(['ladder'], {str(tasks_folder)!r}).tasks))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
