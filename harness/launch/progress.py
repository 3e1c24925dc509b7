"""How far a run is, from its events."""

from __future__ import annotations

from harness.config.schema import RunConfig
from harness.store import RunFolder

_PHASES = ("propose", "curriculum", "solve", "evaluate", "measure")
_WEIGHTS = {"propose": 0.42, "curriculum": 0.17, "solve": 0.38, "evaluate": 0.02, "measure": 0.01}
"""Rough shares of an iteration's time; only the bar's evenness depends on them."""


def fraction_done(folder: RunFolder, config: RunConfig) -> tuple[float, str]:
    """Share of the run that is done (0 to 1), and where it is in words."""
    iteration, phase, within = 0, "evaluate", 0.0
    for event in folder.events():
        if event.get("event") == "phase":
            iteration, phase, within = int(event["iteration"]), str(event["phase"]), 0.0
        elif event.get("event") == "step":
            within = float(event["step"]) / max(1.0, float(event["of"]))
    if iteration == 0:
        return 0.0, "start"
    before = sum(_WEIGHTS[p] for p in _PHASES[: _PHASES.index(phase)])
    share = (iteration - 1 + before + within * _WEIGHTS[phase]) / config.iterations
    return min(share, 0.999), f"iteration {iteration}/{config.iterations} {phase}"
