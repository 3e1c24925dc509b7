"""Steps of solver GRPO, whole: rollouts, rewards, update; this harness beside TRL's GRPOTrainer.

The same model, questions, group size, response length, micro-batch, clip, KL penalty and reward.
What differs is how each does it: TRL reads a prompt once per response, samples with
``transformers.generate`` and keeps finished rows in the batch; this harness scans the old policy
once more than TRL does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from harness.base import resolve
from harness.config import load_config
from harness.config.schema import RunConfig
from harness.diversity.embedders import load_embedder
from harness.engines.make import TorchEngines
from harness.grading import Grader, Verdict, extract_answer
from harness.masks import protected_set
from harness.methods import build
from harness.phases.solve import train_solver
from harness.phases.workbench import Workbench
from harness.policy import Policy
from harness.roles import format_strings, solver_messages
from harness.run import load_evaluator
from harness.store import RunFolder
from tasks.ladder.heldout import items


@dataclass(frozen=True)
class Size:
    """A model, what it is asked, and how much of it a step takes."""

    model: Path
    profile: str
    curriculum: pd.DataFrame
    prompts: int
    group: int
    micro: int
    new_tokens: int
    steps: int

    def config(self) -> RunConfig:
        values = {
            "steps": self.steps,
            "prompts_per_step": self.prompts,
            "group_size": self.group,
            "micro_rows": self.micro,
            "minibatches": 1,
            "max_new_tokens": self.new_tokens,
            "lr": 1e-6,
        }
        overrides = [f"solver.{k}={v}" for k, v in values.items()]
        return load_config(self.profile, overrides=[*overrides, f"model.path={self.model}"])[0]


def _ladder() -> Size:
    rows = [(i["question"], i["answer"]) for i in items(per_topic=3)]
    asked = pd.DataFrame(rows, columns=["question", "label"]).astype(str)
    return Size(resolve("tasks/ladder/base"), "ladder", asked, 16, 8, 16, 56, 3)


def _smollm2() -> Size:
    named = os.environ.get("COEVOLUTION_TEST_MODEL")
    if named is None:
        pytest.skip("set COEVOLUTION_TEST_MODEL to SmolLM2-135M-Instruct, a folder or .gguf file")
    rows = [
        (f"Ann has {a} apples and buys {b} bags of {c}. How many has she now?", str(a + b * c))
        for a, b, c in ((i % 17 + 3, i % 5 + 2, i % 7 + 4) for i in range(64))
    ]
    asked = pd.DataFrame(rows, columns=["question", "label"])
    return Size(Path(named), "smollm2", asked, 4, 8, 8, 96, 1)


SIZES = {"ladder": _ladder, "smollm2": _smollm2}


@pytest.fixture(params=SIZES)
def size(request: Any) -> Size:
    torch.set_num_threads(1)
    return SIZES[request.param]()


def test_grpo_harness(benchmark: Any, size: Size, tmp_path: Path) -> None:
    config = size.config()
    folders = iter(range(100))
    with Grader(1) as grader:

        def fresh() -> tuple[tuple[Any, ...], dict[str, Any]]:
            policy = Policy.load(size.model)
            folder = RunFolder(tmp_path / str(next(folders)))
            folder.path.mkdir()
            bench = Workbench(
                config=config,
                seed=0,
                method=build("rzero")[0],
                entry="rzero",
                folder=folder,
                tokenizer=policy.tokenizer,
                protected=protected_set(policy.tokenizer, (), format_strings(config.roles)),
                grader=grader,
                checker=None,
                embedder=load_embedder("hashing"),
                evaluator=load_evaluator(load_config("ladder")[0]),  # not asked
                engines=TorchEngines("float32", config.engine_rows),
                parameters=policy.parameters,
            )
            return (bench, 1, policy, size.curriculum), {}

        made = benchmark.pedantic(train_solver, setup=fresh, rounds=2)
    benchmark.extra_info["steps"] = size.steps
    benchmark.extra_info["compute"] = {k: v for k, v in made.items() if k.startswith("compute/")}


def test_grpo_trl(benchmark: Any, size: Size, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    config = size.config()
    stage = config.solver
    rows = [
        {"prompt": solver_messages(config.roles, question), "gold": gold}
        for question, gold in size.curriculum.itertuples(index=False)
    ]
    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=size.micro,
        gradient_accumulation_steps=size.prompts * size.group // size.micro,
        num_generations=size.group,
        max_completion_length=size.new_tokens,
        max_steps=size.steps,
        learning_rate=stage.lr,
        lr_scheduler_type="constant",
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        beta=stage.kl_coef,
        epsilon=stage.clip_low,
        epsilon_high=stage.clip_high,
        temperature=stage.temperature,
        top_p=1.0,
        top_k=0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=size.steps,
        disable_tqdm=True,
    )
    with Grader(1) as grader:

        def reward(completions: list[Any], gold: list[str], **_: Any) -> list[float]:
            answers = [extract_answer(c[0]["content"]) for c in completions]
            verdicts = grader.grade(gold=gold, pred=answers)
            return [float(v is Verdict.CORRECT) for v in verdicts]

        def fresh() -> tuple[tuple[Callable[[], Any]], dict[str, Any]]:
            policy = Policy.load(size.model)
            trainer = trl.GRPOTrainer(
                model=policy.model,
                processing_class=policy.tokenizer,
                reward_funcs=reward,
                args=arguments,
                train_dataset=Dataset.from_list(rows),
            )
            return (trainer.train,), {}

        benchmark.pedantic(lambda train: train(), setup=fresh, rounds=2)
    benchmark.extra_info["steps"] = size.steps
