r"""When two answers are the same: exact rules first, math-verify behind them.

The exact rules decide whatever is a plain integer, decimal or simple fraction, in this process
and in microseconds. Everything else goes to math-verify (which may hang or eat memory, and is
therefore only ever called inside the workers of ``harness.grading.pool``).
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.grading.extract import MAX_ANSWER_CHARS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Digits in one plain number; longer ones are left to the workers' deadline and memory limit.
MAX_DIGITS = 60

_INT = rf"[0-9]{{1,{MAX_DIGITS}}}"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s?(?:"
    rf"(?P<decimal>{_INT}(?:\.[0-9]{{0,{MAX_DIGITS}}})?|\.{_INT})"
    rf"|\\[dt]?frac\s?\{{\s?(?P<top>[+-]?{_INT})\s?\}}\s?\{{\s?(?P<bottom>{_INT})\s?\}}"
    rf"|(?P<over>{_INT})\s?/\s?(?P<under>{_INT})"
    rf")\.?"
)


def _strip(answer: str) -> str:
    """Surrounding white space and one pair of ``$`` removed; the Unicode minus made ASCII."""
    text = answer.strip()
    if len(text) > 2 and text[0] == text[-1] == "$" and "$" not in text[1:-1]:
        text = text[1:-1].strip()
    return text.replace("\N{MINUS SIGN}", "-")


@lru_cache(maxsize=65_536)
def canonical(answer: str) -> Fraction | str:
    r"""A hashable key: the exact value of a plain number, otherwise the stripped text.

    Plain numbers are ``[+-]digits``, decimals with a point, ``a/b`` and ``\frac{a}{b}`` of
    integers with a non-zero denominator, each of at most ``MAX_DIGITS`` digits. Two answers with
    equal keys are the same; two different *numbers* are different; else math-verify decides.
    """
    text = _strip(answer)
    if len(text) > 4 * MAX_DIGITS:
        return text
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    if match["decimal"]:
        value = Fraction(match["decimal"].removesuffix("."))
    else:
        bottom = int(match["bottom"] or match["under"])
        if bottom == 0:
            return text
        value = Fraction(int(match["top"] or match["over"]), bottom)
    return -value if match["sign"] == "-" else value


def decide_exactly(first: str, second: str) -> bool | None:
    """Whether two answers agree, or None where only math-verify can tell. Symmetric."""
    a, b = canonical(first), canonical(second)
    if a == b:
        return True
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return False
    for key in (a, b):
        if isinstance(key, str) and _hopeless(key):
            return False
    return None


def _hopeless(text: str) -> bool:
    """Nothing a parser could find a value in: too long, or ASCII without letter, digit or brace."""
    if len(text) > MAX_ANSWER_CHARS:
        return True
    return text.isascii() and not any(c.isalnum() or c in "{}" for c in text)


# -- below: inside a worker process only ---------------------------------------------------------


@lru_cache(maxsize=256)
def _parsed(answer: str) -> tuple[Any, ...]:
    """math-verify's reading of an answer; () where it finds nothing."""
    parse = _math_verify()[0]
    text = _strip(answer)
    # math-verify reads LaTeX only inside delimiters, and bare expressions only outside them.
    if "$" not in text and "\\boxed" not in text:
        text = f"${text}$"
    return tuple(parse(text, parsing_timeout=None, raise_on_error=True))


@lru_cache(maxsize=1)
def _math_verify() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(parse, verify), imported late: sympy stays out of processes that never need it."""
    import logging

    from math_verify import parse, verify  # type: ignore[import-untyped, unused-ignore]

    # Its notice that the SIGALRM time-outs are off: the pool's deadline replaces them.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return parse, verify


def math_verify_equal(*, gold: str, pred: str) -> bool:
    """math-verify's verdict; anything it can't read or compare is unequal.

    Raises MemoryError at the worker's memory limit, so that it's not mistaken for a verdict.
    """
    verify = _math_verify()[1]
    try:
        left, right = _parsed(gold), _parsed(pred)
        if not left or not right:
            return False
        return any(_verify_pair(verify, g, p) for g in left for p in right)
    except MemoryError:
        raise
    except Exception:  # a parser failure: not shown to be equal
        return False


def _verify_pair(verify: Callable[..., Any], gold: Any, pred: Any) -> bool:
    """One pair of parsed candidates; errors other than MemoryError mean unequal."""
    try:
        return bool(verify(gold, pred, timeout_seconds=None, raise_on_error=True))
    except MemoryError:
        raise
    except Exception:  # sympy raises almost anything on odd input
        return False


def math_verify_readable(answer: str) -> bool:
    """Whether math-verify gets through reading an answer and comparing it with 0 at all."""
    math_verify_equal(gold=answer, pred="0")
    return True
