"""How well a policy holds the two roles' formats."""

from __future__ import annotations

from collections.abc import Sequence

from harness.config.schema import RolesConfig
from harness.engines.base import Rollouts, SamplingParams
from harness.engines.torch_engine import TorchEngine
from harness.grading import Grader, Verdict, extract_answer
from harness.policy import Policy
from harness.rng import keys64
from harness.roles import (
    Role,
    parse_proposal,
    proposer_messages,
    render,
    solver_messages,
    special_tokens,
)
from harness.warmstart.examples import Item
from harness.warmstart.fit import Settings

_TEMPERATURE = 1.0
"""A run samples its rollouts and votes at temperature 1."""


def probe(
    policy: Policy, items: Sequence[Item], roles: RolesConfig, settings: Settings
) -> dict[str, float]:
    """How well the policy holds both formats, from samples at temperature 1.

    Returns:
        Shares: ``proposer/valid`` (a parseable proposal), ``proposer/ended`` and ``solver/ended``
        (an end token within ``probe_tokens``), ``solver/boxed`` and ``solver/correct`` (on
        held-out ``items``), and the number of responses per role.
    """
    engine = TorchEngine(policy.model, policy.tokenizer, max_rows=64)
    special = special_tokens(policy.tokenizer)

    def responses(role: Role, prompts: list[list[int]], n: int) -> tuple[list[str], Rollouts]:
        params = SamplingParams(settings.probe_tokens, n=n, temperature=_TEMPERATURE)
        keys = keys64(settings.seed, "warmstart", "probe", role, n=len(prompts) * n)
        rollouts = engine.generate(prompts, params, row_keys=keys)
        return rollouts.texts(policy.tokenizer), rollouts

    def share(values: Sequence[bool]) -> float:
        return sum(values) / len(values)

    ask = render(policy.tokenizer, proposer_messages(roles))
    texts, proposals = responses("proposer", [ask], settings.probe)
    asked = items[: settings.probe]
    chats = [solver_messages(roles, str(item["problem"]).strip()) for item in asked]
    solved, solutions = responses("solver", [render(policy.tokenizer, c) for c in chats], 1)
    answers = [extract_answer(text) for text in solved]
    with Grader() as grader:
        verdicts = grader.grade(gold=[str(item["answer"]) for item in asked], pred=answers)
    return {
        "proposer/samples": float(len(texts)),
        "proposer/valid": share([parse_proposal(t, roles, special).valid for t in texts]),
        "proposer/ended": share((~proposals.truncated).tolist()),
        "solver/samples": float(len(solved)),
        "solver/boxed": share([a is not None for a in answers]),
        "solver/correct": share([v is Verdict.CORRECT for v in verdicts]),
        "solver/ended": share((~solutions.truncated).tolist()),
    }
