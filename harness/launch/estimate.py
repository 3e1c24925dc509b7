"""What a run would need on GPUs: parameters, memory, disk, GPU-hours. Computed, not measured.

Everything follows from the model's shape, the configuration and stated assumptions:

- Forward 2 FLOPs and backward 4 per parameter and token, as `harness.ledger` counts them; gradient
  checkpointing adds a forward pass. Attention's own products are left out: a few per cent at 4096
  tokens.
- A trainer keeps, in shards over its processes: weights and reference in the model's number format,
  gradients and Adam's two moments in float32, and for a bfloat16 model a float32 master copy.
- A decoding step reads all weights and the keys and values of its rows, at a share of the memory's
  bandwidth, and can't be faster than its FLOPs at the training's utilisation.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from harness.base import find_base, hub_file
from harness.config.published import Shape, published
from harness.config.schema import LoraConfig, RunConfig, StageConfig
from harness.errors import HarnessError
from harness.kernels.lm_head import BLOCK_ELEMENTS
from harness.launch.bounds import tokens_at_most

FAMILIES = {"llama": False, "qwen3": True}
"""Model types whose size `parameters` knows, and whether they norm queries and keys."""
BYTES = {"bfloat16": 2, "float32": 4}
BLOCKS = 3
"""Blocks of logits that `harness.kernels` holds at once, in float32."""


@dataclass(frozen=True)
class Gpu:
    """One GPU, by its maker's numbers: dense FLOP/s, bytes/s and bytes."""

    name: str = "H100 of 80 GB"
    bfloat16: float = 990e12
    float32: float = 67e12
    bandwidth: float = 3.35e12
    memory: float = 80e9


@dataclass(frozen=True)
class Assumptions:
    """What a configuration doesn't say.

    Attributes:
        response_share: mean length of a response as a share of its limit.
        rounds_share: rounds of a curriculum as a share of ``max_rounds``; at least one is made.
        utilisation: share of a GPU's FLOP/s that training reaches.
        bandwidth_share: share of its memory's bandwidth that decoding reaches.
        step_seconds: what a decoding step costs beside.
        prompt_tokens: of a prompt.
    """

    response_share: float
    rounds_share: float
    utilisation: float
    bandwidth_share: float
    step_seconds: float
    prompt_tokens: int = 300


LOW = Assumptions(0.2, 0.0, 0.40, 0.7, 0.002)
HIGH = Assumptions(0.6, 1.0, 0.25, 0.4, 0.008)
"""Two ends of what seems plausible for the default GPU; neither was measured."""


def find_shape(config: RunConfig) -> Shape | None:
    """The base model's shape: from its config.json on this machine, else from the published table.

    None where neither is there, or the model is of a kind that `parameters` doesn't know.
    """
    base = find_base(config.model.path)
    if base.is_file():  # GGUF
        return None
    path = base / "config.json"
    if not base.exists():
        found = hub_file(base, "config.json", config.model.revision, local=True)
        if found is None:
            return published().models.get(config.model.path)
        path = found
    try:
        return _shape(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path}: not a model's configuration ({error})") from error


def _shape(said: dict[str, Any]) -> Shape | None:
    """The shape that a Hugging Face config.json states."""
    biased = said.get("attention_bias") or said.get("mlp_bias")
    if said.get("model_type") not in FAMILIES or biased:
        return None
    heads = said["num_attention_heads"]
    return Shape(
        layers=said["num_hidden_layers"],
        hidden=said["hidden_size"],
        intermediate=said["intermediate_size"],
        heads=heads,
        kv_heads=said.get("num_key_value_heads") or heads,
        head_dim=said.get("head_dim") or said["hidden_size"] // heads,
        vocab=said["vocab_size"],
        tied=bool(said.get("tie_word_embeddings", False)),
        qk_norm=FAMILIES[said["model_type"]],
    )


def parameters(shape: Shape) -> int:
    """Number of parameters; a tied head counts once."""
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    return embeddings + shape.layers * _layer(shape) + shape.hidden


def _linears(shape: Shape) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of a layer's linear maps."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return {
        "q_proj": (shape.hidden, queries),
        "k_proj": (shape.hidden, keys),
        "v_proj": (shape.hidden, keys),
        "o_proj": (queries, shape.hidden),
        "gate_proj": (shape.hidden, shape.intermediate),
        "up_proj": (shape.hidden, shape.intermediate),
        "down_proj": (shape.intermediate, shape.hidden),
    }


def _layer(shape: Shape) -> int:
    norms = 2 * shape.hidden + (2 * shape.head_dim if shape.qk_norm else 0)
    return norms + sum(a * b for a, b in _linears(shape).values())


def trained_parameters(shape: Shape, lora: LoraConfig | None) -> int:
    """Those that an optimiser updates: all, or the adapters of the named maps."""
    if lora is None:
        return parameters(shape)
    maps = _linears(shape)
    named = maps if lora.targets == "all-linear" else set(lora.targets) & set(maps)
    return shape.layers * lora.rank * sum(sum(maps[name]) for name in named)


def trainer_memory(config: RunConfig, shape: Shape, prompt_tokens: int) -> dict[str, float]:
    """Bytes that one process of the trainer holds at its peak, by what they are."""
    size, n = BYTES[config.model.dtype], parameters(shape)
    shards = config.training.processes
    trained = trained_parameters(shape, config.training.lora)
    tokens = max(_micro_tokens(config, stage, prompt_tokens) for stage in _stages(config))
    layer_tokens = size * tokens * _activations(shape)
    kept = size * tokens * shape.hidden
    checkpointed = config.training.gradient_checkpointing
    gathered = shape.vocab * shape.hidden + 2 * _layer(shape) if shards > 1 else 0
    return {
        "weights": size * n / shards,
        "reference": size * n / shards,
        "gradients": 4 * trained / shards,
        "optimiser": 8 * trained / shards,
        "master weights": 4 * trained / shards if size == 2 else 0.0,
        "gathered weights": float(size * gathered),
        "activations": float(
            shape.layers * kept + layer_tokens if checkpointed else shape.layers * layer_tokens
        ),
        "logits": float(4 * BLOCKS * BLOCK_ELEMENTS),
    }


def _stages(config: RunConfig) -> tuple[StageConfig, StageConfig]:
    return config.proposer, config.solver


def _micro_tokens(config: RunConfig, stage: StageConfig, prompt_tokens: int) -> int:
    """Tokens of one forward-backward pass, at most."""
    longest = prompt_tokens + stage.max_new_tokens
    limit = config.training.micro_tokens
    return stage.micro_rows * longest if limit is None else max(limit, longest)


def _activations(shape: Shape) -> int:
    """Numbers that a layer keeps per token for its backward pass (attention without its matrix)."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return 4 * shape.hidden + 2 * (queries + 2 * keys) + queries + 4 * shape.intermediate


def server_memory(config: RunConfig, shape: Shape, gpu: Gpu) -> dict[str, float]:
    """Bytes of one vLLM server over all its GPUs, and the full-length rows that they hold."""
    size, engine = BYTES[config.model.dtype], config.engine
    weights = float(size * parameters(shape))
    longest = _longest(config)
    row = float(_kv_bytes(config, shape) * longest)
    room = gpu.memory * engine.gpu_memory_utilization * engine.tensor_parallel_size - weights
    return {
        "weights": weights,
        "cache of all rows at full length": engine.max_num_seqs * row,
        "room for the cache": max(0.0, room),
        "rows of full length that fit": float(max(0, int(room // row))),
    }


def _longest(config: RunConfig) -> int:
    """Tokens of the longest row that a server may hold."""
    if config.engine.max_model_len is not None:
        return config.engine.max_model_len
    stages = (config.proposer, config.solver, config.votes)
    return LOW.prompt_tokens + max(said.max_new_tokens for said in stages)


def _kv_bytes(config: RunConfig, shape: Shape) -> int:
    """Bytes of one token's keys and values."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * BYTES[config.model.dtype]


def disk(config: RunConfig, shape: Shape) -> float:
    """Bytes of a run's checkpoints at their most: each is written before an older one goes."""
    weights = BYTES[config.model.dtype] * parameters(shape)
    kept = config.iterations if config.keep_checkpoints == "all" else 1
    resumable = any(stage.checkpoint_every for stage in _stages(config))
    moments = 8 * trained_parameters(shape, config.training.lora)
    return float(2 * (kept + 1) * weights + (2 * (weights + moments) if resumable else 0))


def training_flops(config: RunConfig, shape: Shape, assumed: Assumptions) -> float:
    """FLOPs of all updates of a run, scans for old and reference log-probs included."""
    total = 0.0
    for stage in _stages(config):
        rows = stage.steps * stage.prompts_per_step * stage.group_size
        tokens = rows * (assumed.prompt_tokens + assumed.response_share * stage.max_new_tokens)
        scans = 2 if stage.kl_coef else 1
        forwards = scans + stage.epochs * (2 if config.training.gradient_checkpointing else 1)
        total += tokens * (2.0 * forwards + 4.0 * stage.epochs)
    return total * parameters(shape) * config.iterations


def sampled_tokens(config: RunConfig, evaluations: int | None, assumed: Assumptions) -> float:
    """Tokens that a run samples under the assumptions; unknown evaluations count nothing."""
    bound: dict[str, float] = dict(tokens_at_most(config))
    rounds = max(assumed.rounds_share, 1 / config.curriculum.max_rounds)
    for name in ("curriculum", "label votes"):
        bound[name] *= rounds
    return assumed.response_share * (sum(bound.values()) + (evaluations or 0))


def decoding_speed(
    config: RunConfig, shape: Shape, gpu: Gpu, assumed: Assumptions
) -> tuple[float, int]:
    """(tokens per second of one server, rows at once); (0, 0) where the model doesn't fit."""
    engine, n = config.engine, parameters(shape)
    limit = max(s.max_new_tokens for s in (config.proposer, config.solver, config.votes))
    context = assumed.prompt_tokens + assumed.response_share * limit
    row = _kv_bytes(config, shape) * context
    memory = server_memory(config, shape, gpu)
    rows = min(engine.max_num_seqs, int(memory["room for the cache"] // row))
    if not rows:
        return 0.0, 0
    gpus = engine.tensor_parallel_size
    flops = getattr(gpu, config.model.dtype)
    reading = (memory["weights"] + rows * row) / (gpus * gpu.bandwidth * assumed.bandwidth_share)
    computing = 2.0 * n * rows / (gpus * flops * assumed.utilisation)
    return rows / (max(reading, computing) + assumed.step_seconds), rows


@dataclass(frozen=True)
class Hours:
    """GPU-hours of one run under one set of assumptions.

    Attributes:
        training, sampling: of the GPUs that do it, while they do it.
        wall: hours, training and sampling in turn.
        held: GPU-hours of all GPUs from start to end.
    """

    training: float
    sampling: float
    wall: float
    held: float


def hours(
    config: RunConfig, shape: Shape, evaluations: int | None, gpu: Gpu, assumed: Assumptions
) -> Hours | None:
    """GPU-hours of a run that samples with vLLM; None where a server can't hold the model."""
    engine, processes = config.engine, config.training.processes
    speed, _ = decoding_speed(config, shape, gpu, assumed)
    if not speed:
        return None
    flops = training_flops(config, shape, assumed)
    training = flops / (getattr(gpu, config.model.dtype) * assumed.utilisation) / 3600
    seconds = sampled_tokens(config, evaluations, assumed) / speed
    sampling = seconds * engine.tensor_parallel_size / 3600
    wall = training / processes + seconds / engine.servers / 3600
    return Hours(training, sampling, wall, wall * gpus_of(config))


def gpus_of(config: RunConfig) -> int:
    """GPUs that a run holds; a server that sleeps shares the trainer's."""
    processes = config.training.processes
    if config.engine.name != "vllm":
        return processes
    serving = config.engine.servers * config.engine.tensor_parallel_size
    return max(processes, serving) if config.engine.sleep else processes + serving


def estimate(config: RunConfig, evaluations: int | None, gpu: Gpu | None = None) -> dict[str, Any]:
    """All of the above as plain data; empty where the model's shape isn't known.

    Args:
        evaluations: bound of the tokens of all evaluations; None: unknown, and left out.
    """
    shape, gpu = find_shape(config), gpu or Gpu()
    if shape is None:
        return {}
    found: dict[str, Any] = {
        "measured": False,
        "gpu": asdict(gpu),
        "gpus": gpus_of(config),
        "parameters": parameters(shape),
        "trainer_bytes_per_process": trainer_memory(config, shape, LOW.prompt_tokens),
        "checkpoint_bytes": disk(config, shape),
    }
    if config.engine.name == "vllm":
        ends = [
            (assumed, hours(config, shape, evaluations, gpu, assumed)) for assumed in (LOW, HIGH)
        ]
        found["server"] = server_memory(config, shape, gpu)
        found["hours"] = [
            None if h is None else {**asdict(h), "assumed": asdict(assumed)} for assumed, h in ends
        ]
    return found
