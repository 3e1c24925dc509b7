"""Launching runs: local processes side by side, or tasks on a Ray cluster."""

from harness.launch.loop import Outcome, Pool, launch

__all__ = ["Outcome", "Pool", "launch"]
