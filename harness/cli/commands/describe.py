"""Commands that list, show and check methods and profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import AsJson, Plugins, app, methods_app


@methods_app.callback()
def methods(
    context: typer.Context,
    plugin: Plugins = None,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Bring the table of this Markdown page up to date instead."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List all methods."""
    if write is not None:
        from harness.cli.methods_page import write_methods_page

        write_methods_page(write, plugin or [])
    elif context.invoked_subcommand is None:
        from harness.cli.show import list_methods

        list_methods(plugin or [], as_json)


@methods_app.command("show")
def methods_show(name: str, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """One method: paper, equation, parameters, hooks."""
    from harness.cli.show import show_method

    show_method(name, plugin or [], as_json)


@app.command()
def check(
    methods: Annotated[
        list[str], typer.Argument(help="Names of methods, Python files, or 'all'.", metavar="NAME")
    ],
    jobs: Annotated[int, typer.Option(help="Methods side by side; 0: one per core.", min=0)] = 0,
    as_json: AsJson = False,
) -> int:
    """Check that methods keep the harness's promises: seeds, states, masks, shapes, edges."""
    from harness.cli.check import check_methods

    return check_methods(methods, jobs, as_json)


@app.command()
def profiles(as_json: AsJson = False) -> None:
    """List the shipped profiles."""
    from harness.config import list_profiles

    names = list_profiles()
    print(json.dumps(names) if as_json else "\n".join(names))
