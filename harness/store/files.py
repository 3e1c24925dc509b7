"""Reading what a run wrote, with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import HarnessError

_ADVICE = "if a run wrote it, remove the run's folder and run the same command again"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        HarnessError: missing or corrupt.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HarnessError(f"{path}: missing; {_ADVICE}") from None
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path}: not readable as JSON ({error}); {_ADVICE}") from error


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file.

    Raises:
        HarnessError: missing, truncated or corrupt.
    """
    if not path.is_file():
        raise HarnessError(f"{path}: missing; {_ADVICE}")
    try:
        return pd.read_parquet(path)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise HarnessError(f"{path}: corrupt parquet ({reason[:120]}); {_ADVICE}") from error
