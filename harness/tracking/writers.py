"""What experiment trackers need to be told, one small class per tracker."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TextIO

from harness.errors import HarnessError
from harness.tracking.events import Scalars

PROJECT = "coevolution-harness"
_NETWORK_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class RunInfo:
    """What a tracker shows of a run beside its scalars.

    Attributes:
        name: of the run folder.
        group: the method's entry.
        config: the manifest: resolved configuration, seed, hashes, versions.
    """

    name: str
    group: str
    config: Mapping[str, Any]


class Writer(Protocol):
    """One run in one tracker. Any method may raise whatever its library raises.

    A run is opened with all of its scalars to come from the first one on, in the same order
    whenever it is opened: one that was opened before must not hold them twice afterwards.
    """

    def write(self, known: Scalars) -> None:
        """Scalars of an iteration or of a step."""

    def flush(self) -> None:
        """Let what was written be seen."""

    def close(self, status: str) -> None:
        """The run has ended, or this process stops looking at it (``incomplete``)."""


Open = Callable[[RunInfo, Path], Writer]
"""Opens a run in a tracker; its files go under the folder."""


def tags(known: Scalars) -> dict[str, float]:
    """Scalars by the name they have in every tracker: ``metrics/...``, ``steps/<role>/...``."""
    prefix = "metrics" if known.kind == "metrics" else f"steps/{known.role}"
    return {f"{prefix}/{name}": value for name, value in known.values.items()}


class TensorBoardWriter:
    """A folder with one event file, written anew whenever the run is opened.

    The file is framed by tensorboard's own record writer, which neither imports tensorflow nor
    hides a full disk in a thread of its own.
    """

    def __init__(self, run: RunInfo, folder: Path) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2
        target = folder / run.name
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("events.out.tfevents.*"):
            old.unlink()
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self._file: BinaryIO = open(target / name, "wb")  # noqa: SIM115  (closed by close())
        self._records = RecordWriter(self._file)
        self._add(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))
        text = json.dumps(run.config, indent=1, sort_keys=True, default=str)
        self._config = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, string_val=[f"```\n{text}\n```".encode()]
        )
        plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
        about = summary_pb2.SummaryMetadata(plugin_data=plugin)
        value = summary_pb2.Summary.Value(tag="config", metadata=about, tensor=self._config)
        self._add(self._event(wall_time=time.time(), summary=summary_pb2.Summary(value=[value])))

    def write(self, known: Scalars) -> None:
        value = self._summary.Summary.Value
        values = [value(tag=tag, simple_value=x) for tag, x in tags(known).items()]
        summary = self._summary.Summary(value=values)
        self._add(self._event(wall_time=known.time, step=known.x, summary=summary))

    def flush(self) -> None:
        self._file.flush()

    def close(self, status: str) -> None:
        self._file.close()

    def _add(self, event: Any) -> None:
        self._records.write(event.SerializeToString())


class WandbWriter:
    """A W&B run whose rows are numbered, so that one that goes on skips those it has."""

    def __init__(self, run: RunInfo, folder: Path) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        wanted = {
            "silent": True,
            "console": "off",
            "disable_git": True,
            "save_code": False,
            "init_timeout": _NETWORK_PATIENCE_SECONDS,
            "finish_timeout": _NETWORK_PATIENCE_SECONDS,
            "x_disable_meta": True,
            "x_disable_stats": True,
        }
        known = wandb.Settings.model_fields  # they come and go between versions
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=_short(run.name),
            name=run.name,
            group=run.group[:128],
            config=json.loads(json.dumps(run.config, default=str)),
            dir=str(folder.parent),  # in which W&B makes its own folder `wandb`
            resume=None if os.environ.get("WANDB_MODE") == "offline" else "allow",
            reinit="create_new",
            settings=wandb.Settings(**{k: v for k, v in wanted.items() if k in known}),
        )
        for kind, x in (
            ("metrics", "iteration"),
            *((f"steps/{role}", f"steps/{role}/global_step") for role in ("proposer", "solver")),
        ):
            self._run.define_metric(x, hidden=True)
            self._run.define_metric(f"{kind}/*", step_metric=x)
        self._row, self._there = 0, int(self._run.step)

    def write(self, known: Scalars) -> None:
        if self._row >= self._there:
            metrics = known.kind == "metrics"
            x = "iteration" if metrics else f"steps/{known.role}/global_step"
            self._run.log({**tags(known), x: known.x}, step=self._row)
        self._row += 1

    def flush(self) -> None:
        """W&B sends by itself."""

    def close(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status in ("completed", "curriculum_exhausted") else 1)


class TrackioWriter:
    """A trackio run, written anew whenever it is opened."""

    def __init__(self, run: RunInfo, folder: Path) -> None:
        # Its folder is read from the environment, once, at import.
        os.environ.setdefault("TRACKIO_DIR", str(folder.resolve()))
        import trackio

        warnings.filterwarnings("ignore", module=r"trackio\.")  # told by `_check` instead
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        remote = any(os.environ.get(f"TRACKIO_{x}") for x in ("SPACE_ID", "SERVER_URL"))
        if not remote:
            with contextlib.suppress(ValueError):  # no such project yet
                for old in trackio.Api().runs(project):
                    if old.name == run.name:
                        old.delete()
        config = json.loads(json.dumps(run.config, default=str))

        def start() -> Any:
            return trackio.init(
                project,
                name=run.name,
                group=run.group,
                config=config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

        with _mute():
            # It holds one run at a time in context variables: each run has a context of its own.
            self._run = Context().run(start)

    def write(self, known: Scalars) -> None:
        self._run.log(tags(known), step=known.x)
        self._check()

    def flush(self) -> None:
        """Its own thread writes twice a second."""
        self._check()

    def close(self, status: str) -> None:
        with _mute():
            self._run.finish()
        self._check()

    def _check(self) -> None:
        """It never raises; what went wrong is only warned about."""
        failures = sorted(getattr(self._run, "_warned_failures", ()))
        if failures:
            raise OSError(f"it could not write ({failures[0]})")


class _Muted:
    """Standard output without what one thread prints; the other threads' passes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        muted = threading.get_ident() == self._thread
        return len(text) if muted else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _mute() -> Iterator[None]:
    with contextlib.redirect_stdout(_Muted(sys.stdout)):
        yield


@dataclass(frozen=True)
class Tracker:
    """A tracker that can be asked for by name."""

    name: str
    open: Open

    KNOWN: ClassVar[Mapping[str, Open]] = {
        "tensorboard": TensorBoardWriter,
        "wandb": WandbWriter,
        "trackio": TrackioWriter,
    }


def trackers(asked: Sequence[str] | None) -> list[Tracker]:
    """The trackers of ``--log`` options, each a name or several with commas between them.

    Raises:
        HarnessError: an unknown one, one whose package isn't installed, or W&B without a key.
    """
    names = [name.strip() for text in asked or [] for name in text.split(",") if name.strip()]
    for name in names:
        if name not in Tracker.KNOWN:
            raise HarnessError(f"--log {name}: unknown; there are {', '.join(Tracker.KNOWN)}")
        if find_spec(name) is None:
            raise HarnessError(
                f"--log {name}: {name} isn't installed; pip install 'coevolution-harness[{name}]'"
            )
        if name == "wandb":
            _check_wandb()
    return [Tracker(name, Tracker.KNOWN[name]) for name in dict.fromkeys(names)]


def _check_wandb() -> None:
    """A key must be there now: W&B would ask for it later, in the middle of a sweep."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return
    wandb = importlib.import_module("wandb")
    try:
        there = wandb.login(prompt=False, verify=False)
    except TypeError:  # versions that can't be told not to ask
        there = bool(wandb.api.api_key)
    if not there:
        raise HarnessError(
            "--log wandb: no API key; run `wandb login`, or set WANDB_MODE=offline and "
            "`wandb sync` later"
        )


def _short(name: str) -> str:
    """A W&B id: at most 64 harmless characters, the same for the same name."""
    plain = re.sub(r"[^A-Za-z0-9_.+=,-]", "_", name)
    if plain == name and len(name) <= 64:
        return name
    return f"{plain[:51]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
