"""Responses kept on disk: found again, never mixed up; a line cut by a kill does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature import ITEMS, LookupEngine, write_tasks
from pandas.testing import assert_frame_equal

from harness.engines.base import Rollouts
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError
from harness.evaluation import Evaluator
from harness.evaluation.cache import Generation, ResponseCache

BOTH = ["ladder", "ladder_sampled"]
ODD = Generation('a \\boxed{1}\n\u2028 \ud800 \x00 "quoted"', 7, True)


class StoppedError(Exception):
    """Stands for a kill."""


class FragileEngine:
    """An engine that is killed in its n-th call."""

    def __init__(self, engine: TorchEngine, calls: int) -> None:
        self.tokenizer = engine.tokenizer
        self.calls = calls
        self._engine = engine

    def generate(self, *args: object, **kwargs: object) -> Rollouts:
        self.calls -= 1
        if self.calls < 0:
            raise StoppedError
        return self._engine.generate(*args, **kwargs)  # type: ignore[arg-type]


def test_what_is_kept_is_found_by_another_process(tmp_path: Path) -> None:
    ResponseCache(tmp_path, "model", 0).add("t", "hash", [((3, 1, "p"), ODD)])
    assert ResponseCache(tmp_path, "model", 0).known("t", "hash") == {(3, 1, "p"): ODD}


@pytest.mark.parametrize(
    ("model", "seed", "task", "digest"),
    [
        ("other", 0, "t", "h"),
        ("model", 1, "t", "h"),
        ("model", 0, "u", "h"),
        ("model", 0, "t", "g"),
    ],
)
def test_model_seed_task_and_task_hash_keep_responses_apart(
    tmp_path: Path, model: str, seed: int, task: str, digest: str
) -> None:
    ResponseCache(tmp_path, "model", 0).add("t", "h", [((0, 0, "p"), ODD)])
    assert ResponseCache(tmp_path, model, seed).known(task, digest) == {}


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_cut_by_a_kill_is_no_response(tmp_path: Path, cut: int) -> None:
    cache = ResponseCache(tmp_path, "model", 0)
    cache.add("t", "h", [((0, 0, "p"), ODD), ((1, 0, "p"), ODD)])
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])
    again = ResponseCache(tmp_path, "model", 0)
    whole = {(0, 0, "p"): ODD} if cut > 1 else {(0, 0, "p"): ODD, (1, 0, "p"): ODD}
    assert again.known("t", "h") == whole
    again.add("t", "h", [((2, 0, "p"), ODD)])
    assert set(ResponseCache(tmp_path, "model", 0).known("t", "h")) == {*whole, (2, 0, "p")}


def test_a_stopped_evaluation_goes_on_and_ends_in_the_same_rows(
    tmp_path: Path, tasks_folder: Path, tiny_engine: TorchEngine
) -> None:
    evaluator = Evaluator(BOTH, tasks_folder)
    whole = evaluator.evaluate(tiny_engine, seed=7, batch_rows=4)
    with pytest.raises(StoppedError):
        evaluator.evaluate(
            FragileEngine(tiny_engine, 3),
            seed=7,
            batch_rows=4,
            cache=ResponseCache(tmp_path, "m", 7),
        )
    rest = FragileEngine(tiny_engine, 99)
    resumed = evaluator.evaluate(rest, seed=7, batch_rows=4, cache=ResponseCache(tmp_path, "m", 7))
    assert_frame_equal(resumed, whole)
    assert 99 - rest.calls == 2  # 2 batches of the greedy task, 3 of the sampled one; 3 were done


def test_responses_outlive_a_change_of_scoring_and_are_graded_anew(
    tmp_path: Path, right_engine: LookupEngine
) -> None:
    def evaluate(folder: Path, items: list[dict[str, object]]) -> list[float]:
        evaluator = Evaluator(["ladder"], write_tasks(folder, items))
        cache = ResponseCache(tmp_path / "cache", "m", 0)
        return evaluator.evaluate(right_engine, seed=0, cache=cache)["score"].tolist()

    assert evaluate(tmp_path / "a", list(ITEMS)) == [1.0] * len(ITEMS)
    asked = len(right_engine.calls)
    corrected = [{**ITEMS[0], "answer": "7"}, *ITEMS[1:]]
    assert evaluate(tmp_path / "b", corrected) == [0.0] + [1.0] * (len(ITEMS) - 1)
    assert len(right_engine.calls) == asked


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot write"):
        ResponseCache(tmp_path / "file", "m", 0).add("t", "h", [((0, 0, "p"), ODD)])
