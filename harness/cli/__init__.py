"""The command line. Heavy imports happen inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys

from harness.errors import HarnessError, one_line

_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0: done; 1: done, but a run ended in an error; 2: bad input; 3: a run is in use; 130: stopped.
    """
    # One thread per process by default: processes side by side beat threads on small machines.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import typer

    from harness.cli.commands import app

    try:
        result = app(args=arguments, standalone_mode=False, prog_name="python -m harness")
    except HarnessError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except typer.Exit as stop:
        result = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except BrokenPipeError:
        return 0
    except Exception as error:
        # A usage error; its class is click's or, in newer versions, typer's own copy of it.
        if not hasattr(error, "format_message"):
            raise
        if message := one_line(error.format_message()):  # empty where the help was printed
            print(f"error: {message}", file=sys.stderr)
        return 2
    if result == _INTERRUPTED:  # newer versions of typer turn the interrupt into this
        return _stopped()
    return result if isinstance(result, int) else 0


def _stopped() -> int:
    print("stopped; the same command goes on where it was", file=sys.stderr)
    return _INTERRUPTED
