"""Batched sampling with a key-value cache, straight from the policy's weights.

Identical prompts are read once and their cache is shared out to their rows; finished rows leave
the batch; every row draws from its own key, so that its sample does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.engines.base import LogitsRule, Rollouts, SamplingParams
from harness.engines.cache import growing_cache, take_rows
from harness.engines.decoding import (
    Decoder,
    FixedDecoder,
    GrowingDecoder,
    asked_to_compile,
    takes_masks,
)
from harness.engines.sampling import sample
from harness.errors import HarnessError
from harness.masks import VocabMask, uniforms

_LARGE = 2**25
"""Parameters from which on a step costs far more than copying the cache."""
_COMPACT_BELOW = {"small": 0.65, "large": 0.95}
"""Finished rows are dropped once fewer than this share of a batch is still writing: dropping copies
the cache. On SmolLM2-135M .95 takes 6 % less time than .65, on the ladder's base 5 % more."""
_DRAWS = 16
"""Steps whose uniforms are drawn at once."""
_STOP_EVERY = 16
"""Steps between two looks for stop strings: each decodes the rows that are still writing."""
_STOP_WINDOW = 96
"""Tokens that a look reads; a stop string is shorter than what two looks share."""


@dataclass
class _Rows:
    """The rows still in the batch: their index in the output, key and mask row."""

    index: Tensor
    keys: np.ndarray[Any, np.dtype[np.uint64]]
    mask_rows: Tensor
    _draws: np.ndarray[Any, np.dtype[np.float64]] | None = None

    def take(self, kept: Tensor) -> _Rows:
        picked = kept.cpu().numpy()
        draws = self._draws[:, picked] if self._draws is not None else None
        return _Rows(self.index[kept], self.keys[picked], self.mask_rows[kept], draws)

    def uniforms(self, t: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Each row's uniform [b] for token ``t``; asked for in order of t, made a few at a time."""
        if self._draws is None or t % _DRAWS == 0:
            self._draws = uniforms(self.keys, t - t % _DRAWS + np.arange(_DRAWS)[:, None])
        drawn: np.ndarray[Any, np.dtype[np.float64]] = self._draws[t % _DRAWS]
        return drawn


@dataclass
class _Output:
    """What has been sampled so far, for all rows, on the CPU."""

    ids: Tensor
    logprobs: Tensor
    lengths: Tensor
    stopped: Tensor

    @classmethod
    def empty(cls, rows: int, new_tokens: int, pad_id: int) -> _Output:
        return cls(
            torch.full((rows, new_tokens), pad_id, dtype=torch.long),
            torch.zeros(rows, new_tokens),
            torch.zeros(rows, dtype=torch.long),
            torch.zeros(rows, dtype=torch.bool),
        )

    def write(self, t: int, index: Tensor, token: Tensor, logprob: Tensor, done: Tensor) -> None:
        index = index.cpu()
        self.ids[index, t] = token.cpu()
        self.logprobs[index, t] = logprob.cpu()
        self.lengths[index] = t + 1
        self.stopped[index] = done.cpu()

    def rollouts(self, prompts: list[list[int]]) -> Rollouts:
        longest = max(1, int(self.lengths.max())) if prompts else 1
        return Rollouts(
            prompt_ids=prompts,
            response_ids=self.ids[:, :longest],
            response_mask=torch.arange(longest) < self.lengths[:, None],
            logprobs=self.logprobs[:, :longest],
            truncated=~self.stopped,
        )


class TorchEngine:
    """Samples from a Hugging Face causal language model in this process.

    Args:
        model: the model; its weights are read at each call, so an updated policy needs no reload.
        tokenizer: its tokenizer.
        max_rows: rows per batch; more are sampled batch by batch.
        compiled: decode by `FixedDecoder`; by default where COEVOLUTION_COMPILE is set. Meant for
            GPUs; on a CPU it pays for one row of a small model, not for a batch.
    """

    def __init__(
        self, model: Any, tokenizer: Any, max_rows: int = 512, compiled: bool | None = None
    ) -> None:
        self.model = model
        self.compiled = asked_to_compile(compiled)
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self.stop_ids = stop_ids(model, tokenizer)
        parameters = sum(p.numel() for p in model.parameters())
        self.compact_below = _COMPACT_BELOW["large" if parameters >= _LARGE else "small"]
        self.pad_id = int(
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.stop_ids[0]
        )

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        row_keys: Sequence[int],
        mask: VocabMask | None = None,
        mask_rows: Sequence[int] | None = None,
        logits_rule: LogitsRule | None = None,
    ) -> Rollouts:
        """See `harness.engines.base.Engine.generate`."""
        rows = [list(p) for p in prompts for _ in range(params.n)]
        if len(row_keys) != len(rows):
            raise HarnessError(f"generate: {len(rows)} rows but {len(row_keys)} row keys")
        if any(not p for p in rows):
            raise HarnessError("generate: an empty prompt; check the chat template")
        if mask_rows is None:
            if mask is not None and not mask.shared:
                raise HarnessError("generate: a mask that rows don't share needs mask_rows")
            mask_rows = [0] * len(rows)
        if len(mask_rows) != len(rows):
            raise HarnessError(f"generate: {len(rows)} rows but {len(mask_rows)} mask rows")
        device = self.model.device
        out = _Output.empty(len(rows), params.max_new_tokens, self.pad_id)
        was_training = self.model.training
        self.model.eval()
        # Prompts of like length side by side: less padding, and no row's sample depends on it.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        keys = np.asarray(row_keys, dtype=np.uint64)
        for start in range(0, len(rows), self.max_rows):
            part = order[start : start + self.max_rows]
            state = _Rows(
                torch.as_tensor(part, device=device),
                keys[part],
                torch.as_tensor([mask_rows[i] for i in part], device=device),
            )
            self._sample_batch([rows[i] for i in part], params, state, mask, logits_rule, out)
        self.model.train(was_training)
        return out.rollouts(rows)

    def _sample_batch(
        self,
        prompts: list[list[int]],
        params: SamplingParams,
        rows: _Rows,
        mask: VocabMask | None,
        rule: LogitsRule | None,
        out: _Output,
    ) -> None:
        decoder, logits = self._prefill(prompts, params.max_new_tokens)
        device = logits.device
        stop = torch.as_tensor(self.stop_ids, device=device)
        alive = torch.ones(len(prompts), dtype=torch.bool, device=device)
        writing = len(prompts)
        keep = mask.keep(rows.mask_rows[:1], logits.shape[-1]) if mask and mask.shared else None
        for t in range(params.max_new_tokens):
            logits = logits.float()
            if mask is not None:
                row_keep = keep if keep is not None else mask.keep(rows.mask_rows, logits.shape[-1])
                logits = logits.masked_fill(~row_keep, -torch.inf)
            if rule is not None:
                prefix = out.ids[rows.index.cpu(), :t].to(device)
                logits = rule(logits, prefix, [int(k) for k in rows.keys])
            token, logprob = sample(logits, params, rows.uniforms(t))
            done = torch.isin(token, stop)
            if writing == len(alive):
                out.write(t, rows.index, token, logprob, done)
            else:
                out.write(t, rows.index[alive], token[alive], logprob[alive], done[alive])
            alive = alive & ~done
            if params.stop and t % _STOP_EVERY == _STOP_EVERY - 1:
                alive = self._unstopped(params.stop, rows.index, alive, t + 1, out)
            writing = int(alive.sum())
            if t + 1 == params.max_new_tokens or not writing:
                return
            if writing < self.compact_below * len(alive):
                kept = alive.nonzero()[:, 0]
                decoder.take(kept)
                rows, token, alive = rows.take(kept), token[kept], alive[kept]
            logits = decoder.step(token)

    def _unstopped(
        self, stop: Sequence[str], index: Tensor, alive: Tensor, length: int, out: _Output
    ) -> Tensor:
        """The rows [b] of ``alive`` whose responses, ``length`` tokens each, hold no stop."""
        if not bool(alive.any()):
            return alive
        writing = index[alive].cpu()
        recent = out.ids[writing, max(0, length - _STOP_WINDOW) : length]
        texts = self.tokenizer.batch_decode(recent, skip_special_tokens=True)
        over = torch.as_tensor([any(s in text for s in stop) for text in texts])
        out.stopped[writing] |= over
        kept = alive.clone()
        kept[alive] = ~over.to(alive.device)
        return kept

    def _prefill(self, prompts: list[list[int]], new_tokens: int) -> tuple[Decoder, Tensor]:
        """Read each distinct prompt once and share its cache out to its rows; the logits [b, V]."""
        distinct: dict[tuple[int, ...], int] = {}
        owner = [distinct.setdefault(tuple(p), len(distinct)) for p in prompts]
        longest = max(map(len, distinct))
        device = self.model.device
        ids = torch.full((len(distinct), longest), self.pad_id, dtype=torch.long)
        attention = torch.zeros(len(distinct), longest, dtype=torch.long)
        for i, prompt in enumerate(distinct):  # left-padded: the last column is a real token
            ids[i, longest - len(prompt) :] = torch.as_tensor(prompt)
            attention[i, longest - len(prompt) :] = 1
        padded = not bool(attention.all())
        attention = attention.to(device)
        cache = growing_cache(self.model.config, longest + new_tokens)
        logits = self.model(
            input_ids=ids.to(device),
            attention_mask=attention if padded else None,
            position_ids=(attention.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        rows = torch.as_tensor(owner, device=device)
        take_rows(cache, rows)
        seen = attention[rows] if padded else None
        lengths = torch.as_tensor([len(p) for p in prompts], device=device)
        if self.compiled and takes_masks(self.model):
            return FixedDecoder(self.model, cache, seen, lengths, new_tokens), logits[rows]
        return GrowingDecoder(self.model, cache, seen, lengths), logits[rows]


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    found = sorted({int(i) for i in [*ids, tokenizer.eos_token_id] if i is not None})
    if not found:
        raise HarnessError("engine: the model names no end-of-sequence token; set eos_token_id")
    return found
