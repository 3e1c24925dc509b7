"""Hidden states of responses, each prompt read once for all the responses that share it.

A group's rollouts differ in the response only. Side by side in one sequence,

    prompt | response 1 | response 2 | ...

every response sees the prompt and itself, under a mask, at the positions it would have alone: the
same hidden states, up to rounding, from len(prompt) (k - 1) tokens less. The mask is computed in
full where a causal one costs half, so that k, how many responses share a sequence, is what the
floating-point operations make cheapest; with long responses it is 1, the plain way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from harness.engines.decoding import takes_masks
from harness.kernels import PLAIN


@dataclass(frozen=True)
class Sequences:
    """What a model reads. B sequences of S tokens, padded on the right.

    Attributes:
        ids: long [B, S].
        positions: long [B, S].
        visible: bool [B, 1, S, S], what each token attends to; None: all before it.
        predicts: long [N], for each response token, row by row, the place in B * S that predicts
            it.
    """

    ids: Tensor
    positions: Tensor
    visible: Tensor | None
    predicts: Tensor


def response_hidden(
    model: Any, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int
) -> Tensor:
    """Last hidden states [N, d] that predict the N response tokens, row by row.

    Args:
        model: a causal language model.
        prompts, responses: token ids of each row.
        pad_id: what fills a sequence up.
    """
    together = _per_sequence(model, prompts, responses)
    read = _sequences(prompts, responses, together, pad_id)
    device = model.device
    masked: dict[str, Tensor] = {}
    if read.visible is not None:
        # Added to the scores: torch's kernel takes a mask of truth values, the eager one doesn't.
        hidden_from = ~read.visible.to(device)
        blank = torch.zeros(hidden_from.shape, dtype=model.dtype, device=device)
        masked["attention_mask"] = blank.masked_fill(hidden_from, torch.finfo(model.dtype).min)
        masked["position_ids"] = read.positions.to(device)
    output = model.base_model(input_ids=read.ids.to(device), use_cache=False, **masked)
    hidden: Tensor = output.last_hidden_state
    return hidden.flatten(0, 1)[read.predicts.to(device)]


def order(prompts: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    """An order of rows in which neighbours share a prompt, or pad each other little.

    Args:
        prompts: token ids of each row.
        lengths: tokens of each response.
    """
    longest: dict[tuple[int, ...], int] = {}
    keys = [tuple(p) for p in prompts]
    for key, n in zip(keys, lengths, strict=True):
        longest[key] = max(longest.get(key, 0), len(key) + n)
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    return sorted(range(len(keys)), key=lambda i: (longest[keys[i]], first[keys[i]], lengths[i]))


def _per_sequence(
    model: Any, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> int:
    """How many responses share a sequence: the number that costs fewest operations.

    Responses of r tokens after a prompt of l tokens, k to a sequence of s = l + k r tokens, cost

        2 P s + 4 a s^2,   the second term halved for k = 1,

    a sequence, with P parameters outside the embeddings and a attention features over all layers.
    """
    distinct = {tuple(p) for p in prompts}
    most = -(-len(prompts) // len(distinct))
    if most == 1 or os.environ.get(PLAIN) or not takes_masks(model):
        return 1
    config = model.config.get_text_config(decoder=True)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    features = config.num_hidden_layers * config.num_attention_heads * width
    parameters = _parameters(model)
    before = sum(map(len, distinct)) / len(distinct)
    after = sum(map(len, responses)) / len(responses)

    def cost(k: int) -> float:
        tokens = before + k * after
        attention = (4 if k > 1 else 2) * features * tokens**2
        return float(-(-most // k) * (2 * parameters * tokens + attention))

    return min(range(1, most + 1), key=cost)


_COUNTED: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def _parameters(model: Any) -> int:
    """Parameters outside the embeddings; counted once."""
    if model not in _COUNTED:
        tables = (model.get_input_embeddings(), model.get_output_embeddings())
        outside = {id(t.weight): t.weight.numel() for t in tables}
        _COUNTED[model] = sum(p.numel() for p in model.parameters()) - sum(outside.values())
    return _COUNTED[model]


def _sequences(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    together: int,
    pad_id: int,
) -> Sequences:
    """Rows of one prompt, up to ``together`` of them, in one sequence; see `Sequences`."""
    members: list[tuple[Sequence[int], list[int]]] = []
    open_: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        rows = open_.get(tuple(prompt))
        if rows is None or len(rows) == together:
            rows = open_[tuple(prompt)] = []
            members.append((prompt, rows))
        rows.append(i)
    ids: list[Tensor] = []
    positions: list[Tensor] = []
    parts: list[Tensor] = []
    places: list[tuple[int, int, int]] = [(0, 0, 0)] * len(prompts)  # sequence, prompt's end, start
    for b, (prompt, rows) in enumerate(members):
        line, at, part = list(prompt), [*range(len(prompt))], [0] * len(prompt)
        for k, i in enumerate(rows, start=1):
            places[i] = (b, len(prompt) - 1, len(line))
            body = list(responses[i])[:-1]  # nothing is predicted from the last token
            line += body
            at += range(len(prompt), len(prompt) + len(body))
            part += [k] * len(body)
        for into, values in ((ids, line), (positions, at), (parts, part)):
            into.append(torch.as_tensor(values, dtype=torch.long))

    def padded(rows: list[Tensor], value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

    table = padded(ids, pad_id)
    width = table.shape[1]
    predicts = []
    for (b, end, start), response in zip(places, responses, strict=True):
        if len(response):  # the prompt's last token predicts the first
            begin = b * width + start
            predicts += [b * width + end, *range(begin, begin + len(response) - 1)]
    visible = None
    if together > 1:
        part_of = padded(parts, -1)  # padding sees itself: a row without any would be NaN
        same = part_of[:, :, None] == part_of[:, None, :]
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        visible = (causal & (same | (part_of == 0)[:, None, :]))[:, None]
    places_of = torch.as_tensor(predicts, dtype=torch.long)
    return Sequences(table, padded(positions, 0), visible, places_of)
