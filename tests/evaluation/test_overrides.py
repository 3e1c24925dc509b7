"""What an evaluation may override in a task, several groups, and prompts that are no chat."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature import ITEMS, LookupEngine, write_tasks

from harness.errors import HarnessError
from harness.evaluation import Evaluator, summary
from harness.evaluation.tasks import describe_tasks, sampling_hash

BOTH = ["ladder", "ladder_sampled"]


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / "ladder" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_samples_and_tokens_are_overridden(tasks_folder: Path, right_engine: LookupEngine) -> None:
    evaluator = Evaluator(BOTH, tasks_folder, max_new_tokens=5, samples=3)
    rows = evaluator.evaluate(right_engine, seed=0)
    assert rows.groupby("mode").size().to_dict() == {"greedy": 6, "sampled": 18}
    assert rows[rows["mode"] == "sampled"]["sample"].tolist() == [0, 1, 2] * 6
    assert {params.max_new_tokens for _, _, params in right_engine.calls} == {5}
    assert rows["truncated"].all()
    plain = Evaluator(BOTH, tasks_folder)
    for name in BOTH:
        assert evaluator.task_hashes()[name] != plain.task_hashes()[name]
        assert sampling_hash(evaluator.tasks[name]) != sampling_hash(plain.tasks[name])


def test_more_samples_leave_the_first_ones_as_they_are(
    tasks_folder: Path, right_engine: LookupEngine
) -> None:
    few = Evaluator(["ladder_sampled"], tasks_folder)
    more = Evaluator(["ladder_sampled"], tasks_folder, samples=5)
    few.evaluate(right_engine, seed=0)
    first = {key for _, key, _ in right_engine.calls}
    right_engine.calls.clear()
    more.evaluate(right_engine, seed=0)
    assert first < {key for _, key, _ in right_engine.calls}
    assert sampling_hash(few.tasks["ladder_sampled"]) == sampling_hash(more.tasks["ladder_sampled"])


@pytest.mark.parametrize("name", ["max_new_tokens", "samples"])
def test_overrides_below_one_are_refused(tasks_folder: Path, name: str) -> None:
    with pytest.raises(HarnessError, match=f"{name} 0: needs at least 1"):
        Evaluator(BOTH, tasks_folder, **{name: 0})  # type: ignore[arg-type]


def test_an_item_in_several_groups_counts_in_each(
    tmp_path: Path, right_engine: LookupEngine
) -> None:
    folder = write_tasks(tmp_path, [{**item, "answer": "0"} for item in ITEMS])
    edit(folder, "_template.yaml", "group_field: tier", "group_field: [topic, tier]")
    rows = Evaluator(["ladder"], folder).evaluate(right_engine, seed=0)
    assert rows["group"].tolist() == ["sum;1", "sum;2"] * 3
    metrics = summary(rows)
    assert metrics["solver/ladder/greedy"] == pytest.approx(1 / 6)
    assert metrics["solver/ladder/sum/greedy"] == pytest.approx(1 / 6)
    assert metrics["solver/ladder/1/greedy"] == pytest.approx(1 / 3)
    assert metrics["solver/ladder/2/greedy"] == 0


def test_a_prompt_for_base_models_needs_no_chat_template(
    tasks_folder: Path, right_engine: LookupEngine
) -> None:
    edit(
        tasks_folder,
        "ladder_sampled.yaml",
        "repeats: 2",
        "repeats: 2\nmetadata: {chat_template: false}",
    )
    evaluator = Evaluator(BOTH, tasks_folder)
    evaluator.evaluate(right_engine, seed=0, limit=1)
    prompts = [text for text, _, _ in right_engine.calls]
    assert (
        prompts == ["<|user|>solve: what is 0 + 0 ?<|assistant|>"] + ["solve: what is 0 + 0 ?"] * 2
    )
    right_engine.tokenizer.chat_template = None
    Evaluator(["ladder_sampled"], tasks_folder).evaluate(right_engine, seed=0)
    with pytest.raises(HarnessError, match="no chat template; choose a task for base models"):
        evaluator.evaluate(right_engine, seed=0)


def test_tasks_are_described_without_their_data(tasks_folder: Path) -> None:
    (tasks_folder / "ladder" / "test.jsonl").unlink()
    greedy, sampled = describe_tasks(tasks_folder)
    assert greedy == {
        "task": "ladder",
        "benchmark": "ladder",
        "mode": "greedy",
        "samples": 1,
        "prompt": "chat",
        "max_new_tokens": 56,
        "source": None,
    }
    assert (sampled["mode"], sampled["samples"]) == ("sampled", 2)
