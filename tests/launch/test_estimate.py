"""Estimates from shapes: against models, against numbers by hand, and in their direction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from harness.config import RunConfig, load_config
from harness.config.published import Shape, published
from harness.errors import HarnessError
from harness.launch.estimate import (
    HIGH,
    LOW,
    Gpu,
    decoding_speed,
    disk,
    estimate,
    find_shape,
    gpus_of,
    hours,
    parameters,
    sampled_tokens,
    server_memory,
    trainer_memory,
    training_flops,
)
from harness.policy import Policy

QWEN3_8B = 8_190_735_360
QWEN3_4B = 4_022_468_096


def configured(profile: str = "qwen3-8b", *overrides: str) -> RunConfig:
    return load_config(profile, overrides=overrides)[0]


def shape_of(profile: str) -> Shape:
    shape = find_shape(configured(profile))
    assert shape is not None
    return shape


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [(Qwen3Config, Qwen3ForCausalLM), (LlamaConfig, LlamaForCausalLM)])
def test_parameters_are_those_of_the_model(
    kind: tuple[Any, Any], tied: bool, tmp_path: Path
) -> None:
    config = kind[0](
        vocab_size=101,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=10,
        tie_word_embeddings=tied,
    )
    config.save_pretrained(tmp_path)
    shape = find_shape(configured("qwen3-8b", f"model.path={tmp_path}"))
    assert shape is not None
    assert parameters(shape) == sum(p.numel() for p in kind[1](config).parameters())


def test_the_published_sizes(base_policy: Policy) -> None:
    assert parameters(shape_of("qwen3-8b")) == parameters(shape_of("qwen3-8b-instruct")) == QWEN3_8B
    assert parameters(shape_of("qwen3-4b")) == parameters(shape_of("qwen3-4b-instruct")) == QWEN3_4B
    assert parameters(shape_of("ladder")) == base_policy.parameters
    assert set(published().models) == {configured(p).model.path for p in published().profiles}


def test_what_cannot_be_known_is_left_out(tmp_path: Path) -> None:
    unknown = configured("qwen3-8b", "model.path=somebody/something")
    assert find_shape(unknown) is None
    assert estimate(unknown, None) == {}
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    assert find_shape(configured("qwen3-8b", f"model.path={tmp_path}")) is None
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(HarnessError, match="not a model's configuration"):
        find_shape(configured("qwen3-8b", f"model.path={tmp_path}"))


def test_trainer_of_qwen3_8b_by_hand() -> None:
    """4 processes, 2 rows of 300 + 4096 tokens, gradient checkpointing, bfloat16."""
    held = trainer_memory(configured(), shape_of("qwen3-8b"), 300)
    tokens, layer = 2 * 4396, 192_946_432
    one_layer = 4 * 4096 + 2 * (32 + 2 * 8) * 128 + 32 * 128 + 4 * 12288
    assert held == {
        "weights": 2 * QWEN3_8B / 4,
        "reference": 2 * QWEN3_8B / 4,
        "gradients": 4 * QWEN3_8B / 4,
        "optimiser": 8 * QWEN3_8B / 4,
        "master weights": 4 * QWEN3_8B / 4,
        "gathered weights": 2.0 * (151_936 * 4096 + 2 * layer),
        "activations": 2.0 * tokens * (36 * 4096 + one_layer),
        "logits": 3 * 4.0 * 2**22,
    }


def test_trainer_of_a_local_float32_model() -> None:
    """One process: 4 + 4 + 4 + 8 bytes a parameter, and every layer's activations."""
    config, shape = configured("ladder"), shape_of("ladder")
    held = trainer_memory(config, shape, 300)
    n = parameters(shape)
    assert held["weights"] + held["reference"] + held["gradients"] + held["optimiser"] == 20 * n
    assert held["master weights"] == held["gathered weights"] == 0
    per_token = 4 * 128 + 2 * (4 + 2 * 2) * 32 + 4 * 32 + 4 * 384
    assert held["activations"] == 4 * 4 * 16 * 396 * per_token


def test_micro_tokens_bound_the_activations() -> None:
    shape = shape_of("qwen3-8b")
    rows = trainer_memory(configured(), shape, 300)["activations"]
    packed = trainer_memory(configured("qwen3-8b", "training.micro_tokens=17584"), shape, 300)
    assert packed["activations"] == 2 * rows


def test_adapters_need_no_moments_of_the_whole_model() -> None:
    shape = shape_of("qwen3-8b")
    held = trainer_memory(configured("qwen3-8b", "training.lora={rank: 32}"), shape, 300)
    maps = 4096 * 2 + (4096 + 1024) * 2 + 4096 * 2 + (4096 + 12288) * 3
    assert held["optimiser"] == 8 * 36 * 32 * maps / 4


def test_server_of_qwen3_8b_by_hand() -> None:
    held = server_memory(configured(), shape_of("qwen3-8b"), Gpu())
    row = 2 * 36 * 8 * 128 * 2 * 6144
    room = 80e9 * 0.85 - 2 * QWEN3_8B
    assert held["cache of all rows at full length"] == 256 * row
    assert held["room for the cache"] == room
    assert held["rows of full length that fit"] == room // row == 56


def test_disk_of_qwen3_8b_by_hand() -> None:
    shape = shape_of("qwen3-8b")
    weights = 2 * QWEN3_8B
    state = weights + 8 * QWEN3_8B
    assert disk(configured(), shape) == 4 * weights + 2 * state
    every = configured("qwen3-8b", "keep_checkpoints=all", "proposer.checkpoint_every=0")
    every = every.model_copy(update={"solver": every.proposer})
    assert disk(every, shape) == 12 * weights


def test_flops_and_tokens_by_hand() -> None:
    """Two scans, two forwards and a backward: 12 FLOPs per parameter and token."""
    config = configured()
    proposer, solver = 5 * 512 * 4, 15 * 512 * 5
    tokens = (proposer + solver) * (300 + 0.2 * 4096) * 5
    flops = training_flops(config, shape_of("qwen3-8b"), LOW)
    assert flops == pytest.approx(12 * tokens * QWEN3_8B)
    responses = proposer * 11 + 8000 * 11 + solver  # one round of the curriculum
    assert sampled_tokens(config, 1000, LOW) == pytest.approx(0.2 * (5 * 4096 * responses + 1000))
    whole = proposer * 11 + 3 * 8000 * 11 + solver
    assert sampled_tokens(config, None, HIGH) == pytest.approx(0.6 * 5 * 4096 * whole)


def test_decoding_is_bound_by_the_memory() -> None:
    """A step reads the weights and 256 rows' keys and values."""
    shape = shape_of("qwen3-8b")
    speed, rows = decoding_speed(configured(), shape, Gpu(), LOW)
    read = 2 * QWEN3_8B + 256 * 2 * 36 * 8 * 128 * 2 * (300 + 0.2 * 4096)
    assert rows == 256
    assert speed == pytest.approx(256 / (read / (3.35e12 * 0.7) + 0.002))
    assert decoding_speed(configured(), shape, Gpu(memory=16e9), LOW) == (0.0, 0)
    assert hours(configured(), shape, None, Gpu(memory=16e9), LOW) is None


def test_hours_add_up() -> None:
    config, shape = configured(), shape_of("qwen3-8b")
    low, high = (hours(config, shape, None, Gpu(), a) for a in (LOW, HIGH))
    assert low is not None
    assert high is not None
    for h in (low, high):
        assert h.wall == pytest.approx(h.training / 4 + h.sampling / 4)
        assert h.held == pytest.approx(8 * h.wall)
        assert h.training + h.sampling <= h.held
    assert low.held < high.held
    assert gpus_of(configured("qwen3-8b", "engine.sleep=true")) == 4
    assert gpus_of(configured("qwen3-8b", "engine.tensor_parallel_size=2")) == 12
    assert gpus_of(configured("ladder")) == 1


GROWING = {
    "iterations": st.integers(1, 20),
    "proposer.steps": st.integers(1, 50),
    "solver.group_size": st.integers(2, 64),
    "votes.n": st.integers(2, 64),
    "solver.max_new_tokens": st.integers(64, 4096),
    "curriculum.questions": st.integers(1, 20_000),
}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(GROWING)))
def test_more_of_anything_never_costs_less(data: st.DataObject, key: str) -> None:
    """Work, that is: hours held."""
    shape = published().models["Qwen/Qwen3-8B-Base"]
    small, large = sorted((data.draw(GROWING[key]), data.draw(GROWING[key])))
    costs = [
        hours(configured("qwen3-8b", f"{key}={n}"), shape, 0, Gpu(), LOW) for n in (small, large)
    ]
    first, second = costs
    assert first is not None
    assert second is not None
    assert first.held <= second.held * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Shape,
        layers=st.integers(1, 64),
        hidden=st.integers(1, 8192),
        intermediate=st.integers(1, 30_000),
        heads=st.integers(1, 64),
        kv_heads=st.integers(1, 64),
        head_dim=st.integers(1, 256),
        vocab=st.integers(1, 300_000),
        tied=st.booleans(),
    ),
    st.integers(1, 16),
)
def test_sharding_divides_what_it_shards(shape: Shape, processes: int) -> None:
    one, many = (
        trainer_memory(configured("qwen3-8b", f"training.processes={n}"), shape, 300)
        for n in (1, processes)
    )
    for name in ("weights", "reference", "gradients", "optimiser", "master weights"):
        assert many[name] == pytest.approx(one[name] / processes)
    assert many["activations"] == one["activations"]
    plain = trainer_memory(
        configured("qwen3-8b", "training.gradient_checkpointing=false"), shape, 300
    )
    if shape.layers > 1:
        assert plain["activations"] > one["activations"]
