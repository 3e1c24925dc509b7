"""The learner that a configuration asks for."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from harness.config.schema import StageConfig, TrainingConfig
from harness.errors import HarnessError
from harness.learner.base import Learner
from harness.learner.local import LocalLearner
from harness.learner.sharded import ShardedLearner
from harness.policy import Policy


def make_learner(
    policy: Policy, stage: StageConfig, training: TrainingConfig, seed: int
) -> Learner:
    """In this process, or in as many as the configuration says."""
    if training.processes > 1:
        return ShardedLearner(policy, stage, training, seed)
    return LocalLearner(policy, stage, training, seed)


def check_training(training: TrainingConfig) -> None:
    """Whether this machine and its packages can do what is asked.

    Raises:
        HarnessError: peft is missing; too few GPUs; torch is too old to sum gradients.
    """
    if training.lora is not None and find_spec("peft") is None:
        raise HarnessError("training.lora needs peft; pip install 'coevolution-harness[lora]'")
    if training.processes == 1:
        return
    gpus = torch.cuda.device_count()
    if 0 < gpus < training.processes:
        raise HarnessError(
            f"training.processes={training.processes}: {gpus} GPUs are visible; ask for as many or "
            "fewer processes, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU"
        )
    from torch.distributed.fsdp import FSDPModule

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise HarnessError(
            f"training.processes > 1 needs torch 2.8 or later, here is {torch.__version__}; "
            "pip install -U torch, or set training.processes=1"
        )
