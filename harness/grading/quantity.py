r"""Plain numbers with an optional unit, read exactly: the answers that need no algebra.

Everything here works on normalised text (``harness.grading.normalise``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

#: Digits in one plain number; longer ones are left to the workers' deadline and memory limit.
MAX_DIGITS = 60
#: Largest power of ten that is read as a number.
MAX_EXPONENT = 400
PERCENT = "%"

_INT = rf"[0-9]{{1,{MAX_DIGITS}}}"
_SMALL_FRACTION = (
    rf"\\frac ?\{{ ?(?P<top>-? ?{_INT}) ?\}} ?\{{ ?(?P<bottom>-? ?{_INT}) ?\}}"
    rf"|\(?(?P<over>{_INT}) ?/ ?(?P<under>{_INT})\)?"
)
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?) ?(?:"
    rf"(?:(?P<whole>{_INT})(?: |(?= ?\\))(?P<mixed>{_SMALL_FRACTION.replace('?P<', '?P<m_')}))"
    rf"|{_SMALL_FRACTION}"
    rf"|(?P<decimal>{_INT}(?:\.[0-9]{{0,{MAX_DIGITS}}})?|\.{_INT})"
    rf"(?:\\(?:overline|bar|dot) ?\{{ ?(?P<period>[0-9]{{1,20}}) ?\}})?"
    rf"(?: ?(?:\\cdot|\\times) ?10 ?\^ ?"
    rf"(?:\{{ ?(?P<exponent>[+-]?[0-9]{{1,12}}) ?\}}|(?P<e>[0-9])))?)"
)
_UNIT = re.compile(
    r" ?(?P<words>[A-Za-z][A-Za-z. ]{0,40}?) ?(?:\^ ?\{? ?(?P<power>[1-9]) ?\}?)?"
    r"(?: ?/ ?(?P<per>[A-Za-z]{1,12}) ?(?:\^ ?\{? ?(?P<per_power>[1-9]) ?\}?)?)?"
)

_UNKNOWN_UNIT = re.compile(r"[A-Za-z][A-Za-z0-9 .,/^{}()'-]{0,60}")

# Spellings of one unit, the first being its name. Conversions (1 m = 100 cm) are not made.
_UNIT_SPELLINGS = """
mm millimeter millimeters millimetre millimetres
cm centimeter centimeters centimetre centimetres
dm decimeter decimeters decimetre decimetres
m meter meters metre metres
km kilometer kilometers kilometre kilometres
in inch inches
ft foot feet
yd yard yards
mi mile miles
mg milligram milligrams
g gm gram grams
kg kilogram kilograms
lb lbs pound pounds
oz ounce ounces
ml milliliter milliliters millilitre millilitres mL
l liter liters litre litres L
s sec secs second seconds
min mins minute minutes
h hr hrs hour hours
day days
week weeks
month months
year years yr yrs
cent cents
dollar dollars usd USD
degree degrees deg
unit units
radian radians rad
mph
Hz hertz
N newton newtons
J joule joules
W watt watts
V volt volts
K kelvin
"""
UNITS = {
    spelling: row.split()[0]
    for row in _UNIT_SPELLINGS.strip().splitlines()
    for spelling in row.split()
}
#: Units that say nothing about the size.
_NEUTRAL = frozenset({"unit"})
#: Words behind a number that multiply it.
_SCALES = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_SCALE = re.compile(r"(?:\\text\{ ?)?(?P<word>" + "|".join(_SCALES) + r")(?![A-Za-z])(?: ?\})?")
# Letters that follow a number as variables more often than as units.
_SINGLE = frozenset("mgslhNJWVK")
_MATHS_WORDS = """
sin cos tan cot sec csc log ln exp max min gcd lcm mod arcsin arccos arctan sqrt frac pi inf choose
times cdot and or to
"""
_MATHS = frozenset(_MATHS_WORDS.split())


@dataclass(frozen=True)
class Quantity:
    """An exact number, ``unit`` as in ``UNITS`` ("" for none, "?" for an unknown one)."""

    value: Fraction
    unit: str = ""
    #: Digits behind the point if it's written as a decimal without exponent, else None.
    decimals: int | None = None


def _fraction(top: str, bottom: str) -> Fraction | None:
    below = int(bottom.replace(" ", ""))
    return Fraction(int(top.replace(" ", "")), below) if below else None


def _value(match: re.Match[str]) -> tuple[Fraction | None, int | None]:
    """The number's value without its sign, and its decimals."""
    if match["mixed"]:
        part = _fraction(match["m_top"] or match["m_over"], match["m_bottom"] or match["m_under"])
        # "1 3/2" is no mixed number, and a sum is written with a plus.
        if part is None or not 0 < part < 1:
            return None, None
        return int(match["whole"]) + part, None
    if match["bottom"] or match["under"]:
        return _fraction(match["top"] or match["over"], match["bottom"] or match["under"]), None
    text = match["decimal"]
    places = len(text.partition(".")[2])
    value = Fraction(text.removesuffix("."))
    if match["period"]:
        if "." not in text:
            return None, None
        nines = 10 ** len(match["period"]) - 1
        value += Fraction(int(match["period"]), nines * 10**places)
    exponent = match["exponent"] or match["e"]
    if exponent:
        if abs(int(exponent)) > MAX_EXPONENT:
            return None, None
        return value * Fraction(10) ** int(exponent), None
    return value, None if match["period"] else places


def _unit(text: str) -> str | None:
    """The unit that a number's tail stands for; None if it's not one."""
    if not text:
        return ""
    if text == "\\%":
        return PERCENT
    worded = text.startswith("\\text{")
    if worded:
        text = text.replace("\\text{", " ").replace("}", " ", text.count("\\text{"))
        text = " ".join(text.split())
    text = text.strip(" .")
    match = _UNIT.fullmatch(text)
    if match is None:
        return "?" if worded and _UNKNOWN_UNIT.fullmatch(text) else None
    words = match["words"].strip(" .")
    power = match["power"] or ""
    first, _, rest = words.partition(" ")
    if first in ("square", "sq", "cubic", "cu") and rest and not power:
        words, power = rest.strip(" ."), "2" if first[0] == "s" else "3"
    if words not in UNITS and words.lower() in UNITS:
        words = words.lower()
    if words in _SINGLE and not worded:
        return None
    if words in UNITS:
        unit = UNITS[words]
    elif worded or (len(words) >= 3 and not _MATHS & set(words.lower().split())):
        return "?"
    else:
        return None
    if match["per"]:
        per = UNITS.get(match["per"], match["per"])
        return f"{unit}{power}/{per}{match['per_power'] or ''}"
    return "" if unit in _NEUTRAL else unit + power


def quantity(text: str) -> Quantity | None:
    r"""Read normalised text as one number with an optional unit; None for everything else.

    Numbers are integers, decimals (also periodic and in scientific notation), fractions of
    integers and mixed numbers, each of at most ``MAX_DIGITS`` digits.
    """
    return None if len(text) > 4 * MAX_DIGITS else _quantity(text)


@lru_cache(maxsize=65_536)
def _quantity(text: str) -> Quantity | None:
    match = _NUMBER.match(text)
    if match is None:
        return None
    value, decimals = _value(match)
    if value is None:
        return None
    tail = text[match.end() :].strip()
    if scale := _SCALE.match(tail):
        value, decimals = value * _SCALES[scale["word"]], None
        tail = tail[scale.end() :].strip()
        if scale[0].startswith("\\") and not scale[0].endswith("}"):
            tail = "\\text{" + tail
    unit = _unit(tail)
    if unit is None:
        return None
    return Quantity(-value if match["sign"] == "-" else value, unit, decimals)


def same_unit(first: str, second: str) -> bool:
    """Whether two units don't contradict each other: one is missing, unknown, or both agree."""
    if PERCENT in (first, second):
        return {first, second} <= {PERCENT, "", "?"}
    return first == second or "" in (first, second) or "?" in (first, second)


def same_quantity(first: Quantity, second: Quantity) -> bool:
    """Whether two quantities agree: exactly in value, units not contradicting each other.

    A percentage agrees with its number and with its hundredth, by the convention of the question
    that doesn't say which it wants: 50% with 50 and with 0.5.
    """
    if not same_unit(first.unit, second.unit):
        return False
    if first.value == second.value:
        return True
    if first.unit == PERCENT != second.unit:
        return first.value == 100 * second.value
    if second.unit == PERCENT != first.unit:
        return second.value == 100 * first.value
    return False


def rounds_to(exact: Quantity, decimal: Quantity) -> bool:
    """Whether a decimal of 6 places or more is the other, which isn't one, rounded or cut.

    0.333333 for 1/3, as math-verify has it (it rounds to 6 places whenever one side is a decimal).
    """
    if decimal.decimals is None or decimal.decimals < 6 or exact.decimals is not None:
        return False
    return same_unit(exact.unit, decimal.unit) and abs(exact.value - decimal.value) < Fraction(
        1, 10**decimal.decimals
    )


def within(first: Quantity, second: Quantity, rel_tol: float, abs_tol: float) -> bool:
    """Whether values agree within ``max(rel_tol * larger magnitude, abs_tol)``, as math.isclose."""
    if not same_unit(first.unit, second.unit):
        return False
    pairs = [(first.value, second.value)]
    if first.unit == PERCENT != second.unit:
        pairs.append((first.value / 100, second.value))
    if second.unit == PERCENT != first.unit:
        pairs.append((first.value, second.value / 100))
    rel, least = Fraction(repr(rel_tol)), Fraction(repr(abs_tol))  # as written: 1e34 is 10^34
    return any(abs(a - b) <= max(rel * max(abs(a), abs(b)), least) for a, b in pairs)


_LETTER_UNIT = re.compile(
    r"(?P<number>(?:[^A-Za-z\\]|\\times|\\cdot){1,120}?) ?(?P<unit>[mgslhNJWVKAC])"
    r"(?P<power>(?: ?\^ ?\{? ?[1-9] ?\}?)?(?: ?/ ?[a-z]{1,4}(?: ?\^ ?\{? ?[1-9] ?\}?)?)?)"
)


def with_letter_unit(text: str) -> Quantity | None:
    """Read ``5 m``, ``9.8 m/s^2`` or ``0.64N``, where the letter could be a variable elsewhere."""
    match = _LETTER_UNIT.fullmatch(text)
    number = quantity(match["number"].strip()) if match else None
    if match is None or number is None or number.unit:
        return None
    unit = match["unit"] + re.sub(r"[ {}^]", "", match["power"])
    return Quantity(number.value, unit, number.decimals)


_TRAILING = re.compile(
    r"(?P<unit>\\text\{[^{}\\]{1,60}\}(?: ?\^ ?\{? ?[1-9] ?\}?)?"
    r"|(?<=[ })0-9])[A-Za-z]{2,12}(?: ?\^ ?\{? ?[1-9] ?\}?)?)$"
)


def split_unit(text: str) -> tuple[str, str]:
    r"""(expression, unit) of ``16\pi \text{ cm}^2``; the unit is "" where there is none."""
    match = _TRAILING.search(text)
    if match is None or not (head := text[: match.start()].strip()):
        return text, ""
    unit = _unit(match["unit"].strip())
    if unit is None or (unit == "?" and not match["unit"].startswith("\\")):
        return text, ""
    return head, unit
