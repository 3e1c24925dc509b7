r"""When two answers are the same: exact rules first, algebra behind them.

The exact rules decide numbers with or without units, words, option letters and equal spellings,
in this process and in microseconds. Everything else is taken apart (``structure``) and compared
by algebra (``symbolic``), which may hang or eat memory and is therefore only ever called inside
the workers of ``harness.grading.pool``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate

from harness.grading import structure, symbolic
from harness.grading.extract import MAX_ANSWER_CHARS
from harness.grading.normalise import CACHED_CHARS, normalise
from harness.grading.quantity import (
    quantity,
    rounds_to,
    same_quantity,
    same_unit,
    split_unit,
    with_letter_unit,
    within,
)

#: Exponents beyond ``quantity.MAX_EXPONENT``: such a number equals its own spelling only.
_HUGE = re.compile(r"[+-]?[0-9.]{1,130} ?\\(?:cdot|times) ?10 ?\^ ?\{ ?[+-]?[0-9]{4,12} ?\}")
_BASED = re.compile(r"(?P<digits>-?[0-9A-Za-z.]{1,200})_\{(?P<base>[0-9]{1,2})\}")
_OPTION_VALUE = re.compile(r"\(([A-E])\) ?([^ +*/^=,;)(].*)")
_WORDS = re.compile(r"\\text\{(?P<text>[^{}\\]{1,200})\}|[A-Za-z][A-Za-z' -]{0,200}")
_COMMA = re.compile(r"-?[0-9]{1,60},[0-9]{1,60}")
_POINT = re.compile(r"-?[0-9]{1,60}\.[0-9]{1,60}")


#: Words that are no product of letters although they are short.
_SHORT = frozenset({"yes", "no", "odd"})


#: Brackets open at once in what is still read: math-verify's grammar takes exponential time in
#: them, seconds for 15 pairs of braces. No answer of MATH has more than 3.
MAX_DEPTH = 16


@dataclass(frozen=True)
class Tolerance:
    """Allowance between two numbers: ``max(rel * larger magnitude, abs)``, as in math.isclose."""

    rel: float = 0.0
    abs: float = 0.0


EXACT = Tolerance()


def _words(text: str) -> tuple[str, bool] | None:
    r"""(lower-case words, whether they can't be a product of letters), None if it's no words."""
    match = _WORDS.fullmatch(text)
    if match is None:
        return None
    inside = match["text"]
    words = " ".join((text if inside is None else inside).lower().split()).strip(" .")
    if sum(c.isalpha() for c in words) < 2 or any(c.isdigit() or c in "=<>" for c in words):
        return None
    return words, inside is not None or words in _SHORT or max(map(len, words.split())) >= 4


def canonical(answer: str) -> Fraction | str:
    r"""A hashable key: the exact value of a plain number, otherwise the normalised text.

    Numbers are what ``quantity`` reads, without a unit. In a text spaces don't count (but between
    digits), nor does the case of words. Two answers with equal keys are the same; two different
    *numbers* are different; else more has to be asked.
    """
    return _remembered_key(answer) if len(answer) <= CACHED_CHARS else _key(answer)


@lru_cache(maxsize=65_536)
def _remembered_key(answer: str) -> Fraction | str:
    return _key(answer)


def _key(answer: str) -> Fraction | str:
    text = normalise(answer)
    if len(text) > MAX_ANSWER_CHARS:
        return text
    number = quantity(text)
    if number is not None and not number.unit:
        return number.value
    words = _words(text)
    if words is not None and words[1]:
        return words[0]
    # Between letters a space may end a macro's name: "\pi r".
    return re.sub(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])", "", text)


def decide_exactly(first: str, second: str) -> bool | None:
    """Whether two answers agree, or None where only algebra can tell. Symmetric."""
    a, b = canonical(first), canonical(second)
    if a == b:
        return True
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return False
    if any(isinstance(key, str) and _hopeless(key) for key in (a, b)):
        return False
    left, right = normalise(first), normalise(second)
    quantities = quantity(left), quantity(right)
    if quantities[0] is not None and quantities[1] is not None:
        return same_quantity(quantities[0], quantities[1])
    if _HUGE.fullmatch(left) or _HUGE.fullmatch(right):
        return False
    for decide in (_decide_words, _decide_based, _decide_comma):
        decided = decide(left, right)
        if decided is not None:
            return decided
    return None


def _option_pairs(left: str, right: str) -> list[tuple[str, str]]:
    r"""What to compare where one side is an option's letter with its value; else nothing.

    ``\textbf{(C)}\ 12`` beside ``12``: contest answers are often boxed with their letter.
    """
    options = [_OPTION_VALUE.fullmatch(text) for text in (left, right)]
    if options[0] is not None and options[1] is None:
        return [(part, right) for part in options[0].groups()]
    if options[1] is not None and options[0] is None:
        return [(left, part) for part in options[1].groups()]
    return []


def decide_graded(gold: str, pred: str, tolerance: Tolerance = EXACT) -> bool | None:
    """As ``decide_exactly``, with what grading allows beyond it.

    A decimal of 6 places or more for a fraction, a tolerance between numbers, and a unit of one
    letter (``5 m``) behind a prediction where gold is a plain number: alone it could be a variable.
    An option's letter with its value agrees with the one and with the other.
    """
    if pairs := _option_pairs(normalise(gold), normalise(pred)):
        decisions = [decide_graded(*pair, tolerance) for pair in pairs]
        return True if True in decisions else None if None in decisions else False
    decided = decide_exactly(gold, pred)
    if decided:
        return True
    left, right = quantity(normalise(gold)), quantity(normalise(pred))
    if left is not None and right is None:
        right = with_letter_unit(normalise(pred))
        if right is not None:
            decided = same_quantity(left, right)
    if left is None or right is None or decided:
        return decided
    return (
        rounds_to(left, right)
        or rounds_to(right, left)
        or (tolerance != EXACT and within(left, right, tolerance.rel, tolerance.abs))
    )


def _decide_words(left: str, right: str) -> bool | None:
    r"""Words are the same or not, whatever their case: ``\text{Even}`` and ``even``."""
    if len(left) == len(right) == 1 and left.isalpha() and right.isalpha():
        return False  # two letters, for which the case counts
    words = _words(left), _words(right)
    if words[0] is not None and words[1] is not None:
        if words[0][1] or words[1][1]:
            return words[0][0] == words[1][0]
        return None
    for word, other in ((words[0], right), (words[1], left)):
        if word is not None and word[1] and quantity(other) is not None:
            return False
    return None


def _decide_based(left: str, right: str) -> bool | None:
    """Digits with a base: ``11_2`` isn't ``11_3``, but the base may be left out of one side.

    math-verify drops every base.
    """
    a, b = _BASED.fullmatch(left), _BASED.fullmatch(right)
    if a is None and b is None:
        return None
    if a is not None and b is not None:
        return False  # equal spellings are decided before
    match, other = (a, right) if a is not None else (b, left)
    if match is None or not re.fullmatch("-?[0-9A-Z]{1,200}", other):
        return None
    return match["digits"] == other


def _decide_comma(left: str, right: str) -> bool | None:
    """A decimal comma beside the same digits with a point: ``0,111`` and ``0.111``."""
    for comma, point in ((left, right), (right, left)):
        if _COMMA.fullmatch(comma) and _POINT.fullmatch(point):
            return comma.replace(",", ".") == point
    return None


def _hopeless(text: str) -> bool:
    """Nothing a parser could find a value in.

    Too long, nested too deeply, or ASCII without letter, digit or brace.
    """
    if len(text) > MAX_ANSWER_CHARS or _depth(text) > MAX_DEPTH:
        return True
    return text.isascii() and not any(c.isalnum() or c in "{}" for c in text)


def _depth(text: str) -> int:
    """How many brackets are open at once; what closes is taken off, whatever its kind."""
    steps = (1 if c in "({[" else -1 for c in text if c in "(){}[]")
    return max(accumulate(steps), default=0)


# -- below: inside a worker process only ---------------------------------------------------------


@dataclass(frozen=True)
class _Comparison:
    """How two answers are compared: gold first, or symmetrically."""

    graded: bool
    tolerance: Tolerance = EXACT

    def same(self, first: str, second: str) -> bool:
        """Whether two answers or members of answers agree."""
        decided = (
            decide_graded(first, second, self.tolerance)
            if self.graded
            else decide_exactly(first, second)
        )
        if self.graded and decided is None and (pairs := _option_pairs(first, second)):
            return any(self.same(*pair) for pair in pairs)
        if decided is None:
            decided = structure.compare(normalise(first), normalise(second), self.same)
        return self._single(first, second) if decided is None else decided

    def _single(self, first: str, second: str) -> bool:
        """Two single values, which have no structure that decides."""
        left, right = _exact_part(normalise(first)), _exact_part(normalise(second))
        (name, value), (other_name, other_value) = map(structure.assigned, (left, right))
        if name and other_name:
            if name == other_name and (value, other_value) != (left, right):
                return self.same(_last_side(value), _last_side(other_value))
        elif name and "=" not in right:
            return self.same(_last_side(value), right)
        elif other_name and "=" not in left:
            return self.same(left, _last_side(other_value))
        (left, unit), (right, other_unit) = split_unit(left), split_unit(right)
        if not same_unit(unit, other_unit):
            return False
        if (left, right) != (first, second):
            return self.same(left, right)
        left, right = _one_imaginary(left, right)
        if _differs_unread(left, right):
            return False
        tolerance = (self.tolerance.rel, self.tolerance.abs)
        if symbolic.equal(left, right, *tolerance):
            return True
        return not self.graded and symbolic.equal(right, left, *tolerance)


def _exact_part(text: str) -> str:
    r"""``\frac{1}{3} \approx 0.33`` without the approximation; ``x \approx 11`` as ``x = 11``."""
    parts = [p for p in structure.split(text, ["\\approx"]) if p]
    if len(parts) < 2:
        return text
    return f"{parts[0]} = {parts[1]}" if re.fullmatch(structure.NAME, parts[0]) else parts[0]


def _last_side(text: str) -> str:
    """What a chain of equations ends in: ``5+5+1 = 7 = 11``."""
    return structure.split(text, ["="])[-1]


def _one_imaginary(left: str, right: str) -> tuple[str, str]:
    """The capital ``I`` of programs as ``i``, where the other side has an ``i`` and no ``I``."""
    for a, b in ((left, right), (right, left)):
        if re.search("(?<![A-Za-z])I(?![A-Za-z])", a) and "I" not in b and "i" in b:
            changed = re.sub("(?<![A-Za-z])I(?![A-Za-z])", "i", a)
            return (changed, b) if a is left else (b, changed)
    return left, right


_MACRO = re.compile(r"\\text\{[^{}]*\}|\\[A-Za-z]+")


def _differs_unread(left: str, right: str) -> bool:
    """Whether texts differ in what math-verify doesn't read: primes, the case of a letter, spaces.

    It takes ``f'`` for ``f``, ``X`` for ``x``, ``2 3`` for a sum, and ``0.\\overline{3}`` for 0.
    """
    bare = [_MACRO.sub(" ", t) for t in (left, right)]
    letters = [{c for c in t if c.isascii() and c.isalpha() and c not in "iI"} for t in bare]
    if any(c.swapcase() in letters[1] - letters[0] for c in letters[0] - letters[1]):
        return True
    primes = [t.count("'") + t.count("\\prime") for t in (left, right)]
    split_digits = [bool(re.search("[0-9] [0-9]", t)) for t in (left, right)]
    bars = [t.count("\\overline") for t in (left, right)]
    return primes[0] != primes[1] or split_digits[0] != split_digits[1] or bars[0] != bars[1]


def graded_equal(*, gold: str, pred: str, rel_tol: float = 0.0, abs_tol: float = 0.0) -> bool:
    """Whether a prediction agrees with gold. Raises MemoryError at the worker's memory limit."""
    return _compare(_Comparison(graded=True, tolerance=Tolerance(rel_tol, abs_tol)), gold, pred)


def same_answer(first: str, second: str) -> bool:
    """Whether two answers agree; symmetric. Raises MemoryError as ``graded_equal``."""
    return _compare(_Comparison(graded=False), first, second)


def _compare(comparison: _Comparison, first: str, second: str) -> bool:
    try:
        return comparison.same(normalise(first), normalise(second))
    except RecursionError:  # nested too deeply for any answer
        return False


def readable(answer: str) -> bool:
    """True once an answer has been read and compared with 0: whether that ends is the question."""
    same_answer(answer, "0")
    return True
