"""What is written, under which names, and when nothing is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from run_folders import GREEDY, SAMPLED, write_run

from harness.cli import main
from harness.cli.publish import publish
from harness.errors import HarnessError
from harness.leaderboard import SUFFIXES, collect, file_stem, prepare


def two_methods(root: Path, **manifest: Any) -> list[Path]:
    config = {"baseline": "rzero", "control": "static_proposer", "evaluation": {"tasks": ["x"]}}
    return [
        write_run(
            root,
            method,
            seed,
            {SAMPLED: 0.4 + seed / 10, GREEDY: 0.5},
            **{"config": config, "base_model": "b", **manifest},
        )
        for method in ("rzero", "far")
        for seed in range(2)
    ]


class TestStems:
    def test_suite_profile_and_split(self) -> None:
        assert file_stem("ladder", "ladder-smoke") == "ladder-ladder-smoke"
        split = "engine=torch dtype=float32"
        assert file_stem("s", "p", split) == "s-p-engine=torch_dtype=float32"
        assert file_stem("", "p") == "p"

    @pytest.mark.parametrize(
        "names",
        [
            ("../../etc", "passwd", ""),
            ("a/b", "c\\d", ""),
            (".hidden", "p", ""),
            ("s", "p", "engine=\x00\n:*?<>|"),
            ("s" * 300, "p", ""),
            ("", "..", ""),
            ("s", "p", "\u00fc"),
        ],
    )
    def test_what_no_file_name_holds(self, names: tuple[str, str, str]) -> None:
        stem = file_stem(*names)
        assert re.fullmatch(r"[A-Za-z0-9_+=,][A-Za-z0-9_.+=,-]{0,140}", stem)
        others = {
            file_stem(*n) for n in [("a_b", "c_d", ""), ("etc", "passwd", ""), ("s", "p", "")]
        }
        assert stem not in others
        assert file_stem(*names) == stem

    def test_two_tables_never_share_a_file(self, tmp_path: Path) -> None:
        folders = [
            *two_methods(tmp_path / "1", suite="a-b", profile="c"),
            *two_methods(tmp_path / "2", suite="a", profile="B-c"),
        ]
        with pytest.raises(HarnessError, match="would both be written to") as caught:
            prepare(collect(folders))
        assert "\n" not in str(caught.value)


class TestFiles:
    def test_one_set_per_table(self, tmp_path: Path) -> None:
        folders = [
            *two_methods(tmp_path / "1"),
            *two_methods(tmp_path / "2", profile="big", config_hash="x"),
        ]
        boards = prepare(collect(folders))
        assert [b.stem for b in boards] == ["ladder-big", "ladder-ladder"]
        assert [b.baseline for b in boards] == ["rzero", "rzero"]
        for board in boards:
            assert list(board.files()) == [f"{board.stem}{suffix}" for suffix in SUFFIXES]
            assert board.files() == board.files()

    def test_splits_have_files_of_their_own(self, tmp_path: Path) -> None:
        folders = [
            *two_methods(tmp_path / "1"),
            *two_methods(tmp_path / "2", engine={"name": "vllm"}),
        ]
        boards = prepare(collect(folders, split_by=["engine"]))
        assert [b.stem for b in boards] == [
            "ladder-ladder-engine=torch_dtype=float32",
            "ladder-ladder-engine=vllm",
        ]

    def test_what_is_missing_is_in_the_markdown(self, tmp_path: Path) -> None:
        folders = two_methods(tmp_path)
        (folders[-1] / "done.json").unlink()
        (board,) = prepare(collect(folders[1:]))
        text = board.files()["ladder-ladder.md"].decode()
        assert "- `rzero`, seed 0: " in text
        assert "- `far`, seed 1: incomplete" in text


class TestPublish:
    def test_json_is_one_document_for_several_tables(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runs = tmp_path / "runs"
        two_methods(runs)
        for run in two_methods(tmp_path / "2", profile="big", config_hash="x"):
            run.rename(runs / f"big-{run.name}")
        (runs / "rzero-ladder-s1-abc" / "done.json").unlink()
        arguments = ["leaderboard", "collect", "--runs", str(runs)]
        assert main([*arguments, "--out", str(tmp_path / "out"), "--json"]) == 0
        output = capsys.readouterr()
        board = pd.DataFrame(json.loads(output.out))
        assert set(board["profile"]) == {"big", "ladder"}
        assert "not averaged: ladder: rzero, seed 1: incomplete" in output.err

    def test_missing_runs_and_the_control_are_named(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folders = two_methods(tmp_path / "runs")
        publish(folders[:3], tmp_path / "out", None)
        text = " ".join(capsys.readouterr().out.split())
        assert "not averaged: ladder: far, seed 1: " in text
        assert "no 'static_proposer' in this table" in text
        assert "written: " in text

    def test_of_incomplete_runs_only(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = two_methods(tmp_path / "runs")[0]
        (folder / "done.json").unlink()
        publish([folder], tmp_path / "out", None)
        assert "not averaged: ladder: rzero, seed 0: incomplete" in capsys.readouterr().out
        assert len(pd.read_csv(tmp_path / "out" / "ladder-ladder.csv")) == 0
        assert "seed 0: incomplete" in (tmp_path / "out" / "ladder-ladder.md").read_text()

    def test_many_missing_runs_are_counted(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folders = two_methods(tmp_path / "runs")
        for seed in range(10, 30):
            folders.append(write_run(tmp_path / "runs", "rzero", seed, {SAMPLED: 0.5}))
        config = json.loads((folders[0] / "manifest.json").read_text())["config"]
        for folder in folders:
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest |= {"config": config, "base_model": "b"}
            (folder / "manifest.json").write_text(json.dumps(manifest))
        publish(folders, tmp_path / "out", None)
        out = capsys.readouterr().out
        assert out.count("not averaged:") == 12
        assert "... and 8 more, all in ladder-ladder.md" in out
        every = ", ".join(str(seed) for seed in range(10, 30))
        assert f"seeds {every}: no such run" in (tmp_path / "out" / "ladder-ladder.md").read_text()

    @pytest.mark.parametrize("broken", ["run", "baseline", "dataset"])
    def test_nothing_is_written_unless_everything_can_be(self, tmp_path: Path, broken: str) -> None:
        folders = [
            *two_methods(tmp_path / "1"),
            *two_methods(tmp_path / "2", profile="big", config_hash="x"),
        ]
        out, dataset = tmp_path / "out", tmp_path / "dataset"
        if broken == "run":
            (folders[-1] / "iterations" / "02" / "metrics.json").write_text("{")
        elif broken == "baseline":
            folders = folders[:4] + [f for f in folders[4:] if "far" in f.name]
        else:
            dataset.write_text("a file where the folder should be")
        with pytest.raises(HarnessError):
            publish(folders, out, None, dataset=dataset)
        assert not out.exists() or not list(out.iterdir())

    def test_an_older_board_survives_a_failure(self, tmp_path: Path) -> None:
        folders = two_methods(tmp_path / "runs")
        publish(folders, tmp_path / "out", None)
        before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
        (folders[0] / "done.json").write_text("{}")
        with pytest.raises(HarnessError, match=r"done\.json"):
            publish(folders, tmp_path / "out", None)
        assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
