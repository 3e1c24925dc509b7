"""A plan on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Plan = Mapping[str, Any]
GB = 1e9
LONGEST = 60
"""Characters that are shown of a value, at most."""


def show_plan(plan: Plan, console: Console) -> None:
    """Print a plan: what is published, the runs, tokens, and what they need."""
    if plan["published"]:
        _show_published(plan, console)
    title = f"profile {plan['profile']}\nbase model: {escape(plan['base_model'])}"
    table = Table("method", "seed", "state", "folder", title=title)
    for row in plan["runs"]:
        table.add_row(*(str(row[k]) for k in ("method", "seed", "state", "folder")))
    console.print(table)
    for name, tokens in plan["tokens_at_most_per_run"].items():
        bound = "unknown" if tokens is None else f"at most {tokens:,} tokens per run"
        console.print(f"  {name}: {bound}")
    if plan["missing_data"]:
        console.print(f"  data not found here: {escape(plan['missing_data'])}")
        if plan["tokens_at_most_per_run"]["evaluations"] is not None:
            console.print("  evaluations are counted by the catalogue's numbers of items")
    if plan["estimate"]:
        _show_estimate(plan["estimate"], console)
    seconds, memory = plan["seconds_per_run"], plan["peak_memory_bytes_per_run"]
    todo = f"{plan['missing']} to do, {plan['jobs']} side by side"
    if seconds and memory:
        console.print(
            f"  measured on earlier runs: {seconds:.0f} s and {memory / 2**20:.0f} MiB per run; "
            f"{todo}: about {plan['estimated_wall_seconds'] or 0:.0f} s"
        )
    else:
        console.print(f"  {todo}; none has been timed here yet")


def _show_published(plan: Plan, console: Console) -> None:
    """The profile beside what its sources state."""
    table = Table(
        *("key", "ours"),
        title=f"profile {plan['profile']} beside what is published",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.columns[0].no_wrap = True
    table.add_column("", no_wrap=True)
    table.add_column("published: source (how sure); why", ratio=1)
    for row in plan["published"]:
        said = "; ".join(f"{_text(v)}: {source} ({mark})" for v, source, mark in row["published"])
        why = escape(row["why"])
        notes = "\n".join(part for part in (said, why) if part)
        table.add_row(row["key"], _text(row["ours"], 28), row["verdict"], notes)
    # Narrower, it would be more lines than words.
    Console(file=console.file, width=max(console.width, 120)).print(table)
    console.print("  In the loop itself:")
    for deviation in plan["deviations"]:
        console.print(
            f"  - {escape(deviation['ours'])}; R-Zero's code: {escape(deviation['code'])}"
            + (f" (entry {deviation['entry']})" if deviation["entry"] else "")
        )


def _text(value: Any, longest: int = LONGEST) -> str:
    """A value in few characters."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.replace("\n", " ")
    return escape(text if len(text) <= longest else text[: longest - 3] + "...")


def _show_estimate(found: Mapping[str, Any], console: Console) -> None:
    """Parameters, memory, disk and GPU-hours: computed from shapes and assumptions."""
    trainer = found["trainer_bytes_per_process"]
    console.print(
        f"  computed from the model's shape, not measured: {found['parameters']:,} parameters; "
        f"trainer about {_gb(sum(trainer.values()))} per process ("
        + ", ".join(f"{name} {_gb(size)}" for name, size in trainer.items() if size >= 0.05 * GB)
        + f"); checkpoints at most {_gb(found['checkpoint_bytes'])} of disk per run"
    )
    if "server" in found:
        server, gpu = found["server"], found["gpu"]
        console.print(
            f"  a vLLM server: weights {_gb(server['weights'])}; room for "
            f"{_gb(server['room for the cache'])} of keys and values on {gpu['name']}, which holds "
            f"{server['rows of full length that fit']:.0f} rows at full length (all rows would "
            f"take {_gb(server['cache of all rows at full length'])})"
        )
        _show_hours(found, console)


def _show_hours(found: Mapping[str, Any], console: Console) -> None:
    low, high = found["hours"]
    gpu = found["gpu"]["name"]
    if low is None or high is None:
        console.print(f"  GPU-hours: the model doesn't fit on a server of {gpu}")
        return
    console.print(
        f"  about {_range(low, high, 'held')} GPU-hours per run, not measured: {found['gpus']} "
        f"GPUs held for {_range(low, high, 'wall')} h (training {_range(low, high, 'training')}, "
        f"sampling {_range(low, high, 'sampling')} GPU-hours of work, one waiting for the other)"
    )
    a, b = low["assumed"], high["assumed"]
    console.print(
        f"    assumed, low and high: {gpu}; responses {a['response_share']:.0%} and "
        f"{b['response_share']:.0%} of their limit; one round of the curriculum and all; training "
        f"at {a['utilisation']:.0%} and {b['utilisation']:.0%} of the FLOP/s; decoding at "
        f"{a['bandwidth_share']:.0%} and {b['bandwidth_share']:.0%} of the memory's bandwidth, "
        f"plus {a['step_seconds'] * 1e3:.0f} and {b['step_seconds'] * 1e3:.0f} ms a step; prompts "
        f"of {a['prompt_tokens']} tokens"
    )


def _range(low: Mapping[str, float], high: Mapping[str, float], name: str) -> str:
    """Two ends with two digits each: more would claim what isn't known."""
    return " to ".join(f"{float(f'{end[name]:.2g}'):,g}" for end in (low, high))


def _gb(size: float) -> str:
    return f"{size / GB:.3g} GB"
