"""Fixtures: a task folder, an engine that is always right, a tiny real model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from miniature import ITEMS, LookupEngine, character_tokenizer, write_tasks
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from harness.engines.torch_engine import TorchEngine


@pytest.fixture
def tasks_folder(tmp_path: Path) -> Path:
    return write_tasks(tmp_path, ITEMS)


@pytest.fixture
def right_engine() -> LookupEngine:
    """Answers everything correctly."""
    return LookupEngine({str(i["question"]): [f"so \\boxed{{{i['answer']}}}"] for i in ITEMS})


@pytest.fixture(scope="session")
def tiny_model() -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A random Qwen3 of two layers over characters, with logits far enough apart for greedy."""
    tokenizer = character_tokenizer()
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        initializer_range=0.5,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config).eval()
    torch.random.set_rng_state(state)
    return model, tokenizer


@pytest.fixture
def tiny_engine(tiny_model: tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]) -> TorchEngine:
    return TorchEngine(*tiny_model)
