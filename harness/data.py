r"""Question sets: a folder of JSON Lines files, or the Hugging Face hub at a pinned revision.

The catalogue (``tasks/sources.toml``, beside this package) names each set's file with its sha256
and number of rows. With a data folder set (``--data DIR`` or the environment variable
``COEVOLUTION_DATA``) every set comes from there, and a set that is missing is an error, never a
download. Without one, the hub is asked, for the exact commit in the catalogue. The checksum is of
the local file; a set from the hub is held by its commit and its number of rows.

A set without a checksum in the catalogue (``aime25``) is checked by its number of rows alone; what
``file_sha256`` says of it is then for the caller to record.

Another copy of a set that has the same problems fails the checksum. ``COEVOLUTION_UNVERIFIED=1``
accepts any checksum and number of rows; every other check stays.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import logging
import os
import re
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from harness.errors import HarnessError, MissingDataError, one_line
from harness.grading import extract_answer

#: Environment variable: the folder with the data sets.
ENV: Final = "COEVOLUTION_DATA"
#: Environment variable: "1" accepts files with another checksum or number of rows.
UNVERIFIED: Final = "COEVOLUTION_UNVERIFIED"
CATALOGUE: Final = Path(__file__).resolve().parents[1] / "tasks" / "sources.toml"

_HUB: Final = ContextVar("hub", default=True)
"""Whether the hub may be asked."""
_FORMS: Final = ("text", "hash", "boxed", "integer", "list")


@dataclass(frozen=True)
class Source:
    """One entry of the catalogue; see the head of ``tasks/sources.toml`` for what each means."""

    name: str
    file: str
    rows: int | None = None
    sha256: str | None = None
    empty_answers: int = 0
    origin: str = ""
    licence: str = ""
    hub: str | None = None
    revision: str | None = None
    configs: tuple[str, ...] = ()
    split: str = "test"
    hub_rows: int | None = None
    fields: dict[str, str] = field(default_factory=dict)
    answer_form: str = "text"

    def __post_init__(self) -> None:
        if self.answer_form not in _FORMS:
            raise HarnessError(f"{CATALOGUE}: {self.name}: answer_form is one of {_FORMS}")
        if self.revision is not None and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise HarnessError(f"{CATALOGUE}: {self.name}: revision is a commit of 40 hex digits")


@cache
def sources() -> dict[str, Source]:
    """The catalogue, by name. Raises HarnessError if it is missing or malformed."""
    try:
        entries = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
        return {
            name: Source(name=name, **entry | {"configs": tuple(entry.get("configs", ()))})
            for name, entry in entries.items()
        }
    except (OSError, ValueError, TypeError) as error:
        raise HarnessError(f"{CATALOGUE}: not a readable catalogue: {one_line(error)}") from error


def data_folder() -> Path | None:
    """The data folder that the environment names, if it names one."""
    value = os.environ.get(ENV)
    return Path(value) if value else None


def use_folder(path: Path | None) -> None:
    """Make ``path`` the data folder of this process and its children; None changes nothing.

    Raises HarnessError if it is no folder.
    """
    if path is not None:
        os.environ[ENV] = str(_folder(path).resolve())


@contextlib.contextmanager
def without_hub() -> Iterator[None]:
    """Nothing is fetched: a set that isn't in the data folder is missing."""
    token = _HUB.set(False)
    try:
        yield
    finally:
        _HUB.reset(token)


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes, of a compressed file as it lies there."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_items(name: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """The items of a set, in its own order.

    Each has ``id``, ``problem`` and ``answer`` (strings), and where the set has them ``solution``
    and ``subject`` (strings), ``level`` (an integer) and ``tolerance`` (absolute). An item whose
    source lists several values has all of them as its answer if the problem asks for a list
    separated by commas; else any one will do, and ``also`` lists the others.

    Args:
        name: a name of the catalogue.
        folder: where its file lies; by default ``data_folder()``, and without one the hub.

    Raises:
        MissingDataError: its file is missing, or the hub can't be reached.
        HarnessError: unknown name; empty file; wrong checksum or number of rows; a row
            that is not JSON, lacks an id, a problem or an answer, or repeats an id.
    """
    if (source := sources().get(name)) is None:
        raise HarnessError(f"data: unknown set {name!r}; known: {', '.join(sources())}")
    folder = data_folder() if folder is None else folder
    if folder is None and not _HUB.get():
        raise MissingDataError(
            f"{name}: no data folder is named (--data DIR or {ENV}), and the hub isn't asked"
        )
    if folder is None:
        return _items(_hub_rows(source), source, f"{source.hub}@{source.revision}")
    path = _folder(folder) / source.file
    if not path.is_file():
        raise MissingDataError(f"{name}: {path} is missing; {_how_to_get(source)}")
    rows = read_rows(
        path, ("id", "problem"), sha256=source.sha256, rows=source.rows, name=source.name
    )
    return _items(rows, source, str(path))


def read_rows(
    path: Path,
    required: Sequence[str],
    *,
    sha256: str | None = None,
    rows: int | None = None,
    name: str = "data",
) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file (gzipped if its name ends in .gz), checked.

    Raises HarnessError (one line that names file and row): missing or empty file, another
    ``sha256`` or number of ``rows`` than given, a line that is no JSON object, a row in which a
    ``required`` field is absent, null or blank, an ``id`` that occurs twice.
    """
    if not path.is_file():
        raise HarnessError(f"{name}: {path}: no such file")
    lax = os.environ.get(UNVERIFIED) == "1"
    if sha256 is not None and not lax and (found := file_sha256(path)) != sha256:
        raise HarnessError(
            f"{name}: {path}: sha256 is {found}, expected {sha256}; restore the file, or set "
            f"{UNVERIFIED}=1 to use this copy"
        )
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise HarnessError(f"{name}: {path}: not readable ({one_line(error)})") from error
    out = []
    # Not splitlines: a JSON string may hold a bare U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise HarnessError(f"{name}: {path}: line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise HarnessError(f"{name}: {path}: line {number}: not a JSON object")
        out.append(row)
    _check(out, required, f"{name}: {path}")
    if rows is not None and not lax and len(out) != rows:
        raise HarnessError(
            f"{name}: {path}: {len(out)} rows, expected {rows}; restore the file, or set "
            f"{UNVERIFIED}=1 to use this copy"
        )
    return out


def _check(rows: Sequence[dict[str, Any]], required: Sequence[str], where: str) -> None:
    if not rows:
        raise HarnessError(f"{where}: no items")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if absent := [key for key in required if _blank(row.get(key))]:
            raise HarnessError(f"{where}: row {number}: no {', '.join(absent)}")
        key = str(row.get("id", number))
        if key in seen:
            raise HarnessError(
                f"{where}: an id occurs twice: {key!r} in rows {seen[key]} and {number}"
            )
        seen[key] = number


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise HarnessError(f"data: {path}: no such folder (given by --data or {ENV})")
    return path


def _how_to_get(source: Source) -> str:
    """What to fetch and what to make of it, for the error about a missing file."""
    about = [f"{source.rows} problems"] if source.rows else []
    about += [f"sha256 {source.sha256}"] if source.sha256 else []
    if source.hub_rows:  # the file is a part of what the hub has
        origin = source.origin
    else:
        parts = [f"config {c}" for c in source.configs[:1] if len(source.configs) == 1]
        parts += [f"split {source.split}", f"revision {source.revision}"]
        origin = f"{source.hub} on the Hugging Face hub ({', '.join(parts)})"
    unpinned = f"; a copy with another checksum needs {UNVERIFIED}=1" if source.sha256 else ""
    return (
        f"fetch {origin} and write it there as JSON Lines with id, problem, answer "
        f"({', '.join(about)}){unpinned}"
    )


def _hub_rows(source: Source) -> list[dict[str, Any]]:
    """A set's rows from the hub, renamed to the item's keys; the answer still in its raw form."""
    local = f"put {source.file} into a folder and name it with --data DIR or {ENV}"
    if source.hub is None or source.revision is None:
        raise HarnessError(f"{source.name}: no revision on the hub is pinned for it; {local}")
    import datasets

    # Its retries at a hub that can't be reached are a page of warnings before the one error.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    raw: list[dict[str, Any]] = []
    try:
        for config in source.configs or (None,):
            part = datasets.load_dataset(
                source.hub, config, split=source.split, revision=source.revision
            )
            raw.extend(dict(row) for row in part)
    except Exception as error:  # whatever the hub's client, the network or a parser raises
        reason = one_line(error)[:300] or type(error).__name__
        raise MissingDataError(
            f"{source.name}: can't load {source.hub} at {source.revision} from the Hugging Face "
            f"hub ({reason}); {local}"
        ) from error
    where = f"{source.name}: {source.hub}@{source.revision}"
    expected = source.hub_rows or source.rows
    if expected is not None and len(raw) != expected and os.environ.get(UNVERIFIED) != "1":
        raise HarnessError(f"{where}: {len(raw)} rows, expected {expected}; {local}")
    if raw and (absent := sorted(set(source.fields.values()) - set(raw[0]))):
        raise HarnessError(f"{where}: no column {', '.join(absent)}; {local}")
    rows = [
        {"id": f"{source.name}_{i:04d}"} | {k: row[c] for k, c in source.fields.items()}
        for i, row in enumerate(raw)
    ]
    _check(rows, ("id", "problem"), where)
    for number, row in enumerate(rows, 1):
        row["answer"] = _answer(row["answer"], source.answer_form, f"{where}: row {number}")
    return rows


def _answer(value: Any, form: str, where: str) -> str | None:
    r"""An answer as the local files have it; None for none."""
    if form == "list":
        parts = [str(part).strip() for part in (value if isinstance(value, list) else [value])]
        text = ",".join(parts)
        whole = re.fullmatch(r"\$([^$]*)\$", text)
        return whole[1] if whole else text
    text = "" if value is None else str(value).strip()
    if form == "hash":
        return text.rpartition("####")[2].strip().replace(",", "")
    if form == "boxed":
        last = text[max(0, text.rfind("\\boxed")) :]
        if bare := re.match(r"\\boxed\s+(\w)", last):
            return bare[1]
        return None if re.match(r"\\boxed\s*\{\s*\}", last) else extract_answer(text)
    if form == "integer" and text:
        if not (number := re.fullmatch(r"(-?)0*(\d+)(\.0*)?", text)):
            raise HarnessError(f"{where}: the answer {text[:80]!r} is no integer")
        return number[1] + number[2]
    return text


def _items(rows: Iterable[dict[str, Any]], source: Source, where: str) -> list[dict[str, Any]]:
    """Rows with the item's keys and types. Raises HarnessError for a row without an answer."""
    items: list[dict[str, Any]] = []
    empty: list[str] = []
    for number, row in enumerate(rows, 1):
        answer, place = row.get("answer"), f"{source.name}: {where}: row {number}"
        if _blank(answer):
            empty.append(str(number))
            continue
        if not isinstance(answer, (str, int, float)) or isinstance(answer, bool):
            raise HarnessError(f"{place}: the answer is {type(answer).__name__}, not a string")
        if not isinstance(row["problem"], str):
            raise HarnessError(f"{place}: the problem is not a string")
        item: dict[str, Any] = {"id": str(row["id"]), "problem": row["problem"]}
        item["answer"] = str(answer)
        if source.answer_form == "integer":  # a copy may say 025 or 25.0
            item["answer"] = _answer(answer, "integer", place)
        item |= {k: str(row[k]) for k in ("solution", "subject") if not _blank(row.get(k))}
        if level := re.search(r"\d+", str(row.get("level"))):
            item["level"] = int(level[0])
        if not _blank(row.get("tolerance")):
            item["tolerance"] = _tolerance(row["tolerance"], place)
        items.append(item | _several_values(row))
    if len(empty) > source.empty_answers:
        known = f" ({source.empty_answers} expected)" if source.empty_answers else ""
        raise HarnessError(
            f"{source.name}: {where}: no answer in row {', '.join(empty[:5])}{known}"
        )
    return items


def _several_values(row: dict[str, Any]) -> dict[str, Any]:
    """Where a solution boxes several values: all of them, or any, by what the problem asks for.

    Such an item's ``answer`` is the last value alone, and ``answer_full`` lists them all.
    """
    if _blank(row.get("answer_full")):
        return {}
    if "comma" in row["problem"].lower():
        return {"answer": str(row["answer_full"])}
    others = [str(box) for box in row.get("all_boxed", ()) if box != row["answer"]]
    return {"also": others}


def _tolerance(value: Any, where: str) -> float:
    """OlympiadBench's absolute tolerance; of several, one for each value, the smallest."""
    try:
        found = min(float(part) for part in str(value).split(",") if part.strip())
    except ValueError:
        raise HarnessError(f"{where}: the tolerance {value!r} is no number") from None
    if not 0 <= found < float("inf"):
        raise HarnessError(f"{where}: the tolerance {value!r} is not a size")
    return found
