"""One step's rollouts of a role: the first batch, and what a method asks for beyond it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from harness.engines.base import SamplingParams
from harness.methods.base import HookContext
from harness.methods.batch import RolloutBatch, RolloutTools
from harness.phases.stage import Stage
from harness.phases.workbench import Workbench, sample
from harness.roles import Message, render


@dataclass(frozen=True)
class Prompt:
    """What a group of rollouts answers; question and label are the solver's."""

    messages: list[Message]
    question: str = ""
    gold: str = ""


class StepRollouts:
    """Samples one step's rollouts on named streams, every token counted.

    Args:
        prompts: (how many, which draw) -> prompts; draw 0 is the step's own batch.
        score: fills in the rewards of a batch.
    """

    def __init__(
        self,
        bench: Workbench,
        ctx: HookContext,
        stage: Stage,
        prompts: Callable[[int, int], list[Prompt]],
        score: Callable[[RolloutBatch], RolloutBatch],
    ) -> None:
        self.bench, self.ctx, self.stage = bench, ctx, stage
        self.prompts, self.score = prompts, score
        config = stage.config
        self.params = bench.method.sampling(
            ctx,
            SamplingParams(
                config.max_new_tokens,
                n=config.group_size,
                temperature=config.temperature,
                top_p=config.top_p,
                top_k=config.top_k,
            ),
        )
        self._draws, self._resamples = count(), count()
        self._groups = 0
        self._seen: dict[tuple[int, ...], int] = {}

    def batch(self) -> RolloutBatch:
        """The step's scored batch, as the method leaves it."""
        batch = self.more(self.stage.config.prompts_per_step)
        tools = RolloutTools(
            params=self.params,
            resample=self.resample,
            more=self.more,
            score=self.score,
            measure=self.stage.measure,
        )
        return self.bench.method.after_rollout(self.ctx, batch, tools)

    def more(self, prompts: int) -> RolloutBatch:
        """A scored batch of fresh prompts, in groups of its own."""
        draw = next(self._draws)
        asked = self.prompts(prompts, draw)
        chats = self.bench.method.prompts(self.ctx, [p.messages for p in asked])
        ids = [render(self.bench.tokenizer, m) for m in chats]
        n = self.params.n
        group_id = [self._groups + i for i in range(prompts) for _ in range(n)]
        self._groups += prompts
        stream = f"more{draw}" if draw else "rows"
        batch = self._sample(ids, self.params, group_id, stream, "extra" if draw else "train")
        batch.prompt_id = [
            self._seen.setdefault(tuple(p), len(self._seen)) for p in batch.rollouts.prompt_ids
        ]
        if self.ctx.role == "solver":
            batch.questions = [p.question for p in asked for _ in range(n)]
            batch.gold = [p.gold for p in asked for _ in range(n)]
        return self.score(batch)

    def resample(
        self,
        source: RolloutBatch,
        rows: Sequence[int],
        params: SamplingParams,
        prefixes: Sequence[Sequence[int]] | None = None,
    ) -> RolloutBatch:
        """``params.n`` new rows for each given row of ``source``; not scored."""
        owners = [i for i in rows for _ in range(params.n)]
        heads = [list(p) for p in prefixes] if prefixes is not None else [[] for _ in rows]
        ids = [source.rollouts.prompt_ids[i] + p for i, p in zip(rows, heads, strict=True)]
        group_id = [source.group_id[i] for i in owners]
        batch = self._sample(ids, params, group_id, f"extra{next(self._resamples)}", "extra")
        if prefixes is not None:
            batch.texts = self._texts(batch, [p for p in heads for _ in range(params.n)])
        batch.prompt_id = [source.prompt_id[i] for i in owners]
        batch.questions = [source.questions[i] for i in owners] if source.questions else []
        batch.gold = [source.gold[i] for i in owners] if source.gold else []
        return batch

    def _sample(
        self,
        prompts: list[list[int]],
        params: SamplingParams,
        group_id: list[int],
        stream: str,
        purpose: str,
    ) -> RolloutBatch:
        batch = sample(self.bench, self.ctx, self.stage.engine, prompts, params, group_id, stream)
        self.stage.ledger.generated(self.ctx.role, purpose, batch.rollouts)
        return batch

    def _texts(self, batch: RolloutBatch, prefixes: list[list[int]]) -> list[str]:
        """Whole responses: what stood before the branch, and what was written after it."""
        rollouts = batch.rollouts
        ids = [
            prefix + row[: int(n)].tolist()
            for prefix, row, n in zip(
                prefixes, rollouts.response_ids, rollouts.lengths, strict=True
            )
        ]
        return list(
            self.bench.tokenizer.batch_decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
