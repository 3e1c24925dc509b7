"""The layout's rules, read from the source: imports point downwards, the loop names nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "errors",
    "child",
    "rng",
    "statistics",
    "store",
    "versions",
    "base",
    "masks",
    "config",
    "engines",
    "support",
    "kernels",
    "microbatches",
    "packing",
    "loading",
    "policy",
    "grading",
    "data",
    "repetition",
    "roles",
    "grpo",
    "ledger",
    "checker",
    "methods",
    "learner",
    "training",
    "warmstart",
    "diversity",
    "contamination",
    "evaluation",
    "phases",
    "coevolution",
    "run",
    "leaderboard",
    "report",
    "tracking",
    "launch",
    "testing",
    "cli",
)
"""The rooms of ``harness``, bottom to top; a room imports from itself and from those below."""


def modules(*packages: str) -> list[Path]:
    return sorted(p for package in packages for p in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import in a file, those inside functions included."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(ROOT / "harness").with_suffix("").parts[0]


def test_every_room_has_its_place() -> None:
    rooms = {room(p) for p in modules("harness")} - {"__init__", "__main__"}
    assert rooms - set(ORDER) == set()


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_downwards(name: str) -> None:
    allowed = set(ORDER[: ORDER.index(name) + 1])
    wrong = []
    for path in (p for p in modules("harness") if room(p) == name):
        for line, target in imports(path):
            parts = target.split(".")
            inside = parts[0] == "harness" and len(parts) > 1
            if inside and parts[1] not in allowed | {"__version__"}:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
    assert wrong == []


def test_the_harness_knows_no_baseline_and_no_task() -> None:
    for path in modules("harness"):
        for line, target in imports(path):
            assert target.split(".")[0] not in {"baselines", "tasks", "tests", "benchmarks"}, (
                f"{path}:{line}"
            )


def test_tasks_import_data_and_grading_alone() -> None:
    """So that lm-eval loads them as they are."""
    for path in modules("tasks"):
        for line, target in imports(path):
            parts = target.split(".")
            assert parts[0] != "baselines", f"{path}:{line}"
            if parts[0] == "harness":
                assert parts[1] in {"data", "grading"}, f"{path}:{line} {target}"


def test_baselines_import_the_harness_alone() -> None:
    for path in modules("baselines"):
        for line, target in imports(path):
            assert target.split(".")[0] not in {"tasks", "tests", "benchmarks"}, f"{path}:{line}"


def test_the_loop_names_no_method_and_no_task() -> None:
    from harness.methods import entries

    methods = {e.name for e in entries()}
    # A method's name may be an everyday word (window, replay): such a one only where it is quoted.
    names = {name for name in methods if "_" in name}
    names |= {p.name for p in (ROOT / "tasks").iterdir() if p.is_dir() and p.name[0] != "_"}
    pattern = re.compile(r"\b(" + "|".join(sorted(names)) + r")\b", re.IGNORECASE)
    for path in [ROOT / "harness" / "coevolution.py", *modules("harness/phases")]:
        text = path.read_text()
        assert pattern.findall(text) == [], path
        quoted = {n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)}
        assert quoted & methods == set(), path


def test_nothing_dangerous() -> None:
    """No pickle, eval, exec, unsafe YAML, shell, remote code, or global random state."""
    calls = {"eval", "exec", "yaml.load", "os.system", "torch.load"}
    for path in modules("harness", "baselines", "tasks"):
        for _, target in imports(path):
            banned = {"pickle", "shelve", "marshal", "random"}
            if path.parent.name == "testing":  # looks whether others touch the random state
                banned.remove("random")
            assert target.split(".")[0] not in banned, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in calls, f"{path}:{node.lineno} {name}"
                seeded = name == "torch.manual_seed" and path.name != "pretrain.py"
                assert not seeded, path
                assert not re.match(r"(np|numpy)\.random\.(seed|rand|choice|shuffle)", name), path
                for keyword in node.keywords:
                    on = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                    assert not (on and keyword.arg in {"shell", "trust_remote_code"}), path


def test_files_stay_short() -> None:
    for path in modules("harness", "baselines", "tasks"):
        assert len(path.read_text().splitlines()) < 400, path
