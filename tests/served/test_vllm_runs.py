"""Whole runs on a real vLLM: methods' rules, an engine that dies, versions that differ."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_run
from served_rows import KEYS, PROMPTS, agree
from tiny import make_mask, make_policy

from harness.cli import main
from harness.config import EngineConfig
from harness.engines import SamplingParams
from harness.engines.base import PortableRule
from harness.engines.rows import mask_record
from harness.engines.torch_engine import TorchEngine
from harness.engines.vllm_engine import VllmEngines
from harness.errors import HarnessError
from harness.methods import build, load_plugin, registry
from harness.phases.rules import portable
from harness.policy import Policy
from harness.run import execute
from harness.store import Status, read_json, read_parquet

SMALL = ("iterations=1", "evaluation.limit=2", "proposer.max_new_tokens=48")
RULES = ("min_p:p_base=0.2", "mirostat", "dvp", "temperature:tau=1.3+locally_typical:tau=0.5")


def served(config: EngineConfig, *more: str) -> list[str]:
    """Settings of a tiny run on vLLM."""
    said = {"name": "vllm", "python": config.python, "max_model_len": 256, "enforce_eager": True}
    return [*SMALL, *(f"engine.{k}={json.dumps(v)}" for k, v in said.items()), *more]


def rule_of(entry: str, policy: Policy) -> PortableRule:
    """The rule of an entry for the proposer's first rollouts."""
    from tiny import make_context

    method, canonical = build(entry)
    ctx = make_context(policy.tokenizer)
    params = method.sampling(ctx, SamplingParams(10, n=4))
    ctx.counts.clear()
    rule = portable(method.logits_rule(ctx, None), canonical, method, ctx, params)
    assert isinstance(rule, PortableRule)
    return rule


@pytest.mark.parametrize("entry", RULES)
def test_a_methods_rule_is_the_same_over_there(
    engines: VllmEngines, base_policy: Policy, entry: str
) -> None:
    """Its tokens, and what it counted."""
    counted: list[Mapping[str, float]] = []
    made = []
    for engine in (
        engines.of(base_policy),
        TorchEngine(base_policy.model, base_policy.tokenizer),
    ):
        rule = rule_of(entry, base_policy)
        made.append(
            engine.generate(PROMPTS, SamplingParams(10, n=4), row_keys=KEYS, logits_rule=rule)
        )
        counted.append(rule.count.__self__.counts)  # type: ignore[attr-defined]
    agree(*made)
    free = engines.of(base_policy).generate(PROMPTS, SamplingParams(10, n=4), row_keys=KEYS)
    assert free.response_ids.tolist() != made[0].response_ids.tolist()
    assert {k: pytest.approx(v, rel=1e-3) for k, v in counted[1].items()} == counted[0]


PLUGIN = '''
import torch
from harness.methods import Method, register

@register("no_twice")
class NoTwice(Method):
    """A rule in a file of one's own: no token twice."""
    def logits_rule(self, ctx, rule):
        return lambda logits, prefix, keys: logits.scatter(1, prefix, -torch.inf)
'''


def test_a_plugins_rule_and_a_worker_without_its_file(
    engines: VllmEngines, base_policy: Policy, tmp_path: Path
) -> None:
    path = tmp_path / "no_twice.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    try:
        rule = rule_of("no_twice", base_policy)
        params = SamplingParams(10, n=4)
        made = engines.of(base_policy).generate(PROMPTS, params, row_keys=KEYS, logits_rule=rule)
        for ids, n in zip(made.response_ids.tolist(), made.lengths, strict=True):
            assert len(set(ids[: int(n)])) == int(n)
        gone = tmp_path / "elsewhere" / "no_twice.py"
        recipe = {**rule.recipe, "plugins": [str(gone)]}
        lost = PortableRule(rule.rule, rule.maker, recipe, rule.count)
        with pytest.raises(HarnessError, match=f"vLLM: --plugin {gone}: no such file"):
            engines.of(base_policy).generate(PROMPTS, params, row_keys=KEYS, logits_rule=lost)
    finally:
        registry._ENTRIES.pop("no_twice", None)


def test_a_rule_without_a_recipe_is_refused(engines: VllmEngines, base_policy: Policy) -> None:
    with pytest.raises(HarnessError, match="has no recipe"):
        engines.of(base_policy).generate(
            PROMPTS, SamplingParams(2), row_keys=KEYS[:5], logits_rule=lambda x, prefix, keys: x
        )


def test_an_engine_that_dies_is_started_again(
    engine_config: EngineConfig, base_policy: Policy
) -> None:
    told: list[str] = []
    engines = VllmEngines(engine_config, "float32", lambda kind, what: told.append(kind))
    try:
        params = SamplingParams(20, n=4)
        engine = engines.of(base_policy)
        first = engine.generate(PROMPTS, params, row_keys=KEYS)
        (server,) = engines.servers
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # so that it dies with the question in its pipe
        threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
        agree(engine.generate(PROMPTS, params, row_keys=KEYS), first)
        assert told == ["engine_restart"]
        assert server.pid != pid
    finally:
        engines.close()


def test_one_that_dies_again_and_again_is_given_up(
    engine_config: EngineConfig, base_policy: Policy
) -> None:
    """Killed by the system at its first word, as for want of memory."""
    told: list[str] = []
    doomed = engine_config.model_copy(update={"call_timeout_s": 0.01})
    engines = VllmEngines(doomed, "float32", lambda kind, what: told.append(str(what["reason"])))
    try:
        with pytest.raises(HarnessError, match="it died 2 times in a row"):
            engines.of(base_policy).generate(PROMPTS, SamplingParams(200, n=4), row_keys=KEYS)
        assert len(told) == 1
        assert "no answer" in told[0]
    finally:
        engines.close()


def test_a_run_goes_on_over_an_engines_death(engine_config: EngineConfig, tmp_path: Path) -> None:
    """And asks the same questions as one on the torch engine: the draws are the same."""
    entry = "vocab_dropout:alpha=0.75"
    spec = tiny_run.spec(entry, 1, *served(engine_config))
    folder = spec.folder(tmp_path)
    killed = threading.Thread(target=_kill_the_server, args=(folder.path,))
    killed.start()
    status = execute(spec, tmp_path)
    killed.join()
    assert status in (Status.COMPLETED, Status.CURRICULUM_EXHAUSTED)
    kinds = [e["event"] for e in folder.events()]
    assert kinds.count("engine_restart") == 1
    manifest = read_json(folder.manifest_path)
    assert manifest["engine"]["name"] == "vllm"
    assert manifest["engine"]["vllm"][0].isdigit()
    ours = read_parquet(folder.iteration(1) / "questions.parquet")
    theirs = tiny_run.finished(entry, 1, *SMALL)
    expected = read_parquet(theirs.iteration(1) / "questions.parquet")
    # Rounding may put a draw on the other side of a boundary, after an update above all.
    same = (ours["response"] == expected["response"]).mean()
    assert same > 0.8
    gap = tiny_run.metrics(folder, 1)["train/proposer/logprob_gap_max"]
    assert gap < 1e-4


def _kill_the_server(folder: Path) -> None:
    """Once, in the middle of the curriculum."""
    from harness.store import RunFolder

    run = RunFolder(folder)
    for _ in range(6000):
        phases = [e.get("phase") for e in run.events() if e["event"] == "phase"]
        if "curriculum" in phases:
            break
        threading.Event().wait(0.05)
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "vllm_server"], capture_output=True, text=True
    )
    for pid in found.stdout.split():
        if pid not in _OTHERS:
            os.kill(int(pid), signal.SIGKILL)


_OTHERS: set[str] = set()


@pytest.fixture(autouse=True)
def _spare_the_shared_servers(engines: VllmEngines) -> None:
    _OTHERS.update(str(s.pid) for s in engines.servers)


def test_another_version_does_not_go_on(engine_config: EngineConfig, tmp_path: Path) -> None:
    spec = tiny_run.spec("static_proposer", 0, *served(engine_config))
    execute(spec, tmp_path)
    folder = spec.folder(tmp_path)
    manifest = read_json(folder.manifest_path)
    manifest["engine"]["vllm"] = "0.1.0"
    folder.manifest_path.write_text(json.dumps(manifest))
    folder.done_path.unlink()
    with pytest.raises(HarnessError, match="another engine, or version"):
        execute(spec, tmp_path)


def test_the_same_evaluation(
    engine_config: EngineConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`eval --engine vllm` gives the torch engine's table."""
    tables = []
    for engine in ("torch", "vllm"):
        arguments = ["--engine", engine]
        for setting in served(engine_config)[len(SMALL) + 1 :] if engine == "vllm" else []:
            arguments += ["--set", setting]
        code = main(
            [
                *("eval", "--model", "tasks/ladder/base", "--tasks", "ladder", "--limit", "6"),
                *("--out", str(tmp_path), "--json", *arguments),
            ]
        )
        out, _ = capsys.readouterr()
        assert code == 0
        tables.append(json.loads(out))
    assert tables[0] == tables[1]
    assert len({path.name for path in tmp_path.glob("base-*")}) == 2


def test_the_processor_of_the_second_runner(interpreter: str) -> None:
    """In vLLM's own environment, against its real interface."""
    script = Path(__file__).with_name("v2_places.py")
    stated = json.dumps(mask_record(make_mask(0.5, "sequence", vocab_size=48)) | PROTECTED)
    done = subprocess.run(
        [interpreter, str(script), stated],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tiny_run.ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "checked 18" in done.stdout


PROTECTED: dict[str, Any] = {"protected": {"ids": [3, 5], "counts": [["format", 2]]}}


def test_every_task_to_its_end(
    base_policy: Policy,
    engine_config: EngineConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All eight, greedy and sampled: the torch engine's table, response by response."""
    from qwen3_like import write_sets

    policy = make_policy(base_policy.tokenizer, head_dim=32, longest=1024)
    policy.save(tmp_path / "model")
    write_sets(tmp_path / "data")
    monkeypatch.setenv("COEVOLUTION_UNVERIFIED", "1")  # sums of our own
    benchmarks = ["gsm8k", "math", "math500", "minerva", "olympiad"]
    tasks = [
        "aime24",
        "aime25",
        "amc23",
        *(f"{b}{x}" for b in benchmarks for x in ("", "_sampled")),
    ]
    frames = []
    for engine in ("torch", "vllm"):
        out = tmp_path / engine
        arguments = ["--engine", engine]
        if engine == "vllm":
            served_by = {"python": engine_config.python, "enforce_eager": True}
            for key, value in served_by.items():
                arguments += ["--set", f"engine.{key}={json.dumps(value)}"]
        code = main(
            [
                *("eval", "--model", str(tmp_path / "model"), "--tasks", ",".join(tasks)),
                *("--limit", "2", "--samples", "2", "--max-new-tokens", "12"),
                *("--data", str(tmp_path / "data"), "--out", str(out), "--json", *arguments),
            ]
        )
        assert code == 0
        (items,) = out.glob("*/items.parquet")
        frames.append(read_parquet(items))
    capsys.readouterr()
    assert set(frames[0]["task"]) == {*benchmarks, "aime24", "aime25", "amc23"}
    assert len(frames[0]) == len(frames[1]) == 8 * 2 * (1 + 2)
    assert (frames[0]["response"] == frames[1]["response"]).mean() > 0.9
    same = ["task", "doc_id", "sample", "mode", "prompt_hash"]
    assert frames[0][same].equals(frames[1][same])
