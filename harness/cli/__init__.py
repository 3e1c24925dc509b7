"""The command line. Heavy imports happen inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys

from harness.errors import HarnessError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0: done; 1: done, but a run ended in an error; 2: bad input; 3: a run is in use; 130: stopped.
    """
    # One thread per process by default: processes side by side beat threads on small machines.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import click

    from harness.cli.app import app

    try:
        result = app(args=arguments, standalone_mode=False, prog_name="python -m harness")
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, click.exceptions.Abort):
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return result if isinstance(result, int) else 0
