"""What only the ladder can know about a question: its topic, its tier, its true answer."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.ladder.world import TOPICS, parse


@dataclass(frozen=True)
class Checked:
    """The truth about one question; `answer` is set iff it is well posed."""

    topic: str
    tier: int | None
    well_posed: bool
    answer: str | None


class LadderChecker:
    """A profile's optional checker: exact, pure, and safe on any text."""

    topics: tuple[str, ...] = TOPICS

    def check(self, question: str) -> Checked:
        """Topic ('other' when unreadable), tier, well-posedness and true answer of `question`."""
        parsed = parse(question)
        answer = None if parsed.answer is None else str(parsed.answer)
        return Checked(parsed.topic, parsed.tier, parsed.well_posed, answer)
