"""CURE (arXiv 2508.11016): responses branch where the policy is uncertain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from baselines._groups import group_rows
from baselines._shared import PublishedSettings, Roles, Settings, SettingsControl, plays
from harness.masks import special_ids
from harness.methods import HookContext, MethodParams, RolloutBatch, RolloutTools, register


@register("cure")
class Cure(PublishedSettings):
    """G = n1 (1 + n2): n1 responses, each continued n2 times from a token of high entropy.

    Equation: of a group's first n1 rows, the branch token is drawn uniformly among the 20 of
    highest entropy that are not special and whose stripped text is longer than 1 character; prompt
    and the tokens before it are continued n2 times. The prefix is read, not trained on; the whole
    text is rewarded. All rows share one group.
    Defaults: n2 = 3, top 20, clip .2/.28, no KL (bytedance/CURE at c904b38); n1 = G // (1 + n2),
    which is its n1 = 4 at its G = 16. Rows that don't fit (5 = 1 + 3 + 1) stay plain.
    Hook: `after_rollout` and `coefficients`; proposer, phase train. Stage 2 of the paper is plain
    training: iterations after until_iteration.
    Unconfirmed: nothing. Our adaptation: R stays as it is, so the branches replace the group's last
    rows; those were generated, and stay in the ledger beside the branches. Any place of the
    response may branch, not only a scratch-pad. A response and its prefix share max_new_tokens; a
    longer continuation is cut. Without a candidate a row is not branched (published: at token 0).
    """

    paper = "2508.11016"
    off: ClassVar[Mapping[str, Any]] = {"continuations": 0, "settings": "rzero"}
    published: ClassVar[dict[str, Any]] = {"clip_low": 0.2, "clip_high": 0.28, "kl": 0.0}

    class Params(MethodParams):
        continuations: int = Field(3, ge=0, description="n2; 0: off")
        top: int = Field(20, ge=1, description="positions of highest entropy to draw from")
        min_chars: int = Field(2, ge=0, description="least length of the token's stripped text")
        until_iteration: int | None = Field(None, ge=1, description="last branching iteration")
        role: Roles = "proposer"
        settings: Settings = Field("paper", description="clip and KL")

    def after_rollout(
        self, ctx: HookContext, batch: RolloutBatch, tools: RolloutTools
    ) -> RolloutBatch:
        p = self.params
        last = p.until_iteration
        if not p.continuations or not plays(p.role, ctx) or (last and ctx.iteration > last):
            return batch
        heads: list[tuple[int, list[int]]] = []  # a row and those that its branches replace
        for rows in group_rows(batch.group_id):
            n2 = min(p.continuations, len(rows) - 1)
            n1 = len(rows) // (1 + n2)
            tail = rows[len(rows) - n1 * n2 :]
            heads += [(rows[i], tail[i * n2 : (i + 1) * n2]) for i in range(n1) if n2]
        places = self._branch_points(ctx, batch, [row for row, _ in heads], tools)
        ctx.count("rows_without_branch_point", places.count(None))
        ids = batch.rollouts.response_ids
        chosen = [(h, t, at) for (h, t), at in zip(heads, places, strict=True) if at is not None]
        if not chosen:
            return batch
        # What is known of the rows is found anew once the branches are among them.
        bare = replace(batch, proposals=[], tallies=[], solutions=[], jury=[], rewards=None)
        parts, lost = [bare], set[int]()
        order = list(range(len(batch)))
        # Groups of one size but for what other methods did: one call for each number of branches.
        for n2 in sorted({len(tail) for _, tail, _ in chosen}):
            some = [x for x in chosen if len(x[1]) == n2]
            prefixes = [ids[head, :at].tolist() for head, _, at in some]
            room = tools.params.max_new_tokens - min(at for _, _, at in some)
            params = replace(tools.params, n=n2, max_new_tokens=max(1, room))
            new = tools.resample(batch, [head for head, _, _ in some], params, prefixes)
            start = sum(map(len, parts))
            parts.append(_fitted(ctx, new, prefixes, n2, tools.params.max_new_tokens))
            for i, row in enumerate(row for _, tail, _ in some for row in tail):
                order[row] = start + i
                lost.add(row)
        ctx.count("rows_branched", len(lost))
        return tools.score(tools.join(parts).select(order))

    def _branch_points(
        self, ctx: HookContext, batch: RolloutBatch, rows: list[int], tools: RolloutTools
    ) -> list[int | None]:
        """Where each of the rows branches; None where no token qualifies."""
        if not rows:
            return []
        part = batch.select(rows)
        entropy = tools.measure(part)[1].numpy()
        ids = part.rollouts.response_ids
        allowed = part.rollouts.response_mask & _speaking(ctx.tokenizer, ids, self.params.min_chars)
        draw = ctx.stream("cure")
        return [
            branch_point(h, ok, self.params.top, draw)
            for h, ok in zip(entropy, allowed.numpy(), strict=True)
        ]


def branch_point(
    entropy: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_],
    top: int,
    draw: np.random.Generator,
) -> int | None:
    """A position drawn uniformly among the ``top`` of highest entropy that are allowed.

    Args:
        entropy: [T], nats.
        allowed: bool [T].
    """
    places = np.flatnonzero(allowed)
    if not len(places):
        return None
    ranked = places[np.argsort(-entropy[places], kind="stable")][:top]
    return int(draw.choice(ranked))


def _speaking(tokenizer: Any, ids: Tensor, min_chars: int) -> Tensor:
    """bool like ``ids``: not special, and of at least ``min_chars`` characters when stripped."""
    special = special_ids(tokenizer)
    distinct = [i for i in sorted(set(ids.flatten().tolist())) if i not in special]
    texts = [tokenizer.decode([i]) for i in distinct]
    good = [i for i, text in zip(distinct, texts, strict=True) if len(text.strip()) >= min_chars]
    return torch.isin(ids, torch.as_tensor(good, dtype=torch.long))


def _fitted(
    ctx: HookContext, batch: RolloutBatch, prefixes: list[list[int]], n: int, longest: int
) -> RolloutBatch:
    """Rows cut so that prefix and continuation together have at most ``longest`` tokens."""
    heads = [prefix for prefix in prefixes for _ in range(n)]
    room = torch.as_tensor([max(1, longest - len(head)) for head in heads])
    over = batch.rollouts.lengths > room
    if not bool(over.any()):
        return batch
    mask = batch.rollouts.response_mask & (
        torch.arange(batch.rollouts.response_mask.shape[1]) < room[:, None]
    )
    rollouts = replace(
        batch.rollouts, response_mask=mask, truncated=batch.rollouts.truncated | over
    )
    texts = list(batch.texts)
    for i in over.nonzero()[:, 0].tolist():
        whole = heads[i] + rollouts.response_ids[i, : int(room[i])].tolist()
        texts[i] = ctx.tokenizer.decode(
            whole, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    tokens = replace(batch.tokens, response_mask=mask)
    return replace(batch, rollouts=rollouts, tokens=tokens, texts=texts)


@register("cure_control")
class CureControl(SettingsControl):
    """CURE's clip (.2/.28) without KL, no branches.

    Equation: R-Zero's loss. Defaults: those of `cure` (arXiv 2508.11016).
    Hook: `coefficients`; proposer, phase train.
    Unconfirmed: nothing beyond `cure`.
    """

    paper = "2508.11016"
    published = Cure.published

    class Params(SettingsControl.Params):
        role: Roles = Field("proposer", description="whose coefficients")
