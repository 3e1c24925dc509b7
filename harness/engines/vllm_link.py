"""This process's end of a vLLM server: starting it, keeping its weights, starting it again."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.child import Child, ChildDiedError, Frame
from harness.config.schema import EngineConfig
from harness.engines.base import Weights
from harness.errors import HarnessError

MODULE = "harness.engines.vllm_server"
_SHAPES = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "tie_word_embeddings",
)


class VllmServer:
    """One server process, started when it is first needed.

    Args:
        config: the ``engine`` section.
        dtype: of the weights, as the trainer has them.
        tell: is told of what should be in the run's events.
        gpus: its CUDA_VISIBLE_DEVICES; None: as here.
    """

    def __init__(
        self,
        config: EngineConfig,
        dtype: str,
        tell: Callable[[str, Mapping[str, Any]], None],
        gpus: str | None = None,
    ) -> None:
        self.config, self.dtype, self._tell = config, dtype, tell
        self._environment = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
        self.holds: tuple[int, int] | None = None
        """The `Weights.key` of what it samples from."""
        self.asleep = False
        self._child: Child | None = None
        self._shapes: dict[str, Any] | None = None
        """The configuration of the model that is loaded; weights of another need a new process."""
        self._versions: dict[str, Any] | None = None

    def ask(self, command: str, record: Mapping[str, Any], shipment: Shipment) -> Frame:
        """Ask of the shipment's weights; a server that dies is started again.

        Raises:
            HarnessError: it can't do it, or died ``restarts`` times more.
        """
        for attempt in range(self.config.restarts + 1):
            try:
                self._hold(shipment)
                assert self._child is not None
                return self._child.ask(command, record, timeout_s=self.config.call_timeout_s)
            except ChildDiedError as error:
                self.close()
                if attempt == self.config.restarts:
                    raise HarnessError(
                        f"{error}; it died {attempt + 1} times in a row. Lower "
                        "engine.gpu_memory_utilization or engine.max_num_seqs, then give the same "
                        "command again"
                    ) from error
                self._tell("engine_restart", {"reason": str(error)})
        raise AssertionError

    @property
    def versions(self) -> dict[str, Any]:
        """Versions of vLLM and what it runs on, loading nothing.

        Raises:
            HarnessError: there is no vLLM.
        """
        if self._versions is None:
            self._process()
        assert self._versions is not None
        return self._versions

    def sleep(self) -> None:
        """Give its memory away, if it has any."""
        if self._child is not None and self._shapes is not None and not self.asleep:
            self._child.ask("sleep", timeout_s=self.config.start_timeout_s)
            self.asleep, self.holds = True, None

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
        self._child, self.holds, self.asleep, self._shapes = None, None, False, None

    def _hold(self, shipment: Shipment) -> None:
        """Have the process up, awake, and these weights in it."""
        weights = shipment.weights
        shapes = _shapes(weights.model)
        if self._shapes not in (None, shapes):
            self.close()
        child, patience = self._process(), self.config.start_timeout_s
        if self.asleep:
            child.ask("wake", timeout_s=patience)
            self.asleep = False
        if self.holds == weights.key:
            return
        self.holds = None
        folder = shipment.folder()
        if self._shapes is not None:
            child.ask("load", {"model": str(folder)}, timeout_s=patience)
        else:
            child.ask("start", self._settings(folder), timeout_s=patience)
            self._shapes = shapes
        self.holds = weights.key

    def _process(self) -> Child:
        """The process, which says what versions it has before it loads anything."""
        if self._child is None:
            child = Child(
                MODULE,
                name="vLLM",
                python=self.config.python,
                environment=self._environment,
            )
            try:
                versions, _ = child.ask("versions", timeout_s=self.config.start_timeout_s)
            except HarnessError:
                child.close()
                raise
            if self._versions not in (None, versions):
                child.close()
                raise HarnessError(
                    f"vLLM: {versions} where {self._versions} sampled before; one run has one "
                    "version: restore it, or begin anew in another --runs folder"
                )
            self._child, self._versions = child, versions
        return self._child

    def _settings(self, folder: Path) -> dict[str, Any]:
        passed = {
            "runner",
            "tensor_parallel_size",
            "max_model_len",
            "max_num_seqs",
            "gpu_memory_utilization",
            "enforce_eager",
            "sleep",
        }
        return {
            "model": str(folder),
            "dtype": self.dtype,
            **self.config.model_dump(include=passed),
        }


class Shipment:
    """A policy's weights on their way to servers, as a folder that all of them read.

    It is written where the first asks for it, unless the weights lie somewhere already.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._lock = threading.Lock()
        self._written: tempfile.TemporaryDirectory[str] | None = None

    def folder(self) -> Path:
        """Where they lie."""
        if self.weights.folder is not None:
            return self.weights.folder
        with self._lock:
            if self._written is None:
                written = tempfile.TemporaryDirectory(prefix="weights-")
                self.weights.save(Path(written.name))
                self._written = written
            return Path(self._written.name)

    def close(self) -> None:
        """Remove what was written."""
        if self._written is not None:
            self._written.cleanup()


def _shapes(model: Any) -> dict[str, Any]:
    """What two models must agree in for one to take the other's weights."""
    return {name: getattr(model.config, name, None) for name in _SHAPES}
