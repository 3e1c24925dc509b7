"""Servers of a real vLLM, where an environment has one.

The interpreter is named by COEVOLUTION_VLLM_PYTHON (`make vllm-test` makes an environment and names
it); these tests run in the project's own environment and ask servers in that one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tiny import make_policy

from harness.config import EngineConfig
from harness.engines.vllm_engine import VllmEngines
from harness.policy import Policy

ASK = "import importlib.metadata as m; print([d.metadata['Name'] for d in m.distributions()])"
# The CPU build has no kernels for heads narrower than this.
HEAD_DIM = 32


@pytest.fixture(autouse=True)
def _no_interpreted_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set for the project's own kernels, and not meant for a server that a test starts."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.fixture(scope="session")
def interpreter() -> str:
    """A Python that has vLLM."""
    python = os.environ.get("COEVOLUTION_VLLM_PYTHON", sys.executable)
    said = subprocess.run([python, "-c", ASK], capture_output=True, text=True)
    if "'vllm" not in said.stdout:
        pytest.skip(f"{python} has no vLLM; `make vllm-test` makes an environment that has it")
    return python


@pytest.fixture(scope="session")
def engine_config(interpreter: str) -> EngineConfig:
    return EngineConfig(
        name="vllm",
        python=interpreter,
        max_model_len=256,
        max_num_seqs=8,
        enforce_eager=True,
        restarts=1,
    )


@pytest.fixture(scope="session")
def engines(engine_config: EngineConfig) -> Iterator[VllmEngines]:
    made = VllmEngines(engine_config, "float32")
    yield made
    made.close()


@pytest.fixture(scope="session", params=[False, True], ids=["untied", "tied"])
def policy(request: pytest.FixtureRequest, base_policy: Policy) -> Policy:
    """Two random layers in float32, the head larger than the tokenizer; not to be trained."""
    return make_policy(base_policy.tokenizer, head_dim=HEAD_DIM, tied=request.param)
