"""The main job from cold, as a user gives it: wall and CPU seconds, memory, collapse.

    python -m benchmarks.main_job [--seeds 3] [--method vocab_dropout] [--smoke]

Runs the command in fresh folders and prints what the run folders recorded beside the wall time of
the whole command.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="vocab_dropout")
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs, out = Path(scratch) / "runs", Path(scratch) / "leaderboards"
        command = [sys.executable, "-m", "harness", "run", "--method", options.method]
        command += ["--seeds", options.seeds, "--runs", str(runs), "--out", str(out)]
        started = time.perf_counter()
        subprocess.run(command + ["--smoke"] * options.smoke, check=True)
        wall = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        stem = "ladder-ladder-smoke" if options.smoke else "ladder-ladder"
        cost = pd.read_csv(out / f"{stem}.cost.csv")
        print(f"whole command: {wall:.0f} s wall, {used.ru_utime + used.ru_stime:.0f} CPU-s")
        print(cost.to_string(index=False))
        print(_collapse(pd.read_csv(out / f"{stem}.runs.csv")).to_string(index=False))


def _collapse(runs: pd.DataFrame) -> pd.DataFrame:
    """Topic entropy of each run in its first and last iteration, and its relative fall."""
    rows = runs[runs["metric"] == "diversity/functional/topic_entropy"].dropna(subset="value")
    ends = rows.sort_values("iteration").groupby(["method", "seed"])["value"]
    table = pd.DataFrame({"first": ends.first(), "last": ends.last()})
    table["fall_percent"] = 100 * (1 - table["last"] / table["first"])
    return table.reset_index().round(3)


if __name__ == "__main__":
    main()
