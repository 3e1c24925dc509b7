"""Run folders, atomic writes, manifests."""

from harness.store.atomic import atomic_folder, write_bytes, write_json, write_parquet
from harness.store.files import read_json, read_parquet
from harness.store.run_folder import RunFolder, Status

__all__ = [
    "RunFolder",
    "Status",
    "atomic_folder",
    "read_json",
    "read_parquet",
    "write_bytes",
    "write_json",
    "write_parquet",
]
