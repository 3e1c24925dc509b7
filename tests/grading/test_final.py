"""The final answer of a response: the box, then what is stated, and sentences around an answer."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.grading import (
    Extraction,
    How,
    extract_answer,
    extract_final,
    read_answer,
    score_responses,
)


@pytest.mark.parametrize(
    ("response", "answer", "how"),
    [
        (r"\boxed{1} then \boxed{2}", "2", How.BOX),
        (r"The answer is 7. \boxed{2}", "2", How.BOX),
        (r"\boxed{2} The answer is 7.", "2", How.BOX),
        ("So the answer is 42.", "42", How.STATED),
        ("The answer is 3. No: the final answer is: 4", "4", How.STATED),
        ("Final Answer: The final answer is $x^2$. I hope it is correct.", "x^2", How.STATED),
        ("Final Answer: The largest $n$ is 34.", "34", How.STATED),
        ("6 * 7 = 42\n#### 42", "42", How.STATED),
        ("**Answer:** $5$ and $-5$.", "5; -5", How.STATED),
        ("**Answer: 5**", "5", How.STATED),
        ("The answer is\n\n$$x = 3$$", "x = 3", How.STATED),
        (r"The answer is \(\frac{1}{2}\).", r"\frac{1}{2}", How.STATED),
        ("Therefore the answer is -3.5", "-3.5", How.STATED),
        ("The answer is 12 apples.", "12 apples", How.STATED),
        ("The answer is: $28 \\%$.", "28 \\%", How.STATED),
        ("The final answer is 5<|im_end|>\n<|im_start|>user answer is 9", "5", How.STATED),
        ("The answer to the question is 8.", "8", How.STATED),
        ("Answer $9$", "9", How.STATED),
        (r"Answer \[ 9 \]", "9", How.STATED),
        ("The answers vary.", None, How.NONE),
        (r"the answer is 5, \boxed{", None, How.NONE),
        (r"the answer is 5, \boxed{}", None, How.NONE),
        (r"To put it into \boxed{}, add them. The answer is 5.", "5", How.STATED),
        (r"\boxed{} and \boxed{ }: the answer is 5.", "5", How.STATED),
        (r"\boxed{}, then \boxed{ the answer is 5.", None, How.NONE),
        ("I get 17 and stop there.", None, How.NONE),
        ("The answer is", None, How.NONE),
        ("", None, How.NONE),
    ],
)
def test_of_a_response(response: str, answer: str | None, how: How) -> None:
    found = extract_final(response)
    assert found == Extraction(answer, how)
    assert found.fallback is (how is How.STATED)
    if how is not How.BOX:
        assert extract_answer(response) is None


@pytest.mark.parametrize(
    ("response", "gold", "answer"),
    [
        (r"$\boxed{2}$ and $\boxed{3}$", "2,3", "2; 3"),
        (r"\boxed{2} \quad \text{and} \quad \boxed{3}", r"\{2,3\}", "2; 3"),
        (r"\boxed{2}, \boxed{3}, \boxed{5}", "2,3,5", "2; 3; 5"),
        (r"\boxed{1}, no: \boxed{2}, \boxed{3}", "2,3", "2; 3"),
        (r"\boxed{2} and \boxed{3}", "3", "3"),
        (r"\boxed{2} is wrong, so \boxed{3}", "2,3", "3"),
        (r"\boxed{2,3}", "2,3", "2,3"),
    ],
)
def test_boxes_side_by_side_are_a_list_where_gold_is_one(
    response: str, gold: str, answer: str
) -> None:
    assert extract_final(response, gold=gold) == Extraction(answer, How.BOX)
    assert extract_final(response).answer == extract_answer(response)


@pytest.mark.parametrize(
    ("text", "answer", "how"),
    [
        ("5", "5", How.BARE),
        ("$5$", "$5$", How.BARE),
        (r"x = 1, y = 2", "x = 1, y = 2", How.BARE),
        ("10 weeks", "10 weeks", How.BARE),
        (r"\text{The midpoints form a hexagon}", r"\text{The midpoints form a hexagon}", How.BARE),
        ("Therefore $x > 5$ is the solution.", "x > 5", How.LAST),
        ("We use $a$, and so $b$ or $c$.", "b; c", How.LAST),
        ("so the number is 10 which is 1,000.99", "1,000.99", How.LAST),
        ("As $a<b$, the chance that Alice wins is 2/3.", "2/3", How.LAST),
        ("It is 10", "10", How.LAST),
        ("at most 10", "at most 10", How.BARE),
        ("The number is -1 000.5", "-1 000.5", How.LAST),
        ("AZYUK2A", "AZYUK2A", How.BARE),
        ("The answer is 4 of course", "4 of course", How.STATED),
        (r"$\boxed{1}\boxed{2}$", "1; 2", How.BOX),
        (r"so \\boxed{\\frac{1}{2}}.", r"\frac{1}{2}", How.BOX),
        (r"5 \boxed{", None, How.NONE),
        ("  ", None, How.NONE),
    ],
)
def test_of_a_text_that_may_be_an_answer(text: str, answer: str | None, how: How) -> None:
    assert read_answer(text) == Extraction(answer, how)


@pytest.mark.parametrize(
    ("response", "gold", "answer"),
    [
        ("So the answer is $|(1-i)^8|$.", "16", None),
        ("The answer is 2^4, which I can't work out.", "16", None),
        ("The answer is $x = 16$.", "16", "x = 16"),
        ("The answer is $|(1-i)^8| = 16$.", "16", "|(1-i)^8| = 16"),
        ("The answer is 16 apples.", "16", "16 apples"),
        ("The answer is $k + 4 = 3k - 2 = 2k + 2$.", "2k+2", None),
        ("The answer is $x = 4^2 = 16$.", "16", "x = 4^2 = 16"),
        (r"The answer is $2\sqrt{3}$.", r"\sqrt{12}", r"2\sqrt{3}"),
        (r"I box the question: \boxed{|(1-i)^8|}", "16", "|(1-i)^8|"),
    ],
)
def test_an_announced_number_is_worked_out(response: str, gold: str, answer: str | None) -> None:
    assert extract_final(response, gold=gold).answer == answer


def test_scores_count_the_fallback() -> None:
    responses = [r"\boxed{5}", "The answer is 5.", "The answer is 6.", "no idea", r"\boxed{4}"]
    assert score_responses(gold="5", responses=responses) == {
        "exact_match": 0.4,
        "no_answer": 0.2,
        "timeout": 0.0,
        "fallback": 0.4,
    }
    assert score_responses(gold="5", responses=[r"\boxed{5.1}"], rel_tol=0.05)["exact_match"] == 1
    with pytest.raises(ValueError, match="without responses"):
        score_responses(gold="5", responses=[])
    with pytest.raises(HarnessError):
        score_responses(gold="5", responses=["5"], abs_tol=-1)


PIECES = [
    "answer is ",
    "final answer ",
    "####",
    "$",
    "$$ ",
    r"\(",
    r"\[",
    "and ",
    " is ",
    "1,000",
    "a ",
]
PIECES += [
    r"\boxed{1} ",
    r"\boxed{1}, ",
    "answer to ",
    "<|a|>",
    "1 ",
    "-",
    ", ",
    "\n",
    "**",
    "I hope ",
]


@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    extract_final(text, gold="1,2")
    read_answer(text)
    assert time.process_time() - started < 20.0  # a quadratic scan takes hours


@given(st.text(alphabet="$\\()[] answerisx15.,#\n*{}", max_size=80))
def test_an_answer_is_never_blank_nor_too_long(text: str) -> None:
    for found in (extract_final(text), read_answer(text), extract_final(text, gold="1,2")):
        assert (found.answer is None) == (found.how is How.NONE)
        assert found.answer is None or found.answer.strip()
