"""Runs on a Ray cluster of several nodes, all on this machine; one of them is killed."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_run

from harness.cli import main
from harness.errors import HarnessError
from harness.launch import Outcome, launch, loop, ray_launcher
from harness.launch.choice import Launcher
from harness.launch.node import do, versions
from harness.launch.process import task_of
from harness.launch.requests import Asked, Request, check_room, gpus_of
from harness.methods import registry
from harness.run import RunSpec
from harness.store import RunFolder, Status, read_json, write_json

pytest.importorskip("ray", reason="needs ray")
from ray.cluster_utils import Cluster

SMALL = ("iterations=1", "solver.steps=1")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
PLUGIN = '''
from harness.methods import Method, register

@register("tripping")
class Tripping(Method):
    """Trips over a bug."""
    def steps(self, ctx, steps):
        raise ValueError("first\\nsecond line")

@register("counting")
class Counting(Method):
    """Says that it was there."""
    def steps(self, ctx, steps):
        ctx.count("counted", 1)
        return steps
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two nodes that can do one run each."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    for _ in range(2):
        made.add_node(**NODE)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "two.py"
    path.write_text(PLUGIN)
    yield path
    for name in ("tripping", "counting"):
        registry._ENTRIES.pop(name, None)


def on_ray(
    cluster: Cluster,
    specs: Sequence[RunSpec],
    runs: Path,
    watch: Callable[[Sequence[RunSpec]], None] = lambda running: None,
    finished: Callable[[RunSpec], None] = lambda spec: None,
) -> list[Outcome]:
    launcher = Launcher.of("ray", cluster.address, None, None, None)
    with launcher.open(specs, runs) as pool:
        return launch(specs, runs, jobs=0, watch=watch, finished=finished, pool=pool)


def differing(folder: RunFolder, reference: RunFolder) -> list[str]:
    a, b = tiny_run.results(folder.path), tiny_run.results(reference.path)
    return sorted(n for n in a.keys() | b.keys() if a.get(n) != b.get(n))


def starts(folder: RunFolder) -> list[int]:
    """Process ids of all that began or went on with a run."""
    return [int(e["process"]) for e in folder.events() if e["event"] == "start"]


@pytest.mark.slow  # the next test ends in the same bytes, over a lost node
def test_results_are_those_of_the_local_launcher(cluster: Cluster, tmp_path: Path) -> None:
    """Those of `tiny_run.finished`, that is, as the local launcher's are."""
    runs = [("rzero", 0, *SMALL), ("vocab_dropout", 1, *SMALL)]
    specs = [tiny_run.spec(*run) for run in runs]
    told: list[RunSpec] = []
    together = []
    outcomes = on_ray(
        cluster,
        specs,
        tmp_path,
        watch=lambda running: together.append(len(running)),
        finished=told.append,
    )
    assert [(o.spec, o.status, o.error) for o in outcomes] == [
        (s, Status.COMPLETED, "") for s in specs
    ]
    assert sorted(told, key=specs.index) == specs
    assert max(together) == 2  # each node has room for one
    for run, spec in zip(runs, specs, strict=True):
        there, here = spec.folder(tmp_path), tiny_run.finished(*run)
        assert differing(there, here) == []
        assert read_json(there.manifest_path) == read_json(here.manifest_path)


def test_a_node_killed_inside_a_run(
    cluster: Cluster,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its run goes on where it was, on the other node, and ends in the same bytes."""
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.05)  # so that it is killed where it should be
    settings = ("iterations=1", "solver.steps=8", "solver.checkpoint_every=1")
    spec = tiny_run.spec("vocab_dropout", 0, *settings)
    folder = spec.folder(tmp_path)
    killed: list[int] = []

    def kill_once(running: Sequence[RunSpec]) -> None:
        steps = [e for e in folder.events() if e["event"] == "step" and e["role"] == "solver"]
        if killed or len(steps) < 3:
            return
        (process,) = starts(folder)
        (node,) = [n for n in cluster.worker_nodes if is_below(process, raylet(n))]
        killed.append(process)
        cluster.remove_node(node, allow_graceful=False)
        assert folder.status is Status.INCOMPLETE

    (outcome,) = on_ray(cluster, [spec], tmp_path, watch=kill_once)
    assert (outcome.status, outcome.error) == (Status.COMPLETED, "")
    assert len(killed) == 1
    assert starts(folder)[0] == killed[0]
    assert len(starts(folder)) == 2
    assert differing(folder, tiny_run.finished("vocab_dropout", 0, *settings)) == []
    # What came before the solver wasn't done again, nor was its first step.
    events = folder.events()
    assert sum(e["event"] == "phase" and e["phase"] == "curriculum" for e in events) == 1
    steps = [e["step"] for e in events if e["event"] == "step" and e["role"] == "solver"]
    assert steps.count(0) == 1
    out, said = capfd.readouterr()
    (line,) = [x for x in said.splitlines() if "given again" in x]
    assert line.startswith(f"{folder.path.name}: its node or worker was lost")
    assert "raylet" not in out


def raylet(node: Any) -> int:
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


def is_below(process: int, ancestor: int) -> bool:
    """Whether a process descends from another."""
    while process > 1 and process != ancestor:
        stat = Path(f"/proc/{process}/stat").read_text()
        process = int(stat.rpartition(")")[2].split()[1])
    return process == ancestor


def test_one_failing_run_does_not_stop_the_others(
    cluster: Cluster, tmp_path: Path, plugin: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of methods that come from a file, through the command line."""
    code = main(
        [
            *("sweep", "--methods", "tripping counting", "--plugin", str(plugin), "--seeds", "1"),
            *("--baseline", "counting", "--launcher", "ray", "--ray-address", cluster.address),
            *("--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--json"),
            *tiny_run.settings([*tiny_run.TINY, *SMALL]),
        ]
    )
    out, said = capfd.readouterr()
    assert code == 1
    (line,) = [x for x in said.splitlines() if x.startswith("error")]
    assert line.startswith("error: tripping, seed 0: ")
    assert "second line" in line
    assert "Traceback" not in said
    assert {row["method"] for row in json.loads(out)} >= {"counting"}
    (counted,) = (tmp_path / "runs").glob("counting-*")
    assert RunFolder(counted).status is Status.COMPLETED
    assert tiny_run.metrics(RunFolder(counted), 1)["method/counted"] == 2


def test_a_request_that_no_node_can_meet(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Is told before anything is written."""
    for option, value in (("--cpus", "64"), ("--gpus", "1"), ("--memory", "1e6")):
        code = main(
            [
                *("run", "--method", "rzero", "--launcher", "ray", option, value),
                *("--ray-address", cluster.address, "--runs", str(tmp_path / "runs")),
                *("--out", str(tmp_path / "out")),
            ]
        )
        said = capfd.readouterr().err
        assert code == 2
        assert said.count("\n") == 1, said
        assert said.startswith("error: --launcher ray: a run asks for ")
        assert "which no node of the cluster has (" in said
        assert list(tmp_path.iterdir()) == []


# Without a cluster.


@pytest.fixture
def fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command line; give back its one line of complaint."""

    def call(*arguments: str) -> str:
        folders = ("--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"))
        assert main(["run", "--method", "rzero", *folders, *arguments]) == 2
        out, said = capsys.readouterr()
        assert said.count("\n") == 1, said
        assert said.startswith("error: ")
        assert out == ""
        assert list(tmp_path.iterdir()) == []
        return said

    return call


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--launcher", "slurm"], "one of local, ray"),
        (["--cpus", "2"], "--cpus: for --launcher ray only"),
        (["--ray-address", "auto"], "--ray-address: for --launcher ray only"),
        (["--launcher", "ray", "--gpus", "1.5"], "a whole number"),
        (["--launcher", "ray", "--gpus", "-1"], "--gpus"),
        (["--launcher", "ray", "--cpus", "0"], "--cpus"),
        (["--launcher", "ray", "--memory", "nan"], "--memory"),
        (["--launcher", "ray", "--memory", "inf"], "a finite number"),
        (["--launcher", "ray", "--ray-address", "nowhere"], "expected HOST:PORT"),
        (["--launcher", "ray", "--ray-address", "ray://127.0.0.1:5"], "expected HOST:PORT"),
        (["--launcher", "ray", "--ray-address", "127.0.0.1:99999"], "expected HOST:PORT"),
        (["--launcher", "ray", "--ray-address", "127.0.0.1:1"], "no answer"),
    ],
)
def test_bad_arguments(fails: Callable[..., str], arguments: list[str], told: str) -> None:
    assert told in fails(*arguments)


def test_ray_is_not_installed(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(ray_launcher, "find_spec", lambda n: None if n == "ray" else there(n))
    assert "pip install 'coevolution-harness[ray]'" in fails("--launcher", "ray")


def test_what_a_run_asks_for(tmp_path: Path) -> None:
    spec = functools.partial(tiny_run.spec, "rzero", 0)
    assert Request.of(spec(), Asked(), tmp_path, with_gpus=True) == Request(1, 0)
    assert Request.of(spec("threads=3"), Asked(), tmp_path, with_gpus=True) == Request(3, 0)
    assert Request.of(spec(), Asked(2, 0.5, 4), tmp_path, with_gpus=False) == Request(
        2, 0.5, 4 * 2**30
    )
    here = "model.device=auto"  # the ladder stays on the CPU
    assert Request.of(spec(here), Asked(), tmp_path, with_gpus=True) == Request(1, 1)
    sharded = spec(here, "training.processes=4")
    assert Request.of(sharded, Asked(), tmp_path, with_gpus=True) == Request(4, 4)
    assert Request.of(sharded, Asked(), tmp_path, with_gpus=False) == Request(4, 0)
    vllm = (here, "engine.name=vllm", "engine.servers=2", "engine.tensor_parallel_size=2")
    assert gpus_of(spec(*vllm).config) == 5
    assert gpus_of(spec(*vllm, "engine.sleep=true").config) == 4
    # What a finished run of the same configuration took, whatever its method.
    cost = tiny_run.spec("vocab_dropout", 3).folder(tmp_path).cost_path
    cost.parent.mkdir()
    write_json(cost, {"peak_rss_bytes": 3 * 2**30})
    asked = Request.of(spec(), Asked(), tmp_path, with_gpus=True)
    assert asked == Request(1, 0, 3 * 2**30)
    assert str(asked) == "1 CPUs, 0 GPUs and 3.0 GiB"
    assert Request.of(spec("threads=3"), Asked(), tmp_path, with_gpus=True) == Request(3, 0)


def test_room_on_nodes() -> None:
    node: Mapping[str, float] = {"CPU": 8.0, "GPU": 2.0, "memory": 10.0 * 2**30}
    assert Request(2, 0).room(node) == 4
    assert Request(2, 1).room(node) == 2
    assert Request(0.1, 0).room(node) == 80
    assert Request(1, 0, 4 * 2**30).room(node) == 2
    assert Request(1, 1).room({"CPU": 8.0}) == 0
    check_room([Request(8, 2)], [{"CPU": 1.0}, node])
    with pytest.raises(HarnessError, match=r"asks for 9 CPUs, 0 GPUs, which no node .* add a node"):
        check_room([Request(8, 2), Request(9, 0)], [{"CPU": 1.0}, node])
    with pytest.raises(HarnessError, match="no nodes"):
        check_room([Request(1, 0)], [])


def test_a_node_that_cannot_do_the_run(tmp_path: Path) -> None:
    """Other versions, or a folder that isn't shared, are named together with the node."""
    spec = tiny_run.spec("rzero")
    task, name = task_of(spec, tmp_path, ()), spec.folder(tmp_path).path.name
    other = {**versions(), "torch": "1.0"}
    ending = do(name, task, other, os.getcwd(), {})
    assert ending.code == 2
    assert ending.error.startswith("node ")
    assert "has torch " in ending.error
    assert "(here 1.0)" in ending.error
    ending = do(name, task, versions(), os.getcwd(), {})
    assert ending.code == 2
    assert "must be a folder that all nodes share" in ending.error
    assert list(tmp_path.iterdir()) == []
