"""Proposer and solver: prompts, parsing of what they write, and R-Zero's base rewards.

Everything a model wrote is hostile input: sizes are capped, and a question that spells a special
token is invalid, because it would steer the next prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.config.schema import RolesConfig
from harness.grading.extract import extract_answer
from harness.masks import special_ids

Role = Literal["proposer", "solver"]
Message = dict[str, str]
Array = npt.NDArray[np.float64]

FORMAT_BOX = ("\\boxed{", "}")
INVALID_REWARD = -1.0


def proposer_messages(roles: RolesConfig) -> list[Message]:
    """The proposer's chat: one fixed prompt for every rollout."""
    return _messages(roles.proposer_system, roles.proposer_user)


def solver_messages(roles: RolesConfig, question: str) -> list[Message]:
    """The solver's chat for one question."""
    return _messages(roles.solver_system, roles.solver_user.replace("{question}", question))


def _messages(system: str | None, user: str) -> list[Message]:
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": user}]


def render(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of a chat, ready for the assistant's turn.

    A base model without a chat template gets ``role: content`` lines, as in R-Zero's code.
    """
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=False
        )
    else:
        text = "\n".join(f"{m['role']}: {m['content']}" for m in messages) + "\n"
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def format_strings(roles: RolesConfig) -> list[str]:
    """What a valid response has to spell; protected from masks."""
    return [roles.question_open, roles.question_close, *FORMAT_BOX]


def special_tokens(tokenizer: Any) -> list[str]:
    """The spellings that would steer a prompt: special tokens, chat roles included."""
    return sorted(tokenizer.convert_ids_to_tokens(sorted(special_ids(tokenizer))))


@dataclass(frozen=True)
class Proposal:
    """A proposer's response as parsed."""

    text: str
    question: str | None
    answer: str | None

    @property
    def valid(self) -> bool:
        return self.question is not None


def parse_proposal(text: str, roles: RolesConfig, special_tokens: Sequence[str] = ()) -> Proposal:
    """The last complete question block of a response.

    Invalid (``question`` None): no complete block, an empty, overlong or control-character text,
    one that spells a special token, or a missing answer box where the profile asks for one.
    """
    answer = extract_answer(text)
    close = text.rfind(roles.question_close)
    start = text.rfind(roles.question_open, 0, max(close, 0))
    if close < 0 or start < 0:
        return Proposal(text, None, answer)
    question = text[start + len(roles.question_open) : close].strip()
    bad = (
        not question
        or len(question) > roles.max_question_chars
        or any(ord(c) < 32 and c not in "\n\t" for c in question)
        or any(0xD800 <= ord(c) <= 0xDFFF for c in question)
        or any(token and token in question for token in special_tokens)
        or (roles.require_answer_box and answer is None)
    )
    return Proposal(text, None if bad else question, answer)


@dataclass(frozen=True)
class Rewards:
    """Rewards [R] with their named components [R], for the record."""

    total: Array
    components: dict[str, Array] = field(default_factory=dict)

    def plus(self, name: str, values: Array) -> Rewards:
        """Add a named component to the total."""
        return Rewards(self.total + values, {**self.components, name: values})

    @classmethod
    def join(cls, parts: Sequence[Rewards]) -> Rewards:
        """The rows of several batches with the same components."""
        names = parts[0].components
        return cls(
            np.concatenate([p.total for p in parts]),
            {n: np.concatenate([p.components[n] for p in parts]) for n in names},
        )


def proposer_reward(valid: npt.NDArray[np.bool_], p_hat: Array, share: Array) -> Rewards:
    """R-Zero's proposer reward as its code has it: min(p, 1 - p) - share; invalid: -1.

    Args:
        valid: [R].
        p_hat: [R], the majority's share of the M votes (ignored where invalid).
        share: [R], the share of the batch in the question's BLEU cluster.

    Source: arXiv 2508.05004 and its repository (the paper's r_unc is twice as large).
    """
    uncertainty = np.where(valid, np.minimum(p_hat, 1.0 - p_hat), 0.0)
    repetition = np.where(valid, -share, 0.0)
    invalid = np.where(valid, 0.0, INVALID_REWARD)
    return Rewards(
        uncertainty + repetition + invalid,
        {"uncertainty": uncertainty, "repetition": repetition, "invalid": invalid},
    )


def solver_reward(correct: npt.NDArray[np.bool_]) -> Rewards:
    """1 where the answer equals the pseudo-label, else 0."""
    values = correct.astype(np.float64)
    return Rewards(values, {"correct": values})
