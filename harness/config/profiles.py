"""Profiles: YAML files that resolve to a `RunConfig`.

A profile that says ``extends: NAME`` (a shipped profile, or a file beside it) states differences
only: mappings are joined key by key, anything else is replaced. What it extends may extend another.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from harness.config.schema import EngineConfig, RunConfig
from harness.errors import HarnessError

PROFILES = Path(__file__).resolve().parents[1] / "profiles"


def list_profiles() -> list[str]:
    """The names of the shipped profiles."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml"))


def load_config(
    profile: str, *, smoke: bool = False, overrides: Sequence[str] = ()
) -> tuple[RunConfig, list[str]]:
    """Resolve a profile.

    Args:
        profile: a shipped profile's name or the path of a YAML file.
        smoke: apply the profile's ``smoke`` section, a size for a quick look.
        overrides: ``section.key=value`` strings; values are YAML.

    Returns:
        The configuration, and the dotted keys that were passed rather than defaulted.

    Raises:
        HarnessError: unknown profile, unknown key or bad value.
    """
    data = _read_chain(profile)
    smoke_section = data.pop("smoke", None) or {}
    if not isinstance(smoke_section, dict):
        raise HarnessError(f"profile {profile}: smoke: expected a mapping")
    data.setdefault("profile", Path(profile).stem)
    if smoke:
        _merge(data, smoke_section)
        data["profile"] = f"{data['profile']}-smoke"
    passed = []
    for item in overrides:
        key, value = _parse(item)
        _merge(data, _nested(key, value))
        passed.append(key)
    try:
        return RunConfig.model_validate(data), passed
    except ValidationError as error:
        raise HarnessError(f"profile {profile}: {_explain(error)}") from error


def load_engine(name: str, overrides: Sequence[str] = ()) -> EngineConfig:
    """An engine's configuration outside a run.

    Args:
        name: torch or vllm.
        overrides: ``engine.key=value`` strings; values are YAML.

    Raises:
        HarnessError: unknown engine, unknown key or bad value.
    """
    data: dict[str, Any] = {"name": name}
    for item in overrides:
        key, value = _parse(item)
        section, _, rest = key.partition(".")
        if section != "engine" or not rest:
            raise HarnessError(f"--set {item!r}: only engine.key=value means something here")
        _merge(data, _nested(rest, value))
    try:
        return EngineConfig.model_validate(data)
    except ValidationError as error:
        raise HarnessError(f"--engine {name}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, in one short line."""
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"]) or "config"
    if first["type"] == "missing":
        return f"{where}: missing"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, _keys(RunConfig), n=1)
        return f"{where}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
    got = repr(first["input"])
    return f"{where}: {first['msg']} (got {got if len(got) <= 80 else got[:77] + '...'})"


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted keys of a configuration."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _keys(field.annotation, f"{prefix}{name}.")
    return found


def _read_chain(profile: str) -> dict[str, Any]:
    """A profile joined with all that it extends.

    Raises:
        HarnessError: one of them is missing or unreadable, or extends itself.
    """
    path = _locate(profile, Path())
    seen, chain = [path.resolve()], [_read(path, profile)]
    while (base := chain[-1].pop("extends", None)) is not None:
        if not isinstance(base, str):
            raise HarnessError(f"profile {path}: extends: expected the name of a profile")
        path = _locate(base, path.parent)
        if path.resolve() in seen:
            raise HarnessError(f"profile {profile}: extends: {base} extends itself in the end")
        seen.append(path.resolve())
        chain.append(_read(path, base))
        chain[-1].pop("profile", None)  # a name is not inherited
    data: dict[str, Any] = {}
    for part in reversed(chain):
        _merge(data, part)
    return data


def _locate(profile: str, beside: Path) -> Path:
    """A shipped profile's file by its name, or a path; a relative one is sought in ``beside``."""
    named = profile.endswith((".yaml", ".yml"))
    return beside / profile if named else PROFILES / f"{profile}.yaml"


def _read(path: Path, profile: str) -> dict[str, Any]:
    if not path.is_file():
        known = ", ".join(list_profiles())
        raise HarnessError(f"profile {profile!r} not found; shipped: {known}; or give a .yaml file")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HarnessError(
            f"profile {path}: not readable as YAML ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(data, dict):
        raise HarnessError(f"profile {path}: expected a mapping at the top level")
    return data


def _parse(item: str) -> tuple[str, Any]:
    key, found, text = item.partition("=")
    if not found or not key:
        raise HarnessError(f"--set {item!r}: expected key=value, e.g. proposer.lr=1e-3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise HarnessError(
            f"--set {item!r}: unreadable value ({str(error).splitlines()[0]})"
        ) from error
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    return key, value


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, dot, rest = key.partition(".")
    return {head: _nested(rest, value) if dot else value}


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
