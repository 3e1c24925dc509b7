"""Launching runs: local processes side by side."""

from harness.launch.local import Outcome, launch

__all__ = ["Outcome", "launch"]
