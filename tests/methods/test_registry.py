"""Methods by name: collisions, suggestions, parameters, canonical names, plugin files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from harness.errors import HarnessError
from harness.methods import (
    Composite,
    Method,
    MethodParams,
    build,
    entries,
    get,
    load_plugin,
    plugin_hash,
    register,
    registry,
)
from harness.methods.base import HOOKS


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test registers is gone afterwards."""
    entries()
    for name in ("_ENTRIES", "_LOADED", "_PLUGINS"):
        value = getattr(registry, name)
        monkeypatch.setattr(registry, name, type(value)(value))


def write(folder: Path, name: str, body: str) -> Path:
    """A plugin file that holds ``body`` after the usual import."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"from harness.methods import Method, register\n\n{body}\n", encoding="utf-8")
    return path


def plugin(name: str, kind: str = "Mine") -> str:
    return f'@register("{name}")\nclass {kind}(Method):\n    """What it does."""'


class TestNames:
    def test_entries_are_sorted_and_described(self) -> None:
        names = [entry.name for entry in entries()]
        assert names == sorted(names)
        assert {"rzero", "vocab_dropout"} <= set(names)
        for entry in entries():
            assert get(entry.name) is entry
            assert entry.cls.name == entry.name

    def test_a_collision_is_refused(self) -> None:
        with pytest.raises(HarnessError, match=r"'rzero' of .*Other is already taken by baselines"):

            @register("rzero")
            class Other(Method):
                pass

        assert get("rzero").origin == "baselines.rzero.RZero"

    @pytest.mark.parametrize(
        "name", ["", "Caps", "9lives", "a-b", "a b", "a+b", "a:b", "été", "a\n"]
    )
    def test_malformed_names_are_refused(self, name: str) -> None:
        with pytest.raises(HarnessError, match="lower-case letters"):
            register(name)(type("Bad", (Method,), {}))

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("vocab_dropuot", "vocab_dropout"),
            ("rzro", "rzero"),
            ("static-proposer", "static_propo"),
        ],
    )
    def test_nearest_names_are_suggested(self, typed: str, meant: str) -> None:
        with pytest.raises(HarnessError, match=rf"unknown method .*did you mean.*{meant}"):
            get(typed)

    def test_a_far_miss_points_to_the_list(self) -> None:
        with pytest.raises(HarnessError, match="python -m harness methods"):
            build("qqqqqq")


class TestParameters:
    @pytest.mark.parametrize("alpha", ["0", "-1", "1.01", "nan", ".nan", ".inf", "much", "null"])
    def test_alpha_outside_its_range(self, alpha: str) -> None:
        with pytest.raises(HarnessError, match=r"vocab_dropout: alpha: .*parameters: alpha"):
            build(f"vocab_dropout:alpha={alpha}")

    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("vocab_dropout:alhpa=0.5", "alhpa: Extra inputs are not permitted.*parameters: alpha"),
            ("rzero:x=1", "x: .*parameters: none"),
            ("vocab_dropout:alpha", "expected key=value"),
            ("vocab_dropout:alpha=[", "alpha"),
            ("vocab_dropout:granularity=word", "granularity"),
            ("vocab_dropout:protected=[digits,vowels]", "protected"),
            ("", "unknown method ''"),
            ("rzero+", "unknown method ''"),
        ],
    )
    def test_what_cannot_be_read_is_refused_in_one_line(self, spec: str, says: str) -> None:
        with pytest.raises(HarnessError, match=says) as caught:
            build(spec)
        assert "\n" not in str(caught.value)

    def test_values_are_typed(self) -> None:
        method, _ = build(
            "vocab_dropout:alpha=.5,alpha_end=0.9,schedule=cosine,protected=[format, digits]"
        )
        assert method.params.alpha == 0.5
        assert method.params.alpha_end == 0.9
        assert method.params.protected == ("format", "digits")

    def test_parameters_are_frozen(self) -> None:
        method, _ = build("vocab_dropout")
        with pytest.raises(ValueError, match="frozen"):
            method.params.alpha = 0.1


class TestCanonicalNames:
    @pytest.mark.parametrize(
        ("spec", "name"),
        [
            ("vocab_dropout", "vocab_dropout"),
            (" vocab_dropout ", "vocab_dropout"),
            ("vocab_dropout:", "vocab_dropout"),
            ("vocab_dropout:alpha=0.85", "vocab_dropout"),
            ("vocab_dropout:alpha=0.750", "vocab_dropout:alpha=0.75"),
            (
                "vocab_dropout:granularity=group,alpha=.75",
                "vocab_dropout:alpha=0.75,granularity=group",
            ),
            ("random_label+vocab_dropout:alpha=1", "random_label+vocab_dropout:alpha=1.0"),
        ],
    )
    def test_defaults_left_out_parameters_sorted(self, spec: str, name: str) -> None:
        assert build(spec)[1] == name

    @given(
        alpha=st.floats(0.01, 1.0),
        end=st.one_of(st.none(), st.floats(1e-6, 1.0)),
        granularity=st.sampled_from(["step", "group", "sequence"]),
        kinds=st.one_of(
            st.none(),
            st.lists(st.sampled_from(["format", "digits", "punctuation"]), max_size=3, unique=True),
        ),
    )
    def test_a_canonical_name_builds_the_same_method(self, alpha, end, granularity, kinds) -> None:
        values = {"alpha": alpha, "alpha_end": end, "granularity": granularity, "protected": kinds}
        spec = ",".join(
            f"{k}={yaml.safe_dump(v, default_flow_style=True).splitlines()[0]}"
            for k, v in values.items()
        )
        method, name = build(f"vocab_dropout:{spec}")
        again, same = build(name)
        assert again.params == method.params
        assert same == name

    def test_a_value_other_than_a_none_default(self) -> None:
        """A parameter whose default is a number may be switched off by null, and found again."""

        @register("nullable")
        class Nullable(Method):
            class Params(MethodParams):
                tau: float | None = Field(0.5)
                flag: bool = True
                text: str = "a"

        for spec in ("nullable:tau=null", "nullable:flag=false,tau=0.25", "nullable:text=b"):
            method, name = build(spec)
            assert build(name)[0].params == method.params
            assert build(name)[1] == name


class TestPlugins:
    def test_a_file_adds_its_methods_once(self, tmp_path: Path) -> None:
        path = write(tmp_path, "mine.py", plugin("mine") + "\n\n\n" + plugin("yours", "Yours"))
        assert load_plugin(path) == ["mine", "yours"]
        assert load_plugin(str(path)) == []
        assert get("mine").summary == "What it does."
        assert build("mine+yours")[1] == "mine+yours"

    def test_its_content_identifies_it(self, tmp_path: Path) -> None:
        path = write(tmp_path, "mine.py", plugin("mine"))
        load_plugin(path)
        assert plugin_hash("rzero") is None
        first = plugin_hash("mine+rzero")
        assert first == plugin_hash("mine")
        other = write(tmp_path, "other.py", plugin("other") + "\n    x = 1")
        load_plugin(other)
        assert plugin_hash("other") not in (None, first)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("def f(:", "SyntaxError"),
            ("import no_such_module_at_all", "ModuleNotFoundError"),
            ("raise SystemExit(3)", "SystemExit"),
            ("x = 1", "registers no method; decorate one with @register"),
            (plugin("rzero"), "already taken by baselines"),
            (plugin("Not A Name"), "lower-case letters"),
        ],
    )
    def test_files_that_do_not_work(self, tmp_path: Path, body: str, says: str) -> None:
        with pytest.raises(HarnessError, match=says):
            load_plugin(write(tmp_path, "bad.py", body))

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.py", tmp_path):
            with pytest.raises(HarnessError, match="no such file"):
                load_plugin(path)

    def test_not_python(self, tmp_path: Path) -> None:
        with pytest.raises(HarnessError, match="not a Python file"):
            load_plugin(write(tmp_path, "notes.txt", plugin("notes")))

    def test_a_failed_file_leaves_nothing_and_may_be_mended(self, tmp_path: Path) -> None:
        path = write(tmp_path, "mine.py", plugin("mine") + "\n\n\n1 / 0")
        with pytest.raises(HarnessError, match="ZeroDivisionError"):
            load_plugin(path)
        with pytest.raises(HarnessError, match="unknown method"):
            get("mine")
        write(tmp_path, "mine.py", plugin("mine"))
        assert load_plugin(path) == ["mine"]

    def test_two_files_of_one_name_collide_like_any_two(self, tmp_path: Path) -> None:
        load_plugin(write(tmp_path / "a", "mine.py", plugin("mine")))
        with pytest.raises(HarnessError, match="already taken"):
            load_plugin(write(tmp_path / "b", "mine.py", plugin("mine")))


def test_description_holds_what_the_command_line_shows() -> None:
    shown = get("vocab_dropout").describe()
    assert shown["paper"] == "2604.03472"
    assert shown["hooks"] == ["mask"]
    alpha = shown["parameters"]["alpha"]
    assert (alpha["default"], alpha["exclusiveMinimum"], alpha["maximum"]) == (0.85, 0, 1)
    assert "retention" in alpha["description"]
    assert set(get("rzero_code").describe()["hooks"]) <= set(HOOKS)


def test_the_same_method_twice() -> None:
    with pytest.raises(HarnessError, match="the same method twice"):
        build("random_label+random_label")


def test_one_method_is_itself_and_several_are_a_composite() -> None:
    assert type(build("rzero")[0]).__name__ == "RZero"
    method = build("random_label+static_proposer")[0]
    assert isinstance(method, Composite)
    assert [p.name for p in method.parts] == ["random_label", "static_proposer"]
