"""Prompts, hostile proposals, and R-Zero's rewards by hand."""

from __future__ import annotations

import copy
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import RolesConfig
from harness.policy import Policy
from harness.roles import (
    Proposal,
    Rewards,
    format_strings,
    parse_proposal,
    proposer_messages,
    proposer_reward,
    render,
    solver_messages,
    solver_reward,
    special_tokens,
)

ROLES = RolesConfig(proposer_user="write.", solver_user="solve: {question}", max_question_chars=50)
BOXED = RolesConfig(proposer_user="write.", require_answer_box=True)


def question(text: str, special: tuple[str, ...] = ()) -> str | None:
    return parse_proposal(text, ROLES, special).question


class TestParse:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("<question>what is 1 + 1 ?</question>", "what is 1 + 1 ?"),
            ("so <question>\n a\tb \n</question> done", "a\tb"),
            # the last complete block, also where another one opens or closes beside it
            ("<question>a</question><question>b</question>", "b"),
            ("<question>a</question> <question>b", "a"),
            ("<question>a <question>b</question>", "b"),
            ("<question>a</question></question>", "a</question>"),
            ("</question> <question>a", None),
            ("<question>a", None),
            ("a</question>", None),
            ("</question><question>", None),
            ("", None),
            ("<question></question>", None),
            ("<question> \n\t </question>", None),
            ("<Question>a</Question>", None),
            # 50 characters is the limit
            ("<question>" + "x" * 50 + "</question>", "x" * 50),
            ("<question>" + "x" * 51 + "</question>", None),
            # control characters, NUL, lone surrogates
            ("<question>a\x00b</question>", None),
            ("<question>a\x1b[2Jb</question>", None),
            ("<question>a\ud800b</question>", None),
            ("<question>\N{SNOWMAN} ok</question>", "\N{SNOWMAN} ok"),
        ],
    )
    def test_what_counts_as_a_question(self, text: str, expected: str | None) -> None:
        found = parse_proposal(text, ROLES)
        assert found.question == expected
        assert found.valid is (expected is not None)
        assert found.text == text

    def test_special_tokens_spelled_out_are_refused(self, base_policy: Policy) -> None:
        """Spelled from single characters they would become one token of the next prompt."""
        names = special_tokens(base_policy.tokenizer)
        assert {"<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"} <= set(names)
        assert "<question>" not in names
        for name in names:
            assert question(f"<question>1 {name} 2</question>", tuple(names)) is None
        assert question("<question>1 <|what|> 2</question>", tuple(names)) == "1 <|what|> 2"

    def test_no_accepted_question_adds_a_special_token(self, base_policy: Policy) -> None:
        tokenizer = base_policy.tokenizer
        names = special_tokens(tokenizer)
        for text in ("a", "<|", "|>", "<|end|", "assistant|>", "<|ASSISTANT|>", "< |end|>"):
            found = parse_proposal(f"<question>{text}</question>", ROLES, names)
            assert found.question == text
            ids = render(tokenizer, solver_messages(ROLES, text))
            assert [tokenizer.decode([i]) for i in ids].count("<|assistant|>") == 1
            assert "<|end|>" not in tokenizer.decode(ids)

    def test_an_empty_special_token_forbids_nothing(self) -> None:
        assert question("<question>a</question>", ("",)) == "a"

    def test_answer_box(self) -> None:
        text = "<question>a</question> \\boxed{7}"
        assert parse_proposal(text, BOXED) == Proposal(text, "a", "7")
        assert parse_proposal("<question>a</question>", BOXED).question is None
        assert parse_proposal("<question>a</question>", ROLES).answer is None
        assert not parse_proposal("<question>a</question> \\boxed{7", BOXED).valid

    @given(st.text(alphabet="<question>/ab\x00\ud800\\boxed{}|", max_size=80))
    def test_any_text_is_read_without_error(self, text: str) -> None:
        found = parse_proposal(text, ROLES, ("<|end|>",))
        if found.question is not None:
            assert found.question.strip() == found.question != ""
            assert found.question in text
            assert len(found.question) <= 50
            assert "\x00" not in found.question
            assert "\ud800" not in found.question

    @pytest.mark.parametrize(
        "text",
        [
            "<question>" * 300_000,
            "</question>" * 300_000,
            "<question>" + "x" * 3_000_000 + "</question>",
            "<question>a</question>" * 100_000 + "<",
            "\\boxed{" * 300_000 + "}" * 300_000,
        ],
        ids=["opened", "closed", "long", "many", "boxes"],
    )
    def test_megabytes_are_read_in_no_time(self, text: str) -> None:
        started = time.process_time()
        parse_proposal(text, ROLES, ("<|end|>",))
        assert time.process_time() - started < 2.0


class TestPrompts:
    def test_messages(self) -> None:
        assert proposer_messages(ROLES) == [{"role": "user", "content": "write."}]
        roles = RolesConfig(
            proposer_system="P", proposer_user="p", solver_system="S", solver_user="q: {question}!"
        )
        assert proposer_messages(roles)[0] == {"role": "system", "content": "P"}
        assert solver_messages(roles, "1+1") == [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "q: 1+1!"},
        ]

    @pytest.mark.parametrize("text", ["{question}", "{0}", "%s", "{{}}", "\\1"])
    def test_a_question_is_never_read_as_a_template(self, text: str) -> None:
        assert solver_messages(ROLES, text)[0]["content"] == f"solve: {text}"

    def test_chat_template(self, base_policy: Policy) -> None:
        tokenizer = base_policy.tokenizer
        ids = render(tokenizer, proposer_messages(ROLES))
        assert tokenizer.decode(ids) == "<|user|>write.<|assistant|>"

    def test_base_models_without_a_template_get_role_lines(self, base_policy: Policy) -> None:
        tokenizer = copy.deepcopy(base_policy.tokenizer)
        tokenizer.chat_template = None
        messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
        assert tokenizer.decode(render(tokenizer, messages)) == "system: a\nuser: b\n"

    def test_format_strings(self) -> None:
        roles = RolesConfig(proposer_user="p", question_open="<q>", question_close="</q>")
        assert format_strings(roles) == ["<q>", "</q>", "\\boxed{", "}"]


class TestRewards:
    def test_proposer_by_hand(self) -> None:
        """min(p, 1 - p) - share; an invalid question costs 1 and nothing else."""
        rewards = proposer_reward(
            np.array([True, True, True, True, False]),
            np.array([0.5, 0.9, 0.2, 1.0, np.nan]),
            np.array([0.0, 0.25, 0.25, 0.5, 0.75]),
        )
        assert rewards.total == pytest.approx([0.5, -0.15, -0.05, -0.5, -1.0])
        assert rewards.components["uncertainty"] == pytest.approx([0.5, 0.1, 0.2, 0.0, 0.0])
        assert rewards.components["repetition"] == pytest.approx([0, -0.25, -0.25, -0.5, 0])
        assert rewards.components["invalid"].tolist() == [0, 0, 0, 0, -1]

    @given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.floats(0, 1)), min_size=1))
    def test_components_sum_to_the_total(self, rows: list[tuple[bool, float, float]]) -> None:
        valid, p_hat, share = (np.array(column) for column in zip(*rows, strict=True))
        rewards = proposer_reward(valid.astype(bool), p_hat, share)
        assert rewards.total == pytest.approx(sum(rewards.components.values()))
        assert (rewards.total <= 0.5).all()
        assert (rewards.total >= -1.0).all()

    def test_solver(self) -> None:
        rewards = solver_reward(np.array([True, False, True]))
        assert rewards.total.tolist() == [1.0, 0.0, 1.0]
        assert list(rewards.components) == ["correct"]

    def test_plus_and_join(self) -> None:
        first = solver_reward(np.array([True, False])).plus("bonus", np.array([0.5, 0.25]))
        assert first.total.tolist() == [1.5, 0.25]
        second = solver_reward(np.array([True])).plus("bonus", np.array([0.0]))
        joined = Rewards.join([second, first])
        assert joined.total.tolist() == [1.0, 1.5, 0.25]
        assert joined.components["bonus"].tolist() == [0.0, 0.5, 0.25]
