r"""The final answer of a response for scoring: its last box, then what it states without one.

Votes and rewards take boxes alone (``extract_answer``); an evaluation also takes an answer that the
response announces in words, and records that it did. Text of any length is read in linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from harness.grading.extract import MAX_ANSWER_CHARS, extract_answer, extract_boxes
from harness.grading.normalise import normalise
from harness.grading.quantity import quantity
from harness.grading.structure import assigned, form, split

#: Characters at the end of a response in which an answer is looked for.
TAIL_CHARS = 20_000


class How(StrEnum):
    """Where an answer was found."""

    BOX = "box"
    STATED = "stated"  # behind "the answer is", "Answer:" or "####"
    LAST = "last"  # the last formula or number of a sentence: only where a text must hold one
    BARE = "bare"  # the text is itself the answer
    NONE = "none"


@dataclass(frozen=True)
class Extraction:
    """An answer and where it was found; the answer is None if ``how`` is ``none``."""

    answer: str | None
    how: How

    @property
    def fallback(self) -> bool:
        """Whether the response holds no box but states its answer in words."""
        return self.how in (How.STATED, How.LAST)


_EMPTY_BOX = re.compile(r"\\boxed\s{0,8}\{\s{0,8}\}")
_DOUBLED = re.compile(r"(?<!\\)\\\\boxed ?\{")
_NOTHING = Extraction(None, How.NONE)
_SPECIAL = re.compile(r"<\|[A-Za-z_]{1,20}\|>")
_MARKER = re.compile(
    r"####|(?<![A-Za-z])(?:final answer|answers?)(?: to [^.:\n]{1,60}?)?(?:\*\*)?"
    r"(?: ?(?:is|are|=)(?![A-Za-z])(?: ?:)?| ?:|(?= ?(?:\$|\\[(\[]|[-+\[]? ?[0-9])))(?:\*\*)?",
    re.IGNORECASE,
)
_END = re.compile(r"[.!?](?=\s+[A-Z]|\s{0,9}$)|\s(?=I hope )|\n")
_SEGMENT = re.compile(
    r"\$\$(?P<display>[^$]{1,2000})\$\$|\$(?P<dollar>[^$]{1,2000})\$"
    r"|\\\((?P<round>(?:[^\\]|\\[^()]){1,2000}?)\\\)|\\\[(?P<square>(?:[^\\]|\\[^][]){1,2000}?)\\\]"
)
_JOIN = re.compile(r"\s{0,9},?\s{0,9}(?:and|or)?\s{0,9}")
_WORD = re.compile(r"(?<![A-Za-z\\{])[A-Za-z]{2,}(?![A-Za-z({\\_^])")
_NUMBER = re.compile(
    r"(?<![\w.,/^])[-+\N{MINUS SIGN}]?[$€£]?(?:[0-9]{1,3}(?:[, ][0-9]{3})+|[0-9]{1,60})"
    r"(?:\.[0-9]{1,60})?(?:/[0-9]{1,60})?(?:\s?\\?%)?(?![0-9])"
)
_BETWEEN = re.compile(
    r"[\s,;$]|\\[,;:! ]|\\q?quad(?![a-z])|\\\]|\\\[|\\\(|\\\)|\\text\{[^{}0-9\\]{0,60}\}|and|or"
)


def _joined_boxes(response: str) -> str | None:
    r"""The last run of boxes with nothing but "and", "or", commas or space between them, as a list.

    ``\boxed{2} \quad \text{and} \quad \boxed{3}`` is ``2; 3``. None if it holds one box only.
    """
    run: list[str] = []
    end = -1
    for start, stop, content in extract_boxes(response[-TAIL_CHARS:]):
        gap = response[-TAIL_CHARS:][end:start] if end >= 0 else ""
        joined = end >= 0 and len(gap) <= 100 and not _BETWEEN.sub("", gap)
        run = [*run, content] if joined else [content]
        end = stop
    joined_text = "; ".join(run)
    return joined_text if len(run) > 1 and len(joined_text) <= MAX_ANSWER_CHARS else None


def is_several(answer: str) -> bool:
    """Whether an answer is a list or set of several values."""
    found = form(normalise(answer)) if len(answer) <= MAX_ANSWER_CHARS else None
    return found is not None and found.kind in ("list", "\\{\\}") and len(found.parts) > 1


def extract_final(response: str, *, gold: str | None = None) -> Extraction:
    r"""The answer of a response (alone, without its prompt), and how it was found.

    1. The last complete box (``extract_answer``). Where ``gold`` is a list of several values, boxes
       side by side (``$\boxed{2}$ and $\boxed{3}$``) count as one list.
    2. No box: what stands behind the last "answer is", "answer:" or "####" (behind the last empty
       box, if there are such: ``\boxed{}`` repeats the prompt). Where ``gold`` is a number, that
       has to be one: "the answer is $|(1-i)^8|$" repeats the question. A chain of three sides or
       more is working, unless its first side is a name (``x = 3 \cdot 4 = 12``).
    3. Otherwise there is no answer.
    """
    boxed = extract_answer(response)
    if boxed is not None:
        if gold is not None and is_several(gold) and (several := _joined_boxes(response)):
            return Extraction(several, How.BOX)
        return Extraction(boxed, How.BOX)
    behind = _behind_empty_boxes(response)
    stated = None if behind is None else _stated(_tail(behind))
    if stated is None or _working(stated) or (gold is not None and _unevaluated(stated, gold)):
        return _NOTHING
    return Extraction(stated, How.STATED)


def read_answer(text: str, *, gold: str | None = None) -> Extraction:
    r"""As ``extract_final`` for a text that may also be a bare answer, or a sentence around one.

    After its steps 1 and 2: the last formula behind words (``Therefore $x \ge 5$.``); the last
    number behind three words or more; else the text itself. Without ``gold`` the text is taken for
    a gold answer, whose boxes side by side are all meant.
    """
    if _DOUBLED.search(text):  # escaped once too often
        text = text.replace("\\\\", "\\")
    found = extract_final(text, gold="1, 2" if gold is None else gold)
    if found.answer is not None or "\\boxed" in text:
        return found
    tail = _tail(text)
    last = _last_formula_or_number(tail)
    if last is not None:
        return Extraction(last, How.LAST)
    bare = text.strip()
    return Extraction(bare, How.BARE) if bare else _NOTHING


def _tail(response: str) -> str:
    """The part of a response that is looked at: its end, without what follows a chat token."""
    tail = response[-TAIL_CHARS:]
    for match in _SPECIAL.finditer(tail):
        if tail[: match.start()].strip():
            return tail[: match.start()]
    return tail


def _stated(text: str) -> str | None:
    """What stands behind the last announcement, or None."""
    ends = [m.end() for m in _MARKER.finditer(text)]
    if not ends:
        return None
    behind = text[ends[-1] :].lstrip(" \t\r\n*:")[: 2 * MAX_ANSWER_CHARS]
    formula = _SEGMENT.match(behind)
    if formula is not None:
        return _run(behind, formula)
    line = _END.split(behind, maxsplit=1)[0].strip().rstrip("*").strip()
    if " is " in f" {line} " and _WORD.search(line):
        line = f" {line} ".rpartition(" is ")[2].strip()
        if (formula := _SEGMENT.match(line)) is not None:
            return _run(line, formula)
    words = _WORD.findall(_SEGMENT.sub(" ", line))
    if len(words) <= 4:
        return line or None
    return _last_formula_or_number(line)


def _behind_empty_boxes(response: str) -> str | None:
    """What an announcement may stand in; None where a box is unclosed or endless."""
    last = response.rfind("\\boxed")
    if last < 0:
        return response
    empty = _EMPTY_BOX.match(response, last)
    return None if empty is None else response[empty.end() :]


def _working(stated: str) -> bool:
    """Whether what was stated is a chain of equations that assigns to nothing."""
    text = normalise(stated)
    return len(split(text, ["="])) > 2 and not assigned(text)[0]


def _unevaluated(stated: str, gold: str) -> bool:
    """Whether gold is a plain number and what was stated isn't."""
    if quantity(normalise(gold)) is None:
        return False
    value = split(assigned(normalise(stated))[1], ["=", "\\approx"])[-1]
    return quantity(value) is None


def _run(text: str, first: re.Match[str]) -> str:
    """A formula and those that follow it after "and", "or" or a comma, as one list."""
    parts, end = [_inside(first)], first.end()
    while (gap := _JOIN.match(text, end)) and gap.end() > end:
        following = _SEGMENT.match(text, gap.end())
        if following is None:
            break
        parts.append(_inside(following))
        end = following.end()
    unit = re.match(r"\s?\\?%", text[end : end + 3])
    return "; ".join(parts) + (unit[0] if unit else "")


def _inside(match: re.Match[str]) -> str:
    return next(g for g in match.groups() if g is not None).strip()


def _last_formula_or_number(text: str) -> str | None:
    """The last run of formulas if words stand before it, or a number after it and three words."""
    segments = list(_SEGMENT.finditer(text))
    number = _last_number(text[segments[-1].end() :] if segments else text)
    if number is not None or not segments or not _WORD.search(text[: segments[0].start()]):
        return number
    first = len(segments) - 1
    while first and _JOIN.fullmatch(text, segments[first - 1].end(), segments[first].start()):
        first -= 1
    return _run(text, segments[first])


def _last_number(text: str) -> str | None:
    """The last number, if three words or more stand before it, or two ending in "is"."""
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    words = _WORD.findall(text[: numbers[-1].start()])
    return numbers[-1][0] if len(words) > 2 or (len(words) > 1 and words[-1] == "is") else None
