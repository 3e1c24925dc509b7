"""Names in a stage's state, the same whatever number of processes wrote it.

All are safetensors of full tensors. Beside them lies ``policy``, the weights as an ordinary folder.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from harness.errors import HarnessError

OPTIMIZER = "optimizer.safetensors"
"""``index.key``: AdamW's state of each trained weight, in their order."""
MASTERS = "masters.safetensors"
"""The float32 copies of bfloat16 weights, by name."""
ADAPTERS = "adapters.safetensors"
"""The adapters, by name."""
WEIGHTS = "weights.safetensors"
"""Weights on their way from the shards to the policy's own model."""


def read_own(folder: Path, lora: bool) -> dict[str, Tensor] | None:
    """The trained weights where ``policy`` doesn't hold them exactly; None where it does.

    Raises:
        HarnessError: adapters are asked for and there are none.
    """
    path = folder / (ADAPTERS if lora else MASTERS)
    if path.exists():
        return dict(load_file(path))
    if lora:
        raise HarnessError(f"{path}: missing; remove {folder} to begin the stage again")
    return None
