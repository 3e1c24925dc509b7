"""Personas: who gets one, where it stands, and which lists are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from baselines.persona import MAX_CHARS, PERSONAS
from harness.config import load_config
from harness.errors import HarnessError
from harness.methods import build, plugin_hash
from harness.policy import Policy
from harness.roles import proposer_messages, render

CHAT = [{"role": "user", "content": "ask."}]
SYSTEM = [{"role": "system", "content": "be brief."}, *CHAT]


def asked(params: str = "", n: int = 1, chat=CHAT, ctx=None):
    return build(f"persona:{params}")[0].prompts(ctx or tiny.make_context(), [chat] * n)


def test_the_list_is_diverse_and_of_one_form() -> None:
    assert len(PERSONAS) == len(set(PERSONAS)) >= 40
    assert all(p.startswith(("a ", "an ")) and " who " in p and p.isprintable() for p in PERSONAS)
    assert len({p.partition(" who ")[0] for p in PERSONAS}) == len(PERSONAS)


@pytest.mark.parametrize(
    ("params", "chat", "expected"),
    [
        ("", CHAT, [("system", "You are Z who W."), ("user", "ask.")]),
        ("", SYSTEM, [("system", "You are Z who W.\nbe brief."), ("user", "ask.")]),
        ("place=user_before", CHAT, [("user", "You are Z who W.\nask.")]),
        ("place=user_after", SYSTEM, [("system", "be brief."), ("user", "ask.\nYou are Z who W.")]),
        ("form=phrase", CHAT, [("system", "Z"), ("user", "ask.")]),
        ("place=user_before,form=phrase", CHAT, [("user", "Z: ask.")]),
    ],
)
def test_where_it_stands(tmp_path: Path, params: str, chat, expected) -> None:
    file = tmp_path / "personas.txt"
    file.write_text("\nZ who W\n\n", encoding="utf-8")
    before = [dict(m) for m in chat]
    (found,) = asked(f"file={file}," + params, chat=chat)
    assert [(m["role"], m["content"]) for m in found] == expected
    assert chat == before  # nothing is changed in place


@pytest.mark.parametrize("role", ["proposer", "solver"])
@pytest.mark.parametrize("phase", ["train", "generate", "vote", "label"])
def test_only_the_proposer_s_prompts(role: str, phase: str) -> None:
    ctx = tiny.make_context(role=role, phase=phase)
    chats = [CHAT] * 3
    found = build("persona")[0].prompts(ctx, chats)
    told = role == "proposer" and phase in ("train", "generate")
    assert (found is not chats) is told
    assert ctx.counts["prompts_with_persona"] == (3 if told else 0)


def test_defaults() -> None:
    p = build("persona")[0].params
    assert (p.share, p.place, p.form, p.file) == (1.0, "system", "sentence", None)
    assert p.phases == ("train", "generate")


def test_off_returns_what_it_was_given() -> None:
    chats = [CHAT]
    ctx = tiny.make_context()
    assert build("persona:share=0")[0].prompts(ctx, chats) is chats
    assert not ctx.counts


def test_personas_are_drawn_uniformly_and_by_place_in_the_run() -> None:
    """4000 draws of 40: each is expected 100 times, with a deviation of 10."""
    found = asked(n=4000)
    told = [chat[0]["content"] for chat in found]
    counts = [told.count(f"You are {p}.") for p in PERSONAS]
    assert sum(counts) == 4000
    assert 50 < min(counts) <= max(counts) < 150
    assert asked(n=50) == asked(n=50)
    others = [tiny.make_context(step=1), tiny.make_context(seed=1), tiny.make_context(iteration=2)]
    assert all(asked(n=50, ctx=ctx) != asked(n=50) for ctx in others)


def test_further_prompts_of_a_step_are_further_draws() -> None:
    method = build("persona")[0]
    first = method.prompts(tiny.make_context(), [CHAT] * 50)
    second = method.prompts(tiny.make_context(), [CHAT] * 50)
    assert first != second
    assert method.prompts(tiny.make_context(step=1), [CHAT] * 50) == asked(
        n=50, ctx=tiny.make_context(step=1)
    )


def test_share_of_the_prompts() -> None:
    """1000 draws at .3: 300 expected, with a deviation of 14.5."""
    ctx = tiny.make_context()
    found = asked("share=0.3", n=1000, ctx=ctx)
    told = sum(chat != CHAT for chat in found)
    assert told == ctx.counts["prompts_with_persona"]
    assert 227 < told < 373
    assert all(chat is CHAT for chat in found if len(chat) == 1)


def test_the_ladder_s_prompts_render_each_in_its_own_way(base_policy: Policy) -> None:
    config = load_config("ladder")[0]
    chats = asked(n=30, chat=proposer_messages(config.roles))
    rendered = {tuple(render(base_policy.tokenizer, chat)) for chat in chats}
    assert 10 < len(rendered) <= 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "holds no persona"),
        (b"\n  \n", "holds no persona"),
        (b"\xff\xfe", "codec can't decode"),
        (b"a potter\na b\x07ell", "persona 2 is longer than"),
        (b"x" * (MAX_CHARS + 1), "persona 1 is longer than"),
    ],
)
def test_a_file_that_can_t_be_used_is_refused(tmp_path: Path, content, message: str) -> None:
    file = tmp_path / "list.txt"
    if content is not None:
        file.write_bytes(content)
    config = load_config("ladder")[0]
    with pytest.raises(HarnessError, match=message) as caught:
        build(f"persona:file={file}")[0].check(config)
    assert "\n" not in str(caught.value)
    build("persona")[0].check(config)


def test_what_is_in_the_file_is_part_of_a_run_s_identity(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("a tiler who counts\n", encoding="utf-8")
    entry = f"persona:file={file}"
    first = plugin_hash(entry)
    assert first is not None
    assert plugin_hash(f"vocab_dropout+{entry}") == first
    file.write_text("a tiler who dreams\n", encoding="utf-8")
    assert plugin_hash(entry) not in (None, first)
    assert plugin_hash("persona") is None
