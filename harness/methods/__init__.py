"""What a method is, how it is registered, and how methods compose."""

from harness.methods.base import Curriculum, HookContext, Method, MethodParams, Pool
from harness.methods.batch import RolloutBatch, RolloutTools
from harness.methods.compose import Composite
from harness.methods.registry import (
    MethodEntry,
    build,
    entries,
    get,
    load_plugin,
    plugin_hash,
    register,
)

__all__ = [
    "Composite",
    "Curriculum",
    "HookContext",
    "Method",
    "MethodEntry",
    "MethodParams",
    "Pool",
    "RolloutBatch",
    "RolloutTools",
    "build",
    "entries",
    "get",
    "load_plugin",
    "plugin_hash",
    "register",
]
