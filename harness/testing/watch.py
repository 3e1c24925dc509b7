"""Looks over a method's shoulder: what its hooks return, and what they leave changed."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from harness.config import RunConfig
from harness.errors import HarnessError, one_line
from harness.methods import Method
from harness.methods.base import HOOKS
from harness.testing.outputs import PROMISES


class BrokenPromiseError(HarnessError):
    """A hook returned what the loop can't use."""


def global_state() -> dict[str, object]:
    """Everything global that a hook could leave changed, by name."""
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002  (only read)
    keys, position = (numpy_state["state"][name] for name in ("key", "pos"))
    return {
        "random": random.getstate(),
        "numpy.random": (keys.tobytes(), position),
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's anomaly mode": torch.is_anomaly_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's threads": torch.get_num_threads(),
        "numpy's error mode": sorted(np.geterr().items()),
        "the warning filters": list(warnings.filters),
    }


class Watch:
    """Notes what hooks do; one for all starts of a run.

    Attributes:
        touched: (hook, what it left changed) of global state.
        calls: how often each hook was called.
        states: the method's state after each time that it was asked for.
    """

    def __init__(self) -> None:
        self.touched: list[tuple[str, str]] = []
        self.calls: dict[str, int] = {}
        self.states: list[dict[str, Any]] = []

    def over(self, method: Method) -> Method:
        """The method, watched."""
        return _Watched(method, self)

    def call(self, hook: str, method: Method, args: tuple[Any, ...]) -> Any:
        """Call a hook and judge what it did.

        Raises:
            BrokenPromiseError: the loop can't use what it returned.
        """
        before = global_state()
        result = getattr(method, hook)(*args)
        after = global_state()
        self.touched += [(hook, k) for k in before if before[k] != after[k]]
        self.calls[hook] = self.calls.get(hook, 0) + 1
        promise = PROMISES.get(hook)
        if promise is not None:
            try:
                promise(*args, result)
            except AssertionError as error:
                raise BrokenPromiseError(f"{hook}: {one_line(error)}") from error
        return result


class _Watched(Method):
    """Passes every hook on to another method, under a watch."""

    def __init__(self, method: Method, watch: Watch) -> None:
        super().__init__()
        self.inner, self.watch = method, watch

    def check(self, config: RunConfig) -> None:
        self.inner.check(config)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.watch.call("state_dict", self.inner, ())
        self.watch.states.append(state)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.watch.call("load_state_dict", self.inner, (state,))


def _passed_on(hook: str) -> Callable[..., Any]:
    def call(self: _Watched, *args: Any) -> Any:
        return self.watch.call(hook, self.inner, args)

    return call


for _hook in HOOKS:
    setattr(_Watched, _hook, _passed_on(_hook))
