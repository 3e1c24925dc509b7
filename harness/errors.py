"""Errors that a person can act on."""

from __future__ import annotations


class HarnessError(Exception):
    """What went wrong, where, and what to do, in one line.

    The command line prints the message without a traceback and exits with ``exit_code``.
    """

    exit_code: int = 2


class MissingDataError(HarnessError):
    """A data set isn't on this machine, and can't or mustn't be fetched."""


class RunLockedError(HarnessError):
    """Another process is working on the same run folder."""

    exit_code = 3


class RunFailedError(HarnessError):
    """A run ended without results that could be used."""

    exit_code = 4


def one_line(message: object) -> str:
    """A message without line breaks, whatever the library that wrote it thought of them."""
    return " ".join(str(message).split())
