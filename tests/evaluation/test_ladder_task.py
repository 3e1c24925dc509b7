"""The shipped ladder task: its data are the data that its YAML names."""

from __future__ import annotations

from miniature import LADDER

from harness.evaluation import Evaluator


def test_the_shipped_data_match_their_checksum_and_form() -> None:
    tasks = Evaluator(["ladder", "ladder_sampled"], LADDER.parent).tasks
    for task in tasks.values():
        docs = task.eval_docs
        assert len(docs) >= 1000
        assert len(set(docs["tier"])) >= 4
        assert len(set(docs["topic"])) >= 20
        assert all(answer.lstrip("-").isdigit() for answer in docs["answer"])
    greedy, sampled = tasks["ladder"].config, tasks["ladder_sampled"].config
    assert greedy.generation_kwargs["temperature"] == 0
    assert sampled.generation_kwargs["temperature"] == 1
    assert greedy.generation_kwargs["max_gen_toks"] == sampled.generation_kwargs["max_gen_toks"]
