"""Typed, validated configuration; profiles are YAML files."""

from harness.config.profiles import list_profiles, load_config
from harness.config.schema import (
    CurriculumConfig,
    DiversityConfig,
    EvaluationConfig,
    ModelConfig,
    RolesConfig,
    RunConfig,
    StageConfig,
    VotesConfig,
)

__all__ = [
    "CurriculumConfig",
    "DiversityConfig",
    "EvaluationConfig",
    "ModelConfig",
    "RolesConfig",
    "RunConfig",
    "StageConfig",
    "VotesConfig",
    "list_profiles",
    "load_config",
]
