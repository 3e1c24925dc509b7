"""What runs inside vLLM's workers: the sampling of `rows` as its logits processor.

vLLM has two interfaces of a logits processor, one for each of its model runners, and both change
between releases; they are met here and nowhere else. Tested with 0.32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor as V1LogitsProcessor
from vllm.v1.sample.logits_processor import process_dict_updates

from harness.engines.base import remake_rule
from harness.engines.rows import ARGUMENT, Announced, Row, Slot, draw, mask_of

_ANNOUNCED = [Announced()]
"""What the call in progress shares, in each worker process; processors are made by vLLM."""


class WorkerExtension:
    """Methods that vLLM adds to its worker, for `collective_rpc`."""

    def coevolution_announce(self, text: str) -> None:
        """Take note of the mask and the rule (JSON) of the requests that come next."""
        stated = json.loads(text)
        mask = mask_of(stated["mask"]) if stated["mask"] else None
        rule = remake_rule(stated["rule"]) if stated["rule"] else None
        _ANNOUNCED[0] = Announced(mask, rule)

    def coevolution_counts(self) -> dict[str, float]:
        """What the rule of the last call counted."""
        counts = getattr(_ANNOUNCED[0].rule, "counts", {})
        return {name: float(value) for name, value in counts.items()}

    def coevolution_reload(self, folder: str) -> None:
        """Read a checkpoint into the model in place."""
        worker: Any = self
        worker.reload_weights(weights_path=folder)
        model = worker.model_runner.get_model()
        if next(model.parameters()).device.type == "cpu":
            _repack_head(model)


def _repack_head(model: Any) -> None:
    """On the CPU, a head tied to the embeddings keeps a packed copy of what they were before."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    head = getattr(model, "lm_head", None)
    if head is not None and hasattr(head, "weight"):
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)


def _slot(params: Any) -> Slot | None:
    """A request's slot; None for one that isn't ours."""
    stated = (params.extra_args or {}).get(ARGUMENT)
    return Slot(Row.of_argument(stated), _ANNOUNCED[0].mask) if stated else None


class V1Sampling(V1LogitsProcessor):  # type: ignore[misc]
    """For vLLM's first model runner, which tells what entered, left and moved in its batch."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._slots: dict[int, tuple[Slot, list[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        """It decides the token, so it must run before greedy sampling."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """The batch as it is now; a request's list of tokens grows by itself."""

        def enter(params: Any, _: Any, output_ids: list[int]) -> tuple[Slot, list[int]] | None:
            slot = _slot(params)
            return (slot, output_ids) if slot is not None else None

        process_dict_updates(self._slots, batch_update, enter)

    def apply(self, logits: Tensor) -> Tensor:
        """Draw the tokens of our rows of ``logits`` [b, V]."""
        ours = [(i, *self._slots[i]) for i in sorted(self._slots) if i < len(logits)]
        if not ours:
            return logits
        written = [list(output_ids) for _, _, output_ids in ours]
        return _drawn(logits, [i for i, _, _ in ours], [slot for _, slot, _ in ours], written)


def _drawn(
    logits: Tensor, index: list[int], slots: Sequence[Slot], written: Sequence[Sequence[int]]
) -> Tensor:
    """``logits`` [b, V] with the rows ``index`` drawn."""
    place = torch.as_tensor(index, device=logits.device)
    drawn = draw(
        logits[place].float(),
        slots,
        [len(tokens) for tokens in written],
        written,
        _ANNOUNCED[0].rule,
    )
    return logits.index_copy(0, place, drawn.to(logits.dtype))


def v2_sampling() -> type:
    """The class for Model Runner V2, which names rows by slots that are used again.

    Raises:
        ImportError: this vLLM has no such runner.
    """
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor

    class V2Sampling(LogitsProcessor):  # type: ignore[misc]
        """For Model Runner V2."""

        def __init__(self, vllm_config: Any, req_states: Any) -> None:
            self._states = req_states
            self._slots: dict[int, Slot] = {}

        def add_request(self, req_idx: int, sampling_params: Any) -> bool:
            """A request enters a slot; whatever was there before is gone."""
            slot = _slot(sampling_params)
            self._slots.pop(req_idx, None)
            if slot is not None:
                self._slots[req_idx] = slot
            return slot is not None

        def apply(self, logits: Tensor, ctx: Any) -> Tensor:
            """Draw the tokens of our rows of ``logits`` [b, V]."""
            requests = [int(r) for r in ctx.idx_mapping_np]
            index = [i for i, request in enumerate(requests) if request in self._slots]
            if not index:
                return logits
            if len(logits) != len(requests):
                raise RuntimeError("speculative decoding is not supported")
            written = [self._written(requests[i], ctx, i) for i in index]
            return _drawn(logits, index, [self._slots[requests[i]] for i in index], written)

        def _written(self, request: int, ctx: Any, row: int) -> list[int]:
            """The tokens of the response so far; none while the prompt is read in parts."""
            start = int(self._states.prompt_len.np[request])
            end = max(start, int(ctx.seq_lens_upper_bound_np[row]))
            if _ANNOUNCED[0].rule is None:  # only their number matters
                return [0] * (end - start)
            return [int(i) for i in self._states.all_token_ids.gpu[request, start:end].tolist()]

    return V2Sampling


def __getattr__(name: str) -> Any:
    """`V2Sampling` is made when vLLM asks for it by name."""
    if name == "V2Sampling":
        return globals().setdefault(name, v2_sampling())
    raise AttributeError(name)
