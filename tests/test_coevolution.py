"""The loop on the shipped ladder base: what a run leaves behind, and how it can end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch
from safetensors.torch import load_file

from harness.engines.base import Rollouts
from harness.engines.torch_engine import TorchEngine
from harness.errors import HarnessError
from harness.evaluation.runner import EVAL_COLUMNS
from harness.grading import extract_answer
from harness.methods import load_plugin, registry
from harness.run import execute
from harness.store import RunFolder, Status, read_json, read_parquet

PLUGIN = '''
import torch
from dataclasses import replace
from harness.methods import Method, register

@register("nan_loss")
class NanLoss(Method):
    """Never finite."""
    def token_loss(self, ctx, x, loss):
        ctx.count("spoiled")
        return replace(loss, loss=loss.loss * float("nan"))

@register("wrong_replay")
class WrongReplay(Method):
    """Tells the trainer another old policy than the one that sampled."""
    def token_stats(self, ctx, batch, stats, tools):
        return {**stats, "old": stats["old"] - 1.0}

class Jurors(Method):
    """Asks for the solvers named by ``of(t)``, and notes what the votes look like."""
    def jury(self, ctx, snapshots):
        return self.of(ctx.iteration)
    def reward(self, ctx, batch, rewards):
        if ctx.role == "proposer":
            for seen, tally in zip(batch.jury, batch.tallies, strict=True):
                assert len(seen) == len(self.of(ctx.iteration)) and seen[0] is tally
                ctx.count("jurors_apart", len(seen) > 1 and seen[0] != seen[1])
            ctx.count("jurors", len(batch.jury[0]))
        return rewards

@register("last_and_base_jury")
class LastAndBase(Jurors):
    """The newest solver first, and the base model."""
    def of(self, t):
        return tuple(dict.fromkeys((t - 1, 0)))

@register("old_jury")
class OldJury(Jurors):
    """The newest solver and that of iteration 1, once there is one."""
    def of(self, t):
        return (t - 1,) if t < 3 else (t - 1, 1)

@register("empty_jury")
class EmptyJury(Jurors):
    """Nobody votes."""
    def of(self, t):
        return ()

@register("future_jury")
class FutureJury(Jurors):
    """Asks for a solver that isn't trained yet."""
    def of(self, t):
        return (t,)
'''


@pytest.fixture(scope="module", autouse=True)
def _plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = tmp_path_factory.mktemp("plugins") / "spoilers.py"
    path.write_text(PLUGIN)
    names = load_plugin(path)
    yield
    for name in names:  # other tests look at all methods
        del registry._ENTRIES[name]


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


# What a run leaves behind.


def test_files_and_columns() -> None:
    run = tiny_run.finished("rzero")
    found = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    top = {"manifest.json", "done.json", "cost.json", "events.jsonl", "lock"}
    per_iteration = {f"{n}.json" for n in ("metrics", "propose", "curriculum", "solve", "measure")}
    per_iteration |= {f"{n}.parquet" for n in ("questions", "votes", "curriculum", "checks")}
    expected = top | {f"iterations/{t:02d}/{n}" for t in (1, 2) for n in per_iteration}
    expected |= {"eval/00.parquet", "eval/02.parquet"}
    assert {f for f in found if "proposer/" not in f and "solver/" not in f} == expected
    # Only the last checkpoints stay, as ordinary Hugging Face folders.
    kept = {"/".join(f.split("/")[:3]) for f in found if f.endswith("model.safetensors")}
    assert kept == {"iterations/02/proposer", "iterations/02/solver"}

    questions = read_parquet(run.iteration(1) / "questions.parquet")
    votes = read_parquet(run.iteration(1) / "votes.parquet")
    curriculum = read_parquet(run.iteration(1) / "curriculum.parquet")
    checks = read_parquet(run.iteration(1) / "checks.parquet")
    assert list(questions) == [
        "question_id",
        "response",
        "question",
        "valid",
        "truncated",
        "tokens",
        "surprisal",
        "label",
        "p_hat",
        "solution",
        "selected",
    ]
    assert list(votes) == ["question_id", "vote", "answer", "cluster"]
    assert list(curriculum) == ["question_id", "question", "label", "p_hat"]
    assert list(checks) == ["question_id", "topic", "tier", "well_posed", "true_answer"]
    assert list(read_parquet(run.evaluation(0))) == list(EVAL_COLUMNS)

    valid = questions[questions["valid"]]
    assert len(questions) == 24
    assert len(votes) == 4 * len(valid)
    assert list(checks["question_id"]) == list(valid["question_id"])
    chosen = questions[questions["selected"]]
    assert list(chosen["question_id"]) == sorted(curriculum["question_id"])
    assert chosen["p_hat"].between(0.25, 0.75).all()
    assert questions.loc[~questions["valid"], ["question", "label", "p_hat"]].isna().all(axis=None)
    assert (questions["surprisal"] > 0).all()  # nats per token; invalid proposals have one, too
    # A solution is a response that gives the majority's answer, where there is one.
    assert (questions["solution"].notna() == questions["label"].notna()).all()
    for row in questions[questions["label"].notna()].itertuples():
        assert extract_answer(row.solution) is not None
    posed = checks["well_posed"]
    assert checks.loc[posed, "true_answer"].notna().all()
    assert checks.loc[~posed, "true_answer"].isna().all()


def test_records() -> None:
    run = tiny_run.finished("rzero")
    manifest, done, cost = (read_json(p) for p in (run.manifest_path, run.done_path, run.cost_path))
    assert done == {"schema": 2, "status": "completed", "iterations": 2, "detail": ""}
    assert manifest["method"] == "rzero"
    assert manifest["config"]["iterations"] == 2
    assert "proposer.steps" in manifest["passed"]
    assert set(manifest["data_hashes"]) == {"ladder", "ladder_sampled"}
    assert manifest["protected"]["size"] > 0
    assert manifest["versions"]["torch"] == torch.__version__.split("+")[0] or manifest["versions"]
    assert cost["wall_seconds"] > 0
    assert cost["peak_rss_bytes"] > 2**20
    assert set(cost["phases"]) == {"propose", "curriculum", "solve", "evaluate", "measure"}
    assert set(cost["iterations"]) == {"0", "1", "2"}
    for phase, seconds in cost["phases"].items():
        known = sum(of.get(phase, 0.0) for of in cost["iterations"].values())
        assert known == pytest.approx(seconds, abs=0.01)
    assert [e["event"] for e in run.events()][-1] == "done"


def test_metrics_hold_what_a_table_needs() -> None:
    run = tiny_run.finished("vocab_dropout")
    for t in (1, 2):
        found = tiny_run.metrics(run, t)
        assert 0 <= found["proposer/well_posed"] <= found["proposer/valid"] <= 1
        assert found["curriculum/rounds"] == 1
        for role in ("proposer", "solver"):
            assert found[f"train/{role}/logprob_gap_mean"] < 1e-4  # under the mask as well
            assert found[f"train/{role}/logprob_gap_alarm"] == 0
            assert found[f"train/{role}/kl"] < 1
            assert found[f"compute/{role}/trained/tokens"] > 0
        for family in ("diversity", "diversity_wellposed"):
            assert f"{family}/functional/topic_entropy" in found
            assert f"{family}/semantic/vendi" in found
            assert f"{family}/lexical/distinct_2" in found
        assert found["compute/flops"] > 0
    assert 0 <= tiny_run.metrics(run, 2)["solver/macro/greedy"] <= 1


def test_plan_bounds_what_a_run_samples() -> None:
    from harness.launch.plan import evaluation_tokens_at_most, tokens_at_most

    bound = sum(tokens_at_most(tiny_run.spec("rzero").config).values())
    run = tiny_run.finished("rzero")
    used = sum(
        value
        for t in (1, 2)
        for key, value in tiny_run.metrics(run, t).items()
        if key.endswith("/tokens") and "/trained/" not in key and key.startswith("compute/")
    )
    assert 0 < used <= bound
    evaluated = [read_parquet(run.evaluation(t))["n_tokens"].sum() for t in (0, 2)]
    assert 0 < sum(evaluated) <= evaluation_tokens_at_most(tiny_run.spec("rzero").config)


# Seeds.


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = tiny_run.finished("vocab_dropout")
    spec = tiny_run.spec("vocab_dropout")
    execute(spec, tmp_path)
    a, b = tiny_run.results(first.path), tiny_run.results(spec.folder(tmp_path).path)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


def test_another_seed_asks_otherwise() -> None:
    def asked(run: RunFolder) -> list[str]:
        return list(read_parquet(run.iteration(1) / "questions.parquet")["response"])

    first, second = (asked(tiny_run.finished("vocab_dropout", seed)) for seed in (0, 1))
    assert len(set(first) & set(second)) < len(first) / 4


def test_a_finished_run_is_left_alone() -> None:
    run = tiny_run.finished("rzero")
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.name != "lock"}
    assert execute(tiny_run.spec("rzero"), run.path.parent) is Status.COMPLETED
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.name != "lock"} == before


# Methods in the loop.


def test_masked_batches_hold_kept_tokens_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rollout of the real engine is looked at on its way through."""
    seen: list[tuple[Any, Sequence[int], Rollouts]] = []
    generate = TorchEngine.generate

    def watched(self: TorchEngine, prompts: Any, params: Any, **kwargs: Any) -> Rollouts:
        rollouts = generate(self, prompts, params, **kwargs)
        seen.append((kwargs.get("mask"), kwargs.get("mask_rows") or [], rollouts))
        return rollouts

    monkeypatch.setattr(TorchEngine, "generate", watched)
    spec = tiny_run.spec("vocab_dropout:alpha=0.7,granularity=group", 0, "iterations=1")
    execute(spec, tmp_path)
    masked = [x for x in seen if x[0] is not None]
    assert len(masked) == tiny_run.metrics(spec.folder(tmp_path), 1)["method/masked_batches"]
    assert 0 < len(masked) < len(seen)  # votes, solver and evaluation have none
    keys = {mask.key for mask, _, _ in masked}
    assert len(keys) == len(masked)
    for mask, mask_rows, rollouts in masked:
        keep = np.asarray(mask.keep_numpy(mask_rows))
        assert 0.5 < keep.mean() < 1
        for row, ids, valid in zip(
            keep, rollouts.response_ids, rollouts.response_mask, strict=True
        ):
            assert row[ids[valid].numpy()].all()


def test_static_proposer_is_the_base() -> None:
    run = tiny_run.finished("static_proposer")
    base = weights(tiny_run.ROOT / "tasks" / "ladder" / "base")
    assert torch.equal(weights(run.iteration(2) / "proposer"), base)
    assert not torch.equal(weights(run.iteration(2) / "solver"), base)
    assert tiny_run.metrics(run, 1)["train/proposer/steps"] == 0
    trained = tiny_run.finished("rzero")
    assert not torch.equal(weights(trained.iteration(2) / "proposer"), base)


def test_random_label_spoils_labels_alone() -> None:
    honest, shuffled = (tiny_run.finished(m) for m in ("rzero", "random_label"))
    a, b = (read_parquet(r.iteration(1) / "questions.parquet") for r in (honest, shuffled))
    assert a.drop(columns="label").equals(b.drop(columns="label"))
    assert sorted(a["label"].dropna()) == sorted(b["label"].dropna())
    right, wrong = (tiny_run.metrics(r, 1)["curriculum/label_accuracy"] for r in (honest, shuffled))
    assert wrong < right
    assert tiny_run.metrics(shuffled, 1)["method/labels_changed"] > 0


# How a run can end.


def test_exhausted_curriculum(tmp_path: Path) -> None:
    spec = tiny_run.spec("rzero", 0, "curriculum.min_survivors=1000", "curriculum.max_rounds=2")
    assert execute(spec, tmp_path) is Status.CURRICULUM_EXHAUSTED
    run = spec.folder(tmp_path)
    assert read_json(run.done_path) == {
        "schema": 2,
        "status": "curriculum_exhausted",
        "iterations": 1,
        "detail": "iteration 1: too few survivors",
    }
    assert [e["round"] for e in run.events() if e["event"] == "round"] == [0, 1]
    questions = read_parquet(run.iteration(1) / "questions.parquet")
    assert len(questions) == 48
    assert questions["response"].nunique() > 24  # the second round is no repeat of the first
    found = tiny_run.metrics(run, 1)
    assert found["curriculum/rounds"] == 2
    assert "train/solver/steps" not in found
    # The solver is carried over, and evaluated: it is the base model still.
    base = read_parquet(run.evaluation(0))
    assert read_parquet(run.evaluation(1)).equals(base)
    assert found["solver/macro/greedy"] == base.loc[base["mode"] == "greedy", "score"].mean()
    assert execute(spec, tmp_path) is Status.CURRICULUM_EXHAUSTED


def test_nan_loss_diverges(tmp_path: Path) -> None:
    spec = tiny_run.spec("nan_loss", 0, "proposer.minibatches=2", "proposer.steps=2")
    assert execute(spec, tmp_path) is Status.DIVERGED
    run = spec.folder(tmp_path)
    done = read_json(run.done_path)
    assert done["iterations"] == 0
    assert done["detail"].startswith("proposer, iteration 1, step 1: 3 updates in a row")
    assert run.evaluation(0).exists()
    assert execute(spec, tmp_path) is Status.DIVERGED


def test_absurd_learning_rate_ends_in_a_status(tmp_path: Path) -> None:
    spec = tiny_run.spec(
        "rzero", 0, "proposer.lr=1e30", "proposer.steps=3", "proposer.minibatches=2"
    )
    status = execute(spec, tmp_path)
    assert status in {Status.DIVERGED, Status.FAILED, Status.CURRICULUM_EXHAUSTED}
    detail = read_json(spec.folder(tmp_path).done_path)["detail"]
    assert detail
    assert "\n" not in detail


def test_a_trainer_that_does_not_replay_the_sampling_fails(tmp_path: Path) -> None:
    spec = tiny_run.spec("wrong_replay")
    assert execute(spec, tmp_path) is Status.FAILED
    assert (
        "ratio before the first update is not 1"
        in read_json(spec.folder(tmp_path).done_path)["detail"]
    )


# Who votes in the proposer's reward.

SHORT = ("iterations=3", "solver.steps=1", "evaluation.limit=2", "curriculum.questions=12")


def kept(run: RunFolder, role: str) -> list[int]:
    """The iterations whose checkpoint is still there."""
    return sorted(int(p.parent.name) for p in run.path.glob(f"iterations/*/{role}"))


def test_all_checkpoints_stay_where_they_are_asked_for(tmp_path: Path) -> None:
    spec = tiny_run.spec("rzero", 0, *SHORT, "iterations=2", "keep_checkpoints=all")
    assert execute(spec, tmp_path) is Status.COMPLETED
    run = spec.folder(tmp_path)
    assert kept(run, "proposer") == kept(run, "solver") == [1, 2]


def test_a_jury_of_several_solvers(tmp_path: Path) -> None:
    spec = tiny_run.spec("last_and_base_jury", 0, *SHORT, "iterations=2")
    assert execute(spec, tmp_path) is Status.COMPLETED
    run = spec.folder(tmp_path)
    assert [tiny_run.metrics(run, t)["method/jurors"] for t in (1, 2)] == [1, 2]
    # The base model samples on a stream of its own, so that its votes are other ones.
    assert tiny_run.metrics(run, 2)["method/jurors_apart"] > 0
    votes = [tiny_run.metrics(run, t)["compute/solver/vote/tokens"] for t in (1, 2)]
    assert votes[1] > 0
    assert kept(run, "solver") == [2]  # the base model needs no checkpoint of the run's own


def test_checkpoints_stay_while_a_jury_asks_for_them(tmp_path: Path) -> None:
    spec = tiny_run.spec("old_jury", 0, *SHORT)
    assert execute(spec, tmp_path) is Status.COMPLETED
    run = spec.folder(tmp_path)
    assert kept(run, "solver") == [1, 3]
    assert kept(run, "proposer") == [3]
    assert [tiny_run.metrics(run, t)["method/jurors"] for t in (1, 2, 3)] == [1, 1, 2]


@pytest.mark.parametrize(("method", "said"), [("empty_jury", r"\(\)"), ("future_jury", r"\(1,\)")])
def test_a_jury_has_to_be_there(tmp_path: Path, method: str, said: str) -> None:
    message = rf"iteration 1: the method asks solvers {said} to vote; there are 0 to 0"
    with pytest.raises(HarnessError, match=message):
        execute(tiny_run.spec(method, 0, "iterations=1"), tmp_path)


# What somebody did to the folder.


def test_removed_tables_are_made_again_while_they_can_be(tmp_path: Path) -> None:
    first = tiny_run.finished("rzero")
    spec = tiny_run.spec("rzero")
    execute(spec, tmp_path)
    run = spec.folder(tmp_path)
    run.done_path.unlink()
    (run.iteration(2) / "metrics.json").unlink()
    run.evaluation(0).unlink()
    execute(spec, tmp_path)
    assert tiny_run.results(run.path) == tiny_run.results(first.path)

    run.done_path.unlink()
    (run.iteration(2) / "votes.parquet").unlink()  # needs the solver of iteration 1: dropped
    with pytest.raises(HarnessError, match=r"the checkpoint is gone; remove .* and run the same"):
        execute(spec, tmp_path)

    (run.iteration(1) / "questions.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(HarnessError, match=r"iterations/01/questions\.parquet: corrupt parquet"):
        execute(spec, tmp_path)


def test_another_base_model_is_refused(tmp_path: Path) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(tiny_run.ROOT / "tasks" / "ladder" / "base", base)
    settings = (f"model.path={base}", "iterations=1")
    spec = tiny_run.spec("static_proposer", 0, *settings)
    execute(spec, tmp_path)
    spec.folder(tmp_path).done_path.unlink()
    (base / "generation_config.json").write_text("{}")
    with pytest.raises(HarnessError, match="made with another base model"):
        execute(spec, tmp_path)
