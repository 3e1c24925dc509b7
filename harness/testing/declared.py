"""What a class says of itself: docstring, hooks, parameters. No run needed."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from harness.errors import HarnessError
from harness.methods import Method, build
from harness.methods.base import HOOKS, overridden
from harness.testing.subject import Subject

LABELS = ("Equation", "Defaults", "Hook", "Unconfirmed")
_SUMMARY = (20, 100)
_ALIKE = 0.85
"""Likeness (difflib) from which on a name is taken for a misspelt hook."""
_NONSENSE: Any = {"no": {"value": "of any parameter"}}


def docstring(subject: Subject) -> None:
    """Summary, labelled parts, paper."""
    own = inspect.cleandoc(subject.cls.__doc__ or "")
    assert own, "no docstring"
    summary = own.partition("\n")[0].strip()
    low, high = _SUMMARY
    assert low <= len(summary) <= high, (
        f"a summary of {len(summary)}, not {low} to {high} characters"
    )
    assert summary.endswith("."), "the summary line doesn't end in a full stop"
    module = inspect.getdoc(sys.modules[subject.cls.__module__]) or ""
    told = f"{module}\n\n{own}"
    following = "|".join(LABELS)
    absent = [
        label
        for label in LABELS
        if not re.search(rf"(?:^|\s){label}:\s+(?!(?:{following}):)\S", told)
    ]
    assert not absent, f"no part {', '.join(f'`{a}:`' for a in absent)}"
    paper = subject.cls.paper
    if paper:
        assert re.fullmatch(r"\d{4}\.\d{5}", paper), f"paper {paper!r} is no arXiv number"
        assert paper in told, f"arXiv {paper} isn't named"


def hooks(subject: Subject) -> None:
    """Spelling and arguments."""
    known = {name for name in vars(Method) if not name.startswith("_")}
    for cls in subject.cls.__mro__:
        if cls in Method.__mro__:
            continue
        for name, value in vars(cls).items():
            if name.startswith("_") or name in known or not inspect.isfunction(value):
                continue
            near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=_ALIKE)
            assert not near, f"{name} is no hook; is {near[0]} meant? (else choose another name)"
    for hook in overridden(subject.cls):
        wanted = len(inspect.signature(getattr(Method, hook)).parameters)
        try:
            inspect.signature(getattr(subject.cls, hook)).bind(*range(wanted))
        except TypeError as error:
            raise HarnessError(f"{hook}: called with {wanted - 1} arguments: {error}") from error


def parameters(subject: Subject) -> None:
    """Explanations, refusals, names."""
    cls = subject.cls
    _accepts(cls, {})
    _accepts(cls, cls.active)
    _accepts(cls, cls.off or {})
    assert not _taken(cls, {"no_such_parameter": 1}), "an unknown parameter is taken"
    schema = cls.Params.model_json_schema().get("properties", {})
    for name, field in cls.Params.model_fields.items():
        explained = field.description or "enum" in schema[name]
        assert explained, f"{name}: no description, and no list of choices"
        assert not _taken(cls, {name: _NONSENSE}), f"{name}: takes {_NONSENSE}"
        assert not _taken(cls, {name: float("nan")}), f"{name}: takes nan"
    if subject.registered:
        for params in ({}, cls.active, cls.off or {}):
            _name_survives(subject, params)


def _accepts(cls: type[Method], params: Mapping[str, Any]) -> None:
    try:
        cls(params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise HarnessError(
            f"its own {dict(params) or 'defaults'}: {where}: {first['msg']}"
        ) from error


def _taken(cls: type[Method], params: Mapping[str, Any]) -> bool:
    try:
        cls(params)
    except ValidationError:
        return False
    return True


def _name_survives(subject: Subject, params: Mapping[str, Any]) -> None:
    """The entry written out, its canonical name, and that name's: one and the same method."""
    text = ",".join(f"{k}={_spelt(v)}" for k, v in params.items())
    method, canonical = build(f"{subject.name}:{text}" if text else subject.name)
    again, same = build(canonical)
    assert same == canonical, f"{canonical} is read as {same}"
    assert again.params == method.params, f"{canonical} gives other parameters than {dict(params)}"
    wanted = subject.cls(params).params
    assert method.params == wanted, f"{text} on the command line gives other parameters"


def _spelt(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
