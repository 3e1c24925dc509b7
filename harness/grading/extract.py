r"""The final answer of a response: the content of its last complete ``\boxed{...}``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: An answer longer than this (characters) is no answer: no benchmark's gold comes near it, and it
#: bounds what a hostile response can make the parser read.
MAX_ANSWER_CHARS = 2_000

_TOO_LONG = "?" * (MAX_ANSWER_CHARS + 1)
_MAX_GAP = 64

# `\\.` swallows an escaped brace or backslash, so that `\{` never counts as a brace.
_TOKEN = re.compile(r"\\boxed\s{0,8}\{|\\.|[{}]", re.DOTALL)


def extract_answer(response: str) -> str | None:
    r"""Return the stripped content of the last complete ``\boxed{...}``, or None for no answer.

    "Last" is the box that closes last, so an outer box wins over the boxes inside it; a box that
    holds nothing but another box gives the inner content. Braces must balance: an unclosed box
    is no answer (an earlier complete one still counts). An empty box, or one of more than
    ``MAX_ANSWER_CHARS`` characters, is no answer either. One pass over the text: linear time.

    Give it the response alone: prompts may carry boxes of their own.
    """
    answer = ""
    for _, _, content in extract_boxes(response):
        answer = content
    return answer if 0 < len(answer) <= MAX_ANSWER_CHARS else None


def extract_boxes(response: str) -> Iterator[tuple[int, int, str]]:
    """Every complete box as (start, end, stripped content), in the order in which they close.

    A content of more than ``MAX_ANSWER_CHARS`` characters comes back as some text that is longer.
    """
    stack: list[int] = []  # content start of an open box, -1 for any other open brace
    last: tuple[int, int, str] | None = None  # box start, box end, content
    box_starts: dict[int, int] = {}  # content start -> box start
    for match in _TOKEN.finditer(response):
        token = match.group()
        if token == "}":
            if not stack:
                continue
            start = stack.pop()
            if start >= 0:
                last = _close(response, start, match.start(), box_starts.pop(start), last)
                yield last
        elif token == "{":
            stack.append(-1)
        elif token[-1] == "{" and len(token) > 2:
            stack.append(match.end())
            box_starts[match.end()] = match.start()


def _close(
    text: str, start: int, end: int, box_start: int, inner: tuple[int, int, str] | None
) -> tuple[int, int, str]:
    """The box whose content is ``text[start:end]``; ``inner`` is the box that closed before it."""
    if inner is not None and inner[0] >= start:
        # Only short gaps beside the inner box are looked at, which keeps hostile nesting linear.
        gaps = (inner[0] - start, end - inner[1])
        if max(gaps) <= _MAX_GAP and not (text[start : inner[0]] + text[inner[1] : end]).strip():
            return box_start, end + 1, inner[2]
    if end - start > 2 * MAX_ANSWER_CHARS:
        return box_start, end + 1, _TOO_LONG
    return box_start, end + 1, text[start:end].strip()
