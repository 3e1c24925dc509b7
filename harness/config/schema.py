"""The configuration of one run. Everything that can change a result is in here or in the seed.

Defaults are R-Zero's (arXiv 2508.05004) where it states one; a profile overrides them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.masks import ProtectedKind

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
_LATER = ("engine", "training")
"""Sections that runs of version 0.2 and before don't have."""


class Strict(BaseModel):
    """Frozen; unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(Strict):
    """The base model of both roles."""

    path: str = Field(
        description="hub id or folder; a relative folder is also sought beside "
        "the installed package"
    )
    revision: str | None = Field(None, description="hub revision to pin")
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu"] = Field("auto", description="auto: a GPU where there is one")


class RolesConfig(Strict):
    """Prompts and response formats of proposer and solver."""

    proposer_system: str | None = None
    proposer_user: str = Field(description="the proposer's one prompt")
    solver_system: str | None = None
    solver_user: str = Field("{question}", description="must contain {question}")
    question_open: str = "<question>"
    question_close: str = "</question>"
    require_answer_box: bool = Field(
        False, description="a proposal without a boxed answer is invalid"
    )
    max_question_chars: int = Field(2000, ge=1)

    @model_validator(mode="after")
    def _has_slot(self) -> RolesConfig:
        if "{question}" not in self.solver_user:
            raise ValueError("roles.solver_user must contain {question}")
        return self


class StageConfig(Strict):
    """GRPO on one role in one iteration (specification: R-Zero's GRPO, arXiv 2508.05004)."""

    steps: int = Field(5, ge=0, description="rollout steps per iteration")
    prompts_per_step: int = Field(512, ge=1)
    group_size: int = Field(4, ge=2, description="G, rollouts per group")
    minibatches: int = Field(1, ge=1, description="optimiser updates per epoch over a step")
    epochs: int = Field(1, ge=1)
    micro_rows: int = Field(256, ge=1, description="rows per forward-backward pass")
    loss_mean: Literal["minibatch", "microbatch"] = Field(
        "minibatch", description="what the token mean is taken over; R-Zero's code: microbatch"
    )
    lr: float = Field(1e-6, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.3, gt=0)
    dual_clip: float = Field(3.0, gt=1)
    kl_coef: float = Field(1e-2, ge=0)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    max_new_tokens: int = Field(4096, ge=1)
    checkpoint_every: int = Field(0, ge=0, description="steps between resumable states; 0: none")
    max_nonfinite: int = Field(
        3, ge=1, description="consecutive skipped updates after which the run has diverged"
    )


class VotesConfig(Strict):
    """The solver's votes on a question."""

    n: int = Field(10, ge=2, description="M, votes per question")
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    max_new_tokens: int = Field(4096, ge=1)


class CurriculumConfig(Strict):
    """The generated curriculum and the difficulty window."""

    questions: int = Field(8000, ge=1, description="N, raw questions per round")
    batch_size: int = Field(1000, ge=1, description="questions per batch; masks are per batch")
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    window_low: float = Field(0.25, ge=0, le=1, description="|p_hat - 1/2| <= 1/4 in the paper")
    window_high: float = Field(0.75, ge=0, le=1)
    min_survivors: int = Field(1, ge=1, description="fewer: generate another round")
    max_rounds: int = Field(3, ge=1, description="rounds before 'curriculum_exhausted'")
    repetition_threshold: float = Field(0.5, gt=0, lt=1, description="BLEU distance of a cluster")

    @model_validator(mode="after")
    def _is_a_window(self) -> CurriculumConfig:
        if self.window_low > self.window_high:
            raise ValueError("window_low must not be above window_high")
        return self


class DiversityConfig(Strict):
    """Proposer diversity, always at a fixed number of questions."""

    n: int = Field(1000, ge=2, description="questions per measurement")
    n_well_posed: int = Field(500, ge=2, description="the same among well-posed questions")
    embedder: str = Field("hashing", description="'hashing' or a sentence-transformers id/folder")
    topics: str | None = Field(
        None,
        description="a data set with subjects, e.g. math_train, whose nearest problems name a "
        "question's topic; None: the checker's topics, if there is a checker",
    )


class EvaluationConfig(Strict):
    """Evaluation of the solver through lm-eval tasks."""

    tasks: tuple[str, ...] = Field(min_length=1)
    include_path: str = "tasks"
    limit: int | None = Field(None, ge=1, description="items per task; None: all")
    max_new_tokens: int | None = Field(
        None, ge=1, description="overrides the tasks' own limit; None: as the tasks say"
    )
    samples: int | None = Field(
        None, ge=1, description="overrides the samples of an item in tasks that repeat their items"
    )
    every: int = Field(1, ge=0, description="iterations between evaluations; 0: only the last")


class EngineConfig(Strict):
    """What samples. The torch engine takes nothing from here but its name."""

    name: Literal["torch", "vllm"] = "torch"
    python: str | None = Field(
        None, description="interpreter of the environment that has vLLM; None: the harness's own"
    )
    runner: Literal["v1", "v2"] = Field("v1", description="vLLM's model runner")
    servers: int = Field(
        1, ge=1, description="vLLM processes, over which the rows of a call are spread"
    )
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs of one server")
    max_model_len: int | None = Field(None, ge=1, description="None: the model's own")
    max_num_seqs: int = Field(256, ge=1, description="rows that a server samples at once")
    gpu_memory_utilization: float = Field(0.85, gt=0, le=1)
    enforce_eager: bool = Field(False, description="no CUDA graphs, no compilation")
    sleep: bool = Field(
        False, description="a server gives its GPU memory to the trainer while it doesn't sample"
    )
    restarts: int = Field(
        2, ge=0, description="how often in a row a server that died is started again"
    )
    start_timeout_s: float = Field(1800.0, gt=0)
    call_timeout_s: float = Field(7200.0, gt=0, description="a server silent for longer is dead")


class LoraConfig(Strict):
    """Low-rank adapters instead of all weights (arXiv 2106.09685), merged in checkpoints."""

    rank: int = Field(32, ge=1)
    alpha: float = Field(64.0, gt=0)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class TrainingConfig(Strict):
    """How the updates are computed, in whatever number of processes; not what they are."""

    processes: int = Field(1, ge=1, description="over which the model is sharded (FSDP2)")
    micro_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens, padding included, per forward-backward pass; None: micro_rows rows",
    )
    gradient_checkpointing: bool = False
    lora: LoraConfig | None = None


class RunConfig(Strict):
    """One run of one method: everything but the method and the seed."""

    profile: str = Field(pattern=_NAME, description="part of folder and file names")
    suite: str = Field(pattern=_NAME, description="part of the names of its tables")
    model: ModelConfig
    roles: RolesConfig
    checker: str | None = Field(
        None, description="module:Class that knows a question's topic, posedness and true answer"
    )
    protected: tuple[ProtectedKind, ...] = ("format", "digits", "punctuation")
    iterations: int = Field(5, ge=1)
    proposer: StageConfig
    solver: StageConfig
    votes: VotesConfig = VotesConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    diversity: DiversityConfig = DiversityConfig()
    evaluation: EvaluationConfig
    baseline: str = "rzero"
    control: str | None = Field(
        None, description="an entry without which a table can't speak of co-evolution"
    )
    engine_rows: int = Field(512, ge=1, description="rows the engine samples at once")
    threads: int = Field(1, ge=1, description="torch threads per process")
    engine: EngineConfig = EngineConfig()
    training: TrainingConfig = TrainingConfig()
    keep_checkpoints: Literal["last", "all"] = "last"
    grader_workers: int = Field(1, ge=1)
    grader_deadline_s: float = Field(5.0, gt=0)

    def identity(self) -> dict[str, Any]:
        """What the configuration's hash is taken of.

        Not of what only this machine needs to know. A section that came later counts only where it
        says something, so that a run made before keeps its name.
        """
        stated = self.model_dump(mode="json")
        del stated["model"]["device"]  # of the machine, as are these
        for name in ("python", "restarts", "start_timeout_s", "call_timeout_s"):
            del stated["engine"][name]
        for name in _LATER:
            default = type(self).model_fields[name].default.model_dump(mode="json")
            if stated[name] == {key: default[key] for key in stated[name]}:
                del stated[name]
        return stated
