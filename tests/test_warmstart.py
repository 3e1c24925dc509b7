"""A warm start: what it teaches, what it declares, and every table that must name it."""

from __future__ import annotations

import copy
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import tiny_run
import torch
from rich.console import Console

from harness import leaderboard as boards
from harness.base import COST, RECORD, base_hash, base_label, read_warm_start
from harness.cli import main
from harness.config import RolesConfig, load_config
from harness.errors import HarnessError
from harness.policy import Policy
from harness.roles import parse_proposal, special_tokens
from harness.run import execute, load_spec
from harness.store import read_json
from harness.warmstart import (
    Settings,
    fit,
    held_out_loss,
    make_examples,
    probe,
    proposal_text,
    solution_text,
    warm_start,
)

ITEMS: list[dict[str, Any]] = [
    {
        "id": f"r{i}",
        "problem": f"compute {3 + i} + {2 + i % 7}.",
        "answer": str(5 + i + i % 7),
        "solution": f"{3 + i} + {2 + i % 7} = <<{3 + i}+{2 + i % 7}>>{5 + i + i % 7}.\n"
        f"#### {5 + i + i % 7}",
    }
    for i in range(48)
]
SOURCE = {"name": "gsm8k_train", "sha256": "0" * 64}
QUICK = Settings(steps=3, lr=1e-3, batch_tokens=256, held_out=8, probe=2, probe_tokens=16)


@pytest.fixture(scope="module")
def roles() -> RolesConfig:
    """The ladder's, asking for a boxed answer too: a format that its base has never seen."""
    return load_config("ladder", overrides=["roles.require_answer_box=true"])[0].roles


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, roles: RolesConfig) -> Path:
    """A warm-started checkpoint; not to be changed."""
    return make(tmp_path_factory.mktemp("made") / "warm", roles)


def make(out: Path, roles: RolesConfig, base: Path = tiny.BASE, **changes: Any) -> Path:
    settings = Settings(**{**vars(QUICK), **changes})
    warm_start(str(base), base, out, items=ITEMS, source=SOURCE, roles=roles, settings=settings)
    return out


def examples_of(policy: Policy, roles: RolesConfig) -> list[Any]:
    return [e for pair in make_examples(ITEMS, policy.tokenizer, roles, 256).values() for e in pair]


class TestExamples:
    def test_texts(self, roles: RolesConfig) -> None:
        item = {
            "problem": " how many? ",
            "answer": "72",
            "solution": "48/2 = <<48/2=24>>24\n#### 72",
        }
        assert proposal_text(item, roles) == "<question>\nhow many?\n</question>\n\n\\boxed{72}"
        plain = roles.model_copy(update={"require_answer_box": False})
        assert proposal_text(item, plain) == "<question>\nhow many?\n</question>"
        assert solution_text(item) == "48/2 = 24\nThe final answer is \\boxed{72}."

    def test_a_solution_with_a_box_stays_as_it_is(self) -> None:
        solution = "so $x = \\boxed{\\frac{1}{2}}$."
        assert solution_text({"answer": "\\frac{1}{2}", "solution": solution}) == solution

    @pytest.mark.parametrize("solution", [None, "", "  ", 3])
    def test_no_solution(self, solution: Any) -> None:
        assert solution_text({"answer": "1", "solution": solution}) is None

    def test_every_example_is_one_that_the_loop_accepts(
        self, base_policy: Policy, roles: RolesConfig
    ) -> None:
        tokenizer = base_policy.tokenizer
        found = make_examples(ITEMS, tokenizer, roles, 256)
        assert list(found) == [item["id"] for item in ITEMS]
        for item, (proposal, solution) in zip(ITEMS, found.values(), strict=True):
            assert (proposal.role, solution.role) == ("proposer", "solver")
            for example in (proposal, solution):
                assert example.response_ids[-1] == tokenizer.eos_token_id
            text = tokenizer.decode(proposal.response_ids, skip_special_tokens=True)
            parsed = parse_proposal(text, roles, special_tokens(tokenizer))
            assert (parsed.question, parsed.answer) == (item["problem"], item["answer"])
            assert item["problem"] in tokenizer.decode(solution.prompt_ids)

    @pytest.mark.parametrize(
        "change",
        [
            {"solution": None},
            {"problem": "compute <|end|> 3 + 4."},
            {"solution": "it is <|end|> 7.\n#### 7"},
            {"problem": "compute 3 + 4." * 60},
            {"problem": "compute \N{SNOWMAN}."},
            {"problem": "compute \x00 3."},
        ],
    )
    def test_what_cannot_be_used_is_left_out(
        self, base_policy: Policy, roles: RolesConfig, change: dict[str, Any]
    ) -> None:
        bad = {**ITEMS[0], **change, "id": "bad"}
        assert list(make_examples([bad, ITEMS[1]], base_policy.tokenizer, roles, 256)) == ["r1"]


class TestFit:
    def test_both_formats_are_learned(self, base_policy: Policy, roles: RolesConfig) -> None:
        policy = tiny.clone(base_policy)
        examples = examples_of(policy, roles)
        settings = Settings(steps=30, lr=2e-3, batch_tokens=768, probe=16, probe_tokens=48)
        before = held_out_loss(policy, examples[-16:], 1024)
        assert probe(policy, ITEMS[-8:], roles, settings)["proposer/valid"] == 0
        seen = fit(policy, examples[:-16], settings)
        after = held_out_loss(policy, examples[-16:], 1024)
        assert all(after[role] < 0.5 * before[role] for role in ("proposer", "solver"))
        rates = probe(policy, ITEMS[-8:], roles, settings)
        assert rates["proposer/valid"] >= 0.25
        assert rates["solver/boxed"] >= 0.5
        assert (rates["proposer/samples"], rates["solver/samples"]) == (16, 8)
        assert seen["tokens"] >= 30 * 768
        assert 0 < seen["response_tokens"] < seen["tokens"]

    def test_the_loss_is_the_mean_over_response_tokens(
        self, base_policy: Policy, roles: RolesConfig
    ) -> None:
        examples = examples_of(base_policy, roles)[:10]
        total, count = 0.0, 0
        for example in [e for e in examples if e.role == "solver"]:
            ids = torch.as_tensor([example.prompt_ids + example.response_ids])
            labels = ids.clone()
            labels[:, : len(example.prompt_ids)] = -100
            with torch.no_grad():
                loss = base_policy.model(input_ids=ids, labels=labels).loss
            total += float(loss) * len(example.response_ids)
            count += len(example.response_ids)
        got = held_out_loss(base_policy, examples, 128)["solver"]
        assert got == pytest.approx(total / count, rel=1e-4)

    def test_the_seed_decides(self, base_policy: Policy, roles: RolesConfig) -> None:
        examples = examples_of(base_policy, roles)

        def trained(**changes: Any) -> torch.Tensor:
            policy = tiny.clone(base_policy)
            fit(policy, examples, Settings(**{**vars(QUICK), **changes}))
            return tiny.weights(policy)

        first = trained()
        assert torch.equal(first, trained())
        assert not torch.equal(first, trained(seed=1))
        # How a batch is cut for memory is no part of the method.
        assert torch.allclose(first, trained(micro_tokens=64), atol=1e-4)

    def test_a_loss_that_is_not_finite_stops_it(
        self, base_policy: Policy, roles: RolesConfig
    ) -> None:
        policy = tiny.clone(base_policy)
        with torch.no_grad():
            next(iter(policy.model.parameters())).fill_(torch.inf)
        with pytest.raises(HarnessError, match="step 1: the loss is not finite; lower --lr"):
            fit(policy, examples_of(base_policy, roles), QUICK)


class TestCheckpoint:
    def test_it_is_an_ordinary_checkpoint_that_declares_itself(self, made: Path) -> None:
        assert Policy.load(made).parameters == Policy.load(tiny.BASE).parameters
        record = read_warm_start(made)
        assert record is not None
        assert record["base"]["hash"] == base_hash(tiny.BASE, None, None)
        assert record["base"]["warm_start"] is None
        assert record["source"] == SOURCE
        assert record["rows"]["train"] + record["rows"]["held_out"] == len(ITEMS)
        assert record["settings"] == vars(QUICK)
        assert record["roles"]["proposer_user"] == "write a question."
        assert set(record["loss"]["after"]) == {"proposer", "solver"}
        for role, loss in record["loss"]["after"].items():
            assert loss < record["loss"]["before"][role]
        assert set(record["format"]["before"]) == set(record["format"]["after"])
        cost = read_json(made / COST)
        assert cost["cpu_seconds"] > 0
        assert "cpu_seconds" not in json.dumps(record)

    def test_the_same_seed_gives_the_same_bytes(
        self, made: Path, roles: RolesConfig, tmp_path: Path
    ) -> None:
        again, other = make(tmp_path / "again", roles), make(tmp_path / "other", roles, seed=1)
        for name in ("model.safetensors", RECORD):
            assert (again / name).read_bytes() == (made / name).read_bytes()
            assert (other / name).read_bytes() != (made / name).read_bytes()
        assert base_hash(again, None, None) == base_hash(made, None, None)  # whatever it cost

    def test_held_out_rows_are_never_trained_on(
        self, base_policy: Policy, roles: RolesConfig, tmp_path: Path
    ) -> None:
        all_but_8 = read_json(make(tmp_path / "a", roles) / RECORD)["rows"]
        four = read_json(make(tmp_path / "b", roles, rows=4) / RECORD)["rows"]
        assert (all_but_8["train"], four["train"]) == (40, 4)
        assert all_but_8["held_out_hash"] == four["held_out_hash"] != all_but_8["train_hash"]

    def test_a_warm_start_of_a_warm_start_names_both(
        self, made: Path, roles: RolesConfig, tmp_path: Path
    ) -> None:
        record = read_json(make(tmp_path / "twice", roles, base=made) / RECORD)
        assert record["base"]["warm_start"] == read_json(made / RECORD)
        assert base_label("x", record).count(" + warm start gsm8k_train (3 steps, ") == 2

    def test_stopping_leaves_nothing(self, roles: RolesConfig, tmp_path: Path) -> None:
        def stop(step: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            warm_start(
                str(tiny.BASE),
                tiny.BASE,
                tmp_path / "warm",
                items=ITEMS,
                source=SOURCE,
                roles=roles,
                settings=QUICK,
                watch=stop,
            )
        assert list(tmp_path.iterdir()) == []


class TestDeclaration:
    def test_a_base_without_one(self) -> None:
        assert read_warm_start(tiny.BASE) is None
        assert base_label("tasks/ladder/base", None) == "tasks/ladder/base"
        assert base_label("Qwen/Qwen3-4B-Base", None) == "Qwen/Qwen3-4B-Base"
        assert base_label("/home/someone/models/mine", None) == "mine"
        assert base_label("models/mine.gguf", None) == "mine.gguf"

    def test_of_other_weights_is_refused(
        self, made: Path, roles: RolesConfig, tmp_path: Path
    ) -> None:
        other = make(tmp_path / "other", roles, seed=1)
        (other / RECORD).write_bytes((made / RECORD).read_bytes())
        with pytest.raises(HarnessError, match="warm start of other weights"):
            read_warm_start(other)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "not readable as JSON"),
            ("[]", "not a declaration of a warm start"),
            ('{"schema": 2}', "not a declaration of a warm start"),
            ('{"schema": 1, "base": {"name": ""}}', "not a declaration of a warm start"),
        ],
    )
    def test_unreadable(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(HarnessError, match=message):
            read_warm_start(tmp_path)


class TestTables:
    @pytest.fixture(scope="class")
    def run(self, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A finished tiny run from the warm-started base."""
        runs = tmp_path_factory.mktemp("runs")
        spec = tiny_run.spec("rzero", 0, f"model.path={made}", "iterations=1")
        execute(spec, runs)
        return spec.folder(runs).path

    def test_the_manifest_says_so(self, run: Path, made: Path) -> None:
        manifest = read_json(run / "manifest.json")
        record = read_json(made / RECORD)
        assert manifest["warm_start"] == record
        assert manifest["zero_data"] is False
        assert manifest["base_model"] == base_label(str(made), record)
        plain = read_json(tiny_run.finished("rzero").path / "manifest.json")
        assert (plain["warm_start"], plain["zero_data"]) == (None, True)
        assert plain["base_model"] == "tasks/ladder/base"

    def test_every_table_names_it(self, run: Path, made: Path, tmp_path: Path) -> None:
        weights = read_json(made / RECORD)["weights"][:8]
        label = f"{tiny.BASE.name} + warm start gsm8k_train (3 steps, {weights})"
        table = boards.collect([run])
        board = boards.build(table, "rzero")
        for frame in (board, boards.per_run(table), boards.cost(table)):
            boards.write_csv(frame, tmp_path / "x.csv")
            assert set(pd.read_csv(tmp_path / "x.csv")["base_model"]) == {label}
        assert label in " ".join(printed(board).split())

    def test_the_plan_names_it(
        self, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["plan", "--method", "rzero", "--runs", str(tmp_path), "--json"]
        assert main([*arguments, "--set", f"model.path={made}"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["base_model"] == base_label(str(made), read_json(made / RECORD))

    def test_committed_tables_go_on_loading(self) -> None:
        board = pd.read_csv(tiny_run.ROOT / "leaderboards" / "ladder-ladder.csv")
        assert "vocab_dropout" in printed(board.fillna({"status": ""}))

    def test_a_manifest_that_states_zero_data_itself_goes_on_loading(self, tmp_path: Path) -> None:
        manifest = read_json(tiny_run.finished("rzero").path / "manifest.json")
        older = copy.deepcopy(manifest)
        older["config"]["model"]["zero_data"] = True
        (tmp_path / "manifest.json").write_text(json.dumps(older))
        assert load_spec(tmp_path).config == load_spec(tiny_run.finished("rzero").path).config


def printed(board: pd.DataFrame) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(boards.terminal_table(board))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


class TestCommand:
    @pytest.fixture
    def data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A data folder with a training set of our own."""
        monkeypatch.setenv("COEVOLUTION_UNVERIFIED", "1")
        monkeypatch.setenv("COEVOLUTION_DATA", "")  # restored afterwards, whatever --data sets
        folder = tmp_path / "data"
        folder.mkdir()
        for name in ("gsm8k_train", "gsm8k_test"):
            text = "".join(json.dumps(item) + "\n" for item in ITEMS)
            (folder / f"{name}.jsonl").write_text(text)
        return folder

    def arguments(self, data: Path, out: Path, *more: str) -> list[str]:
        model = ["--model", "tasks/ladder/base", "--profile", "ladder"]
        sizes = ["--steps", "2", "--batch-tokens", "200", "--held-out", "4", "--probe", "2"]
        return ["warmstart", *model, "--data", str(data), "--out", str(out), *sizes, *more]

    def test_from_a_data_folder_to_a_checkpoint(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "warm"
        assert main(self.arguments(data, out, "--json")) == 0
        said = capsys.readouterr()
        record = json.loads(said.out)
        assert record == read_json(out / RECORD)
        assert record["source"]["name"] == "gsm8k_train"
        assert re.fullmatch("[0-9a-f]{64}", record["source"]["sha256"])
        assert record["base"]["name"] == "tasks/ladder/base"
        assert record["settings"]["steps"] == 2
        assert "step 2/2: loss" in said.err
        assert main(self.arguments(data, out)) == 2
        assert f"{out}: exists already; choose another --out folder" in capsys.readouterr().err

    def test_the_table(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(self.arguments(data, tmp_path / "warm")) == 0
        said = capsys.readouterr().out
        for text in ("warm start gsm8k_train", "proposer: valid", "CPU-seconds", "before"):
            assert text in said

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--steps", "0"], "needs steps >= 1"),
            (["--lr", "nan"], "needs a finite lr > 0"),
            (["--rows", "-1"], "needs rows >= 0"),
            (["--held-out", "0"], "needs held-out >= 1"),
            (["--rows", "45"], "48 of 48 rows are usable and 4 are held out"),
            (["--held-out", "48"], "leaves 0 to train on"),
            (["--source", "gsm8k"], "unknown set 'gsm8k'"),
            (["--source", "gsm8k_test"], "gsm8k_test is a test set"),
            (["--source", "math_train"], "math_train.jsonl.gz is missing"),
            (["--data", "/no/such/folder"], "/no/such/folder: no such folder"),
            (["--model", "./nothing"], "./nothing: not found here"),
            (["--model", "./nothing.gguf"], "./nothing.gguf: not found here"),
            (["--profile", "nothing"], "profile 'nothing' not found"),
        ],
    )
    def test_bad_input_is_one_line(
        self,
        data: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        more: list[str],
        message: str,
    ) -> None:
        out = tmp_path / "warm"
        assert main(self.arguments(data, out, *more)) == 2
        error = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("warmstart:")]
        assert len(error) == 1
        assert error[0].startswith("error: ")
        assert message in error[0]
        assert not out.exists()

    def test_stopped_by_hand(
        self,
        data: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("harness.warmstart.make.fit", interrupted)
        assert main(self.arguments(data, tmp_path / "warm")) == 130
        assert "stopped; nothing was written" in capsys.readouterr().err
        assert not list(tmp_path.glob("warm*"))


@pytest.mark.slow
def test_a_real_language_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two steps from COEVOLUTION_TEST_MODEL (a .gguf file, folder or hub id) on the real set."""
    model, data = os.environ.get("COEVOLUTION_TEST_MODEL"), os.environ.get("COEVOLUTION_DATA")
    if not model or not data:
        pytest.skip("set COEVOLUTION_TEST_MODEL and COEVOLUTION_DATA")
    out = tmp_path / "warm"
    sizes = ["--steps", "2", "--batch-tokens", "512", "--held-out", "2", "--probe", "0"]
    assert main(["warmstart", "--model", model, "--out", str(out), *sizes, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["rows"]["unusable"] < 0.05 * record["source"]["rows"]
    assert all(value > 0 for value in record["loss"]["after"].values())
    policy = Policy.load(out)
    assert policy.model.dtype == torch.float32
    assert policy.tokenizer.chat_template == Policy.load(model).tokenizer.chat_template
