"""What the results say of the machine: what times depend on, and no more."""

from __future__ import annotations

from typing import Any


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Keep the processor and Python; drop the host's name."""
    cpu = machine_info.get("cpu", {})
    told = {k: cpu[k] for k in ("brand_raw", "arch", "count") if k in cpu}
    version = machine_info.get("python_version")
    machine_info.clear()
    machine_info |= {"cpu": told, "python_version": version}
