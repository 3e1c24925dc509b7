"""The Qwen3 profiles: every value is traced, and a model of their shape passes every phase."""

from __future__ import annotations

from pathlib import Path

import pytest
import qwen3_like
import torch
import yaml
from tiny_run import ROOT

from harness.config import RunConfig, load_config
from harness.config.published import UNEXPLAINED, Entry, Published, diff, leaves, published
from harness.data import ENV, UNVERIFIED
from harness.launch.bounds import tokens_at_most
from harness.policy import Policy
from harness.roles import parse_proposal, proposer_messages, solver_messages
from harness.run import RunSpec, execute
from harness.store import Status, read_json, read_parquet

PROFILES = published().profiles
MODELS = {
    "qwen3-4b": "Qwen/Qwen3-4B-Base",
    "qwen3-8b": "Qwen/Qwen3-8B-Base",
    "qwen3-4b-instruct": "Qwen/Qwen3-4B",
    "qwen3-8b-instruct": "Qwen/Qwen3-8B",
}


@pytest.fixture(params=PROFILES)
def config(request: pytest.FixtureRequest) -> RunConfig:
    return load_config(request.param)[0]


def test_they_differ_in_the_model_alone(config: RunConfig) -> None:
    assert config.model.path == MODELS[config.profile]
    base = load_config("qwen3-8b")[0]
    changes = {"profile": config.profile, "model": config.model}
    assert base.model_copy(update=changes) == config
    assert config.model.model_copy(update={"path": base.model.path}) == base.model


def test_every_key_is_in_the_table(config: RunConfig) -> None:
    """Traced to a source or said to be ours: a key that is new in the schema has to choose."""
    assert set(leaves(config)) == set(published().keys)
    assert [row.key for row in diff(config)] == list(published().keys)


def test_every_difference_has_its_reason(config: RunConfig) -> None:
    rows = {row.key: row for row in diff(config)}
    assert [k for k, row in rows.items() if row.why == UNEXPLAINED] == []
    differing = {k for k, row in rows.items() if row.verdict == "different"}
    assert differing == {
        "roles.require_answer_box",
        "proposer.loss_mean",
        "solver.loss_mean",
        "proposer.top_p",
        "solver.top_p",
        "curriculum.top_p",
        "curriculum.max_rounds",
        "diversity.embedder",
        "grader_deadline_s",
    }


def test_what_training_is_made_of_is_traced(config: RunConfig) -> None:
    """In the sections of the algorithm a key of ours is one of these few."""
    sections = ("proposer", "solver", "votes", "curriculum", "iterations")
    ours = {r.key for r in diff(config) if r.verdict == "ours" and r.key.split(".")[0] in sections}
    assert ours == {
        "proposer.top_k",
        "proposer.max_nonfinite",
        "solver.top_k",
        "solver.checkpoint_every",
        "solver.max_nonfinite",
        "curriculum.top_k",
    }


def test_updates_are_those_of_the_scripts(config: RunConfig) -> None:
    """64 and 640 sequences an update: global batches of 16 and 128 prompts."""
    for stage, batch in ((config.proposer, 16), (config.solver, 128)):
        assert stage.prompts_per_step == batch * stage.minibatches
    assert config.curriculum.questions == 8 * config.curriculum.batch_size


def test_a_value_that_was_passed_is_told_apart() -> None:
    overrides = ["votes={n: 9}", "proposer.lr=1e-5"]
    config, passed = load_config("qwen3-8b", overrides=overrides)
    rows = {row.key: row for row in diff(config, passed)}
    assert (rows["votes.n"].verdict, rows["votes.n"].why) == ("different", "passed with --set")
    assert rows["proposer.lr"].why == rows["votes.top_k"].why == "passed with --set"
    assert rows["solver.lr"].verdict == "same"
    unsaid = {row.key: row for row in diff(config)}
    assert unsaid["proposer.lr"].why == UNEXPLAINED


def test_other_profiles_are_not_compared() -> None:
    assert diff(load_config("ladder")[0]) == []
    assert diff(load_config("qwen3-8b", smoke=True)[0]) == []


def test_an_entry_has_sources_or_a_reason() -> None:
    said = Published(one_of=(1, 2), mark="code")
    assert said.agrees(2)
    assert not said.agrees(3)
    assert Published(value=["b", "a"], mark="paper").agrees(("a", "b"))
    for bad in ({}, {"ours": "x", "code": said}, {"ours": ""}):
        with pytest.raises(ValueError, match=r"needs sources|at least 1"):
            Entry(**bad)
    for bad in ({}, {"value": 1, "one_of": (1,)}):
        with pytest.raises(ValueError, match="either value or one_of"):
            Published(mark="code", **bad)


def test_prompts_and_tasks(config: RunConfig) -> None:
    """The solver trains on the prompt of its evaluation; the proposer sees its format."""
    chat = yaml.safe_load((ROOT / "tasks" / "_chat.yaml").read_text())["doc_to_text"]
    (message,) = solver_messages(config.roles, "What is 1 + 1?")
    assert message["content"] == chat.replace("{{problem}}", "What is 1 + 1?")
    system, _ = proposer_messages(config.roles)
    assert parse_proposal(system["content"], config.roles).valid
    for name in config.evaluation.tasks:
        assert (ROOT / config.evaluation.include_path / f"{name}.yaml").is_file()


def test_smoke_is_small_and_needs_no_second_process(config: RunConfig) -> None:
    smoke = load_config(config.profile, smoke=True)[0]
    assert sum(tokens_at_most(smoke).values()) < 50_000
    assert (smoke.engine.name, smoke.training.processes) == ("torch", 1)
    assert smoke.model == config.model
    assert smoke.roles == config.roles
    assert smoke.evaluation.tasks == config.evaluation.tasks


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    roles = load_config("qwen3-8b")[0].roles
    return qwen3_like.save_players(tmp_path_factory.mktemp("players"), roles)


@pytest.mark.parametrize(
    ("profile", "method", "tied"),
    [
        pytest.param("qwen3-8b", "rzero", False, marks=pytest.mark.slow),
        ("qwen3-4b", "vocab_dropout:alpha=0.97", True),
    ],
)
def test_a_small_model_of_this_shape_passes_every_phase(
    profile: str,
    method: str,
    tied: bool,
    players: dict[bool, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real structure, vocabulary and padded head; the profile's tasks, on sums of ours."""
    monkeypatch.setenv(ENV, str(tmp_path / "data"))
    monkeypatch.setenv(UNVERIFIED, "1")
    qwen3_like.write_sets(tmp_path / "data")
    lengths = {"proposer": 32, "solver": 12, "votes": 12, "evaluation": 8}
    overrides = [f"{section}.max_new_tokens={n}" for section, n in lengths.items()]
    overrides += ["proposer.group_size=2", "curriculum.questions=4", "evaluation.limit=1"]
    overrides += [f"model.path={players[tied]}"]
    config, passed = load_config(profile, smoke=True, overrides=overrides)
    spec = RunSpec(method, 0, config, tuple(passed))

    assert execute(spec, tmp_path / "runs") is Status.COMPLETED

    run = spec.folder(tmp_path / "runs")
    manifest = read_json(run.manifest_path)
    assert manifest["vocabulary"] == qwen3_like.TOKENS < qwen3_like.HEAD
    assert set(manifest["data_hashes"]) >= {"math500", "gsm8k", "minerva", "olympiad"}
    metrics = read_json(run.iteration(1) / "metrics.json")
    assert metrics["proposer/valid"] > 0.5
    assert metrics["train/proposer/steps"] == metrics["train/solver/steps"] == 1
    assert metrics["train/proposer/updates_skipped"] == metrics["train/solver/updates_skipped"] == 0
    assert metrics["train/proposer/grad_norm"] > 0
    assert metrics["train/proposer/logprob_gap_alarm"] == 0
    if method != "rzero":
        assert metrics["train/proposer/mask/kept_tokens"] == pytest.approx(0.97, abs=0.01)
    questions = read_parquet(run.iteration(1) / "questions.parquet")
    asked = questions["question"].dropna()
    assert set(asked) & set(qwen3_like.PROBLEMS)
    assert len(read_parquet(run.iteration(1) / "curriculum.parquet")) >= 1
    for t in (0, 1):
        tasks = set(read_parquet(run.evaluation(t))["task"])
        assert tasks == {"math500", "gsm8k", "amc23", "minerva", "olympiad", "aime24", "aime25"}
    saved = Policy.load(run.iteration(1) / "solver", torch.bfloat16)
    assert saved.model.config.tie_word_embeddings is tied
    assert saved.model.get_output_embeddings().weight.shape == (qwen3_like.HEAD, 64)
