r"""One spelling for answers that are written differently: ``RULES``, applied in order.

Every rule maps text to text, knows nothing of the other answer, and takes linear time (what
repeats in a pattern is bounded, or can't start inside itself). They exist where math-verify 0.9.0
misreads a spelling; each says how.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from harness.grading import phrases
from harness.grading.extract import MAX_ANSWER_CHARS

if TYPE_CHECKING:
    from collections.abc import Callable

_BROKEN = tuple(
    (re.compile(pattern), command)
    for pattern, command in (
        ("\f(?=rac)", r"\\f"),
        ("\b(?=oxed|egin|inom|ar|eta)", r"\\b"),
        ("\t(?=ext|imes|frac|an|heta|au|o )", r"\\t"),
        ("\r(?=ight|angle|ho)", r"\\r"),
    )
)


def escapes(text: str) -> str:
    r"""Backslashes escaped once too often (``\\frac``) or too seldom (a form feed and ``rac``).

    Both come from JSON and string literals. ``\\`` stays what it is in a matrix.
    """
    if not text.isprintable():
        for pattern, command in _BROKEN:
            text = pattern.sub(command, text)
    if "\\\\begin" in text:
        return text.replace("\\\\", "\\")
    if "\\\\" in text and "\\begin" not in text:
        return re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    return text


_GREEK = """
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma
sigma tau upsilon phi chi psi omega
"""
_CHARACTERS: dict[str, str] = {
    **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}", "-"),
    **dict.fromkeys("\N{MIDDLE DOT}\N{DOT OPERATOR}\N{BULLET OPERATOR}", r"\cdot "),
    "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{DIVISION SIGN}": "/",
    "\N{DIVISION SLASH}": "/",
    "\N{FRACTION SLASH}": "/",
    "\N{INFINITY}": r"\infty ",
    "\N{LESS-THAN OR EQUAL TO}": r"\le ",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
    "\N{NOT EQUAL TO}": r"\ne ",
    "\N{ALMOST EQUAL TO}": r"\approx ",
    "\N{PLUS-MINUS SIGN}": r"\pm ",
    "\N{UNION}": r"\cup ",
    "\N{INTERSECTION}": r"\cap ",
    "\N{ELEMENT OF}": r"\in ",
    "\N{EMPTY SET}": r"\emptyset ",
    "\N{DOUBLE-STRUCK CAPITAL R}": r"\mathbb{R}",
    "\N{DEGREE SIGN}": r"^{\circ}",
    "\N{PRIME}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{MICRO SIGN}": "\N{GREEK SMALL LETTER MU}",
    **{chr(0x3B1 + i): rf"\{name} " for i, name in enumerate(_GREEK.split())},
    "\0": " ",
}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ROOT = re.compile(r"√ ?(?:\((?P<group>[^()√]{1,200})\)|(?P<number>[0-9.]{1,60}|[A-Za-z]))")


def plain_characters(text: str) -> str:
    r"""Unicode symbols as LaTeX, full-width forms as ASCII, invisible marks gone, one space each.

    math-verify drops or misreads most of them: a full-width 5 is no number to it, nor a vulgar
    half, and direction marks hide what they stand beside.
    """
    if not text.isascii():
        text = _RAISED.sub(lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}", text)
        text = _LOWERED.sub(lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}", text)
        text = "".join(map(_plain_character, text))
        text = _ROOT.sub(lambda m: rf"\sqrt{{{m['group'] or m['number']}}}", text)
    return " ".join(text.replace("\0", " ").split())


@lru_cache(maxsize=4096)
def _plain_character(char: str) -> str:
    if char.isascii():
        return char
    if char in _CHARACTERS:
        return _CHARACTERS[char]
    if unicodedata.category(char) == "Cf":
        return ""
    form = unicodedata.normalize("NFKC", char)
    if "\N{FRACTION SLASH}" in form:
        top, _, bottom = form.partition("\N{FRACTION SLASH}")
        return rf"\frac{{{top}}}{{{bottom}}}" if top and bottom else char
    # Full-width ASCII and styled letters and digits; nothing longer (ligatures, squared units).
    return form if form.isascii() and len(form) == 1 else char


_SEPARATOR = re.compile(r"(?<=[0-9])(?:\{,\}|, ?\\[!,] ?|\\[!,] ?(?:, ?)?)(?=[0-9]{3}(?![0-9]))")
_GROUPED = re.compile(r"(?<![0-9.,\\])[1-9][0-9]{0,2}(?:(?:,[0-9]{3}){1,20}|(?: [0-9]{3}){1,20})"
                      r"(?![0-9]|[,/ ][0-9])")  # fmt: skip


def thousands(text: str) -> str:
    r"""Separators of thousands removed: ``1,000``, ``1 000``, ``1{,}000``, ``1\,000``, ``1,\!000``.

    Only whole groups of three after 1 to 3 digits of which the first isn't 0, and plain commas and
    spaces only outside brackets: ``(1,000)`` may be a pair and ``32, 349`` is a list.
    math-verify reads ``1 000`` as a sum and some of the others as a list.
    """
    text = _SEPARATOR.sub("", text)
    if "," not in text and " " not in text:
        return text
    depth = list(accumulate((c in "([{") - (c in ")]}") for c in text))
    return _GROUPED.sub(
        lambda m: m[0] if depth[m.start()] else m[0].replace(",", "").replace(" ", ""), text
    )


_DELIMITER = re.compile(r"(?<!\\)\\[()\[\]]|\\?\$|€|£|(?<!\\)\\[Bb]igg?[lrm]?(?![A-Za-z])")
_SIZE = re.compile(r"\\(?:left|right|middle)(?![a-z])\.?|\\(?:display|text)style(?![a-z])|\\limits")
_SPACE = re.compile(
    r"(?<!\\)\\[!,;:> ]|~|\\q?quad(?![a-z])|\\hspace\*?\{[^{}]{0,20}\}|\\phantom\{[^{}]{0,40}\}"
)
_BOLD = re.compile(r"\*\*(?P<inner>[^*]+)\*\*")


def delimiters(text: str) -> str:
    r"""Math delimiters, currency signs and sizing macros removed, spacing macros made spaces.

    What is left of ``\$10`` in math-verify is an empty formula.
    """
    if match := _BOLD.fullmatch(text):
        text = match["inner"]
    text = _SIZE.sub("", _DELIMITER.sub("", text)).replace("{:}", ":")
    return " ".join(_SPACE.sub(lambda m: "" if m[0] == r"\!" else " ", text).split())


_TEXT_MACRO = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|textrm|textbf|textit|textsf|texttt|textnormal|text"
    r"|mbox|hbox|emph|operatorname\*?|boldsymbol|bm|mathop|rm|bf) ?\{"
)
_ONE_LETTER = re.compile(
    r"(?<![0-9})])(?<![0-9})] )\\text\{ ?(?P<alone>[A-Za-z]) ?\}"  # behind a number it's a unit
    r"|\\text\{ ?(?P<letter>\([A-Za-z]\)|[ie]|[+-]?[0-9.]{1,60}|\([0-9]{1,60}\)) ?\}"
)
_COUNTED = re.compile(r"\\text\{ ?(?P<number>[0-9.,]{1,60}) (?P<unit>[A-Za-z][A-Za-z ]{1,60}?) ?\}")
_TEXT_LIST = re.compile(r"\\text\{(?P<text>[^{}\\]*(?:,| and | or )[^{}\\]*)\}")
_FUNCTION = re.compile(
    r"(?<![A-Za-z\\])(?:\\text\{ ?)?"
    r"(?P<name>arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|max|min|gcd)"
    r"(?: ?\})?(?=[ ({\\^_])"
)


def text_macros(text: str) -> str:
    r"""One macro for words, ``\text``; single letters, numbers and names of functions out of it.

    ``\text{3 hours}`` is ``3 \text{hours}``.

    math-verify makes a product of letters out of ``odd`` and a symbol out of ``\mathrm{odd}``.
    """
    text = _TEXT_MACRO.sub(r"\\text{", text)
    if (match := _TEXT_LIST.fullmatch(text)) is not None:
        members = re.split(r" ?, ?(?:and |or )?| (?:and|or) ", match["text"].strip())
        return "; ".join(f"\\text{{{m}}}" for m in members if m)
    text = _COUNTED.sub(lambda m: rf"{m['number']} \text{{{m['unit']}}}", text)
    text = _ONE_LETTER.sub(lambda m: m["alone"] or m["letter"], text)
    return _FUNCTION.sub(lambda m: "\\" + m["name"], text)


_AND = re.compile(
    r" ?[,;]? ?(?:\\text\{ ?,? ?(?:and|or) ?\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])) ?"
)


def conjunctions(text: str) -> str:
    r"""``and`` and ``or`` between values become a semicolon: ``-2, \text{ and } 5`` is a list."""
    if " " not in text and "\\" not in text:
        return text
    return _AND.sub("; ", text)


_FRAC = re.compile(r"\\[dtc]frac(?![a-z])")
_SHORT_ROOT = re.compile(r"(\\sqrt(?:\[[^\[\]]{1,20}\])?) ?([0-9A-Za-z])")
_SUBSCRIPT = re.compile(r" ?_ ?([0-9A-Za-z])")
_SCRIPT_BRACES = re.compile(r"_ ?\{ ?([^{}]{1,20}?) ?\}")


def fractions_and_roots(text: str) -> str:
    r"""Braces around arguments: ``\frac12``, ``\frac1{72}``, ``\sqrt2``, ``11_2``."""
    text = _FRAC.sub(r"\\frac", text)
    text = _SHORT_ROOT.sub(r"\1{\2}", text)
    text = _SUBSCRIPT.sub(r"_{\1}", text)
    text = _SCRIPT_BRACES.sub(r"_{\1}", text)
    if "\\frac" not in text:
        return text
    head, *tails = text.split("\\frac")
    return head + "".join("\\frac" + _two_arguments(tail) for tail in tails)


def _two_arguments(tail: str) -> str:
    """The text behind one ``\\frac`` with its first argument, and a short second, in braces."""
    tail = tail.lstrip()
    if tail[:1] not in ("", "{", "\\"):
        first, rest = "{" + tail[0] + "}", tail[1:]
    elif tail.startswith("{"):
        end = closing(tail, 0)
        if end < 0:
            return tail
        first, rest = tail[: end + 1], tail[end + 1 :]
    else:
        return tail
    rest = rest.lstrip()
    return first + ("{" + rest[0] + "}" + rest[1:] if rest[:1].isalnum() else rest)


_PAIRS = {"{": "}", "(": ")", "[": "]"}


def closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at ``start``, -1 if none does."""
    left, right, depth = text[start], _PAIRS[text[start]], 0
    for i in range(start, len(text)):
        if text[i] == left:
            depth += 1
        elif text[i] == right:
            depth -= 1
            if depth == 0:
                return i
    return -1


_MODULE = re.compile(r"(?<![A-Za-z])(?:np|numpy|math|sympy|sp|torch)\.(?=[\\a-z])")
_BARE_ROOT = re.compile(r"(?<![A-Za-z\\])\\?sqrt ?\((?P<inside>[^()]{1,200})\)")
_EXP = re.compile(r"\\exp ?\{")
_BARE_NAME = re.compile(r"(?<![A-Za-z\\{])(?P<name>pi|infinity|infty|inf|oo)(?![A-Za-z}])")
_DOT = re.compile(r"(?<=[0-9])\.(?=[^0-9\\ ]|$)")
_E = re.compile(r"(?<![A-Za-z0-9.\\])(?P<m>[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60}))"
                r"[eE](?P<e>[+-]?[0-9]{1,12})(?![0-9A-Za-z.])")  # fmt: skip
_POWER_OF_E = re.compile(r"(?<=[\^_])\(([^()]{1,100})\)")


def programs(text: str) -> str:
    r"""Forms of programs: ``np.arcsin(1/3)``, ``sqrt(2)``, ``x**2``, ``-1./3``, ``4.5e33``, ``oo``.

    math-verify reads ``4.5e33`` inside a formula as 4.5 times Euler's number times 33.
    """
    text = _MODULE.sub("", text)
    text = _E.sub(lambda m: rf"{m['m']} \cdot 10^{{{int(m['e'])}}}", text)
    text = text.replace("**", "^")
    if "*" in text and not text.startswith("*"):
        text = text.replace("*", r" \cdot ")
    text = _DOT.sub("", text)
    text = _POWER_OF_E.sub(r"{\1}", text)
    text = _BARE_ROOT.sub(lambda m: rf"\sqrt{{{m['inside']}}}", text)
    text = _EXP.sub("e^{", text)
    return _BARE_NAME.sub(lambda m: r"\pi " if m["name"] == "pi" else r"\infty ", text)


_RELATIONS = (
    (re.compile(r"\\leqslant(?![a-z])|\\leq?q?(?![a-z])|<=|=<"), r"\\le "),
    (re.compile(r"\\geqslant(?![a-z])|\\geq?q?(?![a-z])|>=|=>"), r"\\ge "),
    (re.compile(r"\\lt(?![a-z])|&lt;"), "<"),
    (re.compile(r"\\gt(?![a-z])|&gt;"), ">"),
    (re.compile(r"\\neq?(?![a-z])|\\not ?=|!="), r"\\ne "),
    (re.compile(r"\\approxeq(?![a-z])|\\simeq(?![a-z])|\\thickapprox(?![a-z])"), r"\\approx "),
    (re.compile(r"\\(?:var)?nothing(?![a-z])|\\varnothing(?![a-z])|\\\{ ?\\\}"), r"\\emptyset "),
    (re.compile(r"\\lbrace(?![a-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-z])"), r"\\}"),
    (re.compile(r"\\langle(?![a-z])"), "("),
    (re.compile(r"\\rangle(?![a-z])"), ")"),
    (re.compile(r"\\l?vert(?![a-z])|\\rvert(?![a-z])|\\mid(?![a-z])"), "|"),
    (re.compile(r"\+ ?\\infty(?![a-z])"), r"\\infty "),
    (re.compile(r" ?\^ ?\{ ?\\prime ?\\prime ?\}"), "''"),
    (re.compile(r" ?\^ ?\{ ?\\prime ?\}| ?\^ ?\\prime(?![a-z])"), "'"),
    (re.compile(r"\\mathord|\\mathopen|\\mathclose|\\nolimits"), ""),
    (re.compile(r"\\in(?![a-z])"), r"\\in "),
)


def relations(text: str) -> str:
    r"""One spelling each of ``\le``, ``\ge``, ``\ne``, ``<``, ``>``, the empty set and brackets."""
    if "\\" not in text and "=" not in text and "&" not in text:
        return text
    for pattern, replacement in _RELATIONS:
        text = pattern.sub(replacement, text)
    return text


_DEGREE = re.compile(r" ?\^ ?(?:\{ ?\\circ ?\}|\\circ(?![a-z]))|\\degree(?![a-z])s?")
_PERCENT = re.compile(
    r" ?(?:\\?%|\\text\{ ?(?:\\?%|percent(?:age)?|pct) ?\}"
    r"|(?<![A-Za-z])(?:percent(?:age)?|pct)(?![A-Za-z]))",
    re.IGNORECASE,
)


def degrees_and_percent(text: str) -> str:
    r"""The sign of degrees dropped (the question states it); ``\%`` for every percent."""
    text = _DEGREE.sub("", text)
    # "percent" by itself is a word.
    return _PERCENT.sub(lambda m: r"\%" if m.start() else m[0], text)


_LONE = re.compile(r"\[ ?(?P<number>[+-]?[0-9.,/]{1,60}) ?\]")
_EMPTY_MACRO = re.compile(r"\\text\{ ?\}|(?<![\\A-Za-z}\]])\{\}")


def edges(text: str) -> str:
    r"""Punctuation at the end and quotes around it dropped; ``[9]`` is 9, and so is ``= 9``."""
    text = _EMPTY_MACRO.sub("", text).strip()
    if len(text) > 1 and text[0] == "=" != text[1]:  # the left side was left out
        text = text[1:].lstrip()
    while text and (text[-1] in ".;:" or (text[-1] == "," and len(text) > 1)):
        text = text[:-1].rstrip()
    if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    match = _LONE.fullmatch(text)
    return match["number"] if match and "," not in match["number"] else text


#: The rules in the order in which they are applied.
RULES: tuple[Callable[[str], str], ...] = (
    escapes,
    plain_characters,
    thousands,
    delimiters,
    phrases.repeating_decimals,
    text_macros,
    phrases.worded_numbers,
    conjunctions,
    relations,
    phrases.set_builder,
    phrases.parameters,
    phrases.clock_times,
    phrases.logarithms,
    phrases.degrees_of_functions,
    degrees_and_percent,
    programs,
    fractions_and_roots,
    edges,
    phrases.options,
)


#: Answers up to this length are remembered; longer ones could fill the memory.
CACHED_CHARS = 200


def normalise(answer: str) -> str:
    """An answer in the one spelling that the comparison reads.

    Answers of more than ``MAX_ANSWER_CHARS`` come back stripped and are never compared.
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return answer.strip()
    return _remembered(answer) if len(answer) <= CACHED_CHARS else _apply(answer)


@lru_cache(maxsize=65_536)
def _remembered(answer: str) -> str:
    return _apply(answer)


def _apply(text: str) -> str:
    for _ in range(3):  # one rule's output may be another's input: "$1,000$"
        before = text
        for rule in RULES:
            text = " ".join(rule(text).split())
        if text == before:
            break
    return text
