"""Token by token: from a prompt's cache to the next logits, with a cache that grows or a fixed one.

`GrowingDecoder` is for CPUs, and for models with sliding windows: the cache is as long as what has
been written and as wide as the rows that still write. `FixedDecoder` compiles the step, into CUDA
graphs on a GPU: the cache has its full length from the start and a power of two of rows, since
every shape is compiled or recorded once.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, StaticLayer

from harness.engines.cache import take_rows
from harness.errors import HarnessError

COMPILE = "COEVOLUTION_COMPILE"
"""Set in the environment: decoding is compiled."""
_ROOM = 64
"""A fixed cache's length is a multiple of this many tokens."""


def compiler() -> str | None:
    """The C++ compiler that torch.compile will ask."""
    names = (os.environ.get("CXX"), "g++", "c++", "clang++")
    return next((n for n in names if n and shutil.which(n)), None)


def asked_to_compile(compiled: bool | None) -> bool:
    """``compiled``, or what the environment says.

    Raises:
        HarnessError: there is no compiler.
    """
    asked = bool(os.environ.get(COMPILE)) if compiled is None else compiled
    if asked and compiler() is None:
        raise HarnessError(
            "compiled decoding needs a C++ compiler; "
            f"install g++, name another in CXX, or unset {COMPILE}"
        )
    return asked


def takes_masks(model: Any) -> bool:
    """Whether the model attends as a mask [B, 1, T, S] says: full attention, by torch's kernels."""
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"} and config._attn_implementation in ("sdpa", "eager")


class Decoder(Protocol):
    """A batch of rows that are being written."""

    def take(self, rows: Tensor) -> None:
        """Keep only these rows (long [b])."""

    def step(self, token: Tensor) -> Tensor:
        """Append a token (long [b]) to each row; the logits [b, V] that follow it."""
        ...


class GrowingDecoder:
    """Decodes with a `GrowingLayer` cache.

    Args:
        model: a Hugging Face causal language model.
        cache: filled with the rows' prompts, left-padded to one length.
        attention: long [b, length], 0 on padding; None where nothing is padded.
        positions: long [b], the position of each row's next token.
    """

    def __init__(
        self, model: Any, cache: Cache, attention: Tensor | None, positions: Tensor
    ) -> None:
        self.model = model
        self.cache = cache
        self.attention = attention
        self.positions = positions

    def take(self, rows: Tensor) -> None:
        take_rows(self.cache, rows)
        self.positions = self.positions[rows]
        self.attention = self.attention[rows] if self.attention is not None else None

    def step(self, token: Tensor) -> Tensor:
        if self.attention is not None:
            seen = self.attention.new_ones(len(token), 1)
            self.attention = torch.cat([self.attention, seen], dim=1)
        logits = _forward(self.model, token, self.attention, self.positions, self.cache)
        self.positions = self.positions + 1
        return logits


class FixedDecoder:
    """Decodes with a cache of fixed shape and a compiled step; arguments as `GrowingDecoder`'s.

    Args:
        new_tokens: the most that `step` will be called.
    """

    def __init__(
        self,
        model: Any,
        cache: Cache,
        attention: Tensor | None,
        positions: Tensor,
        new_tokens: int,
    ) -> None:
        self.model = model
        self.rows = len(positions)
        self.length = int(cache.layers[0].keys.shape[-2])
        room = -(-(self.length + new_tokens) // _ROOM) * _ROOM
        width = _width(self.rows)
        self.cache = Cache(layers=[_fixed(layer, room, width) for layer in cache.layers])
        self.positions = _padded(positions, width)
        self.token = torch.zeros_like(self.positions)
        seen = torch.zeros(width, 1, 1, room, dtype=torch.bool, device=positions.device)
        seen[:, 0, 0, : self.length] = True
        if attention is not None:
            seen[: self.rows, 0, 0, : self.length] = attention.bool()
        self.seen = seen

    def take(self, rows: Tensor) -> None:
        self.rows = len(rows)
        width = _width(self.rows)
        for layer in self.cache.layers:
            assert isinstance(layer, StaticLayer)
            layer.keys = _static(_padded(layer.keys[rows], width))
            layer.values = _static(_padded(layer.values[rows], width))
        self.positions = _padded(self.positions[rows], width)
        self.seen = _padded(self.seen[rows], width)
        self.token = torch.zeros_like(self.positions)

    def step(self, token: Tensor) -> Tensor:
        self.token[: self.rows] = token
        self.seen[..., self.length] = True
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits = _compiled()(self.model, self.token, self.seen, self.positions, self.cache)
        self.positions += 1
        self.length += 1
        return logits[: self.rows].clone()  # a graph's next run writes over it


def _forward(
    model: Any, token: Tensor, attention: Tensor | None, positions: Tensor, cache: Cache
) -> Tensor:
    logits: Tensor = model(
        input_ids=token[:, None],
        attention_mask=attention,
        position_ids=positions[:, None],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    mode = "reduce-overhead" if torch.cuda.is_available() else "default"
    compiled: Callable[..., Tensor] = torch.compile(_forward, mode=mode)
    return compiled


def _fixed(layer: Any, room: int, width: int) -> StaticLayer:
    """A static layer with the contents of a growing one [b, heads, length, head_dim]."""
    fixed = StaticLayer(room)
    keys, values = _padded(layer.keys, width), _padded(layer.values, width)
    fixed.lazy_initialization(keys, values)
    length = keys.shape[-2]
    fixed.keys[:, :, :length] = keys
    fixed.values[:, :, :length] = values
    fixed.cumulative_length.fill_(length)
    return fixed


def _width(rows: int) -> int:
    """The next power of two."""
    return 1 << (rows - 1).bit_length()


def _padded(value: Tensor, width: int) -> Tensor:
    """The first row [b, ...] again and again, up to ``width`` rows."""
    return torch.cat([value, value[:1].expand(width - len(value), *value.shape[1:])])


def _static(value: Tensor) -> Tensor:
    torch._dynamo.mark_static_address(value)
    return value
