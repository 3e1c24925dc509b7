"""Phases 2 to 4: the curriculum is generated, labelled by the solver's majority, and selected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.engines.base import SamplingParams
from harness.ledger import Ledger
from harness.methods.base import Curriculum, Pool
from harness.phases.workbench import Votes, Workbench, sample, vote
from harness.policy import Policy
from harness.roles import Proposal, parse_proposal, proposer_messages, render, special_tokens


@dataclass(frozen=True)
class CurriculumTables:
    """What the phases leave behind.

    Attributes:
        questions: every raw proposal, valid or not, with its label and vote share.
        votes: one row per vote.
        curriculum: the (question, label) rows that the solver trains on.
        exhausted: too few survivors after the last round.
    """

    questions: pd.DataFrame
    votes: pd.DataFrame
    curriculum: pd.DataFrame
    exhausted: bool
    metrics: dict[str, float]


@dataclass(frozen=True)
class Written:
    """A raw proposal.

    Attributes:
        surprisal: mean -log-prob of its tokens under the proposer, nats.
    """

    proposal: Proposal
    truncated: bool
    tokens: int
    surprisal: float


def make_curriculum(bench: Workbench, t: int, proposer: Policy, solver: Policy) -> CurriculumTables:
    """Generate in rounds until enough questions survive selection, or the rounds are used up."""
    config = bench.config.curriculum
    ledger = bench.ledger()
    written: list[Written] = []
    votes = Votes([], [], np.zeros(0, dtype=bool), [])
    for round_ in range(config.max_rounds):
        batch = _generate(bench, t, round_, proposer, ledger)
        written += batch
        questions = [str(w.proposal.question) for w in batch if w.proposal.valid]
        new = vote(
            bench,
            bench.context("solver", "label", t, round_),
            bench.engine(solver),
            questions,
            ledger,
        )
        votes = Votes(
            votes.answers + new.answers,
            votes.tallies + new.tallies,
            np.concatenate([votes.truncated, new.truncated]),
            votes.solutions + new.solutions,
        )
        asked = [w for w in written if w.proposal.valid]
        pool = Pool(
            [str(w.proposal.question) for w in asked],
            votes.tallies,
            votes.solutions,
            np.array([w.surprisal for w in asked], dtype=np.float64),
        )
        curriculum = select(bench, t, pool)
        bench.folder.event("round", iteration=t, round=round_, survivors=len(curriculum))
        if len(curriculum) >= config.min_survivors:
            break
    return _tables(bench, ledger, written, votes, pool, curriculum, round_ + 1)


def select(bench: Workbench, t: int, pool: Pool) -> Curriculum:
    """The difficulty window, or what the method makes of it; only labelled questions."""
    config = bench.config.curriculum
    p = pool.p_hat
    labelled = np.array([x.answer is not None for x in pool.tallies], dtype=bool)
    # Vote shares are multiples of 1/M: the slack keeps a bound such as .3 from losing 3/10.
    inside = (p >= config.window_low - 1e-9) & (p <= config.window_high + 1e-9)
    base = Curriculum(np.flatnonzero(labelled & inside))
    return bench.method.select(bench.context("solver", "label", t), pool, base)


def _generate(
    bench: Workbench, t: int, round_: int, proposer: Policy, ledger: Ledger
) -> list[Written]:
    """One round of raw proposals, batch by batch; a mask is drawn anew for each batch."""
    config = bench.config.curriculum
    engine = bench.engine(proposer)
    special = special_tokens(bench.tokenizer)
    found: list[Written] = []
    batches = -(-config.questions // config.batch_size)
    for b in range(batches):
        ctx = bench.context("proposer", "generate", t, round_ * batches + b)
        n = min(config.batch_size, config.questions - b * config.batch_size)
        chats = bench.method.prompts(ctx, [proposer_messages(bench.config.roles)] * n)
        prompts = [render(bench.tokenizer, m) for m in chats]
        params = bench.method.sampling(
            ctx,
            SamplingParams(
                bench.config.proposer.max_new_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                top_k=config.top_k,
            ),
        )
        batch = sample(bench, ctx, engine, prompts, params)
        ledger.generated("proposer", "generate", batch.rollouts)
        rollouts = batch.rollouts
        surprisal = -rollouts.mean_logprobs()
        found += [
            Written(
                parse_proposal(text, bench.config.roles, special),
                bool(rollouts.truncated[i]),
                int(rollouts.lengths[i]),
                float(surprisal[i]),
            )
            for i, text in enumerate(batch.texts)
        ]
    return found


def _tables(
    bench: Workbench,
    ledger: Ledger,
    written: list[Written],
    votes: Votes,
    pool: Pool,
    curriculum: Curriculum,
    rounds: int,
) -> CurriculumTables:
    proposals = [w.proposal for w in written]
    valid = [i for i, p in enumerate(proposals) if p.valid]
    chosen = {valid[int(i)] for i in curriculum.index}
    result = dict(zip(valid, votes.tallies, strict=True))
    found = [result.get(i) for i in range(len(proposals))]
    solutions = dict(zip(valid, votes.solutions, strict=True))
    questions = pd.DataFrame(
        {
            "question_id": np.arange(len(proposals)),
            "response": [_clean(p.text) for p in proposals],
            "question": [p.question for p in proposals],
            "valid": [p.valid for p in proposals],
            "truncated": [w.truncated for w in written],
            "tokens": [w.tokens for w in written],
            "surprisal": [w.surprisal for w in written],
            "label": [_clean(x.answer) if x else None for x in found],
            "p_hat": [x.p_hat if x else np.nan for x in found],
            "solution": [_clean(solutions.get(i)) for i in range(len(proposals))],
            "selected": [i in chosen for i in range(len(proposals))],
        }
    )
    vote_table = pd.DataFrame(
        [
            (i, m, _clean(answer), cluster)
            for i, answers, x in zip(valid, votes.answers, votes.tallies, strict=True)
            for m, (answer, cluster) in enumerate(zip(answers, x.cluster, strict=True))
        ],
        columns=["question_id", "vote", "answer", "cluster"],
    )
    rows: list[tuple[int, str | None, str | None, float]] = [
        (
            valid[int(i)],
            _clean(pool.questions[int(i)]),
            _clean(pool.tallies[int(i)].answer),
            pool.p_hat[int(i)],
        )
        for i in curriculum.index
    ]
    rows += [(-1, _clean(q), _clean(answer), np.nan) for q, answer in curriculum.replay]
    table = pd.DataFrame(rows, columns=["question_id", "question", "label", "p_hat"])
    answered = sum(x.n_answers for x in votes.tallies)
    cast = max(1, sum(len(x.cluster) for x in votes.tallies))
    survivors = len(curriculum)
    metrics = {
        "proposer/valid": len(valid) / len(proposals),
        "proposer/truncated": float(np.mean([w.truncated for w in written])),
        "proposer/tokens": float(np.mean([w.tokens for w in written])),
        "curriculum/questions": float(len(proposals)),
        "curriculum/rounds": float(rounds),
        "curriculum/survivors": float(survivors),
        "curriculum/survivor_share": survivors / len(proposals),
        "votes/no_answer": 1.0 - answered / cast,
        "votes/truncated": float(votes.truncated.mean()) if len(votes.truncated) else 0.0,
        **ledger.metrics(),
    }
    exhausted = survivors < bench.config.curriculum.min_survivors
    return CurriculumTables(questions, vote_table, table, exhausted, metrics)


def _clean(text: str | None) -> str | None:
    """Text that a table can hold: lone surrogates, which UTF-8 lacks, are replaced."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
