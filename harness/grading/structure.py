r"""Lists, sets, tuples, intervals and matrices, compared part by part.

Works on normalised text and leaves the comparison of single values to a function that it is given;
says None where an answer has no such structure, so that the caller looks at it as one expression.

What differs: the order of tuples counts, that of sets and of lists of solutions doesn't, nor do
repeated members; ``[1,2]``, ``(1,2)``, ``[1,2)`` and ``\{1,2\}`` are four different things. A bare
list is the same as a tuple or bracketed list of the same values in the same order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.grading.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Same = Callable[[str, str], bool]

#: More members than this are not compared (they are a hostile answer).
MAX_MEMBERS = 400

_TOKEN = re.compile(r"\\[{}]|\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPEN, _CLOSE = {"(", "[", "{", "\\{"}, {")", "]", "}", "\\}"}
NAME = (
    r"(?:\\text\{[^{}]{1,30}\}|\\?[A-Za-z]{1,12}'?|\([A-Za-z][A-Za-z0-9_{}, \\]{1,60}\))"
    r"(?:_ ?(?:\{[^{}]{1,20}\}|[A-Za-z0-9]))?'?(?: ?\([A-Za-z0-9, ]{1,20}\))?"
)
_ASSIGNED = re.compile(rf" ?(?P<name>{NAME}) ?(?:=|\\in(?![A-Za-z])) ?(?P<value>[^=].*)", re.DOTALL)
# Left sides that name something and calculate nothing: "\angle ABC", "f^{-1}(x)", "|AB|".
_LABEL = re.compile(r"(?=[^A-Za-z]{0,20}[A-Za-z])[A-Za-z\\{}()|,:' ]{1,60}")
_INDEX = re.compile(r"_ ?(?:\{[^{}]{0,30}\}|[A-Za-z0-9])|\^ ?\{ ?-1 ?\}")
_RELATION = re.compile(r" ?(<|>|\\le |\\ge ) ?")
_MACRO = re.compile(r"\\[A-Za-z]+")
_MODULUS = re.compile(r"\| ?([a-z]) ?\|")
_MIRROR = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


@dataclass(frozen=True)
class Form:
    """An answer's outermost structure.

    Attributes:
        kind: the brackets around the parts, "list" for a bare list, "union" for a union of sets,
            "matrix" for a matrix (whose parts are rows).
        parts: the members' texts; for a matrix one text per entry, row by row.
        width: entries in a row of a matrix, else 0.
    """

    kind: str
    parts: tuple[str, ...]
    width: int = 0


def split(text: str, separators: Sequence[str]) -> list[str]:
    """Cut text at separators outside all brackets. Brackets that don't match end nothing."""
    parts, depth, start = [], 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _OPEN:
            depth += 1
        elif token in _CLOSE:
            depth = max(0, depth - 1)
        elif depth == 0 and token in separators:
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [p.strip() for p in parts]


def _enclosed(text: str) -> tuple[str, str] | None:
    """(brackets, inside) if one pair of brackets holds the whole text, for instance ("[)", ...)."""
    depth, first = 0, ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _OPEN:
            depth += 1
            first = first or token
        elif token in _CLOSE:
            depth -= 1
            if depth == 0:
                if match.end() != len(text) or not text.startswith(first):
                    return None
                return first + token, text[len(first) : match.start()].strip()
        if depth <= 0:
            return None
    return None


def assigned(text: str) -> tuple[str, str]:
    r"""(name, value) of ``x = 5``, ``f(x) = 2x``, ``x \in (0,1)``, ``\angle ABC = 30``.

    ("", text) for anything else.
    """
    if "<" in text or ">" in text or "\\le " in text or "\\ge " in text:
        return "", text
    match = _ASSIGNED.fullmatch(text)
    if match is not None:
        return match["name"].replace(" ", ""), match["value"].strip()
    left, sign, right = text.partition("=")
    if sign and right.strip() and right[0] != "=" and _LABEL.fullmatch(_INDEX.sub("", left)):
        return left.replace(" ", ""), right.strip()
    return "", text


_MATRIX = re.compile(
    r"(?:[(\[|]|\\[{|])? ?\\begin ?\{(?P<env>[a-zA-Z]{0,8}matrix|array)\}"
    r"(?: ?\{[lcr| ]{1,40}\})?(?P<body>.*)\\end ?\{(?P=env)\} ?(?:[)\]|]|\\[}|])?",
    re.DOTALL,
)


def matrix(text: str) -> Form | None:
    """A matrix of any environment, if the text is one and nothing else."""
    match = _MATRIX.fullmatch(text)
    if match is None or "\\begin" in match["body"]:
        return None
    body = match["body"].replace("\\hline", " ")
    rows = [row for row in split(body, ["\\\\"]) if row]
    cells = [split(row, ["&"]) for row in rows]
    if not cells or len({len(row) for row in cells}) > 1:
        return None
    kind = "determinant" if match["env"] in ("vmatrix", "Vmatrix") else "matrix"
    return Form(kind, tuple(c for row in cells for c in row), len(cells[0]))


def form(text: str) -> Form | None:
    """The outermost structure of an answer, or None for a single value."""
    found = matrix(text)
    if found is not None:
        return found
    if "\\begin" in text:
        return None
    for separators in ([";"], [","]):
        parts = [p for p in split(text, separators) if p]
        if len(parts) > 1:
            return Form("list", _flatten(parts))
    text = assigned(text)[1]
    if "," not in text and "\\pm" not in text and ";" not in text:
        return None
    sets = split(text, ["\\cup"])
    if len(sets) > 1:
        return Form("union", tuple(sets))
    held = _enclosed(text)
    if held is not None:
        parts = [p for p in split(held[1], [",", ";"]) if p]
        if held[0] == "{}":  # braces of LaTeX, which nobody sees: a bare list
            return Form("list", _flatten(parts)) if len(parts) > 1 else None
        if len(parts) > 1 or held[0] == "\\{\\}":
            return Form(held[0], tuple(parts))
    signs = plus_minus(text)
    return Form("list", signs) if len(signs) > 1 else None


def _flatten(parts: list[str]) -> tuple[str, ...]:
    """Members of a list: groups of one size >= 2 stay together, others are taken apart."""
    groups = [[p for p in split(part, [","]) if p] for part in parts]
    sizes = {len(g) for g in groups}
    if len(sizes) == 1 and min(sizes) > 1:
        return tuple("(" + ", ".join(assigned(p)[1] for p in g) + ")" for g in groups)
    return tuple(member for group in groups for member in group)


def plus_minus(text: str) -> tuple[str, ...]:
    r"""The two values of an expression with ``\pm`` (all signs together, ``\mp`` the other way)."""
    if "\\pm" not in text:
        return (text,)
    both = []
    for upper, lower in (("+", "-"), ("-", "+")):
        signed = re.sub(r"\\pm(?![a-z]) ?", upper, text)
        signed = re.sub(r"\\mp(?![a-z]) ?", lower, signed)
        both.append(signed.lstrip("+").strip())
    return tuple(both)


def as_interval(text: str) -> str | None:
    r"""``(a, b]`` for ``a < x \le b``, ``[a, \infty)`` for ``x \ge a``: a solved inequality only.

    Solved means that the bounds hold no variable: the question's own inequality is no answer.
    """
    pieces = _RELATION.split(text.strip())
    if len(pieces) == 3:
        low, sign, high = pieces[0], pieces[1].strip(), pieces[2]
        held = _MODULUS.fullmatch(low)
        if held is not None and sign in ("<", "\\le"):
            return as_interval(f"-({high}) {sign} {held[1]} {sign} {high}")
        if re.fullmatch(NAME, low) is None:
            low, sign, high = high, _MIRROR[sign], low
        bounds = ("-\\infty", "<", sign, high)
        if sign in (">", "\\ge"):
            bounds = (high, _MIRROR[sign], "<", "\\infty")
        name = low
    elif len(pieces) == 5:
        first, left, name, right, last = (p.strip() for p in pieces)
        if left in (">", "\\ge"):
            first, left, right, last = last, _MIRROR[right], _MIRROR[left], first
        bounds = (first, left, right, last)
        if not {left, right} <= {"<", "\\le"}:
            return None
    else:
        return None
    if re.fullmatch(NAME, name) is None or name in ("\\infty", "\\pi", "e"):
        return None
    if any(not b or re.search("[A-Za-z=]", _MACRO.sub("", b)) for b in (bounds[0], bounds[3])):
        return None
    brackets = ("(" if bounds[1] == "<" else "[", ")" if bounds[2] == "<" else "]")
    return f"{brackets[0]}{bounds[0]}, {bounds[3]}{brackets[1]}"


def _as_sets(text: str) -> tuple[str, ...] | None:
    """The parts of a union, where solved inequalities count as intervals; None if it's none."""
    text = assigned(text)[1]
    pieces = split(text, ["\\cup"])
    if len(pieces) == 1 and _enclosed(text) is None:
        pieces = [p for p in split(text, [",", ";"]) if p]
    intervals = [
        piece if (held := _enclosed(piece)) and held[0] not in ("{}",) else as_interval(piece)
        for piece in pieces
    ]
    if None in intervals:
        return None
    return _intersected(tuple(i for i in intervals if i is not None))


def _intersected(sets: tuple[str, ...]) -> tuple[str, ...]:
    """``x > 1, x < 3`` as one interval: two half-lines that overlap are never meant as a union."""
    if len(sets) != 2:
        return sets
    left, right = sorted(sets, key=lambda s: not s.startswith("(-\\infty"))
    if not left.startswith("(-\\infty,") or not right.endswith("\\infty)"):
        return sets
    high, low = left.partition(",")[2].strip(), right.rpartition(",")[0].strip()
    bounds = quantity(low[1:].strip()), quantity(high[:-1].strip())
    if bounds[0] is None or bounds[1] is None or bounds[0].value >= bounds[1].value:
        return sets
    return (f"{low}, {high}",)


def compare(first: str, second: str, same: Same) -> bool | None:
    """Whether two structured answers agree; None if neither has a structure that decides it.

    ``same`` compares two members, which may be structured themselves. Symmetric if ``same`` is.
    """
    relations = [any(c in t for c in ("<", ">", "\\le ", "\\ge ")) for t in (first, second)]
    if any(relations):
        left, right = _as_sets(first), _as_sets(second)
        # Beside an interval the variable's name doesn't count, beside an inequality it does.
        if all(relations) and _letters(first) != _letters(second):
            return None
        if left is not None and right is not None and _unordered(left, right, same):
            return True
        return None
    a, b = form(first), form(second)
    if a is None or b is None:
        return _with_single(a or b, second if a else first, same)
    if len(a.parts) > MAX_MEMBERS or len(b.parts) > MAX_MEMBERS:
        return False
    kinds = {a.kind, b.kind}
    if kinds & {"matrix", "determinant"}:
        a, b = _as_matrix(a, b), _as_matrix(b, a)
        if a.kind != b.kind:
            return None
        return a.width == b.width and _ordered(a.parts, b.parts, same)
    if "union" in kinds:
        # Unions may overlap or hold points: what isn't the same part by part is left to sympy.
        return True if a.kind == b.kind and _unordered(a.parts, b.parts, same) else None
    if kinds <= {"list", "\\{\\}"}:
        if _named(a.parts) != _named(b.parts):  # "x = 1, y = 2" beside "1, 2": the order counts
            return _ordered(a.parts, b.parts, same)
        return _unordered(_all_signs(a), _all_signs(b), same)
    if a.kind == b.kind or "list" in kinds:
        values = [tuple(assigned(p)[1] for p in f.parts) for f in (a, b)]
        return _ordered(values[0], values[1], same)
    # Round for square brackets is no matter for a vector, but is for two numbers: an interval.
    return kinds == {"()", "[]"} and len(a.parts) > 2 and _ordered(a.parts, b.parts, same)


def _as_matrix(of: Form, beside: Form) -> Form:
    """A list of rows as a matrix, and beside a vector a tuple as a vector of the same shape."""
    if beside.kind != "matrix" or of.kind not in ("()", "[]"):
        return of
    rows = [_enclosed(part) for part in of.parts]
    cells = [[c for c in split(row[1], [","]) if c] for row in rows if row is not None]
    if len(cells) == len(of.parts) and len({len(row) for row in cells}) == 1:
        return Form("matrix", tuple(c for row in cells for c in row), len(cells[0]))
    if 1 in (beside.width, len(beside.parts) // max(1, beside.width)):
        return Form("matrix", of.parts, beside.width)
    return of


def _named(parts: Sequence[str]) -> bool:
    """Whether the parts assign to different variables, as in ``x = 1, y = 2``."""
    names = [assigned(p)[0].split("_")[0] for p in parts]
    return all(names) and len(set(names)) > 1


def _letters(text: str) -> set[str]:
    return set(re.findall("[A-Za-z]", _MACRO.sub("", text)))


def _with_single(structured: Form | None, single: str, same: Same) -> bool | None:
    r"""A structured answer beside a single value: ``\{5\}`` and ``5``."""
    if structured is None or structured.kind not in ("list", "\\{\\}"):
        return None
    members = _all_signs(structured)
    if len(members) > MAX_MEMBERS or "=" in single:
        return None
    return bool(members) and all(same(m, single) for m in members)


def _all_signs(of: Form) -> tuple[str, ...]:
    """Members of a list or set, each ``\\pm`` written out."""
    return tuple(value for part in of.parts for value in plus_minus(part))


def _ordered(first: Sequence[str], second: Sequence[str], same: Same) -> bool:
    return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))


def _unordered(first: Sequence[str], second: Sequence[str], same: Same) -> bool:
    """Whether every member has an equal on the other side; equals count once."""
    left, right = list(dict.fromkeys(first)), list(dict.fromkeys(second))
    common = set(left) & set(right)
    return _covered([a for a in left if a not in common], right, same) and _covered(
        [b for b in right if b not in common], left, same
    )


def _covered(members: Sequence[str], others: Sequence[str], same: Same) -> bool:
    return all(any(same(member, other) for other in others) for member in members)
