"""A causal language model as a policy: log-probabilities, entropy, saving and loading.

The logits [R, T, V] are never held at once: the head is applied to chunks of response tokens and
recomputed in the backward pass, and under a shared mask only the kept rows of the head take part.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from harness.engines.base import LogitsRule, replay_of
from harness.errors import HarnessError, RunFailedError
from harness.kernels import Keep, linear_logprob
from harness.loading import absent_from_cache, first_line, load_tokenizer, plain, source_of
from harness.masks import VocabMask
from harness.packing import order, response_hidden
from harness.support import Support

_SERIAL = itertools.count()
_CHUNK_ELEMENTS = 2**23
"""Logits held at once (32 MB in float32)."""


@dataclass
class TokenBatch:
    """Prompts with their responses, and the rule under which the responses were sampled.

    Shapes: R rows, T response tokens.
    """

    prompt_ids: list[list[int]]
    response_ids: Tensor
    """long [R, T]"""
    response_mask: Tensor
    """bool [R, T]"""
    temperature: float = 1.0
    mask: VocabMask | None = None
    mask_rows: Tensor | None = None
    """long [R]: the row of the mask that each rollout was sampled under."""
    logits_rule: LogitsRule | None = None
    row_keys: Sequence[int] = ()
    support: Support | None = None
    """what a rule that is replayed by ``behaviour`` left of the vocabulary, token by token."""

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def arranged(self, index: Tensor) -> Tensor:
        """The rows ``index`` (long [m]); neighbours share a prompt or pad each other little."""
        lengths = self.response_mask.sum(dim=1).tolist()
        rows = index.tolist()
        return index[order([self.prompt_ids[i] for i in rows], [lengths[i] for i in rows])]

    def rows(self, index: Tensor) -> TokenBatch:
        """The rows ``index`` (long [m]), cut to their own longest response."""
        mask = self.response_mask[index]
        width = max(1, int(mask.sum(dim=1).max())) if len(index) else 1
        picked = [int(i) for i in index]
        return TokenBatch(
            prompt_ids=[self.prompt_ids[i] for i in picked],
            response_ids=self.response_ids[index, :width],
            response_mask=mask[:, :width],
            temperature=self.temperature,
            mask=self.mask,
            mask_rows=self.mask_rows[index] if self.mask_rows is not None else None,
            logits_rule=self.logits_rule,
            row_keys=[self.row_keys[i] for i in picked] if self.row_keys else (),
            support=self.support.rows(picked) if self.support is not None else None,
        )


@dataclass(frozen=True)
class Scores:
    """A policy's values of m rows. float32 [m, T], 0 where there is no response token.

    Attributes:
        logp: log-probability of each response token.
        entropy: of the policy at that place, in nats.
        candidates: log-probabilities [m, T, C] of other tokens that were asked for.
    """

    logp: Tensor
    entropy: Tensor
    candidates: Tensor | None = None


class Policy:
    """A Hugging Face causal language model with its tokenizer.

    Args:
        model: the model.
        tokenizer: its tokenizer.

    Attributes:
        version: counts the updates of the weights, for an engine that holds a copy of them.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.version = 0
        self._serial = next(_SERIAL)
        self._loaded: Path | None = None
        if getattr(model.config.get_text_config(decoder=True), "final_logit_softcapping", None):
            raise HarnessError("policy: models that soft-cap their logits are not supported")

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32, **kwargs: Any) -> Policy:
        """Load a folder, hub id or GGUF file; no pickles, no remote code.

        Raises:
            HarnessError: model or tokenizer missing, unreadable or not made for each other.
        """
        transformers_logging.disable_progress_bar()
        tokenizer = load_tokenizer(path, **kwargs)
        source, gguf = source_of(path)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=dtype,
                use_safetensors=None if gguf else True,
                trust_remote_code=False,
                **gguf,
                **kwargs,
            )
            if gguf:
                model = plain(model)
        except Exception as error:
            if absent := absent_from_cache(path, kwargs.get("revision")):
                raise HarnessError(absent) from error
            raise HarnessError(
                f"model {path}: cannot load the weights ({first_line(error)}); "
                "give a folder or hub id with config.json and safetensors, or a .gguf file"
            ) from error
        rows = model.get_input_embeddings().num_embeddings
        if len(tokenizer) > rows:
            raise HarnessError(
                f"model {path}: the tokenizer has {len(tokenizer)} tokens, the model only {rows}; "
                "they don't belong together"
            )
        model.eval()
        policy = cls(model, tokenizer)
        if not gguf and (Path(path) / "config.json").is_file():
            policy._loaded = Path(path).resolve()
        return policy

    @property
    def key(self) -> tuple[int, int]:
        """Names these weights: differs between policies, and after every update."""
        return self._serial, self.version

    @property
    def folder(self) -> Path | None:
        """The folder that the weights were loaded from, if they are still those."""
        return self._loaded if self.version == 0 else None

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.model.parameters())

    def save(self, path: Path) -> None:
        """Write an ordinary Hugging Face folder (safetensors)."""
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)

    def logprobs(self, batch: TokenBatch, *, full_support: bool = False) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy [m, T] of `score`."""
        scores = self.score(batch, full_support=full_support)
        return scores.logp, scores.entropy

    def support(self, batch: TokenBatch) -> Support:
        """What the batch's rule leaves of the vocabulary at each response token.

        The sampled token always belongs: where rounding put it outside, it is put back.
        """
        kept: list[Tensor] = []
        sampled = batch.response_ids[batch.response_mask].to(self.model.device)

        def note(logits: Tensor) -> Tensor:
            keep = torch.isfinite(logits)
            here = sampled[len(kept) : len(kept) + len(keep)]
            keep[torch.arange(len(keep), device=keep.device), here] = True
            kept.extend(row.nonzero()[:, 0].to("cpu", torch.int32) for row in keep)
            return logits

        with torch.no_grad():
            self.score(replace(batch, support=None), extra=note, replay=True)
        return Support.of(kept, batch.response_mask.sum(dim=1).tolist())

    def score(
        self,
        batch: TokenBatch,
        *,
        full_support: bool = False,
        candidates: Tensor | None = None,
        extra: Callable[[Tensor], Tensor] | None = None,
        replay: bool = False,
    ) -> Scores:
        """Log-probability and entropy of each response token under the batch's sampling rule.

        The sampled token belongs to what a rule leaves, even where the rule drops it by now.

        Args:
            batch: m rows.
            full_support: ignore mask and rule (still divide by the temperature).
            candidates: long [m, T, C], other tokens to score at each place; -1 for none.
            extra: a further rule on the logits [n, V] of n response tokens, before the temperature.
            replay: apply the rule itself, however it is replayed.
        """
        device = self.model.device
        lengths = batch.response_mask.sum(dim=1).tolist()
        responses = [r[:n] for r, n in zip(batch.response_ids.tolist(), lengths, strict=True)]
        pad = self.tokenizer.pad_token_id or 0
        hidden = response_hidden(self.model, batch.prompt_ids, responses, pad)
        valid = batch.response_mask.to(device)
        targets = batch.response_ids.to(device)[valid]
        row_of_token = torch.arange(len(batch), device=device)[:, None].expand_as(valid)[valid]
        head = self.model.get_output_embeddings()
        mask = batch.mask
        if full_support or (mask is not None and not mask.in_logprobs):
            mask = None
        rule = batch.logits_rule
        if full_support or not (replay or replay_of(rule) == "current"):
            rule = None
        stored = batch.support.flat() if batch.support and not full_support else None
        asked = None if candidates is None else candidates.to(device)[valid]
        only_masked = rule is None and stored is None and extra is None and asked is None
        weight, bias = head.weight, getattr(head, "bias", None)
        kept: Tensor | None = None
        support: Tensor | None = None
        if mask is not None and mask.shared and only_masked and batch.logits_rule is None:
            keep = mask.keep(torch.zeros(1, dtype=torch.long, device=device), weight.shape[0])[0]
            _assert_kept(keep[targets])
            kept = keep.nonzero()[:, 0]
        elif mask is not None:
            assert batch.mask_rows is not None
            support = mask.keep(batch.mask_rows.to(device), weight.shape[0])
            _assert_kept(support[row_of_token, targets])
        if only_masked and len(targets) * weight.shape[0] > _CHUNK_ELEMENTS:
            of_rows: Callable[[int, int, Tensor], Tensor] | None = None
            if (table := support) is not None:
                of_rows = lambda first, last, ids: table[row_of_token[first:last]][:, ids]  # noqa: E731
            found = linear_logprob(
                hidden,
                weight,
                targets,
                bias=bias,
                keep=Keep(kept, of_rows),
                temperature=batch.temperature,
            )
            return _placed([column.float() for column in found], valid, candidates)
        if kept is not None:
            weight, bias = weight[kept], bias[kept] if bias is not None else None
            targets = torch.searchsorted(kept, targets)

        def chunk(hidden_nd: Tensor, weight_vd: Tensor, index: Tensor) -> tuple[Tensor, ...]:
            logits = torch.nn.functional.linear(hidden_nd, weight_vd, bias).float()
            if support is not None:
                logits = logits.masked_fill(~support[row_of_token[index]], -torch.inf)
            if rule is not None:
                ruled = self._replay(rule, logits, batch, valid, index)
                logits = _put_back(ruled, logits, targets[index])
            if stored is not None:
                logits = logits.masked_fill(~stored.keep(index, logits.shape[1]), -torch.inf)
            if extra is not None:
                logits = extra(logits)
            logits = logits / batch.temperature
            found = _logp_entropy(logits, targets[index])
            return found if asked is None else (*found, _logp_of(logits, asked[index]))

        size = max(1, _CHUNK_ELEMENTS // weight.shape[0])
        parts = []
        for start in range(0, len(targets), size):
            index = torch.arange(start, min(start + size, len(targets)), device=device)
            if torch.is_grad_enabled() and len(targets) > size:
                parts.append(checkpoint(chunk, hidden[index], weight, index, use_reentrant=False))
            else:
                parts.append(chunk(hidden[index], weight, index))
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        return _placed(columns, valid, candidates)

    def _replay(
        self, rule: LogitsRule, logits: Tensor, batch: TokenBatch, valid: Tensor, index: Tensor
    ) -> Tensor:
        """Apply a rule to chunked logits [n, V], position by position as the sampler did."""
        rows, positions = (c[index] for c in valid.nonzero(as_tuple=True))
        result = logits.clone()
        for t in sorted(set(positions.tolist())):
            here = (positions == t).nonzero()[:, 0]
            row = rows[here]
            prefix = batch.response_ids.to(logits.device)[row, :t]
            keys = [batch.row_keys[i] for i in row.tolist()]
            result = result.index_copy(0, here, rule(logits[here], prefix, keys))
        return result


def _placed(columns: Sequence[Tensor], valid: Tensor, candidates: Tensor | None) -> Scores:
    """Values of the N response tokens at their places ``valid`` (bool [m, T])."""
    blank = torch.zeros(valid.shape, dtype=torch.float32, device=valid.device)
    named = None
    if candidates is not None:
        named = blank.new_full(candidates.shape, -torch.inf)
        named = named.masked_scatter(valid[:, :, None], columns[2])
    return Scores(
        blank.masked_scatter(valid, columns[0]), blank.masked_scatter(valid, columns[1]), named
    )


def _assert_kept(kept: Tensor) -> None:
    """Every response token [N] is one that its mask keeps."""
    if not bool(kept.all()):
        raise RunFailedError(
            f"{int((~kept).sum())} response tokens are dropped by the mask that they are scored "
            "under; the trainer must replay the mask of the rollouts"
        )


def _put_back(ruled: Tensor, logits: Tensor, sampled: Tensor) -> Tensor:
    """Ruled logits [n, V] with the sampled tokens [n] as they were where the rule drops them.

    A token may leave a policy's own support by an update or by rounding; its ratio stays finite.
    """
    place = sampled[:, None]
    after = ruled.gather(1, place)
    kept = torch.where(torch.isfinite(after), after, logits.gather(1, place))
    return ruled.scatter(1, place, kept)


def _logp_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-prob [n] of the targets and entropy [n] from logits [n, V] that may hold -inf."""
    logp = torch.log_softmax(logits, dim=-1)
    # 0 * -inf is not 0: masked entries contribute nothing, in the gradient too.
    plogp = logp.exp() * logp.masked_fill(torch.isinf(logp), 0.0)
    return logp.gather(1, targets[:, None])[:, 0], -plogp.sum(dim=-1)


def _logp_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probs [n, C] of the tokens ``ids`` [n, C]; -inf where the id is negative."""
    logp = torch.log_softmax(logits, dim=-1).gather(1, ids.clamp(min=0))
    return logp.masked_fill(ids < 0, -torch.inf)
