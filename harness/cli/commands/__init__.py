"""The commands, one module per thing that a user does; the help lists them in this order."""

# isort: off
from harness.cli.commands import train
from harness.cli.commands import leaderboard
from harness.cli.commands import report
from harness.cli.commands import measure
from harness.cli.commands import power
from harness.cli.commands import describe

# isort: on
from harness.cli.options import app

__all__ = ["app", "describe", "leaderboard", "measure", "power", "report", "train"]
