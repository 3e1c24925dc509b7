"""A key-value cache that grows in place and drops finished rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """A dynamic cache layer with spare room, so that a step writes one column instead of a copy.

    ``keys`` and ``values`` are views [B, heads, length, head_dim] of buffers with ``room`` columns.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = 0 if self._buffers is None else int(self.keys.shape[-2])
        end = length + int(key_states.shape[-2])
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            self._grow(key_states, value_states, length, max(end, self.room))
        assert self._buffers is not None
        keys, values = self._buffers
        keys[:, :, length:end] = key_states
        values[:, :, length:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def _grow(self, key_states: Tensor, value_states: Tensor, length: int, room: int) -> None:
        def buffer(states: Tensor, old: Tensor) -> Tensor:
            new = states.new_empty(*states.shape[:2], room, states.shape[-1])
            if length:
                new[:, :, :length] = old
            return new

        self._buffers = (buffer(key_states, self.keys), buffer(value_states, self.values))

    def take_rows(self, rows: Tensor) -> None:
        """Keep (and repeat) the given batch rows."""
        assert self._buffers is not None
        length = int(self.keys.shape[-2])

        def take(view: Tensor) -> Tensor:
            new = view.new_empty(len(rows), view.shape[1], self.room, view.shape[-1])
            new[:, :, :length] = view[rows]
            return new

        self.room = max(self.room, length)
        self._buffers = (take(self.keys), take(self.values))
        self.keys, self.values = (b[:, :, :length] for b in self._buffers)


def growing_cache(config: Any, room: int) -> Cache:
    """A cache of `GrowingLayer` for a decoder with ``config.num_hidden_layers`` layers."""
    text_config = config.get_text_config(decoder=True)
    return Cache(layers=[GrowingLayer(room) for _ in range(text_config.num_hidden_layers)])


def take_rows(cache: Cache, rows: Tensor) -> None:
    """Keep (and repeat) the given batch rows in every layer."""
    for layer in cache.layers:
        assert isinstance(layer, GrowingLayer)
        layer.take_rows(rows.to(layer.keys.device, torch.long))
