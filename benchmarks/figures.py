"""Pictures of a leaderboard's runs: ``python -m benchmarks.figures [RUNS_CSV] [SVG]``.

Every seed is a thin line, every method's mean a thick one. Needs matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd

PANELS = (
    ("diversity/functional/topic_entropy", "topic entropy (nats)"),
    ("proposer/well_posed", "well-posed questions (share)"),
    ("curriculum/label_accuracy", "correct pseudo-labels (share)"),
)
ENTRIES = (
    "rzero",
    "static_proposer",
    "vocab_dropout",
    "vocab_dropout_generation_only",
    "vocab_dropout_train_only",
)
"""Drawn, as far as they were run: more lines than these can't be told apart."""
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette, safe for the colour-blind."""


def draw(source: Path, target: Path) -> None:
    """One panel a metric, iterations on the x axis."""
    mpl.rcParams.update({"svg.hashsalt": "coevolution", "svg.fonttype": "none", "font.size": 9})
    runs = pd.read_csv(source)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 3.0), constrained_layout=True)
    methods = [m for m in ENTRIES if m in set(runs["method"])]
    for axis, (metric, label) in zip(axes, PANELS, strict=True):
        part = runs[runs["metric"] == metric]
        for method, colour in zip(methods, COLOURS, strict=False):
            _lines(axis, part[part["method"] == method], method, colour)
        axis.set(xlabel="iteration", ylabel=label, ylim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(methods), frameon=False)
    figure.savefig(target, metadata={"Date": None})


def _lines(axis: Any, rows: pd.DataFrame, method: str, colour: str) -> None:
    for _, seed in rows.groupby("seed"):
        axis.plot(seed["iteration"], seed["value"], color=colour, alpha=0.3, linewidth=0.8)
    mean = rows.groupby("iteration")["value"].mean()
    axis.plot(mean.index, mean, color=colour, linewidth=2, marker="o", markersize=3, label=method)


if __name__ == "__main__":
    arguments = [Path(a) for a in sys.argv[1:]]
    defaults = [Path("leaderboards/ladder.runs.csv"), Path("docs/ladder.svg")]
    draw(*(arguments + defaults[len(arguments) :]))
