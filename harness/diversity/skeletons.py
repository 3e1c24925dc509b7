r"""Solution skeletons: which operations a solution uses, in the order of their first use.

Numbers, names and words are dropped, and so is how often an operation occurs: the full sequence of
operations is different for nearly every MATH solution (95 % of 200), so that its entropy says no
more than n. ``48 / 2 = 24, 48 + 24 = 72`` and ``\frac{x}{3} + y`` both are ``/ +``.

Blind to sense: shuffling the words of a solution leaves its operations, and a set of noise with
symbols in it has many skeletons. Never a headline, and only as good as the solutions are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from harness.diversity.functional import entropy

MAX_CHARS: Final = 2000
"""A solution is read up to here."""

_COMMANDS: Final = {
    "/": "frac dfrac tfrac cfrac div over",
    "*": "times cdot",
    "+-": "pm mp",
    "<": "le leq leqslant lt ge geq geqslant gt ne neq",
    "root": "sqrt",
    "choose": "binom dbinom tbinom choose",
    "sum": "sum",
    "prod": "prod",
    "int": "int iint oint",
    "lim": "lim",
    "log": "log ln lg",
    "exp": "exp",
    "trig": "sin cos tan cot sec csc arcsin arccos arctan",
    "mod": "pmod bmod mod equiv",
    "round": "lfloor lceil",
    "gcd": "gcd",
    "lcm": "lcm",
    "extreme": "min max",
    "set": "cup cap setminus",
    "angle": "angle circ",
    "vector": "vec overrightarrow mathbf",
    "matrix": "det pmatrix bmatrix vmatrix",
    "similar": "sim cong parallel perp",
}
_OF_NAME: Final = {name: op for op, names in _COMMANDS.items() for name in names.split()}
_OF_SYMBOL: Final = {
    **dict.fromkeys("×·", "*"),
    **dict.fromkeys(">≤≥≠", "<"),
    "÷": "/",
    "−": "-",
    "√": "root",
    "!": "factorial",
    "|": "abs",
}
_CALCULATOR: Final = re.compile(r"<<[^<>]{0,200}>>")
"""GSM8K's calculator notes, which repeat the equation beside them."""
# Beside two letters - and / are a hyphen and an 'or', and ! is a cry; ** and a * at the start of a
# line are markup. Every alternative looks at a fixed number of characters: linear time.
_OPERATION: Final = re.compile(
    r"\\(?:begin\{)?([A-Za-z]{1,20})"
    r"|(?<![A-Za-z]{2})([-/])(?![A-Za-z]{2})"
    r"|([+^<>×·÷−√≤≥≠|])"
    r"|(?<![*\n])(\*)(?!\*)"
    r"|(?<=[0-9A-Za-z)}])(?<![A-Za-z]{2})(!)"
)


def skeleton(solution: str) -> tuple[str, ...]:
    r"""The operations of a solution in the order of their first use, each once.

    Reads plain arithmetic, GSM8K's notation and LaTeX, up to `MAX_CHARS`. A solution without any
    operation has the empty skeleton.
    """
    found: dict[str, None] = {}
    for match in _OPERATION.finditer(_CALCULATOR.sub("", solution[:MAX_CHARS])):
        name, *symbols = match.groups()
        if name:
            operation = _OF_NAME.get(name)
        else:
            symbol = next(s for s in symbols if s)
            operation = _OF_SYMBOL.get(symbol, symbol)
        if operation:
            found[operation] = None
    return tuple(found)


def skeleton_entropy(solutions: Sequence[str | None]) -> float | None:
    """Entropy of the skeletons in nats; 'no solution' (None) is a class. At most log(n)."""
    return entropy(None if s is None else skeleton(s) for s in solutions)


def distinct_skeletons(solutions: Sequence[str | None]) -> float | None:
    """Different skeletons over n, in [0, 1]; None for no text. No solution is no skeleton."""
    if not solutions:
        return None
    return len({skeleton(s) for s in solutions if s is not None}) / len(solutions)
