"""Typed, validated configuration; profiles are YAML files."""

from harness.config.profiles import list_profiles, load_config, load_engine
from harness.config.schema import (
    CurriculumConfig,
    DiversityConfig,
    EngineConfig,
    EvaluationConfig,
    LoraConfig,
    ModelConfig,
    RolesConfig,
    RunConfig,
    StageConfig,
    TrainingConfig,
    VotesConfig,
)

__all__ = [
    "CurriculumConfig",
    "DiversityConfig",
    "EngineConfig",
    "EvaluationConfig",
    "LoraConfig",
    "ModelConfig",
    "RolesConfig",
    "RunConfig",
    "StageConfig",
    "TrainingConfig",
    "VotesConfig",
    "list_profiles",
    "load_config",
    "load_engine",
]
