"""Names in a stage's state, the same whatever number of processes wrote it.

All are safetensors of full tensors. Beside them lies ``policy``, the weights as an ordinary folder.
"""

OPTIMIZER = "optimizer.safetensors"
"""``index.key``: AdamW's state of each trained weight, in their order."""
MASTERS = "masters.safetensors"
"""The float32 copies of bfloat16 weights, by name."""
ADAPTERS = "adapters.safetensors"
"""The adapters, by name."""
WEIGHTS = "weights.safetensors"
"""Weights on their way from the shards to the policy's own model."""
