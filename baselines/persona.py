"""Personas in the proposer's prompt: each question is asked for by somebody else.

Equation: prompt_i = 'You are z_i.' + the profile's prompt, z_i drawn uniformly from a list, for a
share of the prompts; the groups of GRPO then really have prompts of their own.
Defaults: share 1, in the system message before its text, as the unused persona branch of R-Zero's
data set has it (arXiv 2508.05004; Chengsong-Huang/R-Zero at 5699329, `verl/utils/dataset.py`: one
draw per item). It draws from PersonaHub's mathematical personas; the list here is our own, `file`
takes another.
Hook: `prompts`; proposer, training (one persona per group) and generation (one per question).
Unconfirmed: nothing is known to be published on the effect.

The ladder's base was trained on a single prompt, so any persona is foreign to it. Of 600 questions
it wrote untrained, 99.8 % were valid and 85 % of those well posed without a persona; with one:
98.5 % and 19 % (system), 99.3 % and 21 % (user_before), 99.3 % and 18 % (user_after), and with
``form=phrase`` 99.3 % and 57 %, 98.8 % and 71 %, 98.7 % and 65 %. There a persona is noise that
costs solvability, not a topic; ``form=phrase,place=user_before`` costs least.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from baselines._decoding import Phases
from harness.config.schema import RunConfig
from harness.errors import HarnessError
from harness.methods import HookContext, Method, MethodParams, register
from harness.roles import Message

MAX_PERSONAS = 100_000
MAX_CHARS = 400

PERSONAS = (
    "a beekeeper who plans hives and honey jars",
    "a tram driver who thinks in timetables",
    "a potter who measures bowls and glazes",
    "a number theorist who collects strange remainders",
    "a carpenter who cuts boards without waste",
    "a nurse who works out doses and shifts",
    "a chess coach who counts positions",
    "a surveyor who walks the borders of fields",
    "a baker who scales recipes up and down",
    "a card player who cares about odds",
    "an astronomer who compares the periods of moons",
    "a librarian who orders shelves and loans",
    "a farmer who rotates crops over the years",
    "a network engineer who looks for shortest routes",
    "a teacher of geometry who loves circles",
    "a goldsmith who mixes alloys",
    "a biologist who counts generations of bacteria",
    "an accountant who follows interest and debts",
    "a quilt maker who tiles the plane",
    "a referee who schedules tournaments",
    "a sailor who adds up courses and currents",
    "a locksmith who enumerates combinations",
    "a composer who plays with rhythms and ratios",
    "an architect who draws stairs and arches",
    "a statistician who distrusts averages",
    "a puzzle author who hides a simple idea",
    "a physicist who checks units first",
    "a shopkeeper who sets prices and discounts",
    "a weaver who repeats patterns of threads",
    "an algebra student who likes hidden substitutions",
    "a mountaineer who plans supplies for a climb",
    "a postal worker who sorts parcels by weight",
    "a programmer who thinks in recursions",
    "a gardener who plants in rows and rings",
    "a bank clerk who divides sums fairly",
    "an election officer who counts votes",
    "a photographer who enlarges and crops",
    "a logician who asks who tells the truth",
    "a swimmer who compares lap times",
    "a brewer who dilutes and blends",
)


@register("persona")
class Persona(Method):
    """prompt_i = 'You are z_i.' + prompt, z_i uniform over a list of personas.

    In the training phase a persona is shared by its group, so that its questions compete with each
    other; in generation every question has its own. ``place`` sets it before the system message's
    text (a message of its own where the profile has none), or before or after the user's.
    """

    paper = "2508.05004"
    off: ClassVar[Mapping[str, Any]] = {"share": 0.0}

    class Params(MethodParams):
        share: float = Field(1.0, ge=0, le=1, description="of prompts that get a persona; 0: off")
        place: Literal["system", "user_before", "user_after"] = "system"
        form: Literal["sentence", "phrase"] = Field(
            "sentence", description="'phrase': the words before ' who ', and nothing around them"
        )
        phases: Phases = Field(("train", "generate"), min_length=1, description="in which rollouts")
        file: str | None = Field(None, description="one persona a line; None: the shipped list")

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__(params)
        self._place: tuple[str, int, int] | None = None
        self._draw = 0

    def check(self, config: RunConfig) -> None:
        self.personas()

    def files(self) -> tuple[Path, ...]:
        return () if self.params.file is None else (Path(self.params.file),)

    def personas(self) -> tuple[str, ...]:
        """The list that is drawn from.

        Raises:
            HarnessError: the file is missing, unreadable, empty, or holds what is no persona.
        """
        return PERSONAS if self.params.file is None else read_personas(self.params.file)

    def prompts(self, ctx: HookContext, messages: list[list[Message]]) -> list[list[Message]]:
        p = self.params
        if ctx.role != "proposer" or ctx.phase not in p.phases or not p.share:
            return messages
        personas = self.personas()
        # Further prompts of one step are further draws.
        place = (ctx.phase, ctx.iteration, ctx.step)
        self._place, self._draw = place, self._draw + 1 if place == self._place else 0
        draw = ctx.stream("persona", self._draw)
        chosen = draw.random(len(messages)) < p.share
        which = draw.integers(len(personas), size=len(messages))
        ctx.count("prompts_with_persona", int(chosen.sum()))
        return [
            self._told(chat, personas[int(i)]) if told else chat
            for chat, told, i in zip(messages, chosen, which, strict=True)
        ]

    def _told(self, chat: list[Message], persona: str) -> list[Message]:
        """The chat with the persona in its place."""
        brief = self.params.form == "phrase"
        sentence = persona.partition(" who ")[0] if brief else f"You are {persona}."
        if self.params.place == "system":
            if chat and chat[0]["role"] == "system":
                return [{**chat[0], "content": f"{sentence}\n{chat[0]['content']}"}, *chat[1:]]
            return [{"role": "system", "content": sentence}, *chat]
        parts = [sentence, chat[-1]["content"]]
        if self.params.place == "user_after":
            parts.reverse()
        text = (": " if brief else "\n").join(parts)
        return [*chat[:-1], {**chat[-1], "content": text}]


@lru_cache(maxsize=8)
def read_personas(path: str) -> tuple[str, ...]:
    """A file with one persona a line; empty lines are skipped.

    Raises:
        HarnessError: missing, unreadable, empty, too long, or with control characters.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"persona file {path}: {error}") from error
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not found:
        raise HarnessError(f"persona file {path}: holds no persona; one a line")
    if len(found) > MAX_PERSONAS:
        raise HarnessError(f"persona file {path}: more than {MAX_PERSONAS} lines")
    for i, persona in enumerate(found):
        if len(persona) > MAX_CHARS or not persona.isprintable():
            raise HarnessError(
                f"persona file {path}: persona {i + 1} is longer than {MAX_CHARS} characters or "
                "holds control characters"
            )
    return found
