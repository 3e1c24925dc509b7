"""One of N processes that hold a model together (FSDP2); run as a child of the trainer's process.

`torch.distributed.fsdp.fully_shard` is called as accelerate's FSDP2 path calls it, each decoder
layer a unit and the rest one more. accelerate's own entry takes DDP where there is no GPU, so what
runs on GPUs could not be tested without one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from harness.child import Frame, Record, serve
from harness.config.schema import LoraConfig
from harness.errors import HarnessError
from harness.learner.adapters import adapt, merged, without_adapters
from harness.learner.base import backpropagate, out_of_memory
from harness.learner.core import Core, put, recomputing, trainable, whole
from harness.learner.files import ADAPTERS, MASTERS, OPTIMIZER, WEIGHTS, read_own
from harness.learner.wire import NO_MEMORY, idle_part, pack_values, unpack_grads, unpack_part
from harness.policy import Policy, Scores, TokenBatch

Tensors = dict[str, Tensor]


class Root(torch.nn.Module):
    """A model whose scores are computed inside one forward pass.

    The head and the embeddings belong to this unit: they are whole from its beginning until its
    backward pass is over, also where they are one weight.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        self.model = policy.model

    def forward(
        self, part: TokenBatch, candidates: Tensor | None, full_support: bool
    ) -> dict[str, Tensor]:
        found = self.policy.score(part, candidates=candidates, full_support=full_support)
        return pack_values(found)


def sharded(policy: Policy, mesh: DeviceMesh, dtype: torch.dtype) -> Root:
    """Spread a policy's model, in place, over a mesh.

    Args:
        dtype: in which it computes; its weights keep theirs, gradients are summed in float32.
    """
    rules = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    layers = set(policy.model._no_split_modules or ())
    for module in list(policy.model.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh, mp_policy=rules)
    root = Root(policy)
    fully_shard(root, mesh=mesh, mp_policy=rules)
    for module in root.modules():
        if isinstance(module, FSDPModule):  # sums over the processes, not means
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return root


class Shard:
    """This process' share of the policy, of its optimiser, and of the reference."""

    def __init__(self) -> None:
        self._pending: dict[str, Tensor] | None = None
        self._reference: Root | None = None

    def join(self, said: Record, _: Tensors) -> None:
        """Meet the others, load the policy and spread it."""
        torch.set_num_threads(said["threads"])
        self._rank = int(said["rank"])
        world, device = int(said["world"]), str(said["device"])
        if device == "cuda":
            torch.cuda.set_device(self._rank)
        dist.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            init_method=f"file://{said['store']}",
            rank=self._rank,
            world_size=world,
        )
        self._mesh = init_device_mesh(device, (world,))
        self._dtype = getattr(torch, said["dtype"])
        self._initial = Path(said["initial"])
        self._checkpointing = bool(said["gradient_checkpointing"])
        policy = Policy.load(self._initial, self._dtype)
        self._lora = said["lora"] is not None
        if self._lora:
            policy.model.requires_grad_(False)
            adapt(policy.model, LoraConfig.model_validate(said["lora"]), int(said["seed"]))
        else:
            policy.model.float()
        self._root = sharded(policy, self._mesh, self._dtype)
        self._core = Core(trainable(policy.model), said["lr"], said["weight_decay"])

    def score(self, said: Record, tensors: Tensors) -> Frame:
        part, _ = unpack_part(said["part"], tensors) if said["part"] else (idle_part(), None)
        of_reference = said["source"] == "reference"
        root = self._reference_root() if of_reference and not self._lora else self._root
        plain = without_adapters(root.model) if of_reference and self._lora else nullcontext()
        with torch.no_grad(), plain:
            found = root(part, None, bool(said["full_support"]))
        return {}, found if said["part"] else {}

    def forward(self, said: Record, tensors: Tensors) -> Frame:
        part, asked = unpack_part(said["part"], tensors) if said["part"] else (idle_part(), None)
        with recomputing(self._root.model, self._checkpointing):
            self._pending = self._root(part, asked, False)
        return {}, self._pending if said["part"] else {}

    def backward(self, _: Record, tensors: Tensors) -> None:
        assert self._pending is not None
        pending, self._pending = self._pending, None
        if not tensors:
            tensors = {"logp": torch.zeros_like(pending["logp"])}
        scores = Scores(pending["logp"], pending["entropy"], pending.get("candidates"))
        backpropagate(scores, unpack_grads(tensors, pending["logp"].device))

    def zero_grad(self, said: Record, tensors: Tensors) -> None:
        if self._pending is not None:  # FSDP leaves a forward pass by its backward pass alone
            self.backward(said, {})
        self._core.zero_grad()

    def step(self, said: Record, _: Tensors) -> Frame:
        return {"norm": self._core.step(said["divide_by"], said["max_norm"])}, {}

    def weights(self, said: Record, _: Tensors) -> None:
        """Write the policy's weights as they are, adapters merged, into a folder."""
        model = self._root.model
        found = merged(model) if self._lora else self._core.weights.items()
        self._write(Path(said["folder"]) / WEIGHTS, found, self._dtype)

    def save(self, said: Record, _: Tensors) -> None:
        folder = Path(said["folder"])
        self._write(folder / OPTIMIZER, self._core.state())
        name = ADAPTERS if self._lora else MASTERS
        if self._lora or self._dtype != torch.float32:
            self._write(folder / name, iter(self._core.weights.items()))

    def load(self, said: Record, _: Tensors) -> Frame:
        folder = Path(said["folder"])
        found = read_own(folder, self._lora)
        if found is None:
            saved = Policy.load(folder / "policy", self._dtype).model
            found = {k: p.detach() for k, p in saved.named_parameters()}
        for name, parameter in self._core.weights.items():
            put(parameter, found[name])
        return {"updated": self._core.load_state(load_file(folder / OPTIMIZER))}, {}

    def _write(self, path: Path, tensors: Any, dtype: torch.dtype | None = None) -> None:
        """Gather full tensors; the first process writes them."""
        kept: Tensors = {}
        pairs: Iterator[tuple[str, Tensor]] = iter(tensors)
        for name, value in pairs:
            full = whole(value.detach())
            if self._rank == 0:
                kept[name] = full.to("cpu", dtype or full.dtype, copy=True).contiguous()
        if self._rank == 0:
            save_file(kept, path)

    def _reference_root(self) -> Root:
        """The initial policy, loaded when it is first asked for."""
        if self._reference is None:
            policy = Policy.load(self._initial, self._dtype)
            policy.model.requires_grad_(False)
            self._reference = sharded(policy, self._mesh, self._dtype)
        return self._reference


def telling(handler: Callable[[Record, Tensors], Frame | None]) -> Any:
    """A handler that says so in known words when memory runs out."""

    def handled(record: Record, tensors: Tensors) -> Frame | None:
        try:
            return handler(record, tensors)
        except Exception as error:
            if out_of_memory(error):
                raise HarnessError(NO_MEMORY) from error
            raise

    return handled


def main() -> int:
    shard = Shard()
    names = ("join", "score", "forward", "backward", "zero_grad", "step", "weights", "save", "load")
    code = serve({name: telling(getattr(shard, name)) for name in names})
    if dist.is_initialized():
        dist.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main())
