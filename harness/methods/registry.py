"""Methods by name: collisions refused, misses answered with the nearest names.

Sources: the packages named by the entry-point group ``harness.methods`` (the shipped
``baselines`` among them, which also works from a plain clone), and ``--plugin FILE``.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.methods.base import Method, overridden
from harness.methods.compose import Composite
from harness.store.run_folder import file_hash

GROUP = "harness.methods"
SHIPPED = "baselines"
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_COMMA = re.compile(r",(?![^\[]*\])")
"""A comma that isn't inside a list such as ``[digits, format]``."""
_ENTRIES: dict[str, MethodEntry] = {}
_LOADED: set[str] = set()
_PLUGINS: dict[str, str] = {}
"""Modules of plugin files, and the hash of what was imported."""

M = TypeVar("M", bound=type[Method])


@dataclass(frozen=True)
class MethodEntry:
    """A registered method."""

    name: str
    cls: type[Method]
    origin: str

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]

    def describe(self) -> dict[str, Any]:
        """Name, paper, parameters and hooks as JSON values."""
        fields = self.cls.Params.model_fields
        module = sys.modules[self.cls.__module__]
        schema = self.cls.Params.model_json_schema().get("properties", {})
        return {
            "name": self.name,
            "paper": self.cls.paper,
            "summary": self.summary,
            "doc": f"{inspect.getdoc(module) or ''}\n\n{inspect.getdoc(self.cls) or ''}".strip(),
            "origin": self.origin,
            "hooks": list(overridden(self.cls)),
            "parameters": {
                key: {
                    "default": field.get_default(call_default_factory=True),
                    "description": field.description or "",
                    **{k: v for k, v in schema.get(key, {}).items() if k in _SHOWN},
                }
                for key, field in fields.items()
            },
        }


_SHOWN = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "anyOf")


def register(name: str) -> Callable[[M], M]:
    """Class decorator: make a method known under ``name``.

    Raises:
        HarnessError: a malformed name, or one that is taken.
    """

    def add(cls: M) -> M:
        if not _NAME.match(name):
            raise HarnessError(f"method name {name!r}: use lower-case letters, digits and _")
        origin = f"{cls.__module__}.{cls.__qualname__}"
        taken = _ENTRIES.get(name)
        if taken and taken.origin != origin:
            raise HarnessError(
                f"method name {name!r} of {origin} is already taken by {taken.origin}; rename it"
            )
        cls.name = name
        _ENTRIES[name] = MethodEntry(name, cls, origin)
        return cls

    return add


def load_plugin(path: str | Path) -> list[str]:
    """Import a Python file that registers methods.

    Returns:
        The names it added.

    Raises:
        HarnessError: missing file, an error while importing, or nothing registered.
    """
    file = Path(path).resolve()
    if str(file) in _LOADED:
        return []
    if not file.is_file():
        raise HarnessError(f"--plugin {path}: no such file")
    _load_packages()
    before = dict(_ENTRIES)
    source = file.read_bytes()
    # Two files of one name in different folders are two modules.
    place = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    module_name = f"harness_plugin_{file.stem}_{place}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise HarnessError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _ENTRIES.clear()  # a file that fails half-way leaves nothing behind
        _ENTRIES.update(before)
        if isinstance(error, HarnessError):
            raise
        raise HarnessError(f"--plugin {path}: {type(error).__name__}: {error}") from error
    added = sorted(set(_ENTRIES) - set(before))
    if not added:
        raise HarnessError(f"--plugin {path}: registers no method; decorate one with @register")
    _LOADED.add(str(file))
    _PLUGINS[module_name] = hashlib.sha256(source).hexdigest()[:16]
    return added


def plugin_hash(spec: str) -> str | None:
    """Identifies the files that an entry's methods came from or read; None without any."""
    modules = {get(part.strip().partition(":")[0]).cls.__module__ for part in spec.split("+")}
    found = sorted(_PLUGINS[m] for m in modules if m in _PLUGINS)
    found += [file_hash(path) for path in build(spec)[0].files()]
    return "+".join(found) or None


def plugin_files(spec: str) -> list[str]:
    """The plugin files that an entry's methods were imported from."""
    modules = {get(part.strip().partition(":")[0]).cls.__module__ for part in spec.split("+")}
    return sorted(str(sys.modules[m].__file__) for m in modules if m in _PLUGINS)


def entries() -> list[MethodEntry]:
    """All known methods, by name."""
    _load_packages()
    return [_ENTRIES[name] for name in sorted(_ENTRIES)]


def get(name: str) -> MethodEntry:
    """One method.

    Raises:
        HarnessError: unknown name; the nearest ones are suggested.
    """
    _load_packages()
    if name in _ENTRIES:
        return _ENTRIES[name]
    near = difflib.get_close_matches(name, _ENTRIES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "see `python -m harness methods`"
    raise HarnessError(f"unknown method {name!r}; {hint}")


def build(spec: str) -> tuple[Method, str]:
    """A method from its entry, such as ``vocab_dropout:alpha=0.75,granularity=group+kl_cov``.

    Returns:
        The method and the entry's canonical name (parameters sorted, defaults left out).

    Raises:
        HarnessError: unknown method or parameter, or a value out of range.
    """
    methods, names = [], []
    for part in spec.split("+"):
        name, _, text = part.strip().partition(":")
        cls = get(name).cls
        params = _parse_params(name, text)
        try:
            method = cls(params)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(p) for p in first["loc"]) or "parameters"
            known = ", ".join(cls.Params.model_fields) or "none"
            raise HarnessError(
                f"method {name}: {key}: {first['msg']} (got {first['input']!r}; "
                f"parameters: {known})"
            ) from error
        methods.append(method)
        names.append(_canonical(name, method))
    if len(set(names)) < len(names):
        raise HarnessError(f"method {spec!r}: the same method twice")
    if len(methods) == 1:
        return methods[0], names[0]
    return Composite(methods), "+".join(names)


def _canonical(name: str, method: Method) -> str:
    values = method.params.model_dump(mode="json")
    defaults = method.Params().model_dump(mode="json")
    changed = [
        f"{k}={'null' if values[k] is None else values[k]}"
        for k in sorted(values)
        if values[k] != defaults[k]
    ]
    return f"{name}:{','.join(changed)}" if changed else name


def _parse_params(name: str, text: str) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for item in filter(None, _COMMA.split(text)):
        key, found, value = item.partition("=")
        if not found:
            raise HarnessError(f"method {name}: {item!r}: expected key=value")
        try:
            params[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise HarnessError(f"method {name}: {item!r}: unreadable value") from error
    return params


@functools.cache
def _load_packages() -> None:
    for package in sorted({SHIPPED} | {e.value for e in entry_points(group=GROUP)}):
        module = importlib.import_module(package)
        for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
            importlib.import_module(f"{package}.{info.name}")
