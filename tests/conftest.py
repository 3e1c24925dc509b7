"""Fixtures of the core: the shipped ladder base, and a random model of the same tokenizer."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():  # read when Triton is first imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

import tiny

from harness.policy import Policy


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_policy() -> Policy:
    """The shipped base model; not to be trained in place."""
    return Policy.load(tiny.BASE)


@pytest.fixture(scope="session")
def tiny_policy(base_policy: Policy) -> Policy:
    """A random Qwen3 with the ladder's tokenizer; not to be trained in place."""
    return tiny.make_policy(base_policy.tokenizer)
