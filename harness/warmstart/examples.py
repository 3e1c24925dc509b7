"""What the two roles should write for an item of a training set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.schema import RolesConfig
from harness.errors import HarnessError
from harness.grading import extract_answer
from harness.roles import (
    Role,
    parse_proposal,
    proposer_messages,
    render,
    solver_messages,
    special_tokens,
)

Item = Mapping[str, Any]
_CALCULATOR = re.compile(r"<<[^<>]*>>")
"""GSM8K's calculator annotations, as in ``48/2 = <<48/2=24>>24``."""


@dataclass(frozen=True)
class Example:
    """One role's prompt and the response to learn, its end token included."""

    role: Role
    prompt_ids: list[int]
    response_ids: list[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


def proposal_text(item: Item, roles: RolesConfig) -> str:
    """What the proposer should write for a problem."""
    text = f"{roles.question_open}\n{item['problem'].strip()}\n{roles.question_close}"
    return f"{text}\n\n\\boxed{{{item['answer']}}}" if roles.require_answer_box else text


def solution_text(item: Item) -> str | None:
    r"""What the solver should write: the source's solution, its answer in a ``\boxed{}``.

    GSM8K's calculator annotations go, and its last line ``#### x`` becomes a sentence with a box.
    None where the item has no solution.
    """
    solution = item.get("solution")
    if not isinstance(solution, str) or not solution.strip():
        return None
    text = _CALCULATOR.sub("", solution.partition("\n####")[0]).strip()
    if extract_answer(text) is not None:
        return text
    return f"{text}\nThe final answer is \\boxed{{{item['answer']}}}."


def make_examples(
    items: Sequence[Item], tokenizer: Any, roles: RolesConfig, max_tokens: int
) -> dict[str, list[Example]]:
    """Both roles' examples of each usable item, by item id.

    Left out: items without a solution, those too long or beyond the tokenizer's characters, and
    those whose examples the harness itself would not accept (a problem that spells a special
    token, say).
    """
    if tokenizer.eos_token_id is None:
        raise HarnessError("warmstart: the tokenizer names no end-of-sequence token to learn")
    special = special_tokens(tokenizer)
    ask = render(tokenizer, proposer_messages(roles))

    def example(role: Role, prompt: list[int], text: str) -> Example:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return Example(role, prompt, [*ids, int(tokenizer.eos_token_id)])

    found: dict[str, list[Example]] = {}
    for item in items:
        proposal, solution = proposal_text(item, roles), solution_text(item)
        parsed = parse_proposal(proposal, roles, special)
        if solution is None or parsed.question is None or extract_answer(solution) is None:
            continue
        if any(token in solution for token in special):
            continue
        question = solver_messages(roles, parsed.question)
        try:
            pair = [
                example("proposer", ask, proposal),
                example("solver", render(tokenizer, question), solution),
            ]
        except Exception:  # tokenizers has no class of its own for what a vocabulary lacks
            continue
        if max(map(len, pair)) <= max_tokens:
            found[str(item["id"])] = pair
    return found
