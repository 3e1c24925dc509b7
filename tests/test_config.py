"""Profiles resolve to a typed configuration, or to one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.config import RunConfig, list_profiles, load_config
from harness.config.profiles import PROFILES
from harness.errors import HarnessError
from harness.run import RunSpec
from harness.store.run_folder import config_hash

MINIMAL = """
suite: mine
model: {path: some/model}
roles: {proposer_user: write}
proposer: {}
solver: {}
evaluation: {tasks: [gsm8k]}
"""


def refused(profile: str, *overrides: str, smoke: bool = False) -> str:
    with pytest.raises(HarnessError) as caught:
        load_config(profile, smoke=smoke, overrides=overrides)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


def write(tmp_path: Path, text: str, name: str = "mine.yaml") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


@pytest.mark.parametrize("name", list_profiles())
@pytest.mark.parametrize("smoke", [False, True])
def test_shipped_profiles_resolve(name: str, smoke: bool) -> None:
    config, passed = load_config(name, smoke=smoke)
    assert config.profile == (f"{name}-smoke" if smoke else name)
    assert passed == []
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_smoke_is_smaller_and_has_a_name_of_its_own() -> None:
    full, small = load_config("ladder")[0], load_config("ladder", smoke=True)[0]
    assert small.iterations < full.iterations
    assert small.curriculum.questions < full.curriculum.questions
    assert small.proposer.lr == full.proposer.lr


def test_defaults_are_the_baselines() -> None:
    config = RunConfig.model_validate({"profile": "x", **yaml.safe_load(MINIMAL)})
    assert (config.solver.clip_low, config.solver.clip_high, config.solver.dual_clip) == (
        0.2,
        0.3,
        3.0,
    )
    assert (config.curriculum.window_low, config.curriculum.window_high) == (0.25, 0.75)
    assert config.votes.n == 10
    assert config.iterations == 5
    assert config.baseline == "rzero"


def test_overrides_win_in_order_and_are_recorded() -> None:
    config, passed = load_config(
        "ladder",
        smoke=True,
        overrides=["proposer.lr=1e-4", "iterations=3", "iterations=4", "evaluation.limit=null"],
    )
    assert config.proposer.lr == 1e-4
    assert config.iterations == 4
    assert config.evaluation.limit is None
    assert passed == ["proposer.lr", "iterations", "iterations", "evaluation.limit"]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    config, _ = load_config(write(tmp_path, MINIMAL))
    assert (config.profile, config.suite) == ("mine", "mine")
    assert load_config(write(tmp_path, MINIMAL + "profile: named\n"))[0].profile == "named"
    assert load_config(write(tmp_path, MINIMAL + "smoke:\n"), smoke=True)[0].iterations == 5


def test_a_profile_extends_another_and_states_differences_only(tmp_path: Path) -> None:
    grand = "profile: grand\nvotes: {n: 7, top_k: 3}\nsmoke: {iterations: 2, threads: 3}\n"
    write(tmp_path, MINIMAL + grand, "grand.yaml")
    write(tmp_path, "extends: grand.yaml\nvotes: {n: 5}\niterations: 4\n", "parent.yaml")
    child = "extends: parent.yaml\nsmoke: {iterations: 1}\nevaluation: {tasks: [aime24]}\n"
    config, passed = load_config(write(tmp_path, child, "child.yaml"))
    assert (config.profile, config.suite, passed) == ("child", "mine", [])
    assert (config.votes.n, config.votes.top_k, config.iterations) == (5, 3, 4)
    assert config.evaluation.tasks == ("aime24",)
    small = load_config(str(tmp_path / "child.yaml"), smoke=True)[0]
    assert (small.profile, small.iterations, small.threads) == ("child-smoke", 1, 3)
    assert load_config(str(tmp_path / "grand.yaml"))[0].profile == "grand"


def test_a_profile_of_ones_own_extends_a_shipped_one(tmp_path: Path) -> None:
    config, _ = load_config(write(tmp_path, "extends: ladder\niterations: 3\n"))
    ladder = load_config("ladder")[0]
    assert config == ladder.model_copy(update={"profile": "mine", "iterations": 3})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: mine.yaml\n", "mine.yaml extends itself"),
        ("extends: other.yaml\n", "other.yaml extends itself"),
        ("extends: nowhere\n", "'nowhere' not found"),
        ("extends: [ladder]\n", "expected the name"),
        ("extends: ladder\nzzz: 1\n", "zzz: unknown key"),
    ],
)
def test_bad_extends_are_one_line(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, "extends: deeper.yaml\n", "other.yaml")
    write(tmp_path, "extends: other.yaml\n", "deeper.yaml")
    assert told in refused(write(tmp_path, text))


def test_unknown_profile_names_the_shipped_ones() -> None:
    for name in ("laddder", "/nowhere/x.yaml", "../profiles/ladder"):
        if (PROFILES / f"{name}.yaml").is_file():
            continue
        assert "ladder" in refused(name)


def test_unknown_keys_get_the_nearest() -> None:
    assert "proposer.lrr: unknown key; did you mean proposer.lr?" in refused(
        "ladder", "proposer.lrr=1"
    )
    assert "iteration: unknown key; did you mean iterations?" in refused("ladder", "iteration=1")
    assert "zzz: unknown key" in refused("ladder", "zzz=1")
    assert "unknown key" in refused("ladder", "a..b=1")


@pytest.mark.parametrize(
    "override",
    [
        "iterations=0",
        "iterations=two",
        "iterations=1.5",
        "iterations=[1, 2]",
        "iterations.x=1",
        "proposer=3",
        "proposer.lr=-1",
        "proposer.lr=.nan",
        "proposer.lr=.inf",
        "proposer.lr=nan",
        "solver.group_size=1",
        "solver.temperature=0",
        "votes.n=1",
        "curriculum.window_low=0.8",
        "curriculum.repetition_threshold=1",
        "evaluation.tasks=[]",
        "protected=[nothing]",
        "roles.solver_user=solve",
        "model.dtype=int4",
        "profile=../x",
        "profile=a/b",
        "profile=",
    ],
)
def test_bad_values_are_named(override: str) -> None:
    key = override.partition("=")[0].removesuffix(".x")
    assert key.split(".")[0] in refused("ladder", override)


@pytest.mark.parametrize("override", ["iterations", "=3", "", "proposer.lr=[", "x={a: b: c}"])
def test_bad_set_is_explained(override: str) -> None:
    assert "--set" in refused("ladder", override)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "a: [", "suite: x", MINIMAL + "smoke: 3\n", MINIMAL + "1: 2\n"]
)
def test_bad_files_are_one_line(tmp_path: Path, text: str) -> None:
    assert "mine.yaml" in refused(write(tmp_path, text))


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "mine.yaml" in refused(str(path))
    assert "python" in refused(write(tmp_path, "suite: !!python/object/apply:os.getcwd []"))


def test_hash_is_of_the_resolved_configuration() -> None:
    def digest(*overrides: str, seed: int = 0, method: str = "rzero") -> str:
        config, passed = load_config("ladder", overrides=overrides)
        return RunSpec(method, seed, config, tuple(passed)).digest

    plain = digest()
    assert len(plain) == 12
    assert digest("iterations=5") == plain  # passed or defaulted: the same run
    assert digest("proposer.lr=0.001") == digest("proposer.lr=1e-3") == plain
    assert digest(seed=7, method="vocab_dropout") == plain
    assert digest("iterations=4") != plain
    again = RunConfig.model_validate(load_config("ladder")[0].model_dump(mode="json"))
    assert RunSpec("rzero", 0, again).digest == plain


def test_hash_does_not_move_with_the_code() -> None:
    """A golden value: a change here would part every run folder from the command that made it."""
    assert config_hash({"b": [1, 2.5, None], "a": {"ü": True}}) == "ba314ada4336"


def test_a_section_that_came_later_leaves_old_names_alone() -> None:
    """The published runs' hash; and a section that says something counts."""
    before = config_hash(load_config("ladder")[0].identity())
    assert before == "0594d54a8125"
    for said in ("engine.python=/somewhere/python", "engine.restarts=9", "model.device=auto"):
        config, _ = load_config("ladder", overrides=[said])
        assert config_hash(config.identity()) == before
    for said in ("engine.name=vllm", "training.processes=2", "training.micro_tokens=4096"):
        config, _ = load_config("ladder", overrides=[said])
        assert config_hash(config.identity()) != before
