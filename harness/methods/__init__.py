"""What a method is, how it is registered, and how methods compose."""

from harness.methods.base import (
    Ballots,
    Curriculum,
    HookContext,
    Method,
    MethodParams,
    Pool,
    TokenTools,
)
from harness.methods.batch import RolloutBatch, RolloutTools
from harness.methods.compose import Composite
from harness.methods.registry import (
    MethodEntry,
    build,
    entries,
    get,
    load_plugin,
    plugin_files,
    plugin_hash,
    register,
)

__all__ = [
    "Ballots",
    "Composite",
    "Curriculum",
    "HookContext",
    "Method",
    "MethodEntry",
    "MethodParams",
    "Pool",
    "RolloutBatch",
    "RolloutTools",
    "TokenTools",
    "build",
    "entries",
    "get",
    "load_plugin",
    "plugin_files",
    "plugin_hash",
    "register",
]
