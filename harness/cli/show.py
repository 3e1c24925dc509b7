"""Commands that only print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.checker import load_checker
from harness.config import load_config
from harness.diversity.embedders import load_embedder
from harness.diversity.report import diversity_table
from harness.diversity.topics import load_topics
from harness.methods import entries, get, load_plugin


def list_methods(plugins: Sequence[str], as_json: bool) -> None:
    """All methods: name, paper, hooks, parameters."""
    for plugin in plugins:
        load_plugin(plugin)
    found = entries()
    if as_json:
        print(json.dumps([e.describe() for e in found], indent=1, ensure_ascii=False))
        return
    table = Table("method", "paper", "hooks", "what it is", title="methods")
    for entry in found:
        described = entry.describe()
        table.add_row(
            entry.name, entry.cls.paper, ", ".join(described["hooks"]) or "-", entry.summary
        )
    Console().print(table)


def show_method(name: str, plugins: Sequence[str], as_json: bool) -> None:
    """One method in full."""
    for plugin in plugins:
        load_plugin(plugin)
    described = get(name).describe()
    if as_json:
        print(json.dumps(described, indent=1, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{described['name']}[/bold]", f"arXiv {described['paper'] or '-'}")
    console.print(described["doc"], markup=False)
    console.print(f"\nhooks: {', '.join(described['hooks']) or 'none (the base class is R-Zero)'}")
    for key, field in described["parameters"].items():
        choices = "|".join(map(str, field.get("enum", [])))
        console.print(
            f"  {key} = {field['default']}  {choices}  {field['description']}", markup=False
        )


def show_diversity(
    file: Path,
    profile: str,
    n: int,
    n_well_posed: int,
    text: str,
    seed: int,
    as_json: bool,
    embedder: str | None = None,
    topics: str | None = None,
) -> None:
    """Diversity of a parquet or JSON Lines file; the profile says what isn't given."""
    config, _ = load_config(profile)
    embed = load_embedder(embedder or config.diversity.embedder)
    frame = diversity_table(
        file,
        embed=embed,
        n=n,
        n_well_posed=n_well_posed,
        seed=seed,
        votes=config.votes.n,
        checker=load_checker(config.checker),
        topics=load_topics(topics or config.diversity.topics, embed),
        text=text,
    )
    if as_json:
        print(frame.to_json(orient="records"))
        return
    table = Table("iteration", "metric", "value", title=str(file))
    for t, metric, value in frame.itertuples(index=False):
        table.add_row(str(t), metric, "-" if value is None or value != value else f"{value:.4g}")
    Console().print(table)
