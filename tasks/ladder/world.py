"""The ladder's generator and exact parser, both driven by the grammar of `wordings`.

A question is an opening sentence (one of six stories, itself one arithmetic skill), then 0 to 3
further sentences (one more step on the running value each), then an ask clause. A topic is
``<story>-<tier>`` with tier = number of steps in all (1..4): a question of tier n+1 is one of
tier n with another sentence, in the same words. Steps chain freely, so the skills of the top
tier all occur in the lower ones.

Two evaluators exist on purpose: the generator's step chain (`Problem.values`) and the parser's
own formulas (`_START_FORMULA`, `_STEP_FORMULA`); tests hold them against each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from tasks.ladder.wordings import ALSO_READ, ASK, SLOTS, STEPS, STORIES

TIERS: Final = (1, 2, 3, 4)
TOPICS: Final[tuple[str, ...]] = tuple(f"{s}-{t}" for t in TIERS for s in STORIES)
OTHER: Final = "other"
MAX_CHARS: Final = 400  # longer text is 'other' unread: keeps the parser's time bounded
HELD_OUT_SHARE: Final = 8  # one problem in 8 (by hash) is reserved for the held-out test

# Which further steps the generator draws in each story: it gives the topics different difficulty.
# The parser accepts every step in every story, since such a question has an answer all the same.
STORY_STEPS: Final[dict[str, tuple[str, ...]]] = {
    "gain": ("add", "sub", "mul"),
    "lose": ("add", "mul", "cap"),
    "rows": ("sub", "add", "mod"),
    "pack": ("add", "mul", "sub"),
    "rest": ("add", "mul", "cap"),
    "list": ("sub", "div", "mod"),
}
_STEP_RANGE: Final = {
    "add": (2, 25),
    "sub": (2, 9),
    "mul": (2, 5),
    "div": (2, 5),
    "mod": (4, 12),
    "cap": (6, 30),
}
_SIGN: Final = {"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "cap": "min"}


def tier_of(topic: str) -> int | None:
    """The tier of a topic name, None for 'other'."""
    return None if topic == OTHER else int(topic.rsplit("-", 1)[1])


@dataclass(frozen=True)
class Problem:
    """A problem without its wording: story, the opening's numbers, and (operation, k) steps."""

    story: str
    numbers: tuple[int, ...]
    steps: tuple[tuple[str, int], ...] = ()

    @property
    def tier(self) -> int:
        return 1 + len(self.steps)

    @property
    def topic(self) -> str:
        return f"{self.story}-{self.tier}"

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The running value after each step, by the generator's own arithmetic."""
        left, sign, right = first_step(self)
        chain = [_apply(sign, left, right)]
        for operation, k in self.steps:
            chain.append(_apply(_SIGN[operation], chain[-1], k))
        return tuple(chain)

    @property
    def answer(self) -> int:
        return self.values[-1]

    @cached_property
    def held_out(self) -> bool:
        """True when this problem belongs to the held-out split (hash of topic, steps, numbers)."""
        key = f"{self.topic}:{self.numbers}:{self.steps}".encode()
        return hashlib.sha256(key).digest()[0] % HELD_OUT_SHARE == 0


def first_step(problem: Problem) -> tuple[int, str, int]:
    """The opening sentence as one operation: (left, sign, right)."""
    n = problem.numbers
    if problem.story == "list":
        return n[2], "+", n[2] - n[1]
    return (
        n[0],
        {"gain": "+", "lose": "-", "rows": "*", "pack": "/", "rest": "%"}[problem.story],
        n[1],
    )


def _apply(sign: str, left: int, right: int) -> int:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if sign == "min":
        return min(left, right)
    return left // right if sign == "/" else left % right


# ---------------------------------------------------------------- generator


def _pick(rng: np.random.Generator, low: int, high: int) -> int:
    """An integer in low..high, both ends included."""
    return low + int(rng.random() * (high - low + 1))


def _opening(rng: np.random.Generator, story: str) -> tuple[int, ...]:
    if story == "gain":
        return _pick(rng, 2, 20), _pick(rng, 2, 20)
    if story == "lose":
        return _pick(rng, 12, 40), _pick(rng, 2, 12)
    if story == "rows":
        return _pick(rng, 2, 9), _pick(rng, 2, 9)
    if story in ("pack", "rest"):
        return _pick(rng, 10, 40), _pick(rng, 2, 9)
    a, step = _pick(rng, 1, 15), _pick(rng, 2, 6)
    return a, a + step, a + 2 * step


def _further(rng: np.random.Generator, story: str, value: int) -> tuple[str, int]:
    """One more step that keeps the running value small and not negative."""
    choices = STORY_STEPS[story]
    operation = choices[int(rng.random() * len(choices))]
    if operation == "sub" and value < 9:
        operation = "add"
    if operation == "mul" and value > 40:
        operation = "mod"
    low, high = _STEP_RANGE[operation]
    return operation, _pick(rng, low, high)


def sample_problem(rng: np.random.Generator, topic: str) -> Problem:
    """A random problem of `topic`, of either split."""
    story, tier = topic.rsplit("-", 1)
    problem = Problem(story, _opening(rng, story))
    for _ in range(int(tier) - 1):
        step = _further(rng, story, problem.answer)
        problem = Problem(story, problem.numbers, (*problem.steps, step))
    return problem


def training_problem(rng: np.random.Generator, topic: str) -> Problem:
    """A random problem of `topic` that is not in the held-out split."""
    while (problem := sample_problem(rng, topic)).held_out:
        pass
    return problem


_HOLE = re.compile(r"\{(\w+)\}|<(\w)>")


def fill(rng: np.random.Generator, template: str, numbers: dict[str, int]) -> str:
    """A template with random wordings in its slots and `numbers` in its holes."""

    def hole(match: re.Match[str]) -> str:
        if match[2]:
            return str(numbers[match[2]])
        words = SLOTS[match[1]]
        return words[int(rng.random() * len(words))]

    return _HOLE.sub(hole, template)


def _wording(rng: np.random.Generator, templates: Sequence[str], numbers: dict[str, int]) -> str:
    return fill(rng, templates[int(rng.random() * len(templates))], numbers)


def render(rng: np.random.Generator, problem: Problem) -> str:
    """A question text for `problem`, its wordings drawn uniformly."""
    numbers = dict(zip("abc", problem.numbers, strict=False))
    parts = [_wording(rng, STORIES[problem.story], numbers)]
    parts += [_wording(rng, STEPS[operation], {"k": k}) for operation, k in problem.steps]
    return ". ".join([*parts, _wording(rng, ASK, {})]) + "?"


def solve(problem: Problem, rng: np.random.Generator | None = None, error_rate: float = 0.0) -> str:
    r"""The solution text: the first step in full, each further one as ``;<sign>k=value``.

    With `rng`, each step's result is wrong with probability `error_rate`; a wrong result is near
    the truth and the later steps follow from it (so an answer may be wrong, never inconsistent).
    """
    left, sign, right = first_step(problem)
    value, text = left, str(left)
    steps = [(sign, right), *((_SIGN[operation], k) for operation, k in problem.steps)]
    for i, (sign, right) in enumerate(steps):
        value = _apply(sign, value, right)
        if rng is not None and rng.random() < error_rate:
            shifted = value + (-10, -3, -2, -1, 1, 2, 3, 10)[int(rng.random() * 8)]
            following = steps[i + 1] if i + 1 < len(steps) else ("+", 0)
            # a negative value is no count: drop the error rather than teach one
            if shifted >= 0 and (following[0] != "-" or shifted >= following[1]):
                value = shifted
        text += f"{';' if i else ''}{sign}{right}={value}"
    return f"{text};\\boxed{{{value}}}"


# ---------------------------------------------------------------- parser


def _compile(template: str) -> re.Pattern[str]:
    out, at = "", 0
    for match in _HOLE.finditer(template):
        out += re.escape(template[at : match.start()])
        if match[2]:
            out += rf"(?P<{match[2]}>[1-9][0-9]{{0,2}})"
        else:
            # longest first, so that 'and then' is not read as 'and'
            words = sorted(SLOTS[match[1]], key=len, reverse=True)
            out += "(?:" + "|".join(map(re.escape, words)) + ")"
        at = match.end()
    return re.compile(out + re.escape(template[at:]))


_PATTERNS: Final[tuple[tuple[str, str, tuple[re.Pattern[str], ...]], ...]] = (
    *(
        (kind, name, tuple(map(_compile, (*texts, *ALSO_READ.get(name, ())))))
        for kind, clauses in (("story", STORIES), ("step", STEPS))
        for name, texts in clauses.items()
    ),
    ("ask", "ask", tuple(map(_compile, ASK))),
)

_START_FORMULA: Final[dict[str, Callable[..., int | None]]] = {
    "gain": lambda a, b: a + b,
    "lose": lambda a, b: a - b if b <= a else None,
    "rows": lambda a, b: sum(b for _ in range(a)),
    "pack": lambda a, b: (a - a % b) // b if b > 1 else None,
    "rest": lambda a, b: a - b * (a // b) if b > 1 else None,
    "list": lambda a, b, c: 2 * c - b if b - a == c - b > 0 else None,
}
_STEP_FORMULA: Final[dict[str, Callable[[int, int], int | None]]] = {
    "add": lambda v, k: v + k,
    "sub": lambda v, k: v - k if k <= v else None,
    "mul": lambda v, k: v * k if k > 1 else None,
    "div": lambda v, k: (v - v % k) // k if k > 1 else None,
    "mod": lambda v, k: v - k * (v // k) if k > 1 else None,
    "cap": lambda v, k: (v + k - abs(v - k)) // 2,
}


@dataclass(frozen=True)
class Clause:
    """One recognised sentence: its kind ('story', 'step', 'ask'), name, and numbers by hole."""

    kind: str
    name: str
    numbers: dict[str, int]


def parse_clause(sentence: str) -> Clause | None:
    """The one clause that `sentence` is, or None."""
    for kind, name, patterns in _PATTERNS:
        for pattern in patterns:
            if match := pattern.fullmatch(sentence):
                return Clause(kind, name, {k: int(v) for k, v in match.groupdict().items()})
    return None


@dataclass(frozen=True)
class Parsed:
    """What a text says: topic or 'other', whether it is well posed, and then its answer."""

    topic: str
    tier: int | None
    well_posed: bool
    answer: int | None
    problem: Problem | None = None


_NOTHING: Final = Parsed(OTHER, None, False, None)


def parse(question: str) -> Parsed:
    """Read a question exactly.

    A text is of topic ``story-tier`` when its first sentence opens that story and every further
    sentence is one of the grammar's. It is well posed when, besides, it ends in one ask clause
    with a question mark, has at most three further steps, and its numbers make sense (nothing is
    taken that is not there, no division by one, a series has equal steps). Anything else is
    'other'. Time is linear in the text, and text beyond `MAX_CHARS` is not read.
    """
    text = question.strip() if len(question) <= MAX_CHARS else ""
    if not text:
        return _NOTHING
    asks = text.endswith("?")
    sentences = text[:-1].split(". ") if text[-1] in ".?" else text.split(". ")
    clauses = [parse_clause(sentence) for sentence in sentences]
    first, rest = clauses[0], clauses[1:]
    if first is None or first.kind != "story":
        return _NOTHING
    known = [clause for clause in rest if clause is not None]
    if len(known) < len(rest):
        return _NOTHING
    steps = [clause for clause in known if clause.kind == "step"]
    tier = min(1 + len(steps), TIERS[-1])
    ill_posed = Parsed(f"{first.name}-{tier}", tier, False, None)
    in_order = [c.kind for c in known] == ["step"] * len(steps) + ["ask"]
    if not (asks and in_order and len(steps) < TIERS[-1]):
        return ill_posed
    value = _START_FORMULA[first.name](**first.numbers)
    for clause in steps:
        value = None if value is None else _STEP_FORMULA[clause.name](value, clause.numbers["k"])
    if value is None:
        return ill_posed
    numbers = tuple(number for _, number in sorted(first.numbers.items()))
    problem = Problem(first.name, numbers, tuple((c.name, c.numbers["k"]) for c in steps))
    return Parsed(ill_posed.topic, tier, True, value, problem)
