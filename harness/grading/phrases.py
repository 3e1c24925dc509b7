r"""Rules of ``normalise`` for whole phrases: what is said around a value, and other ways to say it.

Each maps text to text in linear time, like the others, and says what math-verify makes of it.
"""

from __future__ import annotations

import re

_OPTION = re.compile(
    r"(?:\\text\{ ?)?(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer) ?(?:\\text\{ ?)?\(?(?P<named>[A-Z])\)?"
    r"|\(?(?P<letter>[A-Z])\))(?: ?\}){0,2}"
)


def options(text: str) -> str:
    """``(C)``, ``C)``, ``option C`` and ``Choice (C)`` as the option ``C``: products of letters."""
    match = _OPTION.fullmatch(text)
    return match["named"] or match["letter"] if match else text


_SET_BUILDER = re.compile(
    r"\\\{ ?(?P<name>\\?[A-Za-z]{1,12}) ?(?:\\in ?\\mathbb ?\{R\} ?)?(?:\||:|\\mid|\\colon) ?"
    r"(?P<rule>[^|{}:]{1,200}?) ?\\\}"
)


def set_builder(text: str) -> str:
    r"""``\{x \mid x > 3\}`` as ``x > 3``: read as a set with one odd member."""
    match = _SET_BUILDER.fullmatch(text)
    if match is None or not re.search(r"[<>]|\\[lg]e", match["rule"]):
        return text
    return match["rule"] if match["name"] in match["rule"] else text


_PARAMETER = re.compile(
    r" ?[,;] ?(?:\\text\{ ?(?:where|for|with|for any|for all) ?\}|where|for)? ?"
    r"[a-z](?: ?, ?[a-z])?(?: ?\\in ?\\mathbb ?\{?[ZN]\}?(?: ?[\^_] ?\{?[+*]\}?)?| in [ZN])"
)


def parameters(text: str) -> str:
    r"""``\frac{\pi}{4} + k\pi, k \in \mathbb{Z}`` without what ``k`` is: read as a list."""
    ends = list(_PARAMETER.finditer(text))
    if not ends or ends[-1].end() != len(text) or ends[-1].start() == 0:
        return text
    return text[: ends[-1].start()]


_ELLIPSIS = re.compile(
    r"(?P<head>[0-9]{0,60}\.[0-9]{0,60}?)(?P<block>[0-9]{1,9}?)(?P=block){1,30}"
    r" ?(?:\.\.\.|\\l?dots(?![a-z])|\\cdots(?![a-z])|\N{HORIZONTAL ELLIPSIS})"
)


def repeating_decimals(text: str) -> str:
    r"""``0.333...`` and ``0.1212\ldots`` with a bar over the period: taken for 0.333 and 0.1212.

    The period is the shortest that the digits end in, and has to be seen three times if it's one
    digit, else twice.
    """
    match = _ELLIPSIS.fullmatch(text)
    if match is None:
        return text
    shown = match[0][len(match["head"]) :].rstrip(" .\\ldotsc\N{HORIZONTAL ELLIPSIS}")
    block = match["block"]
    if len(block) == 1 and len(shown) < 3:
        return text
    return rf"{match['head']}\overline{{{block}}}"


_DEGREES_OF = re.compile(
    r"\\(?P<name>sin|cos|tan|cot|sec|csc) ?(?P<power>\^ ?(?:[0-9]|\{ ?[0-9]{1,2} ?\}))? ?[({]? ?"
    r"(?P<angle>[0-9]{1,9}(?:\.[0-9]{1,9})?) ?\^ ?(?:\{ ?\\circ ?\}|\\circ(?![a-z])) ?[)}]?"
)


def degrees_of_functions(text: str) -> str:
    r"""``\sin 30^\circ`` in radians; elsewhere the sign of degrees is dropped."""
    return _DEGREES_OF.sub(
        lambda m: rf"\{m['name']}{m['power'] or ''}(\frac{{{m['angle']}\pi}}{{180}})", text
    )


_DECIMAL_LOGARITHM = re.compile(r"\\lg(?![a-z])")


def logarithms(text: str) -> str:
    r"""``\lg`` as ``\log_{10}``: no command that math-verify reads."""
    return _DECIMAL_LOGARITHM.sub(r"\\log_{10}", text)


_WORDED = re.compile(r"\\text\{ ?(?P<inside>[A-Za-z][^{}\\]{0,60}[0-9][^{}\\]{0,60}) ?\}")


def worded_numbers(text: str) -> str:
    r"""``\text{June 20}`` as ``June 20``, which is how it's written without a macro."""
    match = _WORDED.fullmatch(text)
    return match["inside"].strip() if match else text


_CLOCK = re.compile(
    r"(?P<time>[0-9]{1,2}(?: ?: ?[0-9]{2})?) ?(?:\\text\{ ?)?"
    r"(?P<half>[AaPp])\.? ?[Mm](?![A-Za-z])\.?(?: ?\})?"
)


def clock_times(text: str) -> str:
    r"""``6:30 \text{ p.m.}`` as ``6:30 pm``: for math-verify it's a ratio."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return text
    return f"{match['time'].replace(' ', '')} {match['half'].lower()}m"
