"""How charts look: sizes, colours by method, and Vega configurations for screen and print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

Theme = Literal["light", "dark", "print"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette without black and yellow, each visible on white and on black."""
BASELINE_COLOUR = "#767676"
CONTEXT_COLOUR = "#9A9A9A"
"""Of methods that aren't told apart by colour."""
SHAPES = (
    *("circle", "square", "triangle-up", "diamond", "triangle-down", "cross"),
    "triangle-right",
)
DASHES = ((1, 0), (5, 2), (2, 2), (8, 2, 2, 2), (10, 3), (1, 3), (6, 2, 2, 2, 2, 2), (3, 5))
HEADS = 8
"""So many methods are told apart by colour at a time; more only by pointing at them."""


@dataclass(frozen=True)
class Size:
    """Room for one chart.

    Attributes:
        width: of the whole chart, in pixels of the page, or in points where it is printed.
        font: size of labels, same unit.
        columns: of small panels beside one another.
        height: of a small panel.
    """

    width: int
    font: float
    columns: int
    height: int

    def row(self, rows: int) -> float:
        """Height of a method's row: the more there are, the denser they stand."""
        return self.font * (1.9 if rows <= 12 else 1.5 if rows <= 24 else 1.25)

    def labels(self, names: Sequence[str]) -> float:
        """Room for names beside rows; longer ones are cut."""
        longest = max((len(name) for name in names), default=0)
        return min(longest * self.font * 0.56 + 8, max(0.3 * self.width, 16 * self.font))

    def panel(self, columns: int) -> float:
        """Width of a panel's inside, where `columns` of them stand side by side."""
        return self.width / columns - 6 * self.font

    @property
    def narrow(self) -> bool:
        """Whether there is room for the most important only."""
        return self.width < 40 * self.font

    @property
    def dot(self) -> float:
        """Area of a seed's dot."""
        return (self.font * 0.42) ** 2

    @property
    def line(self) -> float:
        """Width of a mean's line."""
        return self.font / 6


PAGE = Size(width=980, font=12, columns=3, height=210)
DOUBLE = Size(width=486, font=7.8, columns=3, height=105)
"""Both columns of a two-column paper: 6.75 inches."""
SINGLE = Size(width=234, font=7.8, columns=2, height=95)
"""One column: 3.25 inches."""


@dataclass(frozen=True)
class Marks:
    """What tells methods apart: colour, shape of a dot, dashes of a line.

    Attributes:
        methods: all methods; too many to tell apart by colour alone are best in order of rank.
        baseline: the method drawn in grey; None for none.
    """

    methods: tuple[str, ...]
    baseline: str | None

    def _number(self, method: str) -> int:
        others = [m for m in self.methods if m != self.baseline]
        return others.index(method)

    def colour(self, method: str) -> str:
        """The method's colour, in every chart."""
        if method == self.baseline:
            return BASELINE_COLOUR
        return COLOURS[self._number(method) % len(COLOURS)]

    def shape(self, method: str) -> str:
        """The method's symbol, in every chart."""
        return SHAPES[0] if method == self.baseline else SHAPES[self._number(method) % len(SHAPES)]

    def dash(self, method: str) -> tuple[int, ...]:
        """The dashes of the method's lines, in every chart."""
        if method == self.baseline:
            return DASHES[0]
        return DASHES[self._number(method) // len(COLOURS) % len(DASHES)]

    # Domains and ranges are data in a specification: a method's name never becomes an expression.
    def colours(self) -> alt.Color:
        """Its colour for a method that is in colour now, grey for the others."""
        scale = self._scale([self.colour(m) for m in self.methods])
        rest = {"test": f"!({IN_COLOUR})", "value": CONTEXT_COLOUR}
        return alt.Color("method:N", scale=scale, legend=None, condition=rest)

    def own_colours(self) -> alt.Color:
        """Its colour for every method."""
        scale = self._scale([self.colour(m) for m in self.methods])
        return alt.Color("method:N", scale=scale, legend=None)

    def shapes(self) -> alt.Shape:
        """A symbol for every method."""
        scale = self._scale([self.shape(m) for m in self.methods])
        return alt.Shape("method:N", scale=scale, legend=None)

    def dashes(self) -> alt.StrokeDash:
        """Dashes for every method's lines."""
        scale = self._scale([list(self.dash(m)) for m in self.methods])
        return alt.StrokeDash("method:N", scale=scale, legend=None)

    def _scale(self, values: Sequence[str] | Sequence[list[int]]) -> alt.Scale:
        return alt.Scale(domain=list(self.methods), range=list(values))


IS_SHOWN = "!isArray(shown) || indexof(shown, datum.method) >= 0"
IN_COLOUR = f"isArray(shown) && length(shown) <= {HEADS} || datum.head"


def config(theme: Theme, font: float = PAGE.font) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme; goes into a specification as ``config``.

    Args:
        theme: "light" and "dark" are transparent; "print" is on white.
        font: size of labels; titles are a little larger.
    """
    ink, soft, faint = {
        "light": ("#1F2328", "#57606A", "#E4E7EB"),
        "dark": ("#E6EDF3", "#A7B0BA", "#30363D"),
        "print": ("#000000", "#333333", "#E2E2E2"),
    }[theme]
    family = "Arial, Helvetica, Liberation Sans, sans-serif"
    return {
        "background": "#FFFFFF" if theme == "print" else "transparent",
        "font": family if theme == "print" else f"system-ui, {family}",
        "padding": 2 if theme == "print" else 4,
        "view": {"stroke": None},
        "axis": {
            "labelColor": soft,
            "titleColor": ink,
            "domainColor": soft,
            "tickColor": soft,
            "gridColor": faint,
            "gridWidth": font / 15,
            "labelFontSize": font * 0.95,
            "titleFontSize": font,
            "titleFontWeight": "normal",
            "labelPadding": font / 4,
            "titlePadding": font / 2,
            "tickSize": font / 3,
        },
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": font},
        "title": {
            "color": ink,
            "fontSize": font * 1.05,
            "fontWeight": 600,
            "anchor": "start",
            "offset": font / 2,
            "subtitleColor": soft,
            "subtitleFontSize": font * 0.95,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": font * 0.95,
            "titleFontSize": font,
            "titleFontWeight": "normal",
        },
        "text": {"color": ink, "fontSize": font * 0.95},
        "style": {
            "ink": {"fill": ink},
            "soft": {"fill": soft},
            "zero": {"color": soft, "strokeWidth": font / 12},
            "reference": {"color": soft, "strokeWidth": font / 10, "strokeDash": [4, 3]},
        },
    }
