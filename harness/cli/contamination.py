"""``python -m harness contamination``: a curriculum against the test sets."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.contamination import (
    LONG,
    SHORT,
    Overlap,
    available_sets,
    check_names,
    compare,
    printable,
    read_questions,
)
from harness.data import load_items
from harness.diversity.embedders import load_embedder
from harness.errors import HarnessError
from harness.store import write_bytes, write_parquet

NO_EMBEDDER = "none"
_SHOWN = 3
"""Pairs printed per test set."""


def show_contamination(
    file: Path,
    tasks: str | None,
    text: str,
    embedder: str,
    threshold: float,
    top: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare, print, and write the pairs to `out` if it is given.

    Raises:
        HarnessError: anything a person has to mend; nothing was written.
    """
    if not -1.0 <= threshold <= 1.0:
        raise HarnessError(f"--threshold {threshold:g}: a cosine is in [-1, 1]")
    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise HarnessError(f"--out {out}: name a .csv or a .parquet file")
    if tasks is None:
        names, absent = available_sets()
    else:
        names, absent = check_names([t.strip() for t in tasks.split(",") if t.strip()]), []
    questions = read_questions(file, text)
    sets = {name: load_items(name) for name in names}
    if not sets:
        raise HarnessError("no test set is in the data folder; name it with --data DIR")
    embed = None if embedder == NO_EMBEDDER else load_embedder(embedder)
    embedded = None if embed is None else embed(questions)
    found = [
        compare(
            name, questions, items, embed=embed, embedded=embedded, threshold=threshold, top=top
        )
        for name, items in sets.items()
    ]
    if out is not None:
        _write(pd.concat([o.pairs for o in found], ignore_index=True), out)
    if as_json:
        print(
            json.dumps(
                {
                    "file": str(file),
                    "embedder": None if embed is None else embed.name,
                    "threshold": threshold,
                    "overlap": [o.row() for o in found],
                    "not_in_the_data_folder": absent,
                }
            )
        )
        return
    _print(file, found, absent, threshold)


def _print(file: Path, found: list[Overlap], absent: list[str], threshold: float) -> None:
    console = Console()
    title = escape(printable(f"{file}: {found[0].questions} questions"))
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("test set", no_wrap=True)
    for column in ("items", "copies", "sharing %", "hit %", "half %", "cosine", "p95"):
        table.add_column(column, justify="right")
    table.add_column(f">={threshold:g} %", justify="right")
    for o in found:
        shares = (o.questions_shared, o.items_shared, o.items_covered)
        cosines = (o.cosine_mean, o.cosine_p95)
        table.add_row(
            o.task,
            str(o.items),
            str(o.copies),
            *(f"{100 * s:.1f}" for s in shares),
            *("-" if c is None else f"{c:.3f}" for c in cosines),
            "-" if o.close is None else f"{100 * o.close:.1f}",
        )
    console.print(table)
    console.print(
        f"sharing: questions with {LONG} words in a row ({SHORT} for short texts) of an item; "
        "hit: items with such words; half: items of which they make up half; cosine: mean over "
        "questions to the nearest item",
        highlight=False,
    )
    for o in found:
        suspicious = o.pairs[o.pairs["copy"] | (o.pairs["shared"] > 0)]
        for pair in suspicious.head(_SHOWN).itertuples():
            how = "copy of" if pair.copy else "shares words with"
            console.print(f"{pair.row}: {how} {o.task} {pair.item}: {pair.question}", markup=False)
    if absent:
        console.print(f"not in the data folder: {', '.join(absent)}", markup=False)


def _write(pairs: pd.DataFrame, out: Path) -> None:
    """Pairs as parquet or CSV; in a CSV, a text that a spreadsheet would run gets a quote."""
    if out.suffix == ".parquet":
        write_parquet(out, pairs)
        return
    texts = ["words", "question", "problem"]
    safe = pairs.assign(
        **{c: pairs[c].str.replace(r"^(?=[=+\-@])", "'", regex=True) for c in texts}
    )
    write_bytes(out, safe.to_csv(index=False).encode())
