"""A child process: answers, errors that leave it alive, deaths that are told as such."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.child import Child, ChildDiedError, ChildError
from harness.errors import HarnessError

MODULE = """
import os, sys, time
import torch
from harness.child import serve
from harness.errors import HarnessError

def double(record, tensors):
    print("libraries print what they like")
    return {"told": record}, {name: 2 * t for name, t in tensors.items()}

def refuse(record, tensors):
    raise HarnessError("not today;\\ntry tomorrow")

def trip(record, tensors):
    raise ValueError("a bug")

def die(record, tensors):
    print("out of memory", file=sys.stderr, flush=True)
    os._exit(9)

def hang(record, tensors):
    time.sleep(600)

sys.exit(serve({"double": double, "refuse": refuse, "trip": trip, "die": die, "hang": hang}))
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    (tmp_path / "answering.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Child("answering", name="helper")
    yield made
    made.close()


def test_records_and_tensors_come_back(child: Child) -> None:
    """Larger than a pipe's buffer, and whatever the child's libraries print."""
    sent = {"a": torch.arange(200_000), "b": torch.zeros(0, 3), "c": torch.randn(2).bfloat16()}
    record, tensors = child.ask("double", {"x": [1, None, "é"]}, sent)
    assert record == {"told": {"x": [1, None, "é"]}}
    assert tensors.keys() == sent.keys()
    for name, tensor in sent.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], 2 * tensor)


def test_an_error_is_one_line_and_the_child_lives(child: Child) -> None:
    with pytest.raises(ChildError, match=r"^helper: not today; try tomorrow$"):
        child.ask("refuse")
    with pytest.raises(ChildError, match="ValueError: a bug"):
        child.ask("trip")
    with pytest.raises(ChildError, match="unknown command 'nothing'"):
        child.ask("nothing")
    assert child.ask("double")[0] == {"told": {}}


def test_a_death_says_how_and_what_was_said_last(child: Child) -> None:
    with pytest.raises(ChildDiedError, match=r"^helper: ended with code 9 \(out of memory\)$"):
        child.ask("die")
    with pytest.raises(ChildDiedError):
        child.ask("double")


def test_a_silent_child_is_killed(child: Child) -> None:
    with pytest.raises(ChildDiedError, match="no answer in 1 s"):
        child.ask("hang", timeout_s=1)
    with pytest.raises(ChildDiedError):
        child.ask("double")


def test_a_killed_child_is_told_by_its_signal(child: Child) -> None:
    child.ask("double")
    child.kill()
    with pytest.raises(ChildDiedError, match="ended by signal 9"):
        child.ask("double")


def test_it_goes_when_it_is_let_go(child: Child) -> None:
    child.ask("double")
    started = time.monotonic()
    child.close()
    child.close()
    assert time.monotonic() - started < 15
    assert child._process.poll() == 0


def test_no_such_interpreter() -> None:
    with pytest.raises(HarnessError, match="No such file"):
        Child("answering", name="helper", python="/nowhere/python")
